/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_h2_session: both sides of the HTTP/2 codec fed with a peer's bytes. The codec is real, with
 * nghttp2 below it; the connection, the loop and the streams above it are the fakes of this file. What
 * a codec promises to streams (codec.h) holds for every input, what it sends are whole frames, and what passes its
 * rules passes those of nghttp2 (h2_oracle.h).
 *
 * Input: mode, size of the pieces, then the peer's bytes. Mode: 1 server; 2 a preface comes first;
 * 4 windows are shut now and then; 8 answers have bodies; 16 exchanges are reset
 * now and then; 32 drain in between; 64 the peer's end follows.
 */
#include "config.h"

#include <nghttp2/nghttp2.h>

#include "fuzz.h"
#include "h2_oracle.h"
#include "http/h1.h"
#include "proxy/codec_h2.h"
#include "proxy/overload.h"
#include "proxy/slab.h"
#include "proxy/worker.h"

#define EXCHANGES_MAX 64
#define TURNS_MAX 4096

enum { SERVER = 1, PREFACE = 2, PAUSES = 4, BODIES = 8, RESETS = 16, DRAINS = 32, END = 64 };

/* An exchange as a stream would see it. */
struct ex {
	struct leg leg;
	struct head in, trailers, out, out_trailers;
	struct arena arena;
	uint64_t bytes;
	int32_t id;                     /* of its frames; 0 not known yet */
	unsigned heads;                 /* that came */
	bool used, head_seen, end_seen, reset_seen, switched;
};

static struct fuzz {
	uint8_t mode;
	unsigned n, events;
	struct ex *ex[EXCHANGES_MAX];
	struct worker w;
	struct lease lease;
	struct conn c;
	struct list later, deferred;
	uint64_t now;
	bool killed;
	struct h2_oracle oracle;
} F;

/* ---- the loop ---------------------------------------------------------------------------------- */

struct deferred {
	struct list node;
	loop_fn fn;
	void *p;
};

uint64_t loop_now_us(const struct loop *l)
{
	(void)l;
	return F.now;
}

void loop_later_init(struct loop_later *w, loop_fn fn, void *arg)
{
	list_init(&w->node);
	w->fn = fn;
	w->arg = arg;
}

void loop_later(struct loop *l, struct loop_later *w)
{
	(void)l;
	if (list_is_empty(&w->node))
		list_push_back(&F.later, &w->node);
}

void loop_later_done(struct loop_later *w)
{
	list_del(&w->node);
	list_init(&w->node);
}

void loop_deadline_init(struct loop_deadline *d, struct loop *l, loop_timer_fn fn, void *arg)
{
	*d = (struct loop_deadline){ .loop = l, .fn = fn, .arg = arg };
}

void loop_deadline_set(struct loop_deadline *d, uint64_t at_us)
{
	d->at_us = at_us;
}

void loop_deadline_done(struct loop_deadline *d)
{
	d->at_us = 0;
}

void loop_defer_free(struct loop *l, loop_fn fn, void *p)
{
	struct deferred *d = kv_zalloc(sizeof(*d));

	(void)l;
	d->fn = fn;
	d->p = p;
	list_push_back(&F.deferred, &d->node);
}

/* Memory comes from malloc here, so that a sanitizer sees each block. */
void *slab_take(struct slab *s, size_t n)
{
	(void)s;
	return kv_malloc(n);
}

void *slab_take_zeroed(struct slab *s, size_t n)
{
	(void)s;
	return kv_zalloc(n);
}

void *slab_resize(struct slab *s, void *p, size_t n)
{
	void *q = realloc(p, n);

	(void)s;
	fuzz_assert(q || n == 0);
	return q;
}

void slab_give(struct slab *s, void *p)
{
	(void)s;
	free(p);
}

uint64_t overload_idle_us(enum overload_level level, int64_t configured_us)
{
	(void)level;
	return (uint64_t)configured_us;
}

static void run_deferred(void)
{
	while (!list_is_empty(&F.deferred)) {
		struct deferred *d = list_entry(F.deferred.next, struct deferred, node);

		list_del(&d->node);
		d->fn(d->p);
		free(d);
	}
}

/* ---- the connection ---------------------------------------------------------------------------- */

void conn_kill(struct conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	c->state = CONN_DEAD;
	codec_h2.close(c);
	fuzz_assert(c->active == 0);
}

void conn_close(struct conn *c)
{
	if (c->state != CONN_OPEN)
		return;
	c->state = CONN_CLOSING;
	buf_done(&c->in);
}

void conn_flush_later(struct conn *c)
{
	(void)c;
}

size_t conn_room(struct conn *c)
{
	return c->out.n < CODEC_HIGH_BYTES ? CODEC_HIGH_BYTES - c->out.n : 0;
}

void conn_timer(struct conn *c, uint64_t after_us, void (*fn)(struct conn *c))
{
	(void)after_us;
	c->on_timer = fn;
}

const char *conn_error_text(const struct conn *c)
{
	(void)c;
	return "";
}

void stats_add_reason(struct stats *s, const char *metric, const char *kind, const char *reason)
{
	(void)s;
	fuzz_assert(metric && kind && reason);
}

static void nothing(struct conn *c)
{
	(void)c;
}

static const struct conn_owner owner = { .ready = nothing, .failed = nothing, .idle = nothing, .gone = nothing };

/* What leaves are whole frames of a size that the peer must take. */
static void check_output(struct buf *out)
{
	while (out->n >= 9) {
		struct str head = buf_pullup(out, 9);
		const uint8_t *p = (const uint8_t *)head.p;
		size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];

		if (n == 0x505249)      /* "PRI": our own preface */
			n = 24 - 9;
		fuzz_assert(n < 1u << 24 && out->n >= 9 + n);
		buf_consume(out, 9 + n);
	}
	fuzz_assert(out->n == 0);
}

/* ---- streams ----------------------------------------------------------------------------------- */

static struct ex *ex_new(bool up)
{
	struct ex *e = kv_zalloc(sizeof(*e));

	arena_init(&e->arena, 1024);
	head_init(&e->in, &e->arena);
	head_init(&e->trailers, &e->arena);
	head_init(&e->out, &e->arena);
	head_init(&e->out_trailers, &e->arena);
	e->leg = (struct leg){ .up = up, .head = &e->in, .trailers = &e->trailers };
	e->used = true;
	F.ex[F.n++ % EXCHANGES_MAX] = e;
	return e;
}

static void ex_free(struct ex *e)
{
	arena_done(&e->arena);
	free(e);
}

static struct ex *ex_of(struct leg *l)
{
	return (struct ex *)((char *)l - offsetof(struct ex, leg));
}

static bool now_and_then(unsigned flag)
{
	return (F.mode & flag) != 0 && ++F.events % 5 == 0;
}

/* The slot's former exchange is let go as a stream would do at its end. */
static void make_room(void)
{
	struct ex **slot = &F.ex[F.n % EXCHANGES_MAX];

	if (!*slot)
		return;
	if ((*slot)->leg.conn)
		codec_h2.reset(&(*slot)->leg, FAIL_NONE);
	ex_free(*slot);
	*slot = NULL;
}

struct leg *leg_open(struct conn *c)
{
	(void)c;
	make_room();
	return &ex_new(false)->leg;
}

static void send_head(struct ex *e, struct head *h, bool end)
{
	struct leg *l = &e->leg;

	if (!l->conn)
		return;
	l->head_out = l->head_out || l->up || h->status >= 200 || h->status == 101;
	l->end_out = l->end_out || end;
	codec_h2.head(l, h, end);
}

static void send_data(struct ex *e, const char *text, bool end)
{
	struct leg *l = &e->leg;
	struct buf b;

	buf_init(&b);
	buf_append(&b, text, strlen(text));
	if (l->conn && !l->end_out) {
		l->end_out = end;
		codec_h2.data(l, &b, end);
		fuzz_assert(b.n == 0);
	}
	buf_done(&b);
}

static void answer(struct ex *e)
{
	struct head *h = &e->out;

	h->version = HEAD_VERSION_2;
	h->status = 103;
	head_add(h, STR("link"), STR("</x>"));
	send_head(e, h, false);
	h->status = e->in.upgrade.n > 0 ? 101 : 200;
	e->switched = h->status == 101;
	if (!(F.mode & BODIES) && !e->switched) {
		send_head(e, h, true);
		return;
	}
	send_head(e, h, false);
	send_data(e, "some bytes", false);
	if (e->switched)
		return;
	head_add(&e->out_trailers, STR("grpc-status"), STR("0"));
	send_head(e, &e->out_trailers, true);
}

static void learn_id(struct ex *e)
{
	const struct h2_stream *hs = e->leg.conn ? e->leg.exchange : NULL;

	if (hs && e->id == 0 && hs->id > 0)
		e->id = hs->id;
}

/* Blind once it ended, with what had passed before. */
static void ask_oracle(struct ex *e, bool end)
{
	learn_id(e);
	fuzz_assert(e->id > 0);
	fuzz_assert(F.oracle.blind || h2_oracle_passed(&F.oracle, e->id, e->heads, end));
}

static void check_head(const struct leg *l, const struct head *h)
{
	fuzz_assert(l->up ? h1_response_ok(h) : h1_request_ok(h));
	for (size_t i = 0; i < h->n; i++) {
		enum head_id id = h->fields[i].id;

		fuzz_assert(id != HEAD_ID_HOST && id != HEAD_ID_CONTENT_LENGTH && id != HEAD_ID_TRANSFER_ENCODING &&
			    id != HEAD_ID_CONNECTION && id != HEAD_ID_UPGRADE && id != HEAD_ID_TE);
	}
	if (!l->up)
		fuzz_assert(h->authority.n > 0 && h->method.n > 0);
}

void leg_on_head(struct leg *l, bool end)
{
	struct ex *e = ex_of(l);

	fuzz_assert(!e->head_seen && !e->end_seen && !e->reset_seen);
	check_head(l, l->head);
	e->heads++;
	ask_oracle(e, end && l->head->upgrade.n == 0);  /* the request for a tunnel ends with its head */
	fuzz_assert(!end || l->end_in);
	if (l->up && !l->head_in) {
		fuzz_assert(l->head->status < 200 && !end);
		return;
	}
	fuzz_assert(l->head_in);
	e->head_seen = true;
	e->end_seen = end;
	if (l->up && l->head->status == 101)
		e->switched = true;
	if (now_and_then(RESETS) && l->conn)
		codec_h2.reset(l, FAIL_UP_CLOSED);
	else if (!l->up)
		answer(e);
}

static bool body_may_come(const struct ex *e)
{
	/* A tunnel's request ends with its head, its bytes come after the switch. */
	return e->head_seen && !e->reset_seen && (!e->end_seen || e->switched);
}

void leg_on_data(struct leg *l, struct buf *b)
{
	struct ex *e = ex_of(l);

	fuzz_assert(body_may_come(e));
	e->bytes += b->n;
	if (l->head->body == HEAD_BODY_LENGTH)
		fuzz_assert(e->bytes <= l->head->content_length);
	buf_consume(b, b->n);
	if (l->conn && now_and_then(PAUSES)) {
		l->paused = !l->paused;
		codec_h2.window(l, l->paused ? 0 : 1000);
	} else if (e->switched) {
		send_data(e, "echo", false);
	}
}

void leg_on_end(struct leg *l)
{
	struct ex *e = ex_of(l);

	fuzz_assert(body_may_come(e));
	ask_oracle(e, true);
	/* The length of an answer to HEAD tells of a body that does not come. */
	if (l->head->body == HEAD_BODY_LENGTH && !str_eq(e->out.method, STR("HEAD")))
		fuzz_assert(e->bytes == l->head->content_length);
	for (size_t i = 0; i < l->trailers->n; i++)
		fuzz_assert(head_is_token(l->trailers->fields[i].name) && head_is_value(l->trailers->fields[i].value));
	e->end_seen = true;
	if (e->switched)
		send_data(e, "", true);
	e->switched = false;
}

void leg_on_reset(struct leg *l, enum fail why)
{
	struct ex *e = ex_of(l);

	fuzz_assert(!e->reset_seen && why > FAIL_NONE && why < FAIL__N);
	e->reset_seen = true;
	if (why == FAIL_DOWN_PROTOCOL) {
		fuzz_assert(l->conn && l->status >= 400 && !l->up);
		e->out.status = l->status;
		send_head(e, &e->out, true);
		if (l->conn)
			codec_h2.reset(l, FAIL_DOWN_PROTOCOL);
	}
	fuzz_assert(!l->conn);
}

void leg_on_writable(struct leg *l)
{
	fuzz_assert(l->room > 0);
}

/* ---- as client: some exchanges of ours --------------------------------------------------------- */

static void ask(unsigned i)
{
	static const char *const methods[] = { "GET", "POST", "HEAD" };

	if (F.c.slots == 0 || F.c.state != CONN_OPEN)
		return;
	make_room();
	struct ex *e = ex_new(true);
	struct head *h = &e->out;

	h->version = HEAD_VERSION_11;
	h->method = str_c(methods[i % 3]);
	h->scheme = STR("http");
	h->authority = STR("a");
	h->path = STR("/x");
	if (i % 4 == 3) {
		h->method = STR("GET");
		h->upgrade = e->leg.upgrade = STR("websocket");
	}
	codec_h2.start(&F.c, &e->leg);
	if (i % 3 != 1 || h->upgrade.n > 0) {
		send_head(e, h, true);
		return;
	}
	send_head(e, h, false);
	send_data(e, "body", true);
}

/* What was sent meanwhile: some requests wait for the peer's settings. */
static void tell_oracle(void)
{
	for (unsigned i = 0; !(F.mode & SERVER) && i < EXCHANGES_MAX; i++) {
		struct ex *e = F.ex[(F.n + i) % EXCHANGES_MAX];         /* oldest first */

		if (!e || e->id > 0)
			continue;
		learn_id(e);
		if (e->id > 0)
			h2_oracle_ask(&F.oracle, e->id, e->out.method.p, e->out.upgrade.n > 0);
	}
}

/* ---- turns ------------------------------------------------------------------------------------- */

static void end_of_turn(void)
{
	while (!list_is_empty(&F.later)) {
		struct loop_later *w = list_entry(F.later.next, struct loop_later, node);

		loop_later_done(w);
		w->fn(w->arg);
	}
	if (F.c.state != CONN_DEAD)
		check_output(&F.c.out);
	tell_oracle();
	run_deferred();
	F.now += 1000;
	if (F.c.state == CONN_OPEN)
		codec_h2.writable(&F.c);
}

static void feed(const void *p, size_t n)
{
	if (F.c.state != CONN_OPEN || n == 0)
		return;
	h2_oracle_feed(&F.oracle, p, n);
	buf_append(&F.c.in, p, n);
	codec_h2.recv(&F.c);
	end_of_turn();
}

static void start(uint8_t mode)
{
	const nghttp2_settings_entry mine[] = {
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_FRAME_SIZE, H2_FRAME_MAX },
		{ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
	};

	memset(&F, 0, sizeof(F));
	h2_oracle_init(&F.oracle, (mode & SERVER) != 0, mine, (mode & SERVER) != 0 ? 3 : 2);
	F.mode = mode;
	F.now = 1000000;
	list_init(&F.later);
	list_init(&F.deferred);
	F.lease.settings.header_timeout_us = F.lease.settings.idle_timeout_us = 1000000;
	F.w.lease = &F.lease;
	F.c.w = &F.w;
	F.c.owner = &owner;
	F.c.ops = &codec_h2;
	F.c.state = CONN_OPEN;
	buf_init(&F.c.in);
	buf_init(&F.c.out);
	codec_h2.open(&F.c, (mode & SERVER) != 0);
	for (unsigned i = 0; !(mode & SERVER) && i < 8; i++)
		ask(i);
	end_of_turn();
}

static void stop(void)
{
	conn_kill(&F.c);
	F.later.next = F.later.prev = &F.later;
	run_deferred();
	for (unsigned i = 0; i < EXCHANGES_MAX; i++) {
		if (!F.ex[i])
			continue;
		fuzz_assert(!F.ex[i]->leg.conn);
		ex_free(F.ex[i]);
	}
	buf_done(&F.c.in);
	buf_done(&F.c.out);
	h2_oracle_done(&F.oracle);
}

static void turn_between(unsigned turn)
{
	if (!(F.mode & SERVER))
		ask(turn);
	if ((F.mode & DRAINS) && turn == 3 && F.c.state == CONN_OPEN)
		codec_h2.drain(&F.c);
	end_of_turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

	if (size < 2)
		return 0;
	size_t piece = data[1] == 0 ? size : data[1];

	start(data[0]);
	if (data[0] & PREFACE)
		feed(data[0] & SERVER ? preface : preface + 24, data[0] & SERVER ? 33 : 9);
	data += 2;
	size -= 2;
	for (unsigned turn = 0; size > 0 && turn < TURNS_MAX; turn++) {
		size_t n = piece < size ? piece : size;

		feed(data, n);
		data += n;
		size -= n;
		turn_between(turn);
	}
	if ((F.mode & END) && F.c.state == CONN_OPEN) {
		F.c.eof = true;
		codec_h2.recv(&F.c);
		end_of_turn();
	}
	stop();
	return 0;
}
