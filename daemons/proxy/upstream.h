/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream: connections to services and peers, pooled per worker. A pool is keyed by everything
 * that makes two connections different (address, protocol, source identity, expected identity,
 * SNI), so a connection never serves another identity than the one it was made for (design 5).
 * Layer proxy; pools own their connections and keep the endpoint's and the cluster's state alive.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/str.h"
#include "io/sock.h"
#include "io/tls.h"
#include "proxy/attach.h"
#include "proxy/codec.h"
#include "snap/snap.h"

struct pool;
struct worker;

/*
 * The same numbers lead to the same pool, so that it is found without its key: what the lease calls
 * the caller, the cluster and the endpoint. serial 0: no hint.
 */
struct upstream_hint {
	uint64_t serial;                        /* of the lease */
	uint32_t workload, cluster, endpoint;
};

struct pool_hint {                              /* in struct worker */
	struct upstream_hint hint;
	struct pool *pool;                      /* NULL: empty */
};

/* Where one try goes and how it speaks there. Borrowed; a new pool copies what it keeps. */
struct upstream_target {
	struct sock_addr addr;
	const struct sock_addr *alternate;      /* of the other family; NULL none */
	const struct codec_ops *codec;
	struct tls_identity *identity;          /* mesh TLS as this workload; NULL: not */
	struct tls_ctx *ctx;                    /* TLS outside the mesh; NULL: not */
	struct str sni;
	const struct str *want;                 /* names of which the server must prove one */
	size_t n_want;
	struct str tunnel;                      /* "host:port" that the proxy there is asked for; empty: nothing */
	struct str preface;                     /* goes first, in the clear; empty: nothing does */
	struct attached_way way;                /* what egressPolicy is told of the addresses */
	struct endpoint_state *endpoint;        /* NULL: applications, original destinations */
	struct cluster_state *cluster;
	const struct snap_limits *limits;       /* NULL: defaults */
	struct upstream_hint hint;
};

enum upstream_result {
	UPSTREAM_READY,                         /* the leg is attached */
	UPSTREAM_WAIT,                  /* wait->fn will be called, or was: it failed at once */
	UPSTREAM_FULL,                          /* a circuit breaker refuses it */
};

/* One request for a connection. Part of the stream; taken back by upstream_cancel. */
struct upstream_wait {
	struct list node;
	struct pool *pool;              /* asked last; gone soon after the leg was detached */
	struct leg *leg;
	bool waiting;
	bool fresh;                     /* a connection that has carried nothing, where there may be one */
	/* FAIL_NONE: the leg is attached. Else why not; text borrowed for the call. */
	void (*fn)(struct upstream_wait *wait, enum fail why, const char *text);
};

/*
 * A connection for wait->leg. only_alive: the exchange could not be sent again, so a pooled
 * connection is asked whether its peer has closed it before it is used.
 */
enum upstream_result upstream_take(struct worker *w, const struct upstream_target *t,
				   struct upstream_wait *wait, bool only_alive);
void upstream_cancel(struct upstream_wait *wait);       /* harmless when nothing waits */
/*
 * The pooled connection that wait->leg was just detached from turned out dead before it answered:
 * those that were idle for longer are not tried. Only from within the reset of that leg.
 */
void upstream_distrust(struct upstream_wait *wait);
/* Memory is short: of each pool's idle connections but one. */
void upstream_trim(struct worker *w);
/*
 * The worker has another lease: connections to endpoints that left it, as identities that were
 * renewed, or with other settings are closed when they are idle.
 */
void upstream_follow(struct worker *w);
/* fn must not end any. */
void upstream_each(struct worker *w, void (*fn)(void *arg, struct conn *c), void *arg);
/* Close what is idle, let the rest end (drain), or everything at once (stop). */
void upstream_drain(struct worker *w);
void upstream_stop(struct worker *w);
