/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients and services may not do, and what happens then (security-model 5.1, 5.2): statuses,
 * readable closes, nothing that looks complete and is not, limits.
 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "proxy_one.h"

/* ---- what is refused ------------------------------------------------------------------------- */

static const struct {
	const char *request;
	unsigned status;
} bad[] = {
	{ "GET /ok HTTP/1.1\r\n\r\n", 400 },
	{ "GET /ok HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400 },
	{ "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400 },
	{ "GET /ok HTTP/1.1\nHost: app\n\n", 400 },
	{ "GET  /ok HTTP/1.1\r\nHost: app\r\n\r\n", 400 },
	{ "GET /ok HTTP/1.1\r\nHost: app\r\n folded: x\r\n\r\n", 400 },
	{ "GET /ok HTTP/1.1\r\nHost: app\r\nBad Name: x\r\n\r\n", 400 },
	{ "GET /ok HTTP/1.1\r\nHost: app\r\nX : x\r\n\r\n", 400 },
	{ "POST /ok HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"
	  "\r\n0\r\n\r\n", 400 },
	{ "POST /ok HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"
	  "x", 400 },
	{ "POST /ok HTTP/1.1\r\nHost: app\r\nContent-Length: +1\r\n\r\nx", 400 },
	{ "POST /ok HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501 },
	{ "POST /ok HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", 400 },
	{ "GET /ok HTTP/2.0\r\nHost: app\r\n\r\n", 505 },
	{ "GET /ok HTTP/1.1\r\nHost: app\r\nExpect: magic\r\n\r\n", 417 },
	{ "TRACE /ok HTTP/1.1\r\nHost: app\r\n\r\n", 405 },
	{ "CONNECT app:80 HTTP/1.1\r\nHost: app:80\r\n\r\n", 405 },
	{ "get /ok HTTP/1.1\r\nHost: app\r\n\r\n", 405 },
	{ "GET /%zz HTTP/1.1\r\nHost: app\r\n\r\n", 400 },
	{ "GET /%00 HTTP/1.1\r\nHost: app\r\n\r\n", 400 },
};

START_TEST(bad_requests_get_their_status_and_reach_no_service)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = client_dial(f.port);

		client_send(fd, bad[i].request);
		/* what follows a broken message is not interpreted */
		client_send(fd, "GET /ok HTTP/1.1\r\nHost: app\r\n\r\n");
		ck_assert_msg(client_read(fd, "GET", &a), "no answer to %s", bad[i].request);
		ck_assert_msg(a.status == bad[i].status, "%u for %s", a.status, bad[i].request);
		bool ends = strcmp(answer_field(&a, "connection"), "close") == 0;

		answer_done(&a);
		if (ends)
			client_expect_end(fd);
		close(fd);
	}
	ck_assert_int_le(backend_requests(f.app), 5);
	teardown(&f);
}
END_TEST

START_TEST(long_heads_are_refused)
{
	struct fixture f;
	struct answer a;
	char *long_value = malloc(70000);

	memset(long_value, 'v', 69999);
	long_value[69999] = '\0';
	setup(&f);
	int fd = client_dial(f.port);

	client_ask(fd, &a, "GET /ok HTTP/1.1\r\nHost: app\r\nX-Long: %s\r\n\r\n", long_value);
	ck_assert_uint_eq(a.status, 431);
	answer_done(&a);
	client_expect_end(fd);
	close(fd);
	fd = client_dial(f.port);
	client_ask(fd, &a, "GET /%.20000s HTTP/1.1\r\nHost: app\r\n\r\n", long_value);
	ck_assert_uint_eq(a.status, 414);
	answer_done(&a);
	close(fd);
	free(long_value);
	teardown(&f);
}
END_TEST

START_TEST(a_refusal_can_be_read_although_the_body_was_not)
{
	struct fixture f;
	struct answer a;
	char block[65536];

	memset(block, 'b', sizeof(block));
	f.app = backend_start("app");
	net_start(&f.net, 1);
	net_publish(&f.net, "'settings': {'trust_domain': 'cluster.local', 'max_body_bytes': 1000},"
		    NET_NODE ", 'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', "
			     "'port': 0}],"
		    "'views': [{'name': 'v', 'outbound': 'REGISTRY_ONLY'}]");
	f.port = net_port(&f.net, "HTTP_PROXY");
	int fd = client_dial(f.port);

	client_send(fd, "POST /x HTTP/1.1\r\nHost: app\r\nContent-Length: 1000000\r\n\r\n");
	for (int i = 0; i < 10; i++)
		client_send_n(fd, block, sizeof(block));
	ck_assert(client_read(fd, "POST", &a));
	ck_assert_uint_eq(a.status, 413);
	answer_done(&a);
	client_expect_end(fd);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(chunked_bodies_are_limited_too)
{
	struct fixture f;
	struct answer a;

	f.app = backend_start("app");
	net_start(&f.net, 1);
	net_publish(&f.net, "'settings': {'trust_domain': 'cluster.local', 'max_body_bytes': 10},"
		    NET_NODE ", 'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', "
			     "'port': 0}],"
		    "'views': [{'name': 'v', 'vhosts': [{'name': 'a', 'domains': ['*'], 'routes': "
		    "[{'name': 'r',"
		    " 'destinations': [{'cluster': 0, 'weight': 1}], 'total_weight': 1}]}]}],"
		    "'clusters': [{'name': 'c', 'endpoints': [{'address': '127.0.0.1', 'port': %d, "
		    "'weight': 1,"
		    " 'peer': -1}]}]", backend_port(f.app));
	f.port = net_port(&f.net, "HTTP_PROXY");
	int fd = client_dial(f.port);

	client_ask(fd, &a, "POST /ok HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n"
			   "8\r\n01234567\r\n8\r\n01234567\r\n");
	ck_assert_uint_eq(a.status, 413);
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(a_slow_head_is_not_waited_for)
{
	struct fixture f;
	struct answer a;

	f.app = backend_start("app");
	net_start(&f.net, 1);
	net_publish(&f.net, "'settings': {'trust_domain': 'cluster.local', 'header_timeout_us': "
			    "300000},"
		    NET_NODE ", 'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', "
			     "'port': 0}],"
		    "'views': [{'name': 'v'}]");
	f.port = net_port(&f.net, "HTTP_PROXY");
	int fd = client_dial(f.port), silent = client_dial(f.port);

	client_send(fd, "GET / HTTP/1.1\r\nHo");
	ck_assert(client_read(fd, "GET", &a));
	ck_assert_uint_eq(a.status, 408);
	answer_done(&a);
	client_expect_end(fd);
	client_expect_end(silent);
	close(fd);
	close(silent);
	teardown(&f);
}
END_TEST

/* ---- services that misbehave ----------------------------------------------------------------- */

START_TEST(bad_answers_of_a_service)
{
	static const struct {
		const char *path;
		unsigned status;
		const char *body;
	} cases[] = {
		{ "/drop", 503, "upstream connect error or disconnect/reset before headers. reset "
				"reason: "
				"connection termination" },
		{ "/reset", 503, "upstream connect error or disconnect/reset before headers. reset "
				 "reason: "
				 "connection termination" },
		{ "/junk", 502, "upstream connect error or disconnect/reset before headers. reset "
				"reason: "
				"protocol error" },
	};
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		get(fd, cases[i].path, &a);
		ck_assert_uint_eq(a.status, cases[i].status);
		ck_assert_str_eq(a.body, cases[i].body);
		ck_assert_str_eq(answer_field(&a, "content-type"), "text/plain");
		answer_done(&a);
	}
	close(fd);
	teardown(&f);
}
END_TEST

/* Whatever is asked: these bytes, then the end. */
static void say_and_close(int fd, void *arg)
{
	char buf[4096];

	if (recv(fd, buf, sizeof(buf), 0) > 0)
		client_send(fd, *(const char **)arg);
}

#define SIXTEEN(x) x x x x x x x x x x x x x x x x
#define HINT "HTTP/1.1 103 Early Hints\r\n\r\n"

START_TEST(answers_are_checked_like_requests)
{
	static const struct {
		const char *text;
		unsigned status;
		const char *body;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok" },
		{ "HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, "until the end" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n"
		  "ok", 502, NULL },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "0\r\n\r\n", 502, NULL },
		{ "HTTP/1.1 200 OK\r\nX\x01: y\r\n\r\n", 502, NULL },
		{ "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", 502, NULL },
		{ "HTTP/1.1 200 OK\nContent-Length: 0\n\n", 502, NULL },
		{ "HTTP/1.1 20 OK\r\n\r\n", 502, NULL },
		{ "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
		  "upgrade\r\n"
		  "\r\n", 502, NULL },
		{ SIXTEEN(HINT) HINT "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 502, NULL },
		{ "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nbody", 204, "" },
		{ "HTTP/1.1 304 Not Modified\r\n\r\nbody", 304, "" },
		{ "HTTP/1.1 200 OK\r\nContent-Le", 503, NULL },
	};
	struct fixture f;
	struct answer a;
	const char *text;

	f.app = backend_start_raw(say_and_close, &text);
	net_start(&f.net, 1);
	net_publish(&f.net, ONE_SERVICE(""), backend_port(f.app));
	int fd = client_dial(net_port(&f.net, "HTTP_PROXY"));

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		text = cases[i].text;
		get(fd, "/", &a);
		while (a.status == 103) {
			answer_done(&a);
			ck_assert(client_read(fd, "GET", &a));
		}
		ck_assert_msg(a.status == cases[i].status, "%u for %s", a.status, text);
		if (cases[i].body)
			ck_assert_str_eq(a.body, cases[i].body);
		answer_done(&a);
	}
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(a_cut_answer_never_looks_complete)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	get(fd, "/cut", &a);
	ck_assert(a.cut);
	ck_assert_str_eq(a.body, "only this");
	answer_done(&a);
	close(fd);
	fd = client_dial(f.port);
	get(fd, "/cut-chunked", &a);
	ck_assert(a.cut);
	ck_assert_str_eq(a.body, "hello");
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(bytes_beyond_an_answer_are_never_the_next_one)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	for (int i = 0; i < 5; i++) {
		get(fd, "/excess", &a);
		ck_assert_str_eq(a.body, "ok");
		answer_done(&a);
		get(fd, "/ok", &a);
		ck_assert_str_eq(a.body, "app");
		answer_done(&a);
	}
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(a_service_that_is_not_there)
{
	struct net n;
	struct answer a;
	struct backend *gone = backend_start("gone");
	uint16_t port = backend_port(gone);

	backend_stop(gone);
	net_start(&n, 1);
	net_publish(&n, ONE_SERVICE(""), port);
	int fd = client_dial(net_port(&n, "HTTP_PROXY"));

	get(fd, "/ok", &a);
	ck_assert_uint_eq(a.status, 503);
	ck_assert_str_eq(a.body, "upstream connect error or disconnect/reset before headers. reset "
				 "reason: "
				 "connection failure");
	answer_done(&a);
	close(fd);
	net_stop(&n);
}
END_TEST

/* ---- too much of it -------------------------------------------------------------------------- */

START_TEST(connections_beyond_the_limit_are_closed)
{
	struct fixture f;
	struct answer a;
	int fds[3];

	f.app = backend_start("app");
	net_start(&f.net, 1);
	net_publish(&f.net, "'settings': {'trust_domain': 'cluster.local', 'max_connections': 2},"
		    NET_NODE ", 'views': [{'name': 'v'}],"
		    "'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', 'port': 0}]");
	f.port = net_port(&f.net, "HTTP_PROXY");
	for (int i = 0; i < 2; i++) {
		fds[i] = client_dial(f.port);
		get(fds[i], "/", &a);
		answer_done(&a);
	}
	fds[2] = client_dial(f.port);
	client_expect_end(fds[2]);
	ck_assert_int_eq(net_stat(&f.net, STATS_DOWN_REFUSED), 1);
	close(fds[0]);
	net_await(&f.net, STATS_DOWN_CONNECTIONS, 1);
	close(fds[2]);
	fds[2] = client_dial(f.port);
	get(fds[2], "/", &a);
	answer_done(&a);
	close(fds[1]);
	close(fds[2]);
	teardown(&f);
}
END_TEST

static void set_limit(rlim_t n)
{
	struct rlimit r;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &r), 0);
	r.rlim_cur = n;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &r), 0);
}

static rlim_t limit_now(void)
{
	struct rlimit r;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &r), 0);
	return r.rlim_cur;
}

/* This process has few descriptors from now on; another opens n connections and keeps them until told to go. */
static pid_t crowd(uint16_t port, int n, rlim_t few, int *ret_leave)
{
	rlim_t before = limit_now();
	int p[2];

	ck_assert_int_eq(pipe(p), 0);
	set_limit(few);
	pid_t pid = fork();

	if (pid == 0) {
		char c;

		close(p[1]);
		set_limit(before);
		for (int i = 0; i < n; i++)
			client_dial(port);
		(void)!read(p[0], &c, 1);
		_exit(0);
	}
	close(p[0]);
	*ret_leave = p[1];
	return pid;
}

static int count_open(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void await_refused(struct fixture *f, int64_t n)
{
	uint64_t end = clock_mono_us() + NET_DEADLINE_MS * 1000ull;

	while (net_stat(&f->net, STATS_DOWN_REFUSED) < n) {
		ck_assert(clock_mono_us() < end);
		usleep(2000);
	}
}

/* The crowd leaves; the service is served again. */
static void expect_recovery(struct fixture *f, pid_t pid, int leave)
{
	struct answer a;

	close(leave);
	waitpid(pid, NULL, 0);
	net_await(&f->net, STATS_DOWN_CONNECTIONS, 0);
	int fd = client_dial(f->port);

	get(fd, "/ok", &a);
	ck_assert_uint_eq(a.status, 200);
	answer_done(&a);
	close(fd);
}

START_TEST(running_out_of_descriptors_is_survived)
{
	struct fixture f;
	int leave, probe = open("/dev/null", O_RDONLY | O_CLOEXEC);
	rlim_t before = limit_now();

	setup(&f);
	close(client_dial(f.port));
	net_await(&f.net, STATS_DOWN_ACCEPTED, 1);
	net_await(&f.net, STATS_DOWN_CONNECTIONS, 0);
	pid_t pid = crowd(f.port, 300, (rlim_t)probe + 40, &leave);

	await_refused(&f, 2);           /* the reserve served twice */
	set_limit(before);
	expect_recovery(&f, pid, leave);
	close(probe);
	teardown(&f);
}
END_TEST

/* Another thread may have been faster: the next descriptor that is free is the reserve's. */
START_TEST(a_lost_reserve_of_descriptors_comes_back)
{
	struct fixture f;
	int leave, probe = open("/dev/null", O_RDONLY | O_CLOEXEC);
	rlim_t before = limit_now();

	setup(&f);
	close(client_dial(f.port));
	net_await(&f.net, STATS_DOWN_ACCEPTED, 1);
	net_await(&f.net, STATS_DOWN_CONNECTIONS, 0);
	int n_open = count_open();
	pid_t pid = crowd(f.port, 300, (rlim_t)probe, &leave);
	uint64_t end = clock_mono_us() + NET_DEADLINE_MS * 1000ull;

	while (count_open() > n_open) {         /* the end of the pipe came, the reserve went */
		ck_assert(clock_mono_us() < end);
		usleep(2000);
	}
	ck_assert_int_eq(net_stat(&f.net, STATS_DOWN_REFUSED), 0);
	set_limit((rlim_t)probe + 40);
	await_refused(&f, 2);
	set_limit(before);
	expect_recovery(&f, pid, leave);
	close(probe);
	teardown(&f);
}
END_TEST

UNIT_MAIN("proxy_bad", bad_requests_get_their_status_and_reach_no_service, long_heads_are_refused,
	  a_refusal_can_be_read_although_the_body_was_not, chunked_bodies_are_limited_too,
	  a_slow_head_is_not_waited_for, bad_answers_of_a_service,
	  answers_are_checked_like_requests, a_cut_answer_never_looks_complete,
	  bytes_beyond_an_answer_are_never_the_next_one, a_service_that_is_not_there,
	  connections_beyond_the_limit_are_closed, running_out_of_descriptors_is_survived,
	  a_lost_reserve_of_descriptors_comes_back)
