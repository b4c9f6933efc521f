/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a stream between two fake codecs: legs are scripted, no byte of any protocol is
 * involved. Scripts run in the worker's own thread; what the fakes were told is looked at there.
 */
#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/conn.h"
#include "proxy/entry.h"
#include "proxy/listener.h"
#include "proxy/stream.h"
#include "proxy_net.h"

#define ONE \
	NET_SETTINGS "," NET_NODE "," \
	"'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', 'port': 0}]," \
	"'views': [{'name': 'v', 'vhosts': [{'name': 'a', 'domains': ['app'], 'routes': [{" \
	"  'name': 'r', 'destinations': [{'cluster': 0, 'weight': 1}], 'total_weight': 1}]}]}]," \
	"'clusters': [{'name': 'c', 'endpoints': [{'address': '127.0.0.1', 'port': %d," \
	"  'weight': 1, 'peer': -1}]}]"

/* ---- a codec that writes down what it is told ------------------------------------------------ */

struct fake {
	struct conn *conn;
	struct leg *leg;
	unsigned status, heads;         /* of the last head; how many (1xx, final, trailers) */
	char body[65536];
	size_t n;
	size_t room;                    /* what the leg is told after each call */
	unsigned stops, goes;           /* window(0), window(more) */
	bool ended, reset;
	enum fail why;
};

static void fake_nothing(struct conn *c)
{
	(void)c;
}

static void fake_open(struct conn *c, bool server)
{
	(void)c, (void)server;
}

static void fake_start(struct conn *c, struct leg *l)
{
	(void)c, (void)l;
}

static void detach_when_over(struct fake *f)
{
	if (f->leg && f->leg->end_in && f->leg->end_out) {
		f->leg->conn = NULL;
		f->leg = NULL;
	}
}

static void fake_head(struct leg *l, struct head *h, bool end)
{
	struct fake *f = l->conn->codec;

	f->status = h->status;
	f->heads++;
	f->ended = end;
	l->room = f->room;
	detach_when_over(f);
}

static void fake_data(struct leg *l, struct buf *b, bool end)
{
	struct fake *f = l->conn->codec;

	ck_assert_uint_le(f->n + b->n, sizeof(f->body));
	while (b->n > 0) {
		struct str run = buf_peek(b);

		memcpy(f->body + f->n, run.p, run.n);
		f->n += run.n;
		buf_consume(b, run.n);
	}
	f->ended = end;
	l->room = f->room;
	detach_when_over(f);
}

static void fake_window(struct leg *l, size_t room)
{
	struct fake *f = l->conn->codec;

	f->stops += room == 0;
	f->goes += room > 0;
}

static void fake_reset(struct leg *l, enum fail why)
{
	struct fake *f = l->conn->codec;

	f->reset = true;
	f->why = why;
	l->conn = NULL;
	f->leg = NULL;
}

static const struct codec_ops codec_fake = {
	.name = "fake", .http = true,
	.open = fake_open, .recv = fake_nothing, .writable = fake_nothing, .close = fake_nothing,
	.start = fake_start, .head = fake_head, .data = fake_data, .window = fake_window,
	.reset = fake_reset, .drain = fake_nothing,
};

static void free_entry(void *p)
{
	entry_free(p);
}

static void fake_gone(struct conn *c)
{
	if (c->owner_data)
		loop_defer_free(c->w->loop, free_entry, c->owner_data);
}

static const struct conn_owner fake_owner = {
	.ready = fake_nothing, .failed = fake_nothing, .idle = fake_nothing, .gone = fake_gone,
};

static void fake_init(struct fake *f, struct worker *w, struct entry *e)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	close(fds[1]);
	memset(f, 0, sizeof(*f));
	f->room = CODEC_HIGH_BYTES;
	f->conn = conn_new(w, fds[0], NULL, &fake_owner, e);
	conn_pause(f->conn);
	conn_set_codec(f->conn, &codec_fake, e != NULL);
	f->conn->codec = f;
}

static void fake_attach(struct fake *f, struct leg *l)
{
	f->leg = l;
	l->conn = f->conn;
	l->room = f->room;
}

/* ---- scripts in the worker's thread ---------------------------------------------------------- */

struct script {
	struct net net;
	struct backend *silent;
	struct worker *w;
	struct fake down, up;
	struct stream *s;
	void (*fn)(struct script *t);
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static void say(struct leg *l, const char *text)
{
	struct buf b;

	buf_init(&b);
	buf_append(&b, text, strlen(text));
	leg_on_data(l, &b);
	ck_assert_uint_eq(b.n, 0);
}

static void request(struct script *t, const char *method, bool end)
{
	struct leg *l = leg_open(t->down.conn);

	t->s = l->s;
	fake_attach(&t->down, l);
	l->head->version = HEAD_VERSION_11;
	l->head->method = arena_str(&t->s->arena, str_c(method));
	l->head->scheme = STR("http");
	l->head->authority = STR("app");
	l->head->path = STR("/x");
	l->head->body = end ? HEAD_BODY_NONE : HEAD_BODY_CHUNKED;
	l->head_in = true;
	l->end_in = end;
	leg_on_head(l, end);
}

/* The connection that the stream waits for is the fake one. */
static void connect_up(struct script *t)
{
	ck_assert_int_eq(t->s->step, STEP_CONNECT);
	upstream_cancel(&t->s->wait);
	fake_attach(&t->up, &t->s->up);
	stream_run(t->s);
	ck_assert_int_eq(t->s->step, STEP_FORWARD);
}

static void respond(struct script *t, unsigned status, bool end)
{
	struct leg *l = &t->s->up;

	head_init(l->head, &t->s->arena);
	l->head->status = status;
	l->head->body = end ? HEAD_BODY_NONE : HEAD_BODY_CHUNKED;
	l->head_in = status >= 200;
	l->end_in = end;
	if (end)
		detach_when_over(&t->up);
	leg_on_head(l, end);
}

static void end_of(struct script *t, struct fake *f, struct leg *l)
{
	(void)t;
	l->end_in = true;
	detach_when_over(f);
	leg_on_end(l);
}

static void in_worker(void *arg)
{
	struct script *t = arg;
	struct listener *l = list_entry(t->w->listeners.next, struct listener, node);

	fake_init(&t->down, t->w, entry_new(l));
	fake_init(&t->up, t->w, NULL);
	t->fn(t);
	ck_assert_int_eq(t->s->step, STEP_DONE);
	ck_assert(list_is_empty(&t->w->streams));
	conn_kill(t->down.conn);
	conn_kill(t->up.conn);
	pthread_mutex_lock(&t->lock);
	t->done = true;
	pthread_cond_signal(&t->cond);
	pthread_mutex_unlock(&t->lock);
}

static void silence(int fd, void *arg)
{
	char c;

	(void)arg;
	while (recv(fd, &c, 1, 0) > 0)
		;
}

static void run_script(void (*fn)(struct script *t))
{
	struct script *t = calloc(1, sizeof(*t));

	t->fn = fn;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->cond, NULL);
	t->silent = backend_start_raw(silence, NULL);
	net_start(&t->net, 1);
	net_publish(&t->net, ONE, backend_port(t->silent));
	close(client_dial(net_port(&t->net, "HTTP_PROXY")));    /* the lease is there */
	net_await(&t->net, STATS_DOWN_CONNECTIONS, 0);
	t->w = worker_at(t->net.workers, 0);
	loop_post(t->w->loop, in_worker, t);
	pthread_mutex_lock(&t->lock);
	while (!t->done)
		pthread_cond_wait(&t->cond, &t->lock);
	pthread_mutex_unlock(&t->lock);
	ck_assert_int_eq(net_stat(&t->net, STATS_STREAMS), 0);
	net_stop(&t->net);
	backend_stop(t->silent);
	free(t);
}

/* ---- the tests ------------------------------------------------------------------------------- */

static void plain(struct script *t)
{
	request(t, "GET", true);
	connect_up(t);
	ck_assert_uint_eq(t->up.heads, 1);
	ck_assert(t->up.ended);
	respond(t, 103, false);
	ck_assert_uint_eq(t->down.status, 103);
	respond(t, 200, false);
	ck_assert_uint_eq(t->down.status, 200);
	say(&t->s->up, "hello");
	end_of(t, &t->up, &t->s->up);
	ck_assert(t->down.ended && !t->down.reset && !t->up.reset);
	ck_assert_uint_eq(t->down.n, 5);
}

START_TEST(heads_and_bodies_pass)
{
	run_script(plain);
}
END_TEST

static void held(struct script *t)
{
	request(t, "POST", false);
	say(&t->s->down, "one ");
	say(&t->s->down, "two ");
	connect_up(t);
	ck_assert_uint_eq(t->up.n, 8);
	say(&t->s->down, "three");
	t->s->req_trailers.version = HEAD_VERSION_11;
	head_add(&t->s->req_trailers, STR("x-sum"), STR("1"));
	end_of(t, &t->down, &t->s->down);
	ck_assert_int_eq(memcmp(t->up.body, "one two three", 13), 0);
	ck_assert_uint_eq(t->up.heads, 2);      /* the trailers */
	respond(t, 204, true);
	ck_assert_uint_eq(t->down.status, 204);
}

START_TEST(a_body_waits_for_its_connection_in_order)
{
	run_script(held);
}
END_TEST

static void early(struct script *t)
{
	request(t, "POST", false);
	connect_up(t);
	say(&t->s->down, "half of");
	respond(t, 413, false);
	say(&t->s->up, "no");
	end_of(t, &t->up, &t->s->up);
	ck_assert(t->down.ended && t->down.reset);      /* what comes yet is not wanted */
	ck_assert(t->up.reset);
	ck_assert_uint_eq(t->down.status, 413);
}

START_TEST(an_answer_before_the_end_of_the_request_ends_it)
{
	run_script(early);
}
END_TEST

static void cut(struct script *t)
{
	request(t, "GET", true);
	connect_up(t);
	respond(t, 200, false);
	say(&t->s->up, "begun");
	t->s->up.conn = NULL;
	leg_on_reset(&t->s->up, FAIL_UP_CLOSED);
	ck_assert(t->down.reset && !t->down.ended);
	ck_assert_int_eq(t->down.why, FAIL_UP_CUT);
	ck_assert_int_eq(t->s->rec.fail, FAIL_UP_CUT);
}

START_TEST(a_cut_answer_resets_the_client)
{
	run_script(cut);
}
END_TEST

static void windows(struct script *t)
{
	request(t, "GET", true);
	connect_up(t);
	respond(t, 200, false);
	t->down.room = 0;
	say(&t->s->up, "full");
	ck_assert_uint_eq(t->up.stops, 1);
	ck_assert_uint_eq(t->up.goes, 0);
	t->s->down.room = t->down.room = 1000;
	leg_on_writable(&t->s->down);
	ck_assert_uint_eq(t->up.goes, 1);
	end_of(t, &t->up, &t->s->up);
	ck_assert(t->down.ended);
}

START_TEST(a_full_leg_stops_the_other)
{
	run_script(windows);
}
END_TEST

static void held_too_much(struct script *t)
{
	char block[16385];

	memset(block, 'x', sizeof(block) - 1);
	block[sizeof(block) - 1] = '\0';
	request(t, "POST", false);
	for (int i = 0; i < 16; i++)
		say(&t->s->down, block);
	ck_assert_uint_eq(t->down.stops, 1);
	t->s->down.conn = NULL;
	leg_on_reset(&t->s->down, FAIL_DOWN_CLOSED);
	ck_assert_int_eq(t->s->rec.fail, FAIL_DOWN_CLOSED);
}

START_TEST(what_is_held_has_a_limit)
{
	run_script(held_too_much);
}
END_TEST

static void leaves(struct script *t)
{
	request(t, "GET", true);
	connect_up(t);
	respond(t, 200, false);
	t->s->down.conn = NULL;
	leg_on_reset(&t->s->down, FAIL_DOWN_CLOSED);
	ck_assert(t->up.reset);
	ck_assert_int_eq(t->s->rec.fail, FAIL_DOWN_CLOSED);
}

START_TEST(a_client_that_leaves_ends_the_try)
{
	run_script(leaves);
}
END_TEST

static void refused(struct script *t)
{
	struct leg *l = leg_open(t->down.conn);

	t->s = l->s;
	fake_attach(&t->down, l);
	l->status = 431;
	l->reason = "too_large";
	leg_on_reset(l, FAIL_DOWN_PROTOCOL);
	ck_assert_uint_eq(t->down.status, 431);
	ck_assert(t->down.ended);
	ck_assert_int_eq(t->s->rec.fail, FAIL_DOWN_PROTOCOL);
	ck_assert_str_eq(t->s->rec.details, "too_large");
}

START_TEST(what_a_codec_cannot_read_is_answered_and_recorded)
{
	run_script(refused);
}
END_TEST

static void switched(struct script *t)
{
	request(t, "GET", true);
	t->s->req.upgrade = STR("websocket");
	connect_up(t);
	respond(t, 101, false);
	ck_assert_uint_eq(t->down.status, 101);
	/* what codecs do when they switch */
	t->s->down.end_in = t->s->up.end_out = false;
	t->s->up.head_in = true;
	stream_run(t->s);
	say(&t->s->up, "up");
	say(&t->s->down, "down");
	ck_assert_uint_eq(t->down.n, 2);
	ck_assert_uint_eq(t->up.n, 4);
	end_of(t, &t->down, &t->s->down);
	ck_assert(t->up.ended && t->s->step == STEP_FORWARD);   /* the other half is open */
	end_of(t, &t->up, &t->s->up);
	ck_assert(t->down.ended && !t->down.reset);
}

START_TEST(switched_protocols_end_half_by_half)
{
	run_script(switched);
}
END_TEST

UNIT_MAIN("proxy_steps", heads_and_bodies_pass, a_body_waits_for_its_connection_in_order,
	  an_answer_before_the_end_of_the_request_ends_it, a_cut_answer_resets_the_client,
	  a_full_leg_stops_the_other, what_is_held_has_a_limit, a_client_that_leaves_ends_the_try,
	  what_a_codec_cannot_read_is_answered_and_recorded, switched_protocols_end_half_by_half)
