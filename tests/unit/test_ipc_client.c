/* SPDX-License-Identifier: Apache-2.0 */
/* ipc: the daemons' client: order, loss of the connection, coming back. */
#include "config.h"

#include <string.h>

#include "ipc/ipc.h"
#include "ipc_fixture.h"
#include "unit.h"

struct seen {
	struct loop *loop;
	struct ipc_client *client;
	struct loop_timer deadline;
	int connects, disconnects;
	int replies;
	int64_t last;
	char error[64];
	int errors;
	void (*on_connect)(struct seen *s);
	void (*on_reply)(struct seen *s);
	void (*on_disconnect)(struct seen *s);
	struct fixture *fixture;
};

static void too_late(void *arg)
{
	(void)arg;
	ck_abort_msg("nothing happened in time");
}

static void on_connect(void *arg, bool connected)
{
	struct seen *s = arg;

	*(connected ? &s->connects : &s->disconnects) += 1;
	if (connected && s->on_connect)
		s->on_connect(s);
	if (!connected && s->on_disconnect)
		s->on_disconnect(s);
}

static void on_reply(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct seen *s = arg;

	(void)continues;
	if (error_name) {
		snprintf(s->error, sizeof(s->error), "%s", error_name);
		s->errors++;
	} else {
		s->replies++;
		s->last = doc_get_int(p, "i", -1);
	}
	if (s->on_reply)
		s->on_reply(s);
}

static void seen_init(struct seen *s, struct fixture *f)
{
	*s = (struct seen){ .loop = loop_new(), .fixture = f };
	loop_timer_init(&s->deadline, s->loop, too_late, s);
	loop_timer_set(&s->deadline, 30u * 1000 * 1000);
	s->client = ipc_client_new(s->loop, f->path);
	ipc_client_on_connect(s->client, on_connect, s);
}

static void seen_done(struct seen *s)
{
	ipc_client_free(s->client);
	loop_timer_done(&s->deadline);
	loop_free(s->loop);
}

static void call_echo(struct seen *s, int64_t i)
{
	struct arena a;

	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a);

	doc_set_int(&a, d, "i", i);
	ipc_client_call(s->client, "Echo", d, false, on_reply, s);
	arena_done(&a);
}

static void ten_calls(struct seen *s)
{
	for (int64_t i = 1; i <= 10; i++)
		call_echo(s, i);
}

static void stop_after_ten(struct seen *s)
{
	ck_assert_int_eq(s->last, s->replies);
	if (s->replies == 10)
		loop_stop(s->loop);
}

START_TEST(replies_come_in_order)
{
	struct fixture f;
	struct seen s;

	fixture_init(&f);
	seen_init(&s, &f);
	s.on_connect = ten_calls;
	s.on_reply = stop_after_ten;
	loop_run(s.loop);
	ck_assert_int_eq(s.errors, 0);
	seen_done(&s);
	fixture_done(&f);
}
END_TEST

static void stop(struct seen *s)
{
	loop_stop(s->loop);
}

START_TEST(call_without_connection_fails_later)
{
	struct fixture f;
	struct seen s;

	fixture_init(&f);
	fixture_kill(&f);
	seen_init(&s, &f);
	s.on_reply = stop;
	call_echo(&s, 1);
	ck_assert_int_eq(s.errors, 0);
	loop_run(s.loop);
	ck_assert_str_eq(s.error, IPC_E_DISCONNECTED);
	seen_done(&s);
	fixture_start(&f);
	fixture_done(&f);
}
END_TEST

static void call_never(struct seen *s)
{
	if (s->connects == 1) {
		ipc_client_call(s->client, "Never", NULL, true, on_reply, s);
		call_echo(s, 1);
		/* The server dies with both calls open, and comes back. */
		fixture_kill(s->fixture);
	} else {
		call_echo(s, 5);
	}
}

static void restart_server(struct seen *s)
{
	fixture_start(s->fixture);
}

static void stop_at_five(struct seen *s)
{
	if (s->last == 5)
		loop_stop(s->loop);
}

START_TEST(lost_connection_fails_open_calls_and_returns)
{
	struct fixture f;
	struct seen s;

	fixture_init(&f);
	seen_init(&s, &f);
	s.on_connect = call_never;
	s.on_disconnect = restart_server;
	s.on_reply = stop_at_five;
	loop_run(s.loop);
	ck_assert_int_eq(s.errors, 2);
	ck_assert_str_eq(s.error, IPC_E_DISCONNECTED);
	ck_assert_int_eq(s.connects, 2);
	ck_assert_int_eq(s.disconnects, 1);
	seen_done(&s);
	fixture_done(&f);
}
END_TEST

static void call_viewers(struct seen *s)
{
	ipc_client_call(s->client, "Viewers", NULL, false, on_reply, s);
}

START_TEST(refusal_is_told)
{
	struct fixture f;
	struct seen s;

	fixture_init(&f);
	seen_init(&s, &f);
	s.on_connect = call_viewers;
	s.on_reply = stop;
	loop_run(s.loop);
	ck_assert_str_eq(s.error, IPC_E_NOT_PERMITTED);
	seen_done(&s);
	fixture_done(&f);
}
END_TEST

static void call_count(struct seen *s)
{
	struct arena a;

	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a);

	doc_set_int(&a, d, "n", 100);
	ipc_client_call(s->client, "Count", d, true, on_reply, s);
	arena_done(&a);
}

static void free_at_fifty(struct seen *s)
{
	ck_assert_int_le(s->replies, 50);
	if (s->replies == 50) {
		ipc_client_free(s->client);
		s->client = NULL;
		loop_stop(s->loop);
	}
}

START_TEST(freed_inside_its_handler)
{
	struct fixture f;
	struct seen s;

	fixture_init(&f);
	seen_init(&s, &f);
	s.on_connect = call_count;
	s.on_reply = free_at_fifty;
	loop_run(s.loop);
	ck_assert_int_eq(s.replies, 50);
	seen_done(&s);
	fixture_done(&f);
}
END_TEST

UNIT_MAIN("ipc_client", replies_come_in_order, call_without_connection_fails_later,
	  lost_connection_fails_open_calls_and_returns, refusal_is_told, freed_inside_its_handler)
