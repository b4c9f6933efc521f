/* SPDX-License-Identifier: Apache-2.0 */
/* codec_h1_in: bytes of an HTTP/1.1 peer into leg events, see codec_h1.h. Layer proxy. */
#include "config.h"

#include "proxy/codec_h1.h"
#include "proxy/worker.h"

/* Room for one whole head in one run: line, fields, and the empty line the parser lets pass. */
static size_t head_cap(const struct h1 *h)
{
	return h->limits.line_max + h->limits.head_max + 4;
}

/* ---- deadlines of the server side ------------------------------------------------------------ */

static void on_idle_timeout(struct conn *c)
{
	conn_close(c);
}

static void refuse(struct h1 *h, unsigned status, const char *reason);

static void on_header_timeout(struct conn *c)
{
	struct h1 *h = h1_of(c);

	if (h->leg)
		refuse(h, 408, "slow_header");
	else
		conn_close(c);          /* not a byte came: nothing to answer */
}

static const struct snap_settings *settings(const struct h1 *h)
{
	return worker_settings(h->c->w);
}

static uint64_t header_timeout_us(const struct h1 *h)
{
	return (uint64_t)settings(h)->header_timeout_us;
}

/*
 * Between two requests, or before the first: then the whole head is due, a silent client is not
 * kept.
 */
void h1_await_request(struct h1 *h)
{
	h->in = H1_IN_HEAD;
	h->close = h->c->patient = false;
	if (h->c->exchanges == 0)
		conn_timer(h->c, header_timeout_us(h), on_header_timeout);
	else
		conn_timer(h->c, overload_idle_us(h->c->w->level, settings(h)->idle_timeout_us),
			   on_idle_timeout);
}

/* ---- ends ------------------------------------------------------------------------------------ */

/*
 * A client's message that cannot be read: it gets an answer when none has begun, and is read no
 * further.
 */
static void refuse(struct h1 *h, unsigned status, const char *reason)
{
	struct leg *l = h->leg;

	h1_count_bad(h, reason);
	conn_timer(h->c, 0, NULL);
	h->in = H1_IN_IGNORE;
	h->close = true;
	l->status = status;
	l->reason = reason;
	leg_on_reset(l, FAIL_DOWN_PROTOCOL);
}

/* A service's message that cannot be read: the connection is of no use. */
static void give_up(struct h1 *h, enum fail why, const char *reason)
{
	struct conn *c = h->c;
	struct leg *l = h1_detach(h);

	h1_count_bad(h, reason);
	conn_kill(c);
	l->reason = reason;
	leg_on_reset(l, why);
}

static void bad_message(struct h1 *h, unsigned status, const char *reason)
{
	if (h->server)
		refuse(h, status, reason);
	else
		give_up(h, FAIL_UP_PROTOCOL, reason);
}

static void message_end(struct h1 *h)
{
	struct leg *l = h->leg;

	h->in = H1_IN_DONE;
	l->end_in = true;
	h1_exchange_check(h);
	leg_on_end(l);
}

/* ---- heads ----------------------------------------------------------------------------------- */

static void body_begins(struct h1 *h, const struct head *hd)
{
	switch (hd->body) {
	case HEAD_BODY_NONE:
		h->in = H1_IN_DONE;
		break;
	case HEAD_BODY_LENGTH:
		h->in_left = hd->content_length;
		h->in = hd->content_length > 0 ? H1_IN_LENGTH : H1_IN_DONE;
		break;
	case HEAD_BODY_CHUNKED:
		h1_chunked_init(&h->chunked);
		h->in = H1_IN_CHUNKED;
		break;
	case HEAD_BODY_UNTIL_CLOSE:
		h->close = true;
		h->in = H1_IN_RAW;
		break;
	}
}

static void request_head(struct h1 *h, const struct head *hd)
{
	conn_timer(h->c, 0, NULL);
	h->keep_alive = hd->keep_alive;
	h->http10 = hd->version == HEAD_VERSION_10;
	h->no_body = str_eq(hd->method, STR("HEAD"));
	h->awaits_100 = hd->expect_continue;
}

static void switch_protocol(struct h1 *h)
{
	h->tunnel = h->close = true;
	h->in = H1_IN_RAW;
	h->out = H1_OUT_RAW;
	h->leg->end_out = false;
}

/* False: this response cannot be. */
static bool response_head(struct h1 *h, const struct head *hd)
{
	if (hd->status == 101) {
		if (h->leg->upgrade.n == 0)
			return false;
		switch_protocol(h);
		return true;
	}
	if (hd->status < 200)
		return ++h->infos <= H1_INFO_MAX;
	if (!hd->keep_alive)
		h->close = true;
	body_begins(h, hd);
	return true;
}

static enum h1_result parse_run(struct h1 *h, struct str run, struct head *hd, size_t *ret_used)
{
	head_init(hd, hd->arena);
	if (h->server)
		return h1_parse_request(&h->parser, &h->limits, run, hd, ret_used);
	return h1_parse_response(&h->parser, &h->limits, run, h->method, hd, ret_used);
}

/* A head that lies across a block border is made one run only when it must be. */
static enum h1_result parse_head(struct h1 *h, struct head *hd, size_t *ret_used)
{
	struct buf *in = &h->c->in;
	struct str run = buf_peek(in);
	enum h1_result r = parse_run(h, run, hd, ret_used);

	if (r == H1_MORE && run.n < in->n && run.n < head_cap(h))
		r = parse_run(h, buf_pullup(in, head_cap(h)), hd, ret_used);
	return r;
}

/* A head that has not come whole yet. True: nothing more to do now. */
static void head_incomplete(struct h1 *h)
{
	struct conn *c = h->c;

	if (c->eof)
		conn_kill(c);
	else if (c->in.n >= head_cap(h))
		bad_message(h, 431, "too_large");
}

static bool read_head(struct h1 *h)
{
	struct conn *c = h->c;
	struct leg *l = h->leg;
	size_t used;

	l->answered = true;
	switch (parse_head(h, l->head, &used)) {
	case H1_MORE:
		head_incomplete(h);
		return false;
	case H1_BAD:
		bad_message(h, h->parser.status, h->parser.reason);
		return false;
	case H1_DONE:
		break;
	}
	buf_consume(&c->in, used);
	if (h->parser.fragment)
		h1_count_bad(h, "fragment");
	h1_parser_init(&h->parser);
	if (h->server) {
		request_head(h, l->head);
		body_begins(h, l->head);
	} else if (!response_head(h, l->head)) {
		give_up(h, FAIL_UP_PROTOCOL, "bad_response");
		return false;
	}
	l->head_in = h->in != H1_IN_HEAD;
	l->end_in = h->in == H1_IN_DONE;
	c->patient = h->server && l->end_in;
	h1_exchange_check(h);
	leg_on_head(l, l->end_in);
	return true;
}

/*
 * The first byte of a request opens its stream, so that one that never becomes whole is recorded
 * too.
 */
static void open_exchange(struct h1 *h)
{
	bool kept = h->c->exchanges > 0;

	h1_exchange_begin(h, leg_open(h->c));
	if (kept)
		conn_timer(h->c, header_timeout_us(h), on_header_timeout);
}

/*
 * A client with prior knowledge begins HTTP/2 with a preface that is made to look like no request of
 * this protocol (RFC 9113 3.4): the connection changes hands. True: it did, or more bytes are needed.
 */
static bool is_h2(struct h1 *h)
{
	static const struct str preface = { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24 };
	struct conn *c = h->c;
	struct str in = buf_peek(&c->in);

	if (!h->server || c->exchanges > 0 || h->leg || !str_has_prefix(preface, str_take(in, preface.n)))
		return false;
	if (in.n < preface.n)
		return !c->eof;
	h1_hand_over(h);
	conn_set_codec(c, &codec_h2, true);
	return true;
}

static bool next_head(struct h1 *h)
{
	struct conn *c = h->c;

	if (c->in.n == 0) {
		if (c->eof)
			conn_kill(c);
		return false;
	}
	if (!h->leg && !h->server) {    /* bytes on an idle connection belong to nobody */
		h1_count_bad(h, "upstream_excess");
		conn_kill(c);
		return false;
	}
	if (is_h2(h))
		return false;
	if (!h->leg)
		open_exchange(h);
	return read_head(h);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static bool body_cut(struct h1 *h)
{
	if (h->c->eof)
		conn_kill(h->c);
	return false;
}

static bool read_length(struct h1 *h)
{
	struct conn *c = h->c;
	size_t n = c->in.n < h->in_left ? c->in.n : (size_t)h->in_left;
	struct buf b;

	if (n == 0)
		return body_cut(h);
	buf_init(&b);
	buf_move_n(&b, &c->in, n);
	h->in_left -= n;
	leg_on_data(h->leg, &b);
	if (c->codec == h && h->leg && h->in_left == 0)
		message_end(h);
	return true;
}

/*
 * One call of the decoder; its payload goes to b. A line cut by a block border is made one run
 * first.
 */
static enum h1_result decode_chunked(struct h1 *h, struct buf *b, size_t *ret_used)
{
	struct buf *in = &h->c->in;
	struct str run = buf_peek(in), data = STR_NULL;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): its caller asks only while there is a leg */
	struct head *trailers = h->leg->trailers;
	enum h1_result r = h1_chunked_next(&h->chunked, &h->limits, run, &data, ret_used, trailers);

	if (r == H1_MORE && data.n == 0 && *ret_used == 0 && run.n < in->n) {
		run = buf_pullup(in, head_cap(h));
		r = h1_chunked_next(&h->chunked, &h->limits, run, &data, ret_used, trailers);
	}
	size_t before = data.n > 0 ? (size_t)(data.p - run.p) : *ret_used;

	buf_consume(in, before);
	buf_move_n(b, in, data.n);
	buf_consume(in, *ret_used - before - data.n);
	return r;
}

static bool read_chunked(struct h1 *h)
{
	struct conn *c = h->c;
	enum h1_result r = H1_MORE;
	size_t used = 1;
	struct buf b;

	buf_init(&b);
	while (r == H1_MORE && used > 0 && c->in.n > 0)
		r = decode_chunked(h, &b, &used);
	bool progress = b.n > 0;

	if (progress)
		leg_on_data(h->leg, &b);
	if (c->codec != h || !h->leg)
		return false;
	if (r == H1_BAD)
		bad_message(h, 400, h->chunked.reason);
	else if (r == H1_DONE)
		message_end(h);
	else if (c->eof)
		conn_kill(c);
	else if (c->in.n >= head_cap(h))
		bad_message(h, 400, "bad_chunk");
	return r == H1_DONE;
}

static bool read_raw(struct h1 *h)
{
	struct conn *c = h->c;

	if (c->in.n > 0)
		leg_on_data(h->leg, &c->in);
	if (c->codec != h || !h->leg || !c->eof || c->in.n > 0)
		return false;
	if (c->error != 0 || (c->truncated && !h->tunnel))
		conn_kill(c);           /* a body that the end delimits must end properly */
	else
		message_end(h);
	return false;
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* The exchange is not over on our side. The next request waits in the buffer, up to a limit. */
static bool wait_for_own_end(struct h1 *h)
{
	struct conn *c = h->c;

	if (c->error != 0 || (c->eof && c->broken)) {
		conn_kill(c);
	} else if (c->eof && !h->half_closed && (!h->server || c->in.n == 0)) {
		h->close = h->half_closed = true;
		if (h->server)          /* it still reads, or it is gone */
			conn_watch_half_closed(c);
	} else if (c->in.n >= H1_PIPELINE_BYTES && !c->paused) {
		conn_pause(c);
		if (!h->half_closed)
			conn_watch(c);
	}
	return false;
}

/* One step of reading; true: there may be more to do. */
static bool read_step(struct h1 *h)
{
	if (h->leg && h->leg->paused && h->in != H1_IN_HEAD && h->in != H1_IN_DONE)
		return h->c->error != 0 ? body_cut(h) : false;
	switch (h->in) {
	case H1_IN_HEAD:
		return next_head(h);
	case H1_IN_LENGTH:
		return read_length(h);
	case H1_IN_CHUNKED:
		return read_chunked(h);
	case H1_IN_RAW:
		return read_raw(h);
	case H1_IN_DONE:
		return wait_for_own_end(h);
	case H1_IN_IGNORE:
		buf_consume(&h->c->in, h->c->in.n);
		return h->c->error != 0 ? body_cut(h) : false;
	}
	return false;
}

void h1_recv(struct conn *c)
{
	struct h1 *h = h1_of(c);

	if (h->busy)
		return;
	h->busy = true;
	while (c->codec == h && c->state == CONN_OPEN && read_step(h))
		;
	h->busy = false;
}
