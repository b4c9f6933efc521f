/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics daemon's parts together in a process of their own, between proxies that the test
 * plays: healthy, dead, hung, gone; and what its HTTP side refuses.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/sock.h"
#include "ipc/ipc.h"
#include "metrics/http.h"
#include "metrics/scrape.h"
#include "metrics/settings.h"
#include "unit.h"

static char dir[] = "/tmp/kvmesh-metrics-XXXXXX";
static struct arena arena;
static pid_t server;
static uint16_t port;

/* ---- the server's process ------------------------------------------------------------------ */

static int big_rows;                    /* rows that each proxy tells */

static int put_row(char *to, int i)
{
	return snprintf(to, 256, ",[\"%06d-%0200d\",1]", i, 0);
}

static void on_stats(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct arena *a = ipc_call_arena(call);
	char *rows = arena_zalloc(a, (size_t)big_rows * 256 + 1), *end = rows;

	(void)p;
	for (int i = 0; i < big_rows; i++)
		end += put_row(end, i);
	ipc_reply_json(call, arena_printf(a,
					  "{\"families\":[{\"name\":\"r_total\",\"type\":"
					  "\"counter\",\"help\":\"H.\",\"labels\":[\"code\"],"
					  "\"series\":[[\"200\",10]%.*s]},"
					  "{\"name\":\"p\",\"type\":\"gauge\",\"help\":\"H.\","
					  "\"labels\":[\"proxy\"],\"series\":[[\"%s\",1]]}]}",
					  (int)(end - rows), rows, (const char *)arg));
}

static const struct ipc_method proxy_methods[] = {
	{ "Stats", IPC_ALLOW_ANY, on_stats, "" },
	{ 0 },
};

static const char *sock_path(const char *folder, const char *name)
{
	return arena_printf(&arena, "%s/%s/%s.sock", dir, folder, name).p;
}

static int listen_at(const char *folder, const char *name)
{
	struct err err = { 0 };
	int fd = sock_listen_unix(sock_path(folder, name), 0666, (gid_t)-1, &err);

	ck_assert_msg(fd >= 0, "%s", err.text);
	return fd;
}

static void no_generation(void *arg, int64_t g)
{
	(void)arg;
	(void)g;
}

/* proxies: names separated by spaces; the rest of the world is made by the parent. Writes its port
 * to fd. */
static _Noreturn void serve(const char *const *proxies, int fd)
{
	struct loop *l = loop_new();
	struct sock_addr a;
	struct err err = { 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (; *proxies; proxies++) {
		char *name = arena_strdup(&arena, *proxies);

		ipc_server_new(l, listen_at("proxy", name), proxy_methods, name);
	}
	struct scrape *s = scrape_new(l, dir, no_generation, NULL);
	struct http *h = http_new(l, s);

	ck_assert(sock_addr_parse(STR("127.0.0.1"), 0, &a));
	ck_assert_msg(http_listen(h, &a, &err) == 0, "%s", err.text);
	uint16_t p = sock_addr_port(http_address(h));

	ck_assert_int_eq(write(fd, &p, sizeof(p)), sizeof(p));
	close(fd);
	loop_run(l);
	_exit(0);
}

static void make_dirs(void)
{
	arena_init(&arena, 0);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(mkdir(arena_printf(&arena, "%s/proxy", dir).p, 0755), 0);
	ck_assert_int_eq(mkdir(arena_printf(&arena, "%s/router", dir).p, 0755), 0);
}

static void start(const char *const *proxies)
{
	int p[2];

	ck_assert_int_eq(pipe(p), 0);
	server = fork();
	if (server == 0)
		serve(proxies, p[1]);
	close(p[1]);
	ck_assert_int_eq(read(p[0], &port, sizeof(port)), sizeof(port));
	close(p[0]);
}

static void stop(void)
{
	char cmd[128];

	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

/* ---- asking -------------------------------------------------------------------------------- */

static int dial(void)
{
	struct sock_addr a;
	struct timeval t = { .tv_sec = 30 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert(sock_addr_parse(STR("127.0.0.1"), port, &a));
	ck_assert_int_eq(connect(fd, &a.sa, a.len), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	return fd;
}

/* The whole answer to these bytes; the connection must end by itself. */
static const char *talk(const char *request)
{
	int fd = dial();
	size_t n = 0, cap = 8u << 20;
	char *buf = arena_alloc(&arena, cap);

	ck_assert_int_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
	for (ssize_t r; (r = read(fd, buf + n, cap - n - 1)) > 0; )
		n += (size_t)r;
	buf[n] = '\0';
	close(fd);
	return buf;
}

static const char *get(const char *path)
{
	return talk(arena_printf(&arena, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path).p);
}

static int status_of(const char *answer)
{
	uint64_t code = 0;

	ck_assert_msg(strncmp(answer, "HTTP/1.", 7) == 0, "%s", answer);
	ck_assert(str_to_u64(str_from(answer + 9, 3), &code));
	return (int)code;
}

/* Polls: a proxy needs a moment to be seen; Check's timeout is the deadline. */
static const char *wait_for(const char *text, bool there)
{
	for (;;) {
		const char *answer = get("/metrics");

		/* too many at once is an answer, too */
		ck_assert(status_of(answer) == 200 || status_of(answer) == 503);
		if (status_of(answer) == 200 && (strstr(answer, text) != NULL) == there)
			return answer;
		usleep(100000);
	}
}

static const char *const none[] = { NULL }, *const one[] = { "node", NULL },
			 *const two[] = { "node", "edge", NULL };

START_TEST(several_proxies_become_one_exposition)
{
	make_dirs();
	start(two);
	const char *answer = wait_for("r_total{code=\"200\"} 20\n", true);

	ck_assert_ptr_nonnull(strstr(answer, "Content-Type: text/plain; version=0.0.4"));
	ck_assert_ptr_nonnull(strstr(answer, "p{proxy=\"node\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(answer, "p{proxy=\"edge\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(answer, "kvmesh_up{app=\"kvmesh-proxy\",proxy=\"edge\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(answer, "kvmesh_up{app=\"kvmesh-router\",proxy=\"\"} 0\n"));
	ck_assert_ptr_nonnull(strstr(get("/stats/prometheus"), "r_total{code=\"200\"} 20\n"));
	stop();
}
END_TEST

START_TEST(dead_and_hung_proxies_hold_up_nobody)
{
	int dead, hung;

	make_dirs();
	dead = listen_at("proxy", "dead");
	close(dead);                    /* the file stays, nobody listens */
	hung = listen_at("proxy", "hung");      /* connects, never answers */
	start(one);
	const char *answer = wait_for("r_total{code=\"200\"} 10\n", true);

	ck_assert_ptr_nonnull(strstr(answer, "kvmesh_up{app=\"kvmesh-proxy\",proxy=\"dead\"} 0\n"));
	ck_assert_ptr_nonnull(strstr(answer, "kvmesh_up{app=\"kvmesh-proxy\",proxy=\"hung\"} 0\n"));
	ck_assert_ptr_nonnull(strstr(answer, "kvmesh_up{app=\"kvmesh-proxy\",proxy=\"node\"} 1\n"));
	close(hung);
	stop();
}
END_TEST

START_TEST(proxies_come_and_go)
{
	make_dirs();
	start(one);
	wait_for("p{proxy=\"node\"} 1\n", true);
	/* another one in a process of its own */
	pid_t pid = fork();

	if (pid == 0) {
		struct loop *l = loop_new();
		static char name[] = "late";

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ipc_server_new(l, listen_at("proxy", "late"), proxy_methods, name);
		loop_run(l);
	}
	wait_for("p{proxy=\"late\"} 1\n", true);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	wait_for("p{proxy=\"late\"} 1\n", false);
	ck_assert_ptr_nonnull(
		strstr(wait_for("proxy=\"late\"} 0\n", true), "p{proxy=\"node\"} 1\n"));
	unlink(sock_path("proxy", "late"));
	wait_for("proxy=\"late\"", false);
	stop();
}
END_TEST

START_TEST(only_this_machines_names)
{
	static const struct {
		const char *head;
		int status;
	} cases[] = {
		{ "GET /healthz HTTP/1.1\r\nHost: localhost:15090\r\n", 200 },
		{ "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:15090\r\n", 200 },
		{ "GET /healthz HTTP/1.1\r\nHost: [::1]:15090\r\n", 200 },
		{ "GET /healthz HTTP/1.1\r\nHost: LOCALHOST\r\n", 200 },
		{ "GET /healthz HTTP/1.0\r\n", 200 },
		{ "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n", 403 },
		{ "GET /metrics HTTP/1.1\r\nHost: localhost.evil.example\r\n", 403 },
		{ "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n", 403 },
		{ "GET /metrics HTTP/1.1\r\nHost: localhost:99999\r\n", 403 },
		{ "GET /metrics HTTP/1.1\r\nHost: evil.example@localhost\r\n", 403 },
		{ "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", 403 },
		{ "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", 403 },
		{ "GET /metrics HTTP/1.1\r\nHost: \r\n", 403 },
		{ "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n", 403 },
		{ "GET /healthz HTTP/1.1\r\n", 403 },
	};

	make_dirs();
	start(none);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *answer =
			talk(arena_printf(&arena, "%sConnection: close\r\n\r\n", cases[i].head).p);

		ck_assert_msg(status_of(answer) == cases[i].status, "%s: %s", cases[i].head,
			      answer);
		ck_assert_ptr_null(strstr(answer, "Access-Control"));
	}
	stop();
}
END_TEST

START_TEST(only_reads)
{
	static const char *const methods[] = {
		"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"
	};
	const char *answer;

	make_dirs();
	start(one);
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		answer = talk(
			arena_printf(
				&arena,
				"%s /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
				"Connection: close\r\n\r\nx",
				methods[i])
				.p);
		ck_assert_msg(status_of(answer) == 405 || status_of(answer) == 400, "%s: %s",
			      methods[i], answer);
	}
	answer = talk("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
		      "1\r\nConnection: close\r\n\r\nx");
	ck_assert_int_eq(status_of(answer), 405);
	ck_assert_ptr_nonnull(strstr(answer, "Allow: GET, HEAD"));
	answer = talk("GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
		      "1\r\nConnection: close\r\n\r\nx");
	ck_assert_int_eq(status_of(answer), 400);
	answer = talk("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	ck_assert_int_eq(status_of(answer), 200);
	ck_assert_ptr_null(strstr(answer, "# HELP"));
	ck_assert_int_eq(status_of(get("/")), 404);
	ck_assert_int_eq(status_of(get("/metrics/..")), 404);
	/* and it still answers */
	wait_for("p{proxy=\"node\"} 1\n", true);
	stop();
}
END_TEST

START_TEST(readers_that_leave_are_forgotten)
{
	make_dirs();
	int hung = listen_at("proxy", "hung");  /* so that requests wait for the deadline */

	start(one);
	for (unsigned i = 0; i < 200; i++) {
		int fd = dial();

		ck_assert_int_gt(write(fd, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 43),
				 0);
		close(fd);
	}
	wait_for("p{proxy=\"node\"} 1\n", true);
	close(hung);
	stop();
}
END_TEST

START_TEST(a_large_exposition_is_whole)
{
	make_dirs();
	big_rows = 3000;                /* 700 KB of text, many pieces */
	start(one);
	const char *answer = wait_for("r_total{code=\"200\"} 10\n", true);
	size_t n = 0;

	for (const char *p = answer; (p = strstr(p, "\nr_total{code=\"0")); p++)
		n++;
	ck_assert_uint_eq(n, 3000);
	ck_assert_ptr_nonnull(strstr(answer, "\nprocess_start_time_seconds"));
	/* chunked for HTTP/1.1 */
	answer = talk("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(answer, "Transfer-Encoding: chunked"));
	ck_assert_ptr_nonnull(strstr(answer, "\r\n0\r\n\r\n"));
	stop();
}
END_TEST

START_TEST(listen_is_parsed)
{
	static const struct {
		const char *text, *expected;    /* NULL: refused, "": off */
	} cases[] = {
		{ "127.0.0.1:15090", "127.0.0.1:15090" },
		{ "[::1]:80", "[::1]:80" },
		{ "localhost:1", "127.0.0.1:1" },
		{ "", "" },
		{ "127.0.0.1:0", "" },
		{ "127.0.0.1", NULL },
		{ "127.0.0.1:99999", NULL },
		{ "example.com:80", NULL },
		{ ":80", NULL },
		{ "unix:/x:1", NULL },
	};
	char buf[SOCK_ADDR_TEXT_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sock_addr a;
		struct err err = { 0 };
		int r = settings_parse_listen(str_c(cases[i].text), &a, &err);

		ck_assert_msg((r == 0) == (cases[i].expected != NULL), "%s: %s", cases[i].text,
			      err.text);
		if (r == 0)
			ck_assert_str_eq(a.len > 0 ? sock_addr_text(&a, buf) : "",
					 cases[i].expected);
	}
}
END_TEST

/* ---- settings from the router -------------------------------------------------------------- */

static const char *listen_setting;
static unsigned n_refused;

static void on_config(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct arena *a = ipc_call_arena(call);

	(void)arg;
	(void)p;
	if (n_refused > 0) {
		n_refused--;
		ipc_reply_error(call, IPC_E_FAILED, "no files yet");
		return;
	}
	ipc_reply_json(call,
		       arena_printf(a,
				    "{\"generation\":1,\"kvmesh\":{\"metrics\":{\"listen\":\"%s\","
				    "\"scrapeInterval\":\"10s\"}}}",
				    listen_setting));
}

static const struct ipc_method router_methods[] = {
	{ "Config", IPC_ALLOW_ANY, on_config, "" },
	{ 0 },
};

static struct loop *loop;
static struct settings told;
static unsigned n_told;

static void on_told(void *arg, const struct settings *s)
{
	(void)arg;
	told = *s;
	n_told++;
	loop_stop(loop);
}

START_TEST(settings_come_from_the_router)
{
	make_dirs();
	loop = loop_new();
	listen_setting = "127.0.0.1:4001";
	n_refused = 3;
	struct ipc_server *router =
		ipc_server_new(loop, listen_at("router", "router"), router_methods, NULL);
	struct settings_watch *w = settings_watch_new(loop, dir, on_told, NULL);

	loop_run(loop);
	ck_assert_uint_eq(sock_addr_port(&told.listen), 4001);
	ck_assert_uint_eq(told.interval_us, 10000000);
	listen_setting = "127.0.0.1:0";
	settings_watch_ask(w);
	loop_run(loop);
	ck_assert_uint_eq(told.listen.len, 0);
	ck_assert_uint_eq(n_told, 2);
	settings_watch_free(w);
	ipc_server_free(router);
	loop_free(loop);
	server = 0;
	ck_assert_int_eq(system(arena_printf(&arena, "rm -r %s", dir).p), 0);
}
END_TEST

START_TEST(a_silent_router_means_the_defaults)
{
	char buf[SOCK_ADDR_TEXT_MAX];

	make_dirs();
	loop = loop_new();
	struct settings_watch *w = settings_watch_new(loop, dir, on_told, NULL);

	loop_run(loop);
	ck_assert_str_eq(sock_addr_text(&told.listen, buf), SETTINGS_LISTEN);
	/* and it is heard when it comes */
	listen_setting = "127.0.0.1:4002";
	struct ipc_server *router =
		ipc_server_new(loop, listen_at("router", "router"), router_methods, NULL);

	loop_run(loop);
	ck_assert_uint_eq(sock_addr_port(&told.listen), 4002);
	settings_watch_free(w);
	ipc_server_free(router);
	loop_free(loop);
	ck_assert_int_eq(system(arena_printf(&arena, "rm -r %s", dir).p), 0);
}
END_TEST

UNIT_MAIN("metrics", several_proxies_become_one_exposition, dead_and_hung_proxies_hold_up_nobody,
	  proxies_come_and_go, only_this_machines_names, only_reads,
	  readers_that_leave_are_forgotten, a_large_exposition_is_whole, listen_is_parsed,
	  settings_come_from_the_router, a_silent_router_means_the_defaults)
