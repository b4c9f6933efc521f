/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_fail: the one place that judges a failure: the exchange is sent again after an idle-close
 * race, tried again by the route's policy, answered here, or cut (Istio 2.5, 2.17). Layer proxy.
 */
#include "config.h"

#include "core/limit.h"
#include "core/retry.h"
#include "proxy/conn.h"
#include "proxy/ejection.h"
#include "proxy/forward.h"
#include "proxy/reply.h"
#include "proxy/stream.h"

#define RACES_MAX 3

/* ---- the end of a try ------------------------------------------------------------------------ */

static void give_back(struct stream *s)
{
	struct endpoint_state *st = s->target.endpoint;

	if (s->holds_endpoint)
		limit_give(&st->active);
	if (s->holds_retry)
		limit_give(&s->target.cluster->retries);
	s->holds_endpoint = s->holds_retry = false;
}

void stream_end_try(struct stream *s, enum fail why)
{
	named_cancel(&s->named);
	upstream_cancel(&s->wait);
	leg_reset(&s->up, why);
	give_back(s);
	s->try_at_us = 0;
}

/* ---- again? ---------------------------------------------------------------------------------- */

/* What is not the service's doing is never tried again. */
static enum retry_fail retry_fail_of(const struct stream *s)
{
	if (s->fail == FAIL_CONNECT || s->fail == FAIL_CONNECT_TIMEOUT)
		return RETRY_FAIL_CONNECT;
	if (s->up.refused && s->fail == FAIL_UP_RESET)
		return RETRY_FAIL_REFUSED_STREAM;
	if (s->fail == FAIL_UP_CLOSED || s->fail == FAIL_UP_RESET)
		return s->up.sent ? RETRY_FAIL_RESET : RETRY_FAIL_RESET_BEFORE_REQUEST;
	if (s->fail == FAIL_PER_TRY_TIMEOUT)
		return RETRY_FAIL_PER_TRY_TIMEOUT;
	return s->fail == FAIL_UP_PROTOCOL ? RETRY_FAIL_RESET : RETRY_FAIL_NEVER;
}

/* As many as may be are being tried again already: the outcome at hand stands. */
static bool take_retry(struct stream *s)
{
	struct cluster_state *st = s->lease->at->clusters[s->cluster_index].state;

	unsigned requests = atomic_load_explicit(&st->requests, memory_order_relaxed);

	if (!limit_take(&st->retries, limit_max_retries(&s->cluster->limits, requests))) {
		atomic_fetch_add_explicit(&st->overflow, 1, memory_order_relaxed);
		return false;
	}
	return true;
}

static void try_again(struct stream *s)
{
	const struct snap_retry *p = s->retry;

	s->retries++;
	stats_add(s->w->stats, STATS_RETRIES, 1);
	if (s->endpoint && p->ignore_previous_hosts)
		lb_tried_add(&s->tried, s->endpoint_index);
	stream_end_try(s, FAIL_NONE);
	s->holds_retry = true;
	forward_rewind(s);
	s->expired = s->up_fail = s->fail = FAIL_NONE;
	s->up_text = s->rec.transport_failure = STR_NULL;
	s->step = STEP_PICK;
	s->retry_at_us = stream_now(s) + retry_backoff_us(p, s->retries, &s->w->rng);
	stream_arm(s);
}

static bool retry(struct stream *s, const struct retry_outcome *o)
{
	if (!s->endpoint)
		return false;
	switch (retry_judge(s->retry, s->retries, o)) {
	case RETRY_YES:
		if (!take_retry(s))
			return false;
		try_again(s);
		return true;
	case RETRY_EXHAUSTED:
		s->rec.retry_limit = s->retries > 0;
		return false;
	case RETRY_NO:
		break;
	}
	return false;
}

static bool retry_failure(struct stream *s)
{
	struct retry_outcome o = {
		.fail = retry_fail_of(s),
		.grpc_status = -1,
		.response_started = s->down.head_out,
		.body_kept = forward_can_replay(s),
	};

	return retry(s, &o);
}

static int grpc_status_in(const struct head *h)
{
	uint64_t v;

	return str_to_u64(head_value(h, HEAD_ID_GRPC_STATUS), &v) && v < 1000 ? (int)v : -1;
}

bool stream_retry_response(struct stream *s)
{
	if (!s->retry || s->opaque)
		return false;
	struct retry_outcome o = {
		.status = s->res.status,
		.grpc_status = grpc_status_in(&s->res),
		.overloaded = head_find(&s->res, HEAD_ID_X_ENVOY_OVERLOADED) != NULL,
		.ratelimited = head_find_name(&s->res, STR("x-envoy-ratelimited")) != NULL,
		.response_started = s->down.head_out,
		.body_kept = forward_can_replay(s),
	};

	if (!retry(s, &o))
		return false;
	s->again = true;
	return true;
}

/* To the same endpoint once more, which is no try of the policy's. */
static void connect_anew(struct stream *s)
{
	stream_end_try(s, FAIL_NONE);
	forward_rewind(s);
	s->rec.tries--;
	s->up_fail = s->fail = FAIL_NONE;
	s->step = STEP_CONNECT;
}

/*
 * A pooled connection died before it answered: most likely its peer closed it for being idle while
 * the request was on its way. When the request may be sent twice, or never left, it is sent once
 * more on a fresh one; where breakers allow none, a few times on others that had carried something.
 */
static bool resend_after_race(struct stream *s)
{
	const struct leg *l = &s->up;
	/* A reset tells of one exchange on a living connection: only one that the peer never looked at counts. */
	bool closed = s->fail == FAIL_UP_CLOSED || (s->fail == FAIL_UP_RESET && !l->sent);

	if (!closed || s->raced == RACES_MAX || l->answered || s->down.head_out || !(l->reused || l->refused))
		return false;
	if (!forward_can_replay(s) || (l->sent && !s->idempotent))
		return false;
	stats_add(s->w->stats, STATS_UP_IDLE_RACE, 1);
	if (s->fail == FAIL_UP_CLOSED)
		upstream_distrust(&s->wait);
	s->raced++;
	connect_anew(s);
	return true;
}

/* The peer speaks HTTP/2 but cannot switch protocols in it: HTTP/1.1 is the way. */
static bool fall_back_to_h1(struct stream *s)
{
	if (!s->up.no_upgrade || s->h1_only)
		return false;
	s->h1_only = true;
	connect_anew(s);
	return true;
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* It has not said all and nobody keeps it from going on. */
static bool client_stalls(const struct stream *s)
{
	return s->http && !s->down.end_in && !s->down.paused;
}

/* Of a gRPC status that was asked for, the HTTP status that means the same. */
static unsigned fault_status(const struct snap_fault *f)
{
	return f->abort_grpc >= 0 ? grpc_http_status((unsigned)f->abort_grpc) :
				    (unsigned)f->abort_status;
}

static unsigned status_of(const struct stream *s)
{
	if (s->fail == FAIL_FAULT)
		return fault_status(s->hit.route->fault);
	if (s->fail == FAIL_DOWN_PROTOCOL && s->down.status > 0)
		return s->down.status;
	if (s->fail == FAIL_IDLE && s->up.head_out && !client_stalls(s))
		return 504;
	return fail_rows[s->fail].status;
}

static void count_stall(struct stream *s)
{
	if (s->fail == FAIL_IDLE && client_stalls(s))
		stats_add_reason(s->w->stats, "kvmesh_bad_input_total", "http",
				 s->down.head_in ? "slow_body" : "slow_header");
}

/* Nothing has gone down yet: say what is wrong, unless silence is the answer. */
static void answer(struct stream *s)
{
	unsigned status = status_of(s);

	count_stall(s);
	if (s->http && s->down.conn && status > 0)
		reply_failure(s, status);
	else
		s->rec.details = stream_details(s);
}

/* The answer had begun. */
static void cut(struct stream *s)
{
	if (s->fail == FAIL_UP_CLOSED || s->fail == FAIL_UP_RESET || s->fail == FAIL_UP_PROTOCOL)
		s->fail = s->opaque ? s->fail : FAIL_UP_CUT;
}

/* It did not answer in the time of the whole exchange, or in any way that can be tried again. */
static bool is_endpoints_doing(const struct stream *s)
{
	return retry_fail_of(s) != RETRY_FAIL_NEVER ||
	       (s->fail == FAIL_TIMEOUT && s->up.head_out && !s->up.head_in);
}

static void note_failed_try(struct stream *s)
{
	struct endpoint_state *st = s->target.endpoint;

	if (s->up_text.n > 0)
		s->rec.transport_failure = s->up_text;
	if (!st || !s->holds_endpoint || !is_endpoints_doing(s))
		return;
	atomic_fetch_add_explicit(&st->errors, 1, memory_order_relaxed);
	ejection_broke(s);
}

void stream_failed(struct stream *s)
{
	note_failed_try(s);
	if (s->step >= STEP_CONNECT && s->http && !s->opaque &&
	    (fall_back_to_h1(s) || resend_after_race(s) || retry_failure(s)))
		return;
	if (s->down.head_out)
		cut(s);
	else
		answer(s);
	s->step = STEP_RECORD;
}
