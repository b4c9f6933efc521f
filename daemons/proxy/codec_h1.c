/* SPDX-License-Identifier: Apache-2.0 */
/* codec_h1: the life of a connection that speaks HTTP/1.1, see codec_h1.h. Layer proxy. */
#include "config.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "proxy/codec_h1.h"
#include "proxy/worker.h"

#define LAST_CALL_US (1u * 1000 * 1000)

void h1_count_bad(struct h1 *h, const char *reason)
{
	stats_add_reason(h->c->w->stats, "kvmesh_bad_input_total",
			 h->server ? "http1" : "http1_response", reason);
}

/* ---- exchanges ------------------------------------------------------------------------------- */

void h1_exchange_begin(struct h1 *h, struct leg *l)
{
	h->leg = l;
	l->conn = h->c;
	l->room = conn_room(h->c);
	l->reused = h->c->exchanges > 0;
	h->c->exchanges++;
	h->start_written = h->c->written_bytes;
	h->infos = 0;
	h->in = H1_IN_HEAD;
	h->out = H1_OUT_HEAD;
	h->no_body = h->awaits_100 = false;
	h1_parser_init(&h->parser);
}

struct leg *h1_detach(struct h1 *h)
{
	struct leg *l = h->leg;

	if (!l)
		return NULL;
	l->sent = h->c->written_bytes > h->start_written;
	l->conn = NULL;
	h->leg = NULL;
	return l;
}

/* The connection may carry another request. */
static void become_idle(struct h1 *h)
{
	struct conn *c = h->c;

	if (h->server) {
		h1_await_request(h);
		if (c->in.n > 0 || c->eof)
			conn_kick(c);
		conn_resume(c);
		conn_flush_later(c);    /* it is read again */
		return;
	}
	h->in = H1_IN_HEAD;
	conn_resume(c);
	c->slots = 1;
	c->owner->idle(c);
}

void h1_exchange_check(struct h1 *h)
{
	struct conn *c = h->c;
	bool in_done = h->in == H1_IN_DONE || h->in == H1_IN_IGNORE;

	if (!h->leg || !in_done || h->out != H1_OUT_DONE)
		return;
	bool ends = h->close || h->last || h->in == H1_IN_IGNORE || (c->eof && c->in.n == 0);

	if (!h->server && c->in.n > 0 && !h->tunnel) {
		h1_count_bad(h, "upstream_excess");
		ends = true;
	}
	h1_detach(h);
	/* The client asked for the end, so nothing follows its request. */
	c->last_word = h->server && !h->keep_alive && h->in == H1_IN_DONE && c->in.n == 0;
	if (ends)
		conn_close(c);
	else
		become_idle(h);
}

/* ---- operations ------------------------------------------------------------------------------ */

static void h1_open(struct conn *c, bool server)
{
	struct h1 *h = kv_zalloc(sizeof(*h));

	h->c = c;
	h->server = server;
	h->limits = h1_limits_default;
	c->codec = h;
	c->slots = server ? 0 : 1;
	if (!server)
		return;
	size_t max = (size_t)worker_settings(c->w)->max_header_bytes;

	if (max > 0)
		h->limits.head_max = max;
	h1_await_request(h);
}

static void h1_start(struct conn *c, struct leg *l)
{
	h1_exchange_begin(h1_of(c), l);
	c->slots = 0;
}

static void h1_writable(struct conn *c)
{
	struct leg *l = h1_of(c)->leg;

	if (!l)
		return;
	l->room = conn_room(c);
	leg_on_writable(l);
}

static void free_h1(void *p)
{
	free(p);
}

void h1_hand_over(struct h1 *h)
{
	struct conn *c = h->c;

	c->codec = NULL;
	c->ops = NULL;
	conn_timer(c, 0, NULL);
	loop_defer_free(c->w->loop, free_h1, h);
}

static void h1_close(struct conn *c)
{
	struct h1 *h = h1_of(c);
	struct leg *l = h1_detach(h);

	c->codec = NULL;
	loop_defer_free(c->w->loop, free_h1, h);
	if (!l)
		return;
	l->reason = c->error != 0 ? conn_error_text(c) : NULL;
	if (!l->up)
		leg_on_reset(l, FAIL_DOWN_CLOSED);
	else if (c->error == KV_ERR_TLS && !l->answered)
		leg_on_reset(l, FAIL_CONNECT);  /* TLS 1.3: a refused client learns it only now */
	else
		leg_on_reset(l, FAIL_UP_CLOSED);
}

static void h1_window(struct leg *l, size_t room)
{
	struct conn *c = l->conn;
	bool watched = h1_of(c)->half_closed;   /* for that */

	if (room == 0) {
		conn_pause(c);
		if (!watched)
			conn_watch(c);
		return;
	}
	if (!watched)
		conn_timer(c, 0, NULL);
	conn_resume(c);
	if (c->in.n > 0 || c->eof)
		conn_kick(c);
}

/*
 * Given up in the middle. A client connection is of no use any more; on a server connection what
 * was sent must not look complete: a length or a chunk tells it, otherwise RST does. So does it
 * where protocols were switched, both ways.
 */
static void h1_reset(struct leg *l, enum fail why)
{
	struct conn *c = l->conn;
	struct h1 *h = h1_of(c);
	bool undelimited = h->out == H1_OUT_RAW || h->tunnel;
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	(void)why;
	h1_detach(h);
	if (h->server && !undelimited) {
		conn_close(c);
		return;
	}
	if (h->server || h->tunnel)
		(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	conn_kill(c);
}

static void h1_drain(struct conn *c)
{
	struct h1 *h = h1_of(c);

	h->last = true;
	c->slots = 0;
	if (h->leg || (h->server && c->w->succeeded))
		return;
	/* Who came in just now is on its way with a request, and is answered. */
	if (h->server && c->exchanges == 0)
		conn_timer(c, LAST_CALL_US, conn_close);
	else
		conn_close(c);
}

static void h1_hurry(struct conn *c)
{
	struct h1 *h = h1_of(c);

	if (h->server && !h->leg && h->in == H1_IN_HEAD && c->exchanges > 0)
		h1_await_request(h);
}

const struct codec_ops codec_h1 = {
	.name = "http/1.1",
	.http = true,
	.open = h1_open,
	.recv = h1_recv,
	.writable = h1_writable,
	.close = h1_close,
	.start = h1_start,
	.head = h1_head,
	.data = h1_data,
	.window = h1_window,
	.reset = h1_reset,
	.drain = h1_drain,
	.hurry = h1_hurry,
};
