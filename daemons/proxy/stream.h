/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: one exchange from its first byte to its record, the same for every protocol. It walks
 * named steps, one file each:
 *     HEAD     step_head.c     facts, limits, normal form, edge headers
 *     TOKEN    step_token.c    whose token it carries, if any
 *     AUTHZ    step_authz.c    may this caller
 *     MATCH    step_match.c    virtual host, route; redirect, direct answer, rewrite, headers
 *     FAULT    step_fault.c    delays, aborts; copies for mirrors begin
 *     PICK     step_pick.c     destination by weight, endpoint, breakers
 *     CONNECT  step_connect.c  a connection of that identity
 *     FORWARD  forward.c       heads and bodies between the legs, with back-pressure
 *     RECORD   step_record.c   what happened, once
 * Events only note facts and call stream_run(). A failure anywhere is judged in one place
 * (stream_fail.c): another try, a local answer, or a cut. Layer proxy; a stream owns its arena,
 * legs, timers, lease reference.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/list.h"
#include "core/authz.h"
#include "core/lb.h"
#include "core/match.h"
#include "http/head.h"
#include "io/buf.h"
#include "io/loop.h"
#include "proxy/codec.h"
#include "proxy/entry.h"
#include "proxy/grpc.h"
#include "proxy/named.h"
#include "proxy/record.h"
#include "proxy/upstream.h"
#include "proxy/worker.h"

enum step {
	STEP_HEAD, STEP_TOKEN, STEP_AUTHZ, STEP_MATCH, STEP_FAULT, STEP_PICK, STEP_CONNECT, STEP_FORWARD, STEP_RECORD,
	STEP_DONE,
};

enum next {
	NEXT_STEP,                      /* on to the next one */
	NEXT_WAIT,                      /* an event will call stream_run */
	NEXT_FAIL,                      /* s->fail says why */
	NEXT_END,                       /* answered here: to RECORD */
};

struct stream {
	struct list node;               /* worker->streams */
	struct worker *w;
	struct lease *lease;            /* pinned from the first byte to the record */
	struct arena arena;
	enum step step;
	bool running, again;            /* stream_run is on the stack; an event came meanwhile */
	bool http;
	bool from_proxy;                /* the client is another proxy of the mesh */
	bool opaque;                    /* bytes both ways: TCP, or a switched protocol */

	struct leg down, up;
	struct head req, res, req_trailers, res_trailers;
	struct entry_view entry;        /* where it came in, in this lease */

	/* TOKEN */
	const struct authz_token *token;        /* proven; NULL: none */
	struct str token_param;         /* of the query, never to be written down; empty: none */

	/* MATCH */
	struct str host;                /* of the authority, without port */
	int64_t port;
	struct match_hit hit;           /* route NULL: none (inbound, opaque) */
	const struct snap_weighted *dest;
	struct asked *asked;            /* what the caller asked for; NULL nothing (asked.h) */
	const struct snap_retry *retry; /* in force; NULL: never again */
	int64_t timeout_us, per_try_us; /* 0 none */
	struct str cross_origin;        /* Origin that may read the answer, by hit.cors; empty none */
	/* FAULT */
	bool fault_begun;
	struct mirror *mirror;          /* being copied; NULL: no copy is wanted (mirror.h) */
	bool shadow;                    /* it is such a copy: no client, no record */
	/* AUTHZ */
	struct ext_authz *check;        /* somebody is asked about it (ext_authz.h); NULL: nobody was */
	bool question;                  /* it is such a question, a shadow too … */
	struct ext_authz *answers;      /* … and who waits for it; NULL: nobody any more */
	/* PICK */
	const struct snap_cluster *cluster;     /* NULL: a local application */
	size_t cluster_index;
	struct lb_tried tried;
	uint32_t levels_tried, levels_out;      /* of priority, as bits: tried, and not to be tried now */
	const struct snap_endpoint *endpoint;   /* NULL: application or original destination */
	size_t endpoint_index;
	struct upstream_target target;
	struct str hash_cookie;         /* made for a key that the client had not; empty: none */
	/* CONNECT */
	struct named_wait named;        /* for the address of the host, where only the request names it */
	struct upstream_wait wait;
	bool holds_request, holds_retry;        /* places taken in circuit breakers */
	bool holds_endpoint;                    /* counted as active there */
	int64_t retries;
	bool idempotent;                /* it may be sent twice */
	bool own_key;                   /* the request has a WebSocket key of ours */
	bool h1_only;                   /* what it asks for, HTTP/2 cannot do there */
	unsigned raced;                 /* so often sent again after an idle-close race */

	/* FORWARD */
	struct buf held;                /* request body from its first byte: unsent, or kept */
	bool replay;                    /* held is all of the body so far */
	bool body_sent;                 /* some of it has gone to a service */
	bool tcp_open;                  /* RECORD_TCP_OPEN was emitted */
	uint64_t tube_at[2];            /* bytes down, up after which a tube is thought of (again) */
	struct grpc_messages req_messages, res_messages;

	/* events noted for the step */
	enum fail down_fail, up_fail;   /* a leg was reset, a connection not made */
	enum fail expired;              /* a deadline passed */
	struct str up_text;             /* TLS or connect error behind up_fail */

	/* deadlines; the timer runs to the earliest */
	struct loop_timer timer;
	uint64_t route_at_us, try_at_us, report_at_us;
	uint64_t try_began_us;
	uint64_t retry_at_us;           /* a pause before the next try, or a fault's delay */
	bool route_timed;               /* the route's timeout runs */
	struct loop_deadline idle;
	uint64_t idle_us;               /* 0: none */

	enum fail fail;
	struct record rec;
};

/* ---- stream.c ---- */
void stream_run(struct stream *s);
/*
 * A copy of a request: an exchange with the same caller and snapshot, whose request is complete and
 * whose answer goes nowhere. The caller fills in head, body and cluster, and runs it.
 */
struct stream *stream_shadow(const struct stream *of);
/* Such an exchange that a local workload begins, about a request: it calls under its own identity. */
struct stream *stream_question(const struct stream *of);
/* Traffic: the idle deadline moves. */
void stream_touch(struct stream *s);
/* Arm the timer for the earliest of the deadlines. */
void stream_arm(struct stream *s);
/* The request's last byte came: the route's timeout runs from here (Istio 2.5.2). */
void stream_request_complete(struct stream *s);
/* The record's last word, and the opening one of a TCP exchange that never got so far. */
void stream_emit_end(struct stream *s);
/* Drain deadline: end it now. */
void stream_abort(struct stream *s, enum fail why);
struct stream_cache *stream_cache_new(void);
void stream_cache_trim(struct stream_cache *c);
void stream_cache_free(struct stream_cache *c);

/* ---- stream_fail.c ---- */
/* Judge s->fail: sets the step to go on with. */
void stream_failed(struct stream *s);
/*
 * Is this answer one to try again on? Then the try is over and the step is PICK or a wait before
 * it.
 */
bool stream_retry_response(struct stream *s);
/* Give back what the try holds: endpoint, connection, places in breakers. */
void stream_end_try(struct stream *s, enum fail why);

/* ---- steps ---- */
enum next step_head(struct stream *s);
enum next step_token(struct stream *s);
enum next step_authz(struct stream *s);
enum next step_match(struct stream *s);
enum next step_fault(struct stream *s);
enum next step_pick(struct stream *s);
enum next step_connect(struct stream *s);
enum next step_forward(struct stream *s);
enum next step_record(struct stream *s);

static inline uint64_t stream_now(const struct stream *s)
{
	return loop_now_us(s->w->loop);
}
/* What the failure's details are beyond fail_rows; NULL: nothing. */
static inline const char *stream_details(const struct stream *s)
{
	if (s->fail == FAIL_RESIDENCY && s->up_text.n > 0)
		return s->up_text.p;
	return s->fail == FAIL_DOWN_PROTOCOL || s->fail == FAIL_DENIED || s->fail == FAIL_EXT_AUTHZ ? s->down.reason : NULL;
}
static inline const struct snap *stream_snap(const struct stream *s)
{
	return s->lease->at->snap;
}
static inline const struct snap_settings *stream_settings(const struct stream *s)
{
	return &s->lease->settings;
}
