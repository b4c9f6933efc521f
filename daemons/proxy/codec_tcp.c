/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_tcp: bytes as they are. The head of the exchange is synthetic (destination, SNI and peer
 * are facts of the connection), so that TCP takes the same steps as HTTP. Each direction ends by
 * itself (half-close). Layer proxy; owns one pointer to the leg on its connection.
 */
#include "config.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "proxy/codec.h"
#include "proxy/conn.h"
#include "proxy/tube.h"

static struct leg *detach(struct conn *c)
{
	struct leg *l = c->codec;

	if (l)
		l->conn = NULL;
	c->codec = NULL;
	return l;
}

static void attach_leg(struct conn *c, struct leg *l)
{
	c->codec = l;
	l->conn = c;
	l->room = conn_room(c);
	c->exchanges++;
}

static void tcp_open(struct conn *c, bool server)
{
	c->slots = server ? 0 : 1;
	if (!server)
		return;
	struct leg *l = leg_open(c);

	attach_leg(c, l);
	leg_on_head(l, false);
}

static void tcp_start(struct conn *c, struct leg *l)
{
	attach_leg(c, l);
	c->slots = 0;
}

/* Both directions have ended: what is queued leaves, then the connection. */
static void finish_when_done(struct conn *c)
{
	struct leg *l = c->codec;

	if (l && l->end_in && l->end_out) {
		detach(c);
		conn_close(c);
	}
}

static void tell_moved(struct leg *l)
{
	size_t n = l->conn->moved;

	l->conn->moved = 0;
	leg_on_moved(l, n);
}

static void tcp_recv(struct conn *c)
{
	struct leg *l = c->codec;

	if (!l) {                       /* not begun yet, or given up */
		if (c->eof)
			conn_kill(c);
		return;
	}
	if (c->in.n > 0 && !l->paused)
		leg_on_data(l, &c->in);
	if (c->codec == l && (c->moved > 0 || (c->tube_in && c->tube_in->full)))
		tell_moved(l);
	if (c->codec != l)
		return;
	if (c->error != 0 || c->truncated) {
		conn_kill(c);
		return;
	}
	if (!c->eof || c->in.n > 0)
		return;
	if (!l->end_in) {
		l->end_in = true;
		finish_when_done(c);
		leg_on_end(l);
	}
	if (c->codec == l && c->broken)
		conn_kill(c);           /* it says nothing more and takes nothing more */
}

static void tcp_writable(struct conn *c)
{
	struct leg *l = c->codec;

	if (!l)
		return;
	l->room = conn_room(c);
	leg_on_writable(l);
}

static void tcp_close(struct conn *c)
{
	struct leg *l = detach(c);

	if (!l)
		return;
	l->reason = c->error != 0 ? conn_error_text(c) : NULL;
	leg_on_reset(l, l->up ? FAIL_UP_CLOSED : FAIL_DOWN_CLOSED);
}

static void tcp_head(struct leg *l, struct head *h, bool end)
{
	(void)l, (void)h, (void)end;    /* nothing goes on the wire */
}

static void tcp_data(struct leg *l, struct buf *b, bool end)
{
	struct conn *c = l->conn;

	if (b->n > 0) {
		buf_move(&c->out, b);
		conn_flush_later(c);
	}
	l->room = conn_room(c);
	if (end) {
		conn_shut(c);
		finish_when_done(c);
	}
}

static void tcp_window(struct leg *l, size_t room)
{
	if (room == 0) {
		conn_pause(l->conn);
		conn_watch(l->conn);
	} else {
		conn_timer(l->conn, 0, NULL);
		conn_resume(l->conn);
	}
}

/*
 * Cut in the middle: the peer is told by RST, so that it cannot take the part for the whole. One that was given the
 * whole keeps it.
 */
static void tcp_reset(struct leg *l, enum fail why)
{
	struct conn *c = l->conn;
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	detach(c);
	if (l->end_out || why == FAIL_NO_ROUTE || why == FAIL_MAX_DURATION || why == FAIL_BLOCKED || why == FAIL_DENIED ||
	    why == FAIL_EXT_AUTHZ) {
		conn_close(c);
		return;
	}
	(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	conn_kill(c);
}

/* An opaque exchange cannot be asked to end. */
static void tcp_drain(struct conn *c)
{
	if (!c->codec)
		conn_close(c);
}

const struct codec_ops codec_tcp = {
	.name = "tcp",
	.open = tcp_open,
	.recv = tcp_recv,
	.writable = tcp_writable,
	.close = tcp_close,
	.start = tcp_start,
	.head = tcp_head,
	.data = tcp_data,
	.window = tcp_window,
	.reset = tcp_reset,
	.drain = tcp_drain,
};
