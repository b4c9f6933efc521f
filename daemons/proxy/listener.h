/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener: one worker's listening socket: accepts, counts, and decides how the connection goes on
 * by what kind of door it is (snap_listener.kind). sniff.c decides it by the first bytes where the
 * door is not enough. Layer proxy; a listener owns its descriptor and is referenced by the
 * connections that came through it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/str.h"
#include "io/loop.h"
#include "io/sock.h"
#include "proxy/conn.h"
#include "snap/snap.h"

struct worker;
struct entry;
struct gate_door;

#define LISTENER_ACCEPTS 16                     /* a turn */
#define LISTENER_PAUSE_US (100u * 1000)         /* without descriptors, and listener_pause */
#define LISTENER_PATIENCE_US (5u * 1000 * 1000) /* for the first certificates */
#define LISTENER_HANDSHAKE_US (10u * 1000 * 1000)

struct listener {
	struct list node;               /* worker->listeners; on none when closed */
	struct worker *w;
	unsigned refs;
	uint64_t id;                    /* the same in all workers */
	int fd;                         /* -1 closed */
	struct sock_addr addr;          /* as bound */
	int64_t kind;                   /* enum snap_listener_kind */
	struct str service;             /* SNAP_LISTENER_TCP: which service; owned */
	int64_t service_port;
	struct gate_door *count;        /* connections through this door; one reference */
	struct loop_fd io;
	struct loop_timer pause;
	struct conn_addr local;         /* of every connection; len 0: to be asked for */
	unsigned burst;                 /* accepted in one turn at most */
	unsigned n_full;                /* so often in a row there were as many */
};

/* What the control thread made: the socket, and what its workers share. */
struct listener_socket {
	int fd;
	struct sock_addr addr;          /* that it stands for, as the snapshot has it */
	uint64_t id;
	struct gate_door *count;
	uint64_t patience_us;           /* nobody is accepted so long, unless this worker is ready sooner */
};
/* Takes the descriptor; not the reference on count. */
struct listener *listener_open(struct worker *w, const struct listener_socket *socket,
			       const struct snap_listener *desc);
/* Accept, or not, as the worker's overload level says. */
void listener_rest(struct listener *l);
void listener_pause(struct listener *l);        /* for a moment */
/* Another snapshot's description of the same address. */
void listener_update(struct listener *l, const struct snap_listener *desc);
void listener_close(struct listener *l);        /* no more accepts; connections go on */
struct listener *listener_ref(struct listener *l);
void listener_unref(struct listener *l);

/* ---- sniff.c ---- */
/*
 * A redirected connection to a local workload's port: plain, mTLS or passed through, by policy and
 * first bytes.
 */
void sniff_inbound(struct conn *c);
/* A client of a gateway: HTTP, or TLS by the server that its SNI names. */
void sniff_gateway(struct conn *c);
/* A redirected connection of a local workload: HTTP, TLS by name, or opaque. */
void sniff_outbound(struct conn *c);
/* A connection to the door of one service: bytes, by server name where a route asks for it. */
void sniff_service(struct conn *c);
/*
 * Before any handshake as the server: whether one more may wait (L5). False: the connection is
 * killed. The listener's owner takes it back when the handshake is over or the connection gone.
 */
bool sniff_may_handshake(struct conn *c);
/* After the handshake on a mesh or inbound port: the protocol inside. */
void sniff_after_handshake(struct conn *c);
/* Begin mTLS as the server: the identity comes from the SNI, on inbound ports from the address. */
void sniff_start_mtls(struct conn *c);
