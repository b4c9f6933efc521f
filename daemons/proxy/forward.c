/* SPDX-License-Identifier: Apache-2.0 */
/* forward: moving an exchange between its legs, see forward.h. Layer proxy. */
#include "config.h"

#include "proxy/conn.h"
#include "proxy/forward.h"
#include "proxy/ejection.h"
#include "proxy/ext_authz.h"
#include "proxy/headers.h"
#include "proxy/mirror.h"
#include "proxy/tube.h"
#include "proxy/websocket.h"

#define RETRY_BODY_BYTES (64u << 10)
#define TUBE_FROM_BYTES (256u << 10)           /* of a direction: then it is bulk */
#define TUBE_AGAIN_BYTES (1u << 20)
#define REPORT_US (5u * 1000 * 1000)            /* Istio 4.2.6 */

static struct leg *other(struct stream *s, const struct leg *l)
{
	return l->up ? &s->down : &s->up;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static void stop_source(struct leg *from)
{
	if (from->conn && !from->paused)
		leg_window(from, 0);
}

static void pass(struct leg *from, struct leg *to, struct buf *b)
{
	leg_data(to, b, false);
	if (to->room == 0)
		stop_source(from);
}

size_t forward_kept_bytes(const struct stream *s)
{
	int64_t n = stream_settings(s)->retry_body_bytes;

	return n > 0 ? (size_t)n : RETRY_BODY_BYTES;
}

void forward_copy(struct buf *to, const struct buf *from)
{
	_scratch_ struct iovec iov[32];
	int n = buf_iov(from, iov, 32);

	for (int i = 0; i < n; i++)
		buf_append(to, iov[i].iov_base, iov[i].iov_len);
}

/* Keep what leaves, as long as it is little enough. */
static void keep(struct stream *s, const struct buf *b)
{
	if (!s->replay)
		return;
	if (s->held.n + b->n <= forward_kept_bytes(s)) {
		forward_copy(&s->held, b);
		return;
	}
	s->replay = false;
	buf_done(&s->held);
}

/* No service is connected yet: wait, in bounded memory. */
static void hold(struct stream *s, struct buf *b)
{
	buf_move(&s->held, b);
	if (s->held.n > forward_kept_bytes(s))
		s->replay = false;
	if (s->held.n >= CODEC_HIGH_BYTES)
		stop_source(&s->down);
}

static bool request_is_too_large(const struct stream *s)
{
	int64_t max = stream_settings(s)->max_body_bytes;

	return s->http && !s->opaque && max > 0 && s->rec.bytes_received > (uint64_t)max;
}

static void request_data(struct stream *s, struct buf *b)
{
	s->rec.bytes_received += b->n;
	if (s->rec.protocol == RECORD_GRPC)
		grpc_count(&s->req_messages, b);
	if (s->mirror)
		mirror_data(s, b);
	if (request_is_too_large(s)) {
		s->down.status = 413;
		s->down.reason = "too_large";
		s->down_fail = FAIL_DOWN_PROTOCOL;
	} else if (!s->up.head_out) {
		hold(s, b);
	} else if (s->up.conn) {
		keep(s, b);
		s->body_sent = true;
		pass(&s->down, &s->up, b);
	}
	buf_consume(b, b->n);
}

static void response_data(struct stream *s, struct buf *b)
{
	s->rec.bytes_sent += b->n;
	if (s->rec.protocol == RECORD_GRPC)
		grpc_count(&s->res_messages, b);
	if (s->answers)
		ext_authz_data(s, b);
	if (s->down.conn && s->down.head_out)
		pass(&s->up, &s->down, b);
	buf_consume(b, b->n);
}

/* Much comes at a time, and nobody needs to see it. */
static void consider_tube(struct stream *s, struct leg *from)
{
	uint64_t n = from->up ? s->rec.bytes_sent : s->rec.bytes_received;
	const struct leg *to = other(s, from);
	uint64_t *at = &s->tube_at[from->up];

	if (n < TUBE_FROM_BYTES || n < *at || !from->conn || !to->conn || !from->conn->bulk)
		return;
	if (from->conn->ops != &codec_tcp || to->conn->ops != &codec_tcp)
		return;
	*at = n + TUBE_AGAIN_BYTES;
	(void)tube_lay(from->conn, to->conn);
}

void forward_data(struct stream *s, struct leg *from, struct buf *b)
{
	if (from->up)
		response_data(s, b);
	else
		request_data(s, b);
	if (s->opaque && !s->http)
		consider_tube(s, from);
}

void forward_moved(struct stream *s, struct leg *from, size_t n)
{
	struct leg *to = other(s, from);

	*(from->up ? &s->rec.bytes_sent : &s->rec.bytes_received) += n;
	if (!to->conn)
		return;
	conn_flush_later(to->conn);
	to->room = conn_room(to->conn);
	if (to->room == 0)
		stop_source(from);
}

static void pass_end(struct leg *from, struct leg *to)
{
	struct buf none;

	buf_init(&none);
	if (from->trailers->n > 0)
		leg_head(to, from->trailers, true);
	else
		leg_data(to, &none, true);
}

void forward_end(struct stream *s, struct leg *from)
{
	struct leg *to = other(s, from);

	if (to->conn && to->head_out && !to->end_out)
		pass_end(from, to);
	if (from->up)
		return;
	stream_request_complete(s);
	if (s->mirror)
		mirror_end(s);
}

void forward_writable(struct stream *s, struct leg *to)
{
	struct leg *from = other(s, to);

	if (from->conn && from->paused && to->room > 0)
		leg_window(from, to->room);
}

/* ---- the request goes up --------------------------------------------------------------------- */

bool forward_can_replay(const struct stream *s)
{
	return s->replay || !s->body_sent;
}

void forward_rewind(struct stream *s)
{
	struct leg *l = &s->up;

	*l = (struct leg){ .s = s, .up = true, .head = &s->res, .trailers = &s->res_trailers,
			   .upgrade = l->upgrade };
	head_init(l->head, &s->arena);
	head_init(l->trailers, &s->arena);
}

/* The part of the body that waited, or all of it once more. */
static void send_held(struct stream *s)
{
	struct buf b;

	buf_init(&b);
	if (s->held.n == 0)
		return;
	s->body_sent = true;
	if (s->replay)
		forward_copy(&b, &s->held);
	else
		buf_move(&b, &s->held);
	leg_data(&s->up, &b, false);
	if (s->down.conn && s->down.paused && s->up.room > 0)
		leg_window(&s->down, s->up.room);
	else if (s->up.room == 0)
		stop_source(&s->down);
}

static bool head_is_all(const struct stream *s)
{
	return s->down.end_in && s->held.n == 0 && s->req_trailers.n == 0;
}

/* Over HTTP/2 the service may say that it did nothing with the request: then it is sent again, whatever the method. */
static bool may_be_refused(const struct stream *s)
{
	return s->up.conn && s->up.conn->ops == &codec_h2;
}

/* Could it be sent again, and will it fit? Else it need not be kept. */
static bool is_worth_keeping(const struct stream *s)
{
	if (!s->replay || (!s->idempotent && !s->retry && !may_be_refused(s)))
		return false;
	if (s->w->level >= OVERLOAD_TIGHT)
		return s->req.body == HEAD_BODY_NONE;
	return s->req.body != HEAD_BODY_LENGTH || s->req.content_length <= forward_kept_bytes(s);
}

static void request_begins(struct stream *s)
{
	bool all = head_is_all(s);

	s->replay = is_worth_keeping(s);
	s->rec.up_first_us = stream_now(s);
	if (s->http)
		headers_to_service(s);
	if (s->req.upgrade.n > 0)
		websocket_ask(s);
	leg_head(&s->up, &s->req, all && s->http);
	send_held(s);
	if (s->down.end_in && !s->up.end_out && s->up.conn)
		pass_end(&s->down, &s->up);
}

/* The destination's rule says; 0s is never, where there is a destination that may have a rule. */
static void set_idle(struct stream *s)
{
	int64_t us = s->cluster ? s->cluster->limits.idle_timeout_us : 0;

	if (us == 0 && !s->endpoint)
		return;
	s->idle_us = (uint64_t)us;
	if (us == 0)
		loop_deadline_set(&s->idle, 0);
}

/* Opaque bytes have no head: both sides may speak at once. */
static void opaque_begins(struct stream *s)
{
	s->opaque = true;
	s->replay = false;
	ejection_connected(s);
	set_idle(s);
	stream_touch(s);
	s->up.head_in = s->up.head_out = s->down.head_out = true;
	record_emit(s->w, &s->rec, RECORD_TCP_OPEN);
	s->tcp_open = true;
	s->report_at_us = stream_now(s) + REPORT_US;
	if (s->cluster && s->cluster->limits.max_age_us > 0)
		s->route_at_us = stream_now(s) + (uint64_t)s->cluster->limits.max_age_us;
	stream_arm(s);
	send_held(s);
	if (s->down.end_in && s->up.conn)
		pass_end(&s->down, &s->up);
}

void forward_report(struct stream *s)
{
	struct record *r = &s->rec;

	s->report_at_us = stream_now(s) + REPORT_US;
	if (r->bytes_received == r->told_received && r->bytes_sent == r->told_sent)
		return;
	record_emit(s->w, r, RECORD_TCP_PROGRESS);
	r->told_received = r->bytes_received;
	r->told_sent = r->bytes_sent;
}

/* ---- the response comes down ----------------------------------------------------------------- */

void forward_info(struct stream *s)
{
	if (s->down.conn && !s->down.head_out)
		leg_head(&s->down, &s->res, false);
}

static void response_begins(struct stream *s)
{
	bool switched = s->res.status == 101;

	s->rec.status = s->res.status;
	headers_to_client(s);
	leg_head(&s->down, &s->res, s->up.end_in && s->res_trailers.n == 0);
	if (switched) {
		s->opaque = true;
		s->route_at_us = s->try_at_us = 0;
		stream_arm(s);
	}
	buf_done(&s->held);             /* it will not be sent again */
	s->replay = false;
}

static bool is_over(const struct stream *s)
{
	if (s->shadow)
		return s->up.end_in;
	return s->opaque ? s->down.end_out && s->up.end_out : s->down.end_out;
}

enum next step_forward(struct stream *s)
{
	if (!s->up.head_out) {
		if (s->http)
			request_begins(s);
		else
			opaque_begins(s);
	}
	if (s->up.head_in && !s->down.head_out) {
		ejection_answered(s);
		if (stream_retry_response(s))
			return NEXT_WAIT;
		if (s->res.status == 101 && !websocket_answer(s)) {
			s->fail = FAIL_UP_PROTOCOL;
			return NEXT_FAIL;
		}
		response_begins(s);
	}
	return is_over(s) ? NEXT_STEP : NEXT_WAIT;
}
