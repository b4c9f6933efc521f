/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_h1_out: leg calls into bytes for an HTTP/1.1 peer, in canonical form, see codec_h1.h. Layer
 * proxy.
 */
#include "config.h"

#include <stdlib.h>

#include "base/arena.h"
#include "proxy/codec_h1.h"

/* ---- heads ----------------------------------------------------------------------------------- */

struct head_out {
	const struct head *hd;
	bool close, http10;
	bool request, trailers;
};

static size_t head_size(const struct head_out *o)
{
	if (o->trailers)
		return h1_trailers_size(o->hd);
	return o->request ? h1_request_size(o->hd) : h1_response_size(o->hd);
}

static size_t head_write(const struct head_out *o, char *to)
{
	if (o->trailers)
		return h1_write_last_chunk(o->hd, to);
	if (o->request)
		return h1_write_request(o->hd, o->close, to);
	return h1_write_response(o->hd, o->close, o->http10, to);
}

/*
 * The writer refuses what could be read in two ways (h1.h). A body without its head would be worse, so
 * the exchange ends with its connection, at the end of the turn.
 */
static void must_not_go_out(struct h1 *h)
{
	struct conn *c = h->c;

	h1_count_bad(h, "bad_field");
	c->error = KV_ERR_PROTOCOL;
	c->eof = c->broken = true;
	conn_kick(c);
}

/* Straight into the output queue; only a head larger than a block takes a detour. */
static void put_head(struct h1 *h, const struct head_out *o)
{
	size_t need = head_size(o), room, n;

	if (need <= BUF_BLOCK_BYTES) {
		char *to = buf_reserve(&h->c->out, need, &room);

		n = head_write(o, to);
		buf_commit(&h->c->out, n);
	} else {
		char *big = kv_malloc(need);

		n = head_write(o, big);
		buf_append(&h->c->out, big, n);
		free(big);
	}
	if (n == 0)
		must_not_go_out(h);
	conn_flush_later(h->c);
}

static void body_follows(struct h1 *h, const struct head *hd, bool end)
{
	h->out_left = hd->content_length;
	if (end)
		h->out = H1_OUT_DONE;
	else if (hd->body == HEAD_BODY_LENGTH)
		h->out = H1_OUT_LENGTH;
	else if (hd->body == HEAD_BODY_CHUNKED)
		h->out = H1_OUT_CHUNKED;
	else if (hd->body == HEAD_BODY_UNTIL_CLOSE)
		h->out = H1_OUT_RAW;
	else
		h->out = H1_OUT_NOTHING;
}

static void put_request(struct h1 *h, struct head *hd, bool end)
{
	h->method = hd->method;
	h->close = h->last;
	if (!end && hd->body == HEAD_BODY_NONE)
		hd->body = HEAD_BODY_CHUNKED;   /* came by a protocol that needs no announcement */
	put_head(h, &(struct head_out){ .hd = hd, .request = true, .close = h->close });
	body_follows(h, hd, end);
}

/* The length that this client can follow. */
static void choose_framing(struct h1 *h, struct head *hd, bool end)
{
	if (h->no_body || hd->status == 204 || hd->status == 304)
		return;
	if (end && hd->body == HEAD_BODY_NONE) {
		hd->body = HEAD_BODY_LENGTH;
		hd->content_length = 0;
	} else if (hd->body == HEAD_BODY_UNTIL_CLOSE || hd->body == HEAD_BODY_NONE) {
		hd->body = HEAD_BODY_CHUNKED;
	}
	if (hd->body == HEAD_BODY_CHUNKED && h->http10) {
		hd->body = HEAD_BODY_UNTIL_CLOSE;
		h->close = true;
	}
}

static void put_response(struct h1 *h, struct head *hd, bool end)
{
	/* A client that still waits for 100 may or may not send the body now: nobody could tell. */
	if (!h->keep_alive || h->last || h->leg->last || h->c->eof ||
	    (h->awaits_100 && h->in != H1_IN_DONE))
		h->close = true;
	choose_framing(h, hd, end);
	put_head(h, &(struct head_out){ .hd = hd, .close = h->close, .http10 = h->http10 });
	body_follows(h, hd, end);
	if (h->no_body && !end)
		h->out = H1_OUT_NOTHING;
}

/* The client's protocol is done with: from here on bytes both ways. */
static void put_switch(struct h1 *h, const struct head *hd)
{
	put_head(h, &(struct head_out){ .hd = hd });
	h->tunnel = h->close = true;
	h->in = H1_IN_RAW;
	h->c->patient = false;
	h->out = H1_OUT_RAW;
	h->leg->end_in = false;
	conn_resume(h->c);
	conn_kick(h->c);
}

static void put_info(struct h1 *h, const struct head *hd)
{
	if (hd->status == 100)
		h->awaits_100 = false;
	if (!h->http10)
		put_head(h, &(struct head_out){ .hd = hd });
}

void h1_head(struct leg *l, struct head *hd, bool end)
{
	struct h1 *h = h1_of(l->conn);

	if (h->out != H1_OUT_HEAD) {
		if (h->out == H1_OUT_CHUNKED)
			put_head(h, &(struct head_out){ .hd = hd, .trailers = true });
		h->out = H1_OUT_DONE;
	} else if (!h->server)
		put_request(h, hd, end);
	else if (hd->status == 101)
		put_switch(h, hd);
	else if (hd->status < 200)
		put_info(h, hd);
	else
		put_response(h, hd, end);
	l->room = conn_room(l->conn);
	h1_exchange_check(h);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static void put_chunk(struct h1 *h, struct buf *b)
{
	char line[H1_CHUNK_HEAD_MAX];

	buf_append(&h->c->out, line, h1_write_chunk_head(b->n, line));
	buf_move(&h->c->out, b);
	buf_append(&h->c->out, "\r\n", 2);
}

static void put_body(struct h1 *h, struct buf *b)
{
	switch (h->out) {
	case H1_OUT_LENGTH:
		kv_assert(b->n <= h->out_left); /* the other codec counts */
		h->out_left -= b->n;
		buf_move(&h->c->out, b);
		break;
	case H1_OUT_CHUNKED:
		put_chunk(h, b);
		break;
	case H1_OUT_RAW:
		buf_move(&h->c->out, b);
		break;
	case H1_OUT_HEAD:
	case H1_OUT_NOTHING:
	case H1_OUT_DONE:
		buf_consume(b, b->n);
		break;
	}
	conn_flush_later(h->c);
}

static void put_end(struct h1 *h)
{
	char last[8];

	if (h->out == H1_OUT_CHUNKED) {
		buf_append(&h->c->out, last, h1_write_last_chunk(NULL, last));
		conn_flush_later(h->c);
	} else if (h->tunnel) {
		conn_shut(h->c);
	}
	h->out = H1_OUT_DONE;
}

void h1_data(struct leg *l, struct buf *b, bool end)
{
	struct h1 *h = h1_of(l->conn);

	if (b->n > 0)
		put_body(h, b);
	if (end)
		put_end(h);
	l->room = conn_room(h->c);
	if (end)
		h1_exchange_check(h);
}
