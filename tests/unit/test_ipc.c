/* SPDX-License-Identifier: Apache-2.0 */
/* ipc: the server against the blocking client and against raw bytes. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "ipc/ipc.h"
#include "ipc_fixture.h"
#include "unit.h"

#define TIMEOUT_MS 30000

static struct ipc_conn *dial(const struct fixture *f)
{
	struct ipc_conn *c = NULL;
	struct err err = { 0 };

	ck_assert_msg(ipc_dial(f->path, TIMEOUT_MS, &c, &err) == 0, "%s", err.text);
	return c;
}

static int64_t fact(struct ipc_conn *c, const char *name)
{
	struct arena a;
	struct doc *d;
	struct err err = { 0 };

	arena_init(&a, 0);
	ck_assert_msg(ipc_call_sync(c, "Facts", NULL, &a, &d, &err) == 0, "%s", err.text);
	int64_t v = doc_get_int(d, name, -1);

	arena_done(&a);
	return v;
}

static void wait_fact(struct ipc_conn *c, const char *name, int64_t at_least)
{
	for (int i = 0; i < TIMEOUT_MS / 5; i++) {
		if (fact(c, name) >= at_least)
			return;
		poll(NULL, 0, 5);
	}
	ck_abort_msg("%s never reached %lld", name, (long long)at_least);
}

static int raw_dial(const struct fixture *f)
{
	struct err err = { 0 };
	int fd = sock_connect_unix(f->path, &err);

	ck_assert_msg(fd >= 0, "%s", err.text);
	return fd;
}

/* Everything until the server closes, or until n NULs came. */
static struct str raw_read(int fd, char *buf, size_t size, int n_frames)
{
	size_t n = 0;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		ck_assert_int_eq(poll(&p, 1, TIMEOUT_MS), 1);
		ck_assert_uint_lt(n, size);
		ssize_t got = read(fd, buf + n, size - n);

		if (got <= 0)
			return str_from(buf, n);
		for (ssize_t i = 0; i < got; i++)
			n_frames -= buf[n + (size_t)i] == '\0';
		n += (size_t)got;
		if (n_frames == 0)
			return str_from(buf, n);
	}
}

static void raw_write(int fd, const void *p, size_t n)
{
	while (n > 0) {
		ssize_t put = send(fd, p, n, MSG_NOSIGNAL);

		if (put < 0 && errno == EAGAIN) {
			struct pollfd w = { .fd = fd, .events = POLLOUT };

			ck_assert_int_eq(poll(&w, 1, TIMEOUT_MS), 1);
			continue;
		}
		if (put < 0)
			return;         /* the server had enough */
		p = (const char *)p + put;
		n -= (size_t)put;
	}
}

START_TEST(round_trip)
{
	struct fixture f;
	struct arena a;
	struct doc *d, *p;
	struct err err = { 0 };

	fixture_init(&f);
	arena_init(&a, 0);
	p = doc_new_map(&a);
	doc_set_str(&a, p, "text", STR("grüße \"x\"\n"));
	doc_set(&a, p, "list", doc_add(&a, doc_new_list(&a), doc_new_int(&a, 7)));
	struct ipc_conn *c = dial(&f);

	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(ipc_call_sync(c, "Echo", p, &a, &d, &err), 0);
		ck_assert(doc_eq(p, d));
		unit_str_eq(doc_get_str(d, "text", STR("")), "grüße \"x\"\n");
	}
	ck_assert_int_eq(fact(c, "uid"), (int64_t)getuid());
	ck_assert_int_eq(fact(c, "pid"), (int64_t)getpid());
	ipc_hangup(c);
	arena_done(&a);
	fixture_done(&f);
}
END_TEST

START_TEST(stream_in_order)
{
	struct fixture f;
	struct arena a;
	struct doc *d, *p;
	struct err err = { 0 };
	bool more = true;

	fixture_init(&f);
	arena_init(&a, 0);
	p = doc_new_map(&a);
	doc_set_int(&a, p, "n", 50);
	struct ipc_conn *c = dial(&f);

	for (int64_t i = 1; i <= 50; i++) {
		ck_assert(more);
		ck_assert_int_eq(ipc_next_sync(c, i == 1 ? "Count" : NULL, p, &a, &d, &more,
					       TIMEOUT_MS, &err),
				 0);
		ck_assert_int_eq(doc_get_int(d, "i", 0), i);
	}
	ck_assert(!more);
	/* The connection is as good as new. */
	ck_assert_int_eq(ipc_call_sync(c, "Echo", p, &a, &d, &err), 0);
	ipc_hangup(c);
	arena_done(&a);
	fixture_done(&f);
}
END_TEST

START_TEST(error_has_its_sentence_and_code)
{
	struct fixture f;
	struct arena a;
	struct doc *d, *p;
	struct err err = { 0 };

	fixture_init(&f);
	arena_init(&a, 0);
	p = doc_new_map(&a);
	doc_set_str(&a, p, "name", STR("unicorn"));
	struct ipc_conn *c = dial(&f);

	ck_assert_int_eq(ipc_call_sync(c, "Fail", p, &a, &d, &err), KV_ERR_NOT_FOUND);
	ck_assert_str_eq(err.text, "there is no unicorn");
	/* An error of a method leaves the connection open. */
	ck_assert_int_eq(ipc_call_sync(c, "Echo", p, &a, &d, &err), 0);
	ipc_hangup(c);
	arena_done(&a);
	fixture_done(&f);
}
END_TEST

static void expect_refused(const char *method, int code)
{
	struct fixture f;
	struct arena a;
	struct doc *d;
	struct err err = { 0 };

	fixture_init(&f);
	arena_init(&a, 0);
	struct ipc_conn *c = dial(&f);

	ck_assert_int_eq(ipc_call_sync(c, method, NULL, &a, &d, &err), code);
	/* Such a caller is not served further. */
	ck_assert_int_eq(ipc_call_sync(c, "Echo", NULL, &a, &d, &err), KV_ERR_CLOSED);
	ipc_hangup(c);
	arena_done(&a);
	fixture_done(&f);
}

START_TEST(permission_refused)
{
	expect_refused("Viewers", KV_ERR_REFUSED);
}
END_TEST

START_TEST(unknown_method_refused)
{
	expect_refused("Nonsense", KV_ERR_PROTOCOL);
}
END_TEST

/* What is no call gets one error frame and the end of the connection; others are not disturbed. */
static void expect_rejected(const void *bytes, size_t n)
{
	static char buf[1 << 16];
	struct fixture f;

	fixture_init(&f);
	struct ipc_conn *other = dial(&f);
	int fd = raw_dial(&f);

	raw_write(fd, bytes, n);
	struct str got = raw_read(fd, buf, sizeof(buf), -1);

	ck_assert_msg(str_find_str(got, STR("\"error\":\"InvalidParameter\"")) >= 0, "got '%.*s'",
		      STR_ARG(got));
	ck_assert_int_eq(got.p[got.n - 1], 0);
	ck_assert_int_ge(fact(other, "closed"), 0);
	close(fd);
	ipc_hangup(other);
	fixture_done(&f);
}

START_TEST(garbage_rejected)
{
	static const char *const bad[] = {
		"hello",
		"",
		"[]",
		"42",
		"{",
		"{\"method\":5}",
		"{\"parameters\":{}}",
		"{\"method\":\"\"}",
		"{\"method\":\"Echo\",\"parameters\":[]}",
		"{\"method\":\"Echo\",\"more\":1}",
		"{\"method\":\"Echo\",\"method\":\"Fail\"}",
		"{\"method\":\"Echo\"} trailing",
		"\xff\xfe",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_rejected(bad[i], strlen(bad[i]) + 1);
}
END_TEST

START_TEST(oversized_rejected)
{
	static char big[IPC_FRAME_MAX + 4096];

	memset(big, ' ', sizeof(big));
	expect_rejected(big, sizeof(big));
}
END_TEST

START_TEST(largest_call_accepted)
{
	static char call[IPC_FRAME_MAX + 1], buf[IPC_FRAME_MAX + 1024];
	struct fixture f;
	int n = snprintf(call, sizeof(call), "{\"method\":\"Echo\",\"parameters\":{\"pad\":\"");

	fixture_init(&f);
	memset(call + n, 'y', sizeof(call) - (size_t)n);
	memcpy(call + IPC_FRAME_MAX - 3, "\"}}", 4);
	int fd = raw_dial(&f);

	raw_write(fd, call, sizeof(call));
	struct str got = raw_read(fd, buf, sizeof(buf), 1);

	ck_assert(str_has_prefix(got, STR("{\"parameters\":{\"pad\":\"yyy")));
	close(fd);
	fixture_done(&f);
}
END_TEST

START_TEST(pieces_and_pipelines)
{
	static const char calls[] =
		"{\"method\":\"Echo\",\"parameters\":{\"a\":1}}\0{\"method\":\"Echo\"}\0"
		"{\"method\":\"Fail\"}";
	char buf[4096];
	struct fixture f;

	fixture_init(&f);
	int fd = raw_dial(&f);

	for (size_t i = 0; i < sizeof(calls); i++)
		raw_write(fd, calls + i, 1);
	struct str got = raw_read(fd, buf, sizeof(buf), 3), frame;

	ck_assert(str_split(&got, '\0', &frame));
	unit_str_eq(frame, "{\"parameters\":{\"a\":1}}");
	ck_assert(str_split(&got, '\0', &frame));
	unit_str_eq(frame, "{\"parameters\":{}}");
	ck_assert(str_split(&got, '\0', &frame));
	ck_assert(str_find_str(frame, STR("\"NotFound\"")) >= 0);
	close(fd);
	fixture_done(&f);
}
END_TEST

/* echo '…' | socat: the caller has closed its sending side before the answer. */
START_TEST(half_closed_caller_is_answered)
{
	static const char call[] = "{\"method\":\"Echo\"}";
	char buf[256];
	struct fixture f;

	fixture_init(&f);
	int fd = raw_dial(&f);

	raw_write(fd, call, sizeof(call));
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	struct str got = raw_read(fd, buf, sizeof(buf), -1);

	unit_str_eq(str_take(got, got.n - 1), "{\"parameters\":{}}");
	close(fd);
	fixture_done(&f);
}
END_TEST

START_TEST(slow_reader_gets_the_newest)
{
	struct fixture f;
	struct arena a;
	struct doc *d;
	struct err err = { 0 };
	bool more = false;
	int64_t last = 0, n = 0;

	fixture_init(&f);
	struct ipc_conn *slow = dial(&f), *other = dial(&f);

	arena_init(&a, 0);
	ck_assert_int_eq(ipc_next_sync(slow, "Flood", NULL, &a, &d, &more, TIMEOUT_MS, &err), 0);
	/* It reads nothing while the server publishes everything: others are served meanwhile. */
	wait_fact(other, "version", FLOOD_LAST);
	ck_assert_int_gt(fact(other, "refusals"), 0);
	last = doc_get_int(d, "version", 0);
	while (last < FLOOD_LAST) {
		arena_clear(&a);
		ck_assert_msg(ipc_next_sync(slow, NULL, NULL, &a, &d, &more, TIMEOUT_MS, &err) == 0,
			      "%s", err.text);
		int64_t v = doc_get_int(d, "version", 0);

		ck_assert_int_gt(v, last);
		last = v;
		n++;
	}
	ck_assert_int_lt(n, FLOOD_LAST / 2);
	arena_done(&a);
	ipc_hangup(slow);
	ipc_hangup(other);
	fixture_done(&f);
}
END_TEST

START_TEST(departed_caller_is_noticed)
{
	static const char call[] = "{\"method\":\"Never\",\"more\":true}";
	struct fixture f;

	fixture_init(&f);
	struct ipc_conn *other = dial(&f);
	int fd = raw_dial(&f);

	raw_write(fd, call, sizeof(call));
	close(fd);
	wait_fact(other, "closed", 1);
	ipc_hangup(other);
	fixture_done(&f);
}
END_TEST

START_TEST(connections_per_user_are_capped)
{
	int fds[IPC_CONN_PER_UID_MAX];
	char buf[512];
	struct fixture f;

	fixture_init(&f);
	for (int i = 0; i < IPC_CONN_PER_UID_MAX; i++)
		fds[i] = raw_dial(&f);
	int one_more = raw_dial(&f);
	struct str got = raw_read(one_more, buf, sizeof(buf), -1);

	ck_assert_msg(str_find_str(got, STR("\"Busy\"")) >= 0, "got '%.*s'", STR_ARG(got));
	close(one_more);
	/* Room again once one of them left. */
	close(fds[0]);
	for (int i = 0; ; i++) {
		static const char call[] = "{\"method\":\"Echo\"}";

		ck_assert_int_lt(i, 1000);
		one_more = raw_dial(&f);
		raw_write(one_more, call, sizeof(call));
		got = raw_read(one_more, buf, sizeof(buf), 1);
		close(one_more);
		if (str_has_prefix(got, STR("{\"parameters\"")))
			break;
		poll(NULL, 0, 10);
	}
	for (int i = 1; i < IPC_CONN_PER_UID_MAX; i++)
		close(fds[i]);
	fixture_done(&f);
}
END_TEST

START_TEST(nobody_there)
{
	struct ipc_conn *c = NULL;
	struct err err = { 0 };

	ck_assert_int_eq(ipc_dial("/tmp/kvmesh-no-such-socket", 1000, &c, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "/tmp/kvmesh-no-such-socket"));
	ck_assert_int_lt(ipc_dial("relative", 1000, &c, &err), 0);
}
END_TEST

START_TEST(silent_server_times_out)
{
	struct fixture f;
	struct arena a;
	struct doc *d;
	struct err err = { 0 };
	struct ipc_conn *c = NULL;

	fixture_init(&f);
	arena_init(&a, 0);
	ck_assert_int_eq(ipc_dial(f.path, 100, &c, &err), 0);
	ck_assert_int_eq(ipc_call_sync(c, "Never", NULL, &a, &d, &err), KV_ERR_TIMEOUT);
	ipc_hangup(c);
	arena_done(&a);
	fixture_done(&f);
}
END_TEST

UNIT_MAIN("ipc", round_trip, stream_in_order, error_has_its_sentence_and_code, permission_refused,
	  unknown_method_refused, garbage_rejected, oversized_rejected, largest_call_accepted,
	  pieces_and_pipelines, half_closed_caller_is_answered, slow_reader_gets_the_newest,
	  departed_caller_is_noticed, connections_per_user_are_capped, nobody_there,
	  silent_server_times_out)
