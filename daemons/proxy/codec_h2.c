/* SPDX-License-Identifier: Apache-2.0 */
/* codec_h2: the life of a connection that speaks HTTP/2, see codec_h2.h. Layer proxy. */
#include "config.h"

#include <stdlib.h>

#include "base/arena.h"
#include "proxy/codec_h2.h"
#include "proxy/slab.h"
#include "proxy/worker.h"

/* ---- exchanges ------------------------------------------------------------------------------- */

struct h2_stream *h2_stream_of(struct h2 *h, int32_t id)
{
	if (!h->recent || h->recent->id != id)
		h->recent = nghttp2_session_get_stream_user_data(h->session, id);
	return h->recent;
}

struct h2_stream *h2_stream_new(struct h2 *h, struct leg *l, int32_t id)
{
	struct h2_stream *hs = slab_take_zeroed(h->slab, sizeof(*hs));

	hs->h = h;
	hs->leg = l;
	hs->id = id;
	buf_init(&hs->out);
	buf_init(&hs->early);
	h2_unread_init(hs);
	list_push_back(&h->streams, &hs->node);
	l->conn = h->c;
	l->exchange = hs;
	l->room = CODEC_HIGH_BYTES;
	l->reused = h->c->exchanges > 0;
	h->c->exchanges++;
	h->c->active++;
	return hs;
}

void h2_stream_free(struct h2_stream *hs)
{
	if (hs->h->block == hs)
		hs->h->block = NULL;
	if (hs->h->recent == hs)
		hs->h->recent = NULL;
	list_del(&hs->node);
	hs->h->n_waits -= hs->waits != NULL;
	loop_deadline_done(&hs->unread);
	buf_done(&hs->out);
	buf_done(&hs->early);
	free(hs->trailers);
	slab_give(hs->h->slab, hs);
}

/* How many more exchanges the peer takes on this client connection. */
void h2_slots(struct h2 *h)
{
	uint32_t max;

	if (h->server)
		return;
	max = nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	if (max > H2_STREAMS_MAX)
		max = H2_STREAMS_MAX;
	if (h->introduced)
		h->c->peer_slots = max + 1;
	else
		max = h->c->peer_slots > 0 ? h->c->peer_slots - 1 : 1;
	if (h->c->max_slots > 0 && max > h->c->max_slots)
		max = h->c->max_slots;
	h->c->slots = h->goaway || h->c->active >= max || !nghttp2_session_check_request_allowed(h->session) ?
			      0 : max - h->c->active;
}

struct leg *h2_detach(struct h2_stream *hs)
{
	struct leg *l = hs->leg;
	struct h2 *h = hs->h;

	if (!l)
		return NULL;
	hs->leg = NULL;
	h->watch = h->watch || hs->out.n > 0;
	l->conn = NULL;
	l->exchange = NULL;
	h->c->active--;
	if (hs->held > 0 && hs->id > 0) {
		(void)nghttp2_session_consume_stream(h->session, hs->id, hs->held);
		hs->held = 0;
	}
	return l;
}

/* It was told to go and takes nothing of what waits for it: an answer behind a window that stays shut. */
static void on_stuck(struct conn *c)
{
	struct h2 *h = h2_of(c);

	if (h->written_bytes == c->written_bytes) {
		conn_close(c);
		return;
	}
	h->written_bytes = c->written_bytes;
	conn_timer(c, CONN_FLUSH_US, on_stuck);
}

static void on_idle_timeout(struct conn *c)
{
	h2_of(c)->written_bytes = c->written_bytes;
	conn_timer(c, CONN_FLUSH_US, on_stuck);
	codec_h2.drain(c);
}

static void on_silence(struct conn *c)
{
	conn_close(c);
}

void h2_server_timer(struct h2 *h)
{
	const struct snap_settings *set = worker_settings(h->c->w);

	if (h->in_block)
		conn_timer(h->c, (uint64_t)set->header_timeout_us, on_silence);
	else if (h->c->active == 0)
		conn_timer(h->c, overload_idle_us(h->c->w->level, set->idle_timeout_us), on_idle_timeout);
	else
		conn_timer(h->c, 0, NULL);
}

void h2_client_idle(struct h2 *h)
{
	h2_slots(h);
	h->idle_news = h->in_recv;
	if (h->in_recv)
		return;
	h->c->owner->idle(h->c);
	if (!h->dead && !h->goaway && !nghttp2_session_check_request_allowed(h->session))
		codec_h2.drain(h->c);   /* all ids are used up */
}

void h2_exchange_gone(struct h2 *h)
{
	if (h->dead)
		return;
	if (h->goaway)
		h2_pack_later(h);       /* closes when all has left */
	else if (!h->server)
		h2_client_idle(h);
	else if (!h->in_block)
		h2_server_timer(h);
}

void h2_exchange_check(struct h2_stream *hs)
{
	struct leg *l = hs->leg;

	if (!l || !l->end_in || !l->end_out)
		return;
	l->sent = true;
	h2_detach(hs);
	h2_exchange_gone(hs->h);
}

/* ---- floods ------------------------------------------------------------------------------------ */

const char *h2_bad_input(const struct h2 *h)
{
	return h->server ? "http2" : "http2_response";
}

void h2_calm(struct h2 *h)
{
	if (h->calm)
		return;
	h->calm = h->goaway = true;
	stats_add_reason(h->c->w->stats, "kvmesh_bad_input_total", h2_bad_input(h), "h2_flood");
	(void)nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
	h2_pack_later(h);
}

/* False: more than max came, less what time forgives. */
static bool bucket_take(struct h2 *h, struct h2_bucket *b, unsigned max, unsigned per_second)
{
	uint64_t now = loop_now_us(h->c->w->loop);
	uint64_t forgiven = (now - b->at_us) / 1000000 * per_second;

	if (forgiven > 0) {
		b->n -= forgiven < b->n ? (unsigned)forgiven : b->n;
		b->at_us = now;
	}
	return ++b->n <= max;
}

void h2_glitch(struct h2 *h)
{
	if (!bucket_take(h, &h->glitches, H2_GLITCHES, H2_GLITCHES_PER_SECOND))
		h2_calm(h);
}

void h2_client_reset(struct h2 *h)
{
	if (!bucket_take(h, &h->resets, H2_RESETS, H2_RESETS_PER_SECOND))
		h2_calm(h);
}

/* ---- the session ------------------------------------------------------------------------------- */

static void on_pack(void *arg)
{
	h2_pack(arg);
}

void h2_pack_later(struct h2 *h)
{
	if (!h->dead)
		loop_later(h->c->w->loop, &h->pack);
}

static void set_options(nghttp2_option *o)
{
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_http_messaging(o, 1);     /* codec_h2_rules.c looks at messages */
	nghttp2_option_set_no_closed_streams(o, 1);
	nghttp2_option_set_peer_max_concurrent_streams(o, H2_STREAMS_MAX);
	nghttp2_option_set_max_outbound_ack(o, 1000);
	nghttp2_option_set_max_settings(o, 32);
	/* Behind the count of our own, which says what it is. */
	nghttp2_option_set_stream_reset_rate_limit(o, 2 * H2_RESETS, H2_RESETS_PER_SECOND);
	nghttp2_option_set_max_continuations(o, 8);
}

static void *mem_malloc(size_t n, void *slab)
{
	return slab_take(slab, n);
}

static void mem_free(void *p, void *slab)
{
	slab_give(slab, p);
}

static void *mem_calloc(size_t n, size_t size, void *slab)
{
	size_t bytes;

	return __builtin_mul_overflow(n, size, &bytes) ? NULL : slab_take_zeroed(slab, bytes);
}

static void *mem_realloc(void *p, size_t n, void *slab)
{
	return slab_resize(slab, p, n);
}

/* The only memory of nghttp2 that its own allocator does not see: once more, on the reserve. */
static nghttp2_session_callbacks *again_callbacks(void)
{
	nghttp2_session_callbacks *cb;

	kv_spend_reserve();
	kv_assert(nghttp2_session_callbacks_new(&cb) == 0);
	return cb;
}

static nghttp2_option *again_option(void)
{
	nghttp2_option *o;

	kv_spend_reserve();
	kv_assert(nghttp2_option_new(&o) == 0);
	return o;
}

static void make_session(struct h2 *h)
{
	nghttp2_mem mem = { h->slab, mem_malloc, mem_free, mem_calloc, mem_realloc };
	nghttp2_session_callbacks *cb;
	nghttp2_option *o;

	if (nghttp2_session_callbacks_new(&cb) != 0)
		cb = again_callbacks();
	if (nghttp2_option_new(&o) != 0)
		o = again_option();
	h2_callbacks_in(cb);
	h2_callbacks_out(cb);
	set_options(o);
	int r = h->server ? nghttp2_session_server_new3(&h->session, cb, h, o, &mem) :
			    nghttp2_session_client_new3(&h->session, cb, h, o, &mem);

	kv_assert(r == 0);
	nghttp2_option_del(o);
	nghttp2_session_callbacks_del(cb);
}

static bool is_edge(const struct h2 *h)
{
	return h->server && worker_settings(h->c->w)->edge;
}

static uint32_t stream_window(const struct h2 *h)
{
	return is_edge(h) ? H2_EDGE_STREAM_WINDOW : H2_STREAM_WINDOW;
}

void h2_give_up(struct h2 *h, int32_t id, uint32_t code)
{
	(void)nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, id, code);
	h->late_bytes += stream_window(h);
	if (h->late_bytes > H2_CONN_WINDOW)
		h->late_bytes = H2_CONN_WINDOW;
}

static void introduce(struct h2 *h)
{
	const nghttp2_settings_entry mine[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, stream_window(h) },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEADER_LIST_MAX },
		h->server ? (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 } :
			    (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_MAX_FRAME_SIZE, H2_FRAME_MAX },
	};
	size_t n = sizeof(mine) / sizeof(mine[0]);

	(void)nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, mine, n);
	(void)nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
						    is_edge(h) ? H2_EDGE_CONN_WINDOW : H2_CONN_WINDOW);
	h2_pack_later(h);
}

static void on_final(void *arg)
{
	h2_final_goaway(arg);
}

static void h2_open(struct conn *c, bool server)
{
	struct h2 *h = kv_zalloc(sizeof(*h));

	h->c = c;
	h->slab = c->w->slab;
	h->server = server;
	list_init(&h->streams);
	loop_later_init(&h->pack, on_pack, h);
	loop_deadline_init(&h->final, c->w->loop, on_final, h);
	h2_alive_init(h);
	c->codec = h;
	make_session(h);
	introduce(h);
	c->slots = 0;
	h2_slots(h);
	if (server)
		conn_timer(c, (uint64_t)worker_settings(c->w)->header_timeout_us, on_silence);
}

static void h2_start(struct conn *c, struct leg *l)
{
	struct h2 *h = h2_of(c);

	h2_stream_new(h, l, -1);
	h2_slots(h);
}

static void h2_writable(struct conn *c)
{
	h2_pack_later(h2_of(c));
}

static void free_h2(void *p)
{
	struct h2 *h = p;

	while (!list_is_empty(&h->streams))
		h2_stream_free(list_entry(h->streams.next, struct h2_stream, node));
	nghttp2_session_del(h->session);
	free(h);
}

static void leg_lost(struct h2 *h, struct leg *l)
{
	struct conn *c = h->c;

	l->reason = c->error != 0 ? conn_error_text(c) : NULL;
	if (!l->up)
		leg_on_reset(l, FAIL_DOWN_CLOSED);
	else if (c->error == KV_ERR_TLS && !l->answered)
		leg_on_reset(l, FAIL_CONNECT);
	else
		leg_on_reset(l, FAIL_UP_CLOSED);
}

static void h2_close(struct conn *c)
{
	struct h2 *h = h2_of(c);

	h->dead = true;
	c->codec = NULL;
	loop_later_done(&h->pack);
	loop_deadline_done(&h->final);
	loop_deadline_done(&h->alive);
	loop_defer_free(c->w->loop, free_h2, h);
	list_for_each(it, &h->streams) {
		struct h2_stream *hs = list_entry(it, struct h2_stream, node);
		struct leg *l = hs->leg;

		if (!l)
			continue;
		l->sent = hs->left;
		h2_detach(hs);
		leg_lost(h, l);
	}
}

/* ---- leg calls that are no frames of a message --------------------------------------------------- */

static void h2_window(struct leg *l, size_t room)
{
	struct h2 *h = h2_of(l->conn);
	struct h2_stream *hs = l->exchange;

	if (room == 0 || hs->held == 0)
		return;
	(void)nghttp2_session_consume_stream(h->session, hs->id, hs->held);
	hs->held = 0;
	h2_pack_later(h);
}

/*
 * To a service: not wanted any more, whatever the reason here is. A tunnel that breaks is one that its other end
 * has reset (RFC 8441 5.2).
 */
static uint32_t error_code(const struct h2 *h, const struct h2_stream *hs, enum fail why)
{
	if (why == FAIL_UP_PROTOCOL || (h->server && why == FAIL_DOWN_PROTOCOL))
		return NGHTTP2_PROTOCOL_ERROR;
	if (!h->server || hs->switched)
		return NGHTTP2_CANCEL;
	if (why == FAIL_NONE || why == FAIL_DOWN_CLOSED || why == FAIL_TIMEOUT || why == FAIL_PER_TRY_TIMEOUT)
		return NGHTTP2_CANCEL;
	return why == FAIL_OVERFLOW ? NGHTTP2_REFUSED_STREAM : NGHTTP2_INTERNAL_ERROR;
}

static void h2_reset(struct leg *l, enum fail why)
{
	struct h2 *h = h2_of(l->conn);
	struct h2_stream *hs = l->exchange;

	l->sent = hs->left;
	bool answered = h->server && l->end_out;        /* the frames of the answer must leave first */

	h2_detach(hs);
	if (hs->id <= 0)
		h2_stream_free(hs);
	else if (!answered)             /* else on_frame_sent stops the request */
		h2_give_up(h, hs->id, error_code(h, hs, why));
	h2_pack_later(h);
	h2_exchange_gone(h);
}

/* ---- the end of a connection --------------------------------------------------------------------------- */

void h2_final_goaway(struct h2 *h)
{
	if (h->goaway)
		return;
	h->goaway = true;
	(void)nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h->session),
				    NGHTTP2_NO_ERROR, NULL, 0);
	h2_pack_later(h);
}

/*
 * What a client has sent before it learns of the end is still served: a first GOAWAY refuses nothing, the final one
 * follows when the client must have read it (RFC 9113 6.8).
 */
static void last_call(struct h2 *h)
{
	if (h->last_call)
		return;
	h->last_call = true;
	(void)nghttp2_submit_shutdown_notice(h->session);
	(void)nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
	loop_deadline_set(&h->final, loop_now_us(h->c->w->loop) + H2_LAST_CALL_US);
	h2_pack_later(h);
}

/* A client that begins nothing more need not say so: GOAWAY before a request that waits would keep it from leaving. */
static void h2_drain(struct conn *c)
{
	struct h2 *h = h2_of(c);

	c->slots = 0;
	if (h->goaway)
		return;
	if (h->server) {
		last_call(h);
		return;
	}
	h->goaway = true;
	h2_pack_later(h);
}

static struct h2_stream *first_unsent(struct h2 *h)
{
	list_for_each(it, &h->streams) {
		struct h2_stream *hs = list_entry(it, struct h2_stream, node);

		if (hs->leg && !hs->left)
			return hs;
	}
	return NULL;
}

void h2_unsent_refused(struct h2 *h)
{
	struct h2_stream *hs;

	while (!h->dead && (hs = first_unsent(h)) != NULL) {
		struct leg *l = h2_detach(hs);

		if (hs->id <= 0)
			h2_stream_free(hs);
		else
			h2_give_up(h, hs->id, NGHTTP2_CANCEL);
		l->sent = false;
		l->refused = true;
		leg_on_reset(l, FAIL_UP_RESET);
	}
}

static void h2_hurry(struct conn *c)
{
	struct h2 *h = h2_of(c);

	if (h->server && c->active == 0 && !h->in_block && !h->goaway && !h->last_call && c->exchanges > 0)
		h2_server_timer(h);
}

const struct codec_ops codec_h2 = {
	.name = "h2",
	.http = true,
	.open = h2_open,
	.recv = h2_recv,
	.writable = h2_writable,
	.close = h2_close,
	.start = h2_start,
	.head = h2_head,
	.data = h2_data,
	.window = h2_window,
	.reset = h2_reset,
	.drain = h2_drain,
	.hurry = h2_hurry,
};
