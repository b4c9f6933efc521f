/* SPDX-License-Identifier: Apache-2.0 */
/* codec_h2_in: frames of an HTTP/2 peer into leg events, see codec_h2.h. Layer proxy. */
#include "config.h"

#include "base/arena.h"
#include "http/h1.h"
#include "http/url.h"
#include "proxy/codec_h2.h"
#include "proxy/worker.h"

#define FIELDS_USUAL 16                 /* of a head, and what the proxy adds */
#define INFO_MAX 16                     /* security-model 5.2 */
/* Frames that move no message forward, in a row, for 1 + each exchange (L12). */
#define IDLE_FRAMES_MAX 1000
/* nghttp2 skips frames of unknown types without a word. */
#define UNKNOWN_BYTES_MAX (256u << 10)

/*
 * What a callback from within nghttp2_session_mem_recv returns. Once this side has ended the session the rest is not
 * read: nghttp2 1.52 would come out of a callback reading on, and abort at the next frame of a wrong size.
 */
static int go_on(const struct h2 *h)
{
	return h->dead || h->calm ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* ---- heads: pseudo-header fields and fields into the neutral head ---------------------------------- */

static void pseudo(const struct h2_stream *hs, struct head *hd, enum h2_pseudo id, struct str value)
{
	switch (id) {
	case H2_PSEUDO_NONE:
		break;
	case H2_PSEUDO_METHOD:
		hd->method = value;
		break;
	case H2_PSEUDO_SCHEME:
		hd->scheme = value;
		break;
	case H2_PSEUDO_AUTHORITY:
		hd->authority = value;
		break;
	case H2_PSEUDO_PATH:
		hd->path = value;
		break;
	case H2_PSEUDO_PROTOCOL:
		hd->upgrade = value;
		break;
	case H2_PSEUDO_STATUS:
		hd->status = hs->status;
		break;
	}
}

/* Crumbs are joined again before anything reads them (RFC 9113 8.2.3). */
static void cookie(struct h2_stream *hs, struct head *hd, struct str value)
{
	if (value.n == 0)
		return;
	if (hs->cookie.n > 0)
		hs->cookie = arena_printf(hd->arena, "%.*s; %.*s", STR_ARG(hs->cookie), STR_ARG(value));
	else
		hs->cookie = value;
}

static void not_acceptable(struct h2_stream *hs, unsigned status, const char *reason)
{
	hs->refuse_status = status;
	hs->refuse_reason = reason;
}

/* The name of a known field is constant, others are copied. */
static void add_field(struct head *hd, enum head_id id, struct str name, struct str value)
{
	if (id == HEAD_ID_OTHER)
		head_add(hd, arena_str(hd->arena, name), value);
	else
		head_add_id(hd, id, value);
}

static void field(struct h2_stream *hs, struct head *hd, enum head_id id, struct str name, struct str value)
{
	switch ((int)id) {
	case HEAD_ID_CONTENT_LENGTH:
		if (hs->length >= 0) {
			hd->body = HEAD_BODY_LENGTH;
			hd->content_length = (uint64_t)hs->length;
		}
		return;
	case HEAD_ID_HOST:
		if (hd->authority.n == 0)
			hd->authority = value;
		else if (!str_ieq(hd->authority, value))
			not_acceptable(hs, 400, "host_mismatch");
		return;
	case HEAD_ID_TE:
		hd->te_trailers = true;         /* nothing else passes */
		return;
	case HEAD_ID_EXPECT:
		hd->expect_continue = str_ieq(value, STR("100-continue"));
		if (!hd->expect_continue)
			not_acceptable(hs, 417, "expect");
		return;
	case HEAD_ID_COOKIE:
		cookie(hs, hd, value);
		return;
	default:
		add_field(hd, id, name, value);
	}
}

static bool over_limits(struct h2_stream *hs, size_t n)
{
	hs->header_bytes += n + 32;
	hs->fields++;
	return hs->header_bytes > H2_HEADER_LIST_MAX || hs->fields > H2_FIELDS_MAX;
}

/* Room for one more; NULL: it is not kept. */
static struct head *head_of(struct h2_stream *hs, size_t n)
{
	if (!hs->leg || hs->refuse_status != 0)
		return NULL;
	if (!over_limits(hs, n))
		return hs->final_in ? hs->leg->trailers : hs->leg->head;
	not_acceptable(hs, 431, "too_large");
	return NULL;
}

static void on_pseudo(struct h2_stream *hs, struct str name, struct str value)
{
	enum h2_pseudo id = h2_pseudo_of(name);
	struct head *hd;

	hs->malformed = !h2_pseudo_ok(hs, id, value);
	hd = hs->malformed ? NULL : head_of(hs, name.n + value.n);
	if (hd)
		pseudo(hs, hd, id, arena_str(hd->arena, value));
}

static void on_field(struct h2_stream *hs, struct str name, struct str value)
{
	enum head_id id = head_id_of(name);
	struct head_field f = { .name = id == HEAD_ID_OTHER ? name : head_id_name(id), .value = value, .id = id };
	struct head *hd;

	hs->malformed = !h2_field_ok(hs, &f);
	hd = hs->malformed ? NULL : head_of(hs, name.n + value.n);
	if (!hd)
		return;
	value = arena_str(hd->arena, value);
	if (hs->final_in)
		add_field(hd, id, name, value);
	else
		field(hs, hd, id, name, value);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t n_name,
		     const uint8_t *value, size_t n_value, uint8_t flags, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *hs = h->block;
	struct str k = str_from((const char *)name, n_name), v = str_from((const char *)value, n_value);

	(void)session, (void)frame, (void)flags;
	if (go_on(h) != 0)
		return go_on(h);
	if (!hs || hs->malformed)
		return 0;
	if (k.n > 0 && k.p[0] == ':')
		on_pseudo(hs, k, v);
	else
		on_field(hs, k, v);
	return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;

	if (go_on(h) != 0)
		return go_on(h);
	h->block = h2_stream_of(h, frame->hd.stream_id);
	if (h->block)
		h2_block_begins(h->block);
	if (!h->server)
		return 0;
	h->in_block = true;
	h2_server_timer(h);
	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	struct h2_stream *hs = h2_stream_new(h, leg_open(h->c), frame->hd.stream_id);

	(void)nghttp2_session_set_stream_user_data(session, hs->id, hs);
	h2_block_begins(hs);
	head_reserve(hs->leg->head, FIELDS_USUAL);
	h->block = h->recent = hs;
	return 0;
}

/* ---- frames ------------------------------------------------------------------------------------------ */

void h2_end_of_message(struct h2_stream *hs)
{
	struct leg *l = hs->leg;

	if (hs->tunnel) {
		head_init(l->trailers, l->trailers->arena);     /* it has none (RFC 9113 8.5) */
		if (!hs->switched) {
			hs->early_end = true;
			return;
		}
	}
	l->end_in = true;
	h2_exchange_check(hs);
	leg_on_end(l);
}

/*
 * The target, with the strictness that HTTP/1.1 is read with: it may become that. 0: acceptable.
 */
static unsigned judge_request(struct h2_stream *hs, struct head *hd, bool end)
{
	struct str host;
	uint16_t port;

	if (hd->upgrade.n > 0) {
		unsigned status = h2_tunnel_request(hs, hd, end);

		if (status != 0)
			return status;
	}
	if (!url_split_authority(hd->authority, &host, &port))
		return 400;
	if (!str_eq(hd->method, STR("CONNECT")) && !str_ieq(hd->scheme, STR("http")) && !str_ieq(hd->scheme, STR("https")))
		return 400;
	return h1_request_line_ok(hd) ? 0 : 400;
}

/* The whole head is here. */
static void request_head(struct h2_stream *hs, bool end)
{
	struct leg *l = hs->leg;
	struct head *hd = l->head;

	hd->version = HEAD_VERSION_2;
	hd->keep_alive = true;
	if (hs->cookie.n > 0)
		head_add_id(hd, HEAD_ID_COOKIE, hs->cookie);
	if (hs->tunnel)
		end = true;             /* what follows is no body */
	else if (!end && hd->body == HEAD_BODY_NONE)
		hd->body = HEAD_BODY_CHUNKED;   /* a body of unknown length */
	else if (end)
		hd->body = HEAD_BODY_NONE;
	l->answered = l->head_in = hs->final_in = true;
	l->end_in = end;
	leg_on_head(l, end);
}

static void refuse(struct h2_stream *hs, unsigned status, const char *reason)
{
	struct h2 *h = hs->h;
	struct leg *l = hs->leg;

	stats_add_reason(h->c->w->stats, "kvmesh_bad_input_total", h2_bad_input(h), reason);
	l->reason = reason;
	if (h->server) {
		l->status = status;
		l->answered = l->head_in = hs->final_in = l->end_in = true;
		leg_on_reset(l, FAIL_DOWN_PROTOCOL);
		return;
	}
	h2_detach(hs);
	h2_give_up(h, hs->id, NGHTTP2_PROTOCOL_ERROR);
	leg_on_reset(l, FAIL_UP_PROTOCOL);
}

static void tunnel_begins(struct h2_stream *hs, bool end)
{
	struct h2 *h = hs->h;
	struct leg *l = hs->leg;

	l->head_in = hs->final_in = true;
	leg_on_head(l, false);
	if (end && !h->dead && hs->leg)
		h2_end_of_message(hs);
}

static void response_head(struct h2_stream *hs, bool end)
{
	struct leg *l = hs->leg;
	struct head *hd = l->head;

	hd->version = HEAD_VERSION_2;
	hd->keep_alive = true;
	l->answered = true;
	if (hs->cookie.n > 0)
		head_add_id(hd, HEAD_ID_COOKIE, hs->cookie);
	if (hs->tunnel && h2_tunnel_answer(hs, hd)) {
		tunnel_begins(hs, end);
		return;
	}
	if (hd->status < 200) {
		if (++hs->infos > INFO_MAX) {
			refuse(hs, 0, "bad_response");
			return;
		}
		leg_on_head(l, false);
		head_init(l->head, hd->arena);
		return;
	}
	if (!end && hd->body == HEAD_BODY_NONE)
		hd->body = HEAD_BODY_CHUNKED;
	l->head_in = hs->final_in = true;
	l->end_in = end;
	h2_exchange_check(hs);
	leg_on_head(l, end);
}

/* The exchange goes, the connection stays (RFC 9113 8.1.1). The leg hears of it when the stream is closed. */
static void malformed(struct h2_stream *hs)
{
	struct h2 *h = hs->h;

	hs->malformed = true;
	stats_add_reason(h->c->w->stats, "kvmesh_bad_input_total", h2_bad_input(h), "bad_message");
	h2_give_up(h, hs->id, NGHTTP2_PROTOCOL_ERROR);
	h2_glitch(h);
}

static void headers_complete(struct h2_stream *hs, bool end)
{
	hs->header_bytes = 0;
	hs->fields = 0;
	if (hs->h->server && !hs->final_in && hs->refuse_status == 0) {
		unsigned status = judge_request(hs, hs->leg->head, end);

		if (status != 0)
			not_acceptable(hs, status, status == 501 ? "upgrade" : "bad_target");
	}
	if (hs->refuse_status != 0)
		refuse(hs, hs->refuse_status, hs->refuse_reason);
	else if (hs->final_in)
		h2_end_of_message(hs);          /* trailers */
	else if (hs->h->server)
		request_head(hs, end);
	else
		response_head(hs, end);
}

/* Every frame of a known type counts; on_frame forgives when one was of use. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
	struct h2 *h = arg;

	(void)session, (void)hd;
	if (go_on(h) != 0)
		return go_on(h);
	h->late_bytes -= h->late_bytes < h->unknown_bytes ? h->late_bytes : h->unknown_bytes;
	h->unknown_bytes = 0;
	if (++h->frames_idle > IDLE_FRAMES_MAX * (1 + h->c->active))
		h2_calm(h);
	return go_on(h);
}

static void block_ended(struct h2 *h)
{
	if (!h->in_block)
		return;
	h->in_block = false;
	h2_server_timer(h);
}

static void on_headers(struct h2 *h, const nghttp2_frame *frame)
{
	struct h2_stream *hs = h->block;
	bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

	h->frames_idle = 0;
	h->block = NULL;
	block_ended(h);
	if (hs && (hs->malformed || !h2_block_ok(hs, end)))
		malformed(hs);
	else if (hs && hs->leg)
		headers_complete(hs, end);
}

static void on_data(struct h2 *h, const nghttp2_frame *frame)
{
	struct h2_stream *hs = h2_stream_of(h, frame->hd.stream_id);
	bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

	if (frame->hd.length == 0 && !end)
		h2_glitch(h);
	else
		h->frames_idle = 0;
	if (!hs || !hs->leg || hs->malformed || !end)
		return;
	if (hs->final_in && h2_body_ok(hs, 0, true))
		h2_end_of_message(hs);
	else
		malformed(hs);
}

static void on_settings(struct h2 *h, const nghttp2_frame *frame)
{
	if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0)
		h->introduced = true;
	if (!h->server)
		h2_client_idle(h);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;

	(void)session;
	if (go_on(h) != 0)
		return go_on(h);
	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		on_headers(h, frame);
		break;
	case NGHTTP2_DATA:
		on_data(h, frame);
		break;
	case NGHTTP2_SETTINGS:
		on_settings(h, frame);
		break;
	case NGHTTP2_RST_STREAM:
		if (h->server)
			h2_client_reset(h);
		break;
	case NGHTTP2_PING:
		if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
			h2_alive_heard(h);
		if (h->last_call && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
			h2_final_goaway(h);
		break;
	case NGHTTP2_GOAWAY:
		h->goaway = h->goaway || !h->server;
		h2_slots(h);
		if (!h->server)
			h2_unsent_refused(h);
		break;
	default:
		break;
	}
	return go_on(h);
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *hs = h2_stream_of(h, id);
	struct buf b;

	(void)flags;
	if (go_on(h) != 0)
		return go_on(h);
	/* The connection's window is never held back: one exchange that waits must not stop the others. */
	(void)nghttp2_session_consume_connection(session, n);
	if (hs && hs->leg && !hs->malformed && (!hs->final_in || !h2_body_ok(hs, n, false)))
		malformed(hs);
	if (!hs || !hs->leg || hs->malformed) {
		(void)nghttp2_session_consume_stream(session, id, n);
		return go_on(h);
	}
	hs->held += n;
	if (h2_tunnel_keeps(hs, data, n))
		return 0;
	buf_init(&b);
	h->taken = buf_take_tail(&b, &h->c->in, (const char *)data, n);
	if (!h->taken)
		buf_append(&b, data, n);
	leg_on_data(hs->leg, &b);
	buf_done(&b);
	if (go_on(h) != 0)
		return go_on(h);
	hs = h2_stream_of(h, id);
	if (hs && hs->leg && !hs->leg->paused) {
		(void)nghttp2_session_consume_stream(session, id, hs->held);
		hs->held = 0;
	}
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *hs = h2_stream_of(h, id);

	(void)session;
	if (!hs || h->dead)
		return 0;
	struct leg *l = h2_detach(hs);
	bool left = hs->left, tunnel = hs->tunnel;

	(void)nghttp2_session_set_stream_user_data(h->session, id, NULL);
	h2_stream_free(hs);
	if (l) {
		l->no_upgrade = tunnel && code == NGHTTP2_HTTP_1_1_REQUIRED;
		l->refused = code == NGHTTP2_REFUSED_STREAM;
		l->sent = left && !l->refused;
		l->reason = nghttp2_http2_strerror(code);
		if (!l->up)
			leg_on_reset(l, FAIL_DOWN_CLOSED);
		else
			leg_on_reset(l, code == NGHTTP2_PROTOCOL_ERROR && l->answered ? FAIL_UP_PROTOCOL : FAIL_UP_RESET);
	}
	if (l || h->goaway)
		h2_exchange_gone(h);
	return h->dead ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code, void *arg)
{
	struct h2 *h = arg;

	(void)session, (void)code;
	if (go_on(h) != 0)
		return go_on(h);
	stats_add_reason(h->c->w->stats, "kvmesh_bad_input_total", h2_bad_input(h), "bad_frame");
	if (frame->hd.type == NGHTTP2_HEADERS)
		block_ended(h);
	h2_glitch(h);
	return go_on(h);
}

void h2_callbacks_in(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
}

/* ---- bytes ------------------------------------------------------------------------------------------- */

/* The session is over: what it has to say leaves, then the connection goes. */
static void session_failed(struct h2 *h, ssize_t code)
{
	if (code == NGHTTP2_ERR_FLOODED || code == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
		h2_calm(h);
	else if (!h->calm)
		stats_add_reason(h->c->w->stats, "kvmesh_bad_input_total", h2_bad_input(h), "bad_frame");
	h->goaway = true;
	h2_pack(h);
	if (!h->dead)
		conn_close(h->c);
}

void h2_recv(struct conn *c)
{
	struct h2 *h = h2_of(c);

	if (h->in_recv)
		return;
	h->in_recv = true;
	while (c->in.n > 0 && !h->dead) {
		struct str run = buf_peek(&c->in);
		ssize_t used = nghttp2_session_mem_recv(h->session, (const uint8_t *)run.p, run.n);

		if (h->dead)
			break;
		if (used < 0) {
			h->in_recv = false;
			session_failed(h, used);
			return;
		}
		if (!h->taken)
			buf_consume(&c->in, (size_t)used);
		h->taken = false;
		h->unknown_bytes += (size_t)used;
		if (h->unknown_bytes > UNKNOWN_BYTES_MAX + h->late_bytes)
			h2_calm(h);
	}
	h->in_recv = false;
	if (h->dead)
		return;
	if (h->idle_news)
		h2_client_idle(h);
	if (h->dead)
		return;
	h2_pack_later(h);
	if (c->eof)
		conn_kill(c);
}
