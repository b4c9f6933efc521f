/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_net: workers of the real proxy on loopback sockets for Check programs: snapshots from JSON,
 * a service that does what the path says, a client that reads with a deadline. No router, no CA.
 * Functions fail the running test themselves. Everything is torn down by net_stop, backend_stop,
 * close.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/map.h"
#include "base/str.h"
#include "proxy/attach.h"
#include "proxy/worker.h"
#include "unit.h"

#define NET_DEADLINE_MS 30000   /* for anything to happen; never what is measured */

/* ---- identities ------------------------------------------------------------------------------ */
/* A root of its own that signs whatever SPIFFE ID it is asked to. */
struct net_ca;
struct net_ca *net_ca_new(void);
void net_ca_free(struct net_ca *ca);
/* A fresh key and certificate. */
struct tls_identity *net_ca_identity(struct net_ca *ca, const char *spiffe);
/*
 * PEM of the root, and of a fresh leaf and its key, for clients that are not the proxy's;
 * malloc'ed.
 */
char *net_ca_root_pem(struct net_ca *ca);
void net_ca_leaf_pem(struct net_ca *ca, const char *spiffe, char **ret_cert, char **ret_key);

/* ---- the proxy ------------------------------------------------------------------------------- */
struct net {
	struct attach_state *state;
	struct worker_set *workers;
	struct map identities;          /* SPIFFE ID → struct tls_identity * */
	struct attached *at;            /* the last published */
	int64_t version;
};

void net_start(struct net *n, unsigned workers);
/* Give it that identity from the next publish on; replaces an older one. */
void net_identity(struct net *n, struct net_ca *ca, const char *spiffe);
/* JSON with ' for ", printf directives filled in; 'version' and 'proxy' are put in front of it. */
void net_publish(struct net *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void net_publish_str(struct net *n, const char *json);
/* The same attachment anew: as a renewed certificate does. */
void net_republish(struct net *n);
uint16_t net_port(struct net *n, const char *kind);
void net_stop(struct net *n);
/* Waits for the sum of a fixed counter over the workers to become v, or fails. */
void net_await(struct net *n, enum stats_id id, int64_t v);
int64_t net_stat(struct net *n, enum stats_id id);

/* Pieces of snapshots. */
#define NET_SETTINGS "'settings': {'trust_domain': 'cluster.local', 'node': 'n1', " \
		     "'path_normalization': 'BASE'}"
#define NET_NODE \
	"'identities': ['spiffe://cluster.local/ns/kvmesh-system/sa/n1']," \
	"'peers': [{'name': 'n1', 'ns': 'kvmesh-system', 'sa': 'n1'," \
	"  'principal': 'spiffe://cluster.local/ns/kvmesh-system/sa/n1'}]," \
	"'workloads': [{'peer': 0, 'identity': 0, 'view': 0}]"

/* ---- a service ------------------------------------------------------------------------------- */
/*
 * HTTP/1.1 by path: /ok /headers /echo /chunked /trailers /empty /nolength (until close) /close
 * (says close) /drop (closes without an answer) /cut (closes in the middle) /reset /hang /slow-head
 * /continue /ws /status/N /big/N /info (103 first) /junk (no HTTP) /once (answers, then closes
 * silently). name: what /ok answers.
 */
struct backend;
struct backend *backend_start(const char *name);
/*
 * Another protocol: fn has one connection, in a thread of its own; the descriptor is closed after
 * it.
 */
struct backend *backend_start_raw(void (*fn)(int fd, void *arg), void *arg);
uint16_t backend_port(const struct backend *b);
unsigned backend_accepted(const struct backend *b);
unsigned backend_requests(const struct backend *b);
/* Close the connections that wait for a request. */
void backend_close_idle(struct backend *b);
void backend_stop(struct backend *b);

/* ---- a client -------------------------------------------------------------------------------- */
int client_dial(uint16_t port);
void client_abort(int fd);              /* close with RST */
void client_send(int fd, const char *text);
void client_send_n(int fd, const void *p, size_t n);
/* printf into a request. */
void client_sendf(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct answer {
	unsigned status;
	char head[65536];               /* status line and fields, NUL-ended */
	char *body;                     /* malloc'ed, NUL-ended */
	size_t n;
	bool chunked, cut;              /* cut: the connection ended inside */
	char trailers[1024];
};
/* method: HEAD has no body. False: the connection ended before a byte. */
bool client_read(int fd, const char *method, struct answer *a);
void answer_done(struct answer *a);
/* Value of a field (lower-case name), "" when absent; a static buffer. */
const char *answer_field(const struct answer *a, const char *name);
/* One exchange on a connection that is there; asserts that an answer came. */
void client_ask(int fd, struct answer *a, const char *fmt, ...) __attribute__((format(printf, 3,
	4)));
/* Reads what comes until the end; bytes malloc'ed. */
char *client_read_all(int fd, size_t *ret_n);
size_t client_read_some(int fd, void *p, size_t n);     /* exactly n or fail */
void client_expect_end(int fd);         /* end of file or reset, nothing else */
