/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entry: how a downstream connection came in: through which listener, from whom, for whom. The
 * facts of the kernel and of TLS are kept with the connection; what they mean is looked up in the
 * attachment of each exchange, so that a connection that outlives a snapshot follows the new one.
 * Layer proxy; owned by the connection (conn->owner_data), holds a reference on its listener.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "io/sock.h"
#include "io/tls.h"
#include "proxy/attach.h"
#include "proxy/worker.h"

struct conn;
struct listener;

struct entry {
	struct listener *listener;
	struct sock_addr *original_dst;         /* NULL: not redirected; owned */
	struct sock_addr *direct;               /* who sent a PROXY header, NULL: the client itself; owned */
	struct sock_owner owner;                /* of the caller's socket, when it is local */
	bool owner_known, owner_asked;
	bool in_handshake;                      /* counted in worker->n_handshakes */
	struct str sni;                         /* of a TLS stream that is passed on; owned bytes */
	/* what was looked up, as of the lease with that serial number */
	uint64_t caller_serial, sni_serial, peer_serial, gateway_serial;
	int64_t gateway_view, gateway_server;   /* index of the TLS server; -1 none */
	struct server_state *proved;            /* to whom the handshake was made; one reference */
	int64_t caller;
	const struct snap_sni *sni_row;
	const struct snap_peer *peer;           /* who called last through this connection */
};

/* What an entry means in one attachment. */
struct entry_view {
	bool inbound;                           /* it is for a local workload; else from one */
	int64_t workload;                       /* the local one; -1: a caller that is refused */
	int64_t view;                           /* outbound: what the caller sees; -1 none */
	const struct snap_inbound *target;      /* inbound; NULL: nothing here */
	const struct snap_service_ref *service; /* inbound, as what it was called; NULL unknown */
};

struct entry *entry_new(struct listener *l);
void entry_free(struct entry *e);
/* rng chooses among local workloads when a service was named. */
void entry_resolve(struct entry *e, const struct conn *c, const struct lease *lease,
		   struct rng *rng, struct entry_view *ret);
/*
 * In the worker's current lease, or in the one before it: a peer that calls a workload that has just
 * left. Returns the lease that it is.
 */
struct lease *entry_resolve_now(struct entry *e, const struct conn *c, struct entry_view *ret);
/* The 16 bytes core/match.h wants (IPv4 mapped). False: no IP address. */
bool entry_addr_bytes(const struct sock_addr *a, uint8_t ret[static 16]);
/*
 * Which workload calls through a connection between proxies. Several may share an identity, so the
 * caller's proxy names it ("name.ns"); the name is believed only when that workload has the
 * identity that the certificate proves. NULL: no workload that is known, or one of several.
 */
const struct snap_peer *entry_source(struct entry *e, const struct conn *c,
				     const struct lease *lease, struct str named);
/*
 * Ask the kernel whose the other end is, once a connection, if that can tell one local workload from
 * another at all: as soon as it came in, as a caller may be gone soon, else when it first matters.
 */
void entry_learn_caller(struct entry *e, const struct conn *c, const struct attached *at);
/*
 * The server name of this connection: of TLS that ends here, or of TLS that is passed on; empty
 * none.
 */
struct str entry_sni(const struct conn *c);
/* Through a gateway, from outside. */
bool entry_is_edge(const struct entry *e);
/* By which number clients of a gateway's door, and its routes, know it. */
int64_t entry_gateway_port(const struct entry *e);
/* The gateway's port in this attachment, NULL: not there any more. */
const struct attached_gateway *entry_gateway(const struct entry *e, const struct attached *at);
/*
 * Does a request for that host belong through this connection, or through another one to another
 * server of the port? After entry_resolve.
 */
bool entry_is_misdirected(const struct entry *e, const struct conn *c, const struct attached *at,
			  struct str host);
/* The mesh port's choice of identity: the local workload that the SNI names, NULL unknown. */
struct tls_identity *entry_pick_identity(const struct attached *at, struct str sni,
					 struct rng *rng);
