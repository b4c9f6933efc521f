/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 through one proxy to one service: messages, connections, bad input, the answers made
 * here.
 */
#include "config.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "proxy_net.h"

/* One view: host "app" leads to the service, a few routes answer themselves. */
#define ONE_SERVICE(routes) \
	NET_SETTINGS "," NET_NODE "," \
	"'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', 'port': 0}," \
	"  {'kind': 'READY', 'address': '127.0.0.1', 'port': 0}]," \
	"'views': [{'name': 'all', 'outbound': 'REGISTRY_ONLY', 'vhosts': [{'name': 'app:80', " \
	"'port': 80," \
	"  'domains': ['app', 'app.default.svc.cluster.local']," \
	"  'service': 'app.default.svc.cluster.local', 'routes': [" routes \
	"  {'name': 'default', 'destinations': [{'cluster': 0, 'weight': 1}], 'total_weight': 1}]" \
	"}]}]," \
	"'clusters': [{'name': 'outbound|80||app.default.svc.cluster.local'," \
	"  'service': 'app.default.svc.cluster.local', 'service_name': 'app', 'service_ns': " \
	"'default', 'port': 80," \
	"  'endpoints': [{'address': '127.0.0.1', 'port': %d, 'weight': 1, 'peer': -1}]}]"

struct fixture {
	struct net net;
	struct backend *app;
	uint16_t port;
};

static void setup(struct fixture *f)
{
	f->app = backend_start("app");
	net_start(&f->net, 1);
	net_publish(&f->net, ONE_SERVICE(""), backend_port(f->app));
	f->port = net_port(&f->net, "HTTP_PROXY");
}

static void teardown(struct fixture *f)
{
	net_stop(&f->net);
	backend_stop(f->app);
}

static void get(int fd, const char *path, struct answer *a)
{
	client_ask(fd, a, "GET %s HTTP/1.1\r\nHost: app\r\n\r\n", path);
}

/* ---- messages -------------------------------------------------------------------------------- */

START_TEST(a_request_is_answered)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	get(fd, "/ok", &a);
	ck_assert_uint_eq(a.status, 200);
	ck_assert_str_eq(a.body, "app");
	ck_assert_str_eq(answer_field(&a, "content-length"), "3");
	ck_assert_str_eq(answer_field(&a, "server"), "envoy");
	ck_assert_str_ne(answer_field(&a, "x-envoy-upstream-service-time"), "");
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(absolute_form_and_host_lead_to_the_same)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	client_ask(fd, &a, "GET http://app.default.svc.cluster.local/headers?x=1 HTTP/1.1\r\n"
			   "Host: app.default.svc.cluster.local\r\nProxy-Connection: keep-alive\r\n"
			   "\r\n");
	ck_assert_ptr_nonnull(strstr(a.body, "GET /headers?x=1 HTTP/1.1\r\n"));
	ck_assert_ptr_nonnull(strstr(a.body, "host: app.default.svc.cluster.local\r\n"));
	ck_assert_ptr_null(strstr(a.body, "proxy-connection"));
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(connections_are_kept_on_both_sides)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	for (int i = 0; i < 50; i++) {
		get(fd, "/ok", &a);
		ck_assert_uint_eq(a.status, 200);
		answer_done(&a);
	}
	ck_assert_uint_eq(backend_accepted(f.app), 1);
	ck_assert_int_eq(net_stat(&f.net, STATS_UP_REUSED), 49);
	close(fd);
	net_await(&f.net, STATS_DOWN_CONNECTIONS, 0);
	teardown(&f);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
	struct fixture f;
	struct answer a;
	char expect[64];

	setup(&f);
	int fd = client_dial(f.port);

	for (int i = 0; i < 20; i++)
		client_sendf(fd, "POST /echo HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\n"
				 "%02d", i);
	for (int i = 0; i < 20; i++) {
		ck_assert(client_read(fd, "POST", &a));
		snprintf(expect, sizeof(expect), "%02d", i);
		ck_assert_str_eq(a.body, expect);
		answer_done(&a);
	}
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(chunked_bodies_pass_both_ways)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	get(fd, "/chunked", &a);
	ck_assert(a.chunked);
	ck_assert_str_eq(a.body, "hello, world");
	answer_done(&a);
	client_ask(fd, &a, "POST /echo HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n"
			   "3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n");
	ck_assert_str_eq(a.body, "abc0123456789");
	answer_done(&a);
	get(fd, "/ok", &a);
	ck_assert_str_eq(a.body, "app");
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(trailers_reach_the_client)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	client_ask(fd, &a, "GET /trailers HTTP/1.1\r\nHost: app\r\nTE: trailers\r\n\r\n");
	ck_assert_str_eq(a.body, "hello");
	ck_assert_str_eq(a.trailers, "x-sum: 42\n");
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(head_204_and_304_have_no_body)
{
	static const char *const paths[] = { "/empty", "/status/304" };
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	client_ask(fd, &a, "HEAD /ok HTTP/1.1\r\nHost: app\r\n\r\n");
	ck_assert_uint_eq(a.status, 200);
	ck_assert_str_eq(answer_field(&a, "content-length"), "3");
	answer_done(&a);
	for (size_t i = 0; i < 2; i++) {
		client_ask(fd, &a, "GET %s HTTP/1.1\r\nHost: app\r\n\r\n", paths[i]);
		answer_done(&a);
	}
	get(fd, "/ok", &a);
	ck_assert_str_eq(a.body, "app");
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(a_body_without_length_becomes_chunked)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	get(fd, "/nolength", &a);
	ck_assert(a.chunked && !a.cut);
	ck_assert_str_eq(a.body, "until the end");
	answer_done(&a);
	get(fd, "/ok", &a);
	ck_assert_str_eq(a.body, "app");
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(http_1_0_clients_get_what_they_can_read)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	client_ask(fd, &a, "GET /chunked HTTP/1.0\r\nHost: app\r\n\r\n");
	ck_assert(!a.chunked);
	ck_assert_str_eq(a.body, "hello, world");
	answer_done(&a);
	close(fd);
	fd = client_dial(f.port);
	client_ask(fd, &a, "GET /ok HTTP/1.0\r\nHost: app\r\nConnection: keep-alive\r\n\r\n");
	ck_assert_str_eq(answer_field(&a, "connection"), "keep-alive");
	answer_done(&a);
	client_ask(fd, &a, "GET /ok HTTP/1.0\r\nHost: app\r\n\r\n");
	ck_assert_str_eq(a.body, "app");
	answer_done(&a);
	client_expect_end(fd);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(continue_is_forwarded_and_relayed)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	client_ask(fd, &a, "POST /continue HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n"
			   "Expect: 100-continue\r\n\r\n");
	ck_assert_uint_eq(a.status, 100);
	answer_done(&a);
	client_send(fd, "body");
	ck_assert(client_read(fd, "POST", &a));
	ck_assert_uint_eq(a.status, 200);
	ck_assert_str_eq(a.body, "body");
	answer_done(&a);
	/*
	 * a final answer instead: nobody knows whether the body will come, so the connection ends
	 */
	client_ask(fd, &a, "POST /drop HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n"
			   "Expect: 100-continue\r\n\r\n");
	ck_assert_uint_eq(a.status, 503);
	ck_assert_str_eq(answer_field(&a, "connection"), "close");
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(informational_answers_are_relayed)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	get(fd, "/info", &a);
	ck_assert_uint_eq(a.status, 103);
	ck_assert_str_eq(answer_field(&a, "link"), "</a>");
	answer_done(&a);
	ck_assert(client_read(fd, "GET", &a));
	ck_assert_str_eq(a.body, "info");
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(websocket_switches_to_bytes)
{
	struct fixture f;
	struct answer a;
	char buf[16] = "";

	setup(&f);
	int fd = client_dial(f.port);

	client_ask(fd, &a, "GET /ws HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: "
			   "websocket\r\n\r\n");
	ck_assert_uint_eq(a.status, 101);
	ck_assert_str_eq(answer_field(&a, "upgrade"), "websocket");
	answer_done(&a);
	client_read_some(fd, buf, 5);
	ck_assert_str_eq(buf, "first");
	client_send(fd, "ping");
	memset(buf, 0, sizeof(buf));
	client_read_some(fd, buf, 4);
	ck_assert_str_eq(buf, "ping");
	shutdown(fd, SHUT_WR);
	client_expect_end(fd);
	close(fd);
	net_await(&f.net, STATS_STREAMS, 0);
	teardown(&f);
}
END_TEST

START_TEST(other_upgrades_stay_http)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	client_ask(fd, &a, "GET /headers HTTP/1.1\r\nHost: app\r\nConnection: Upgrade, "
			   "HTTP2-Settings\r\n"
			   "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n");
	ck_assert_uint_eq(a.status, 200);
	ck_assert_ptr_null(strstr(a.body, "upgrade"));
	ck_assert_ptr_null(strstr(a.body, "http2-settings"));
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(a_half_closed_client_gets_its_answer)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	client_send(fd, "GET /ok HTTP/1.1\r\nHost: app\r\n\r\n");
	shutdown(fd, SHUT_WR);
	ck_assert(client_read(fd, "GET", &a));
	ck_assert_str_eq(a.body, "app");
	answer_done(&a);
	client_expect_end(fd);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(every_byte_border_gives_the_same_answer)
{
	static const char request[] = "POST /echo HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: "
				      "chunked\r\n"
				      "X-Long: 0123456789\r\n\r\n4\r\nwxyz\r\n3\r\nabc\r\n0\r\n"
				      "X-T: 1\r\n\r\n";
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	for (size_t i = 1; i < sizeof(request) - 1; i++) {
		client_send_n(fd, request, i);
		usleep(500);
		client_send_n(fd, request + i, sizeof(request) - 1 - i);
		ck_assert(client_read(fd, "POST", &a));
		ck_assert_uint_eq(a.status, 200);
		ck_assert_str_eq(a.body, "wxyzabc");
		answer_done(&a);
	}
	for (size_t i = 0; i < sizeof(request) - 1; i++) {
		client_send_n(fd, request + i, 1);
		usleep(200);
	}
	ck_assert(client_read(fd, "POST", &a));
	ck_assert_str_eq(a.body, "wxyzabc");
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(large_bodies_pass_unchanged)
{
	enum { N = 3000000 };
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	get(fd, "/big/3000000", &a);
	ck_assert_uint_eq(a.n, N);
	answer_done(&a);
	char *body = malloc(N);

	for (int i = 0; i < N; i++)
		body[i] = (char)('a' + i % 23);
	client_send(fd, "POST /echo HTTP/1.1\r\nHost: app\r\nConnection: close\r\nContent-Length: "
			"3000000\r\n\r\n");
	pid_t reader = fork();

	if (reader == 0) {
		client_send_n(fd, body, N);
		_exit(0);
	}
	ck_assert(client_read(fd, "POST", &a));
	ck_assert_uint_eq(a.n, N);
	ck_assert_int_eq(memcmp(a.body, body, N), 0);
	answer_done(&a);
	free(body);
	close(fd);
	teardown(&f);
}
END_TEST

/* ---- headers --------------------------------------------------------------------------------- */

START_TEST(internal_headers_of_a_caller_are_taken_out)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	client_ask(fd, &a, "GET /headers HTTP/1.1\r\nHost: app\r\nX-Kvmesh-Peer: admin.default\r\n"
			   "X-Forwarded-Client-Cert: URI=spiffe://evil\r\nX-Envoy-Original-Path: "
			   "/evil\r\n"
			   "X-Envoy-Attempt-Count: 9\r\nX-Forwarded-For: 192.0.2.7\r\n"
			   "X-Request-Id: mine\r\n\r\n");
	ck_assert_ptr_null(strstr(a.body, "evil"));
	ck_assert_ptr_null(strstr(a.body, "x-kvmesh"));
	ck_assert_ptr_nonnull(strstr(a.body, "x-envoy-attempt-count: 1\r\n"));
	ck_assert_ptr_nonnull(strstr(a.body, "x-forwarded-for: 192.0.2.7\r\n"));
	ck_assert_ptr_nonnull(strstr(a.body, "x-forwarded-proto: http\r\n"));
	ck_assert_ptr_nonnull(strstr(a.body, "x-request-id: mine\r\n"));
	answer_done(&a);
	get(fd, "/headers", &a);
	const char *id = strstr(a.body, "x-request-id: ");

	ck_assert_ptr_nonnull(id);
	ck_assert_int_eq(id[14 + 14], '4');     /* UUID version 4 */
	ck_assert_int_eq(id[14 + 36], '\r');
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(paths_are_sent_in_their_normal_form)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	get(fd, "/headers/a/../%62/./c?q=/../x#frag", &a);
	ck_assert_ptr_nonnull(strstr(a.body, "GET /headers/b/c?q=/../x HTTP/1.1\r\n"));
	answer_done(&a);
	get(fd, "/../x", &a);
	ck_assert_uint_eq(a.status, 400);
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

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

/* ---- routes ---------------------------------------------------------------------------------- */

START_TEST(routes_answer_redirect_and_rewrite)
{
	struct net n;
	struct answer a;
	struct backend *app = backend_start("app");

	net_start(&n, 1);
	net_publish(&n, ONE_SERVICE(
		"{'name': 't1', 'matches': [{'uri': {'kind': 'PREFIX',"
		"  'value': '/headers/timed'}}],"
		" 'destinations': [{'cluster': 0, 'weight': 1}], 'total_weight': 1,"
		" 'timeout_us': 30000000,"
		" 'retry': {'attempts': 1, 'on': 16, 'backoff_us': 1000, 'per_try_us': 25000000}},"
		"{'name': 'r1', 'matches': [{'uri': {'kind': 'PREFIX', 'value': '/old'}}], "
		"'action': 'REDIRECT',"
		" 'redirect': {'uri': '/new', 'authority': 'other', 'code': 302}},"
		"{'name': 'd1', 'matches': [{'uri': {'kind': 'EXACT', 'value': '/direct'}}], "
		"'action': 'DIRECT',"
		" 'direct': {'status': 418, 'body': 'short'},"
		" 'headers': {'response': {'set': [{'name': 'x-route', 'value': '%%ROUTE_NAME%%'}]}"
		"}},"
		"{'name': 'w1', 'matches': [{'uri': {'kind': 'PREFIX', 'value': '/api/'}}],"
		" 'destinations': [{'cluster': 0, 'weight': 1,"
		"   'headers': {'request': {'set': [{'name': 'x-set', 'value': 'dest'}]}}}], "
		"'total_weight': 1,"
		" 'rewrite': {'uri': '/headers/', 'authority': 'rewritten'},"
		" 'headers': {'request': {'remove': ['x-gone'], 'set': [{'name': 'x-set', 'value': "
		"'route'}],"
		"   'add': [{'name': 'x-added', 'value': 'a'}]}, 'response': {'remove': "
		"['x-backend'],"
		"   'add': [{'name': 'x-res', 'value': 'r'}]}}},"),
		backend_port(app));
	int fd = client_dial(net_port(&n, "HTTP_PROXY"));

	get(fd, "/headers/timed", &a);
	ck_assert_ptr_nonnull(strstr(a.body, "x-envoy-expected-rq-timeout-ms: 25000\r\n"));
	answer_done(&a);
	get(fd, "/old/x?q=1", &a);
	ck_assert_uint_eq(a.status, 302);
	ck_assert_str_eq(answer_field(&a, "location"), "http://other/new?q=1");
	answer_done(&a);
	get(fd, "/direct", &a);
	ck_assert_uint_eq(a.status, 418);
	ck_assert_str_eq(a.body, "short");
	ck_assert_str_eq(answer_field(&a, "x-route"), "d1");
	answer_done(&a);
	client_ask(fd, &a, "GET /api/v1?q=1 HTTP/1.1\r\nHost: app\r\nX-Gone: 1\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(a.body, "GET /headers/v1?q=1 HTTP/1.1\r\n"));
	ck_assert_ptr_nonnull(strstr(a.body, "host: rewritten\r\n"));
	ck_assert_ptr_nonnull(strstr(a.body, "x-envoy-original-path: /api/v1?q=1\r\n"));
	ck_assert_ptr_nonnull(strstr(a.body, "x-set: dest\r\n"));
	ck_assert_ptr_nonnull(strstr(a.body, "x-added: a\r\n"));
	ck_assert_ptr_null(strstr(a.body, "x-gone"));
	ck_assert_str_eq(answer_field(&a, "x-res"), "r");
	ck_assert_str_eq(answer_field(&a, "x-backend"), "");
	answer_done(&a);
	close(fd);
	net_stop(&n);
	backend_stop(app);
}
END_TEST

START_TEST(unknown_hosts_follow_the_outbound_policy)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(f.port);

	client_ask(fd, &a, "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n");
	ck_assert_uint_eq(a.status, 502);
	answer_done(&a);
	net_publish(&f.net, NET_SETTINGS "," NET_NODE ","
		    "'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', 'port': 0}],"
		    "'views': [{'name': 'v', 'outbound': 'ALLOW_ANY'}]");
	/* the connection that is open follows the new snapshot */
	for (unsigned i = 0; i < 1000; i++) {
		client_ask(fd, &a, "GET /ok HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
			   backend_port(f.app));
		bool there = a.status == 200;

		answer_done(&a);
		if (there)
			break;
		ck_assert_uint_lt(i, 999);
		usleep(5000);
	}
	/* a name is not resolved here, our own door is no destination */
	client_ask(fd, &a, "GET /ok HTTP/1.1\r\nHost: some.name\r\n\r\n");
	ck_assert_uint_eq(a.status, 503);
	answer_done(&a);
	client_ask(fd, &a, "GET /ok HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", net_port(&f.net,
		"HTTP_PROXY"));
	ck_assert_uint_eq(a.status, 404);
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(readiness_is_told)
{
	struct fixture f;
	struct answer a;

	setup(&f);
	int fd = client_dial(net_port(&f.net, "READY"));

	/* the node's identity has no certificate in this test */
	get(fd, "/healthz/ready", &a);
	ck_assert_uint_eq(a.status, 503);
	answer_done(&a);
	get(fd, "/other", &a);
	ck_assert_uint_eq(a.status, 404);
	answer_done(&a);
	close(fd);
	teardown(&f);
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

/* Opens n connections and keeps them until told to go. */
static pid_t crowd(uint16_t port, int n, int *ret_leave)
{
	int p[2];

	ck_assert_int_eq(pipe(p), 0);
	pid_t pid = fork();

	if (pid == 0) {
		char c;

		close(p[1]);
		for (int i = 0; i < n; i++)
			client_dial(port);
		(void)!read(p[0], &c, 1);
		_exit(0);
	}
	close(p[0]);
	*ret_leave = p[1];
	return pid;
}

START_TEST(running_out_of_descriptors_is_survived)
{
	struct fixture f;
	struct answer a;
	struct rlimit before, few;
	int leave, probe = open("/dev/null", O_RDONLY | O_CLOEXEC);

	setup(&f);
	close(client_dial(f.port));
	net_await(&f.net, STATS_DOWN_CONNECTIONS, 0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	pid_t pid = crowd(f.port, 300, &leave);

	few = before;
	few.rlim_cur = (rlim_t)probe + 40;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	uint64_t end = clock_mono_us() + NET_DEADLINE_MS * 1000ull;

	while (net_stat(&f.net, STATS_DOWN_REFUSED) < 2)        /* the reserve served twice */
		ck_assert(clock_mono_us() < end);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	close(leave);
	waitpid(pid, NULL, 0);
	net_await(&f.net, STATS_DOWN_CONNECTIONS, 0);
	int fd = client_dial(f.port);

	get(fd, "/ok", &a);
	ck_assert_uint_eq(a.status, 200);
	answer_done(&a);
	close(fd);
	close(probe);
	teardown(&f);
}
END_TEST

UNIT_MAIN("proxy_http", a_request_is_answered, absolute_form_and_host_lead_to_the_same,
	  connections_are_kept_on_both_sides, pipelined_requests_are_answered_in_order,
	  chunked_bodies_pass_both_ways, trailers_reach_the_client, head_204_and_304_have_no_body,
	  a_body_without_length_becomes_chunked, http_1_0_clients_get_what_they_can_read,
	  continue_is_forwarded_and_relayed, informational_answers_are_relayed,
	  websocket_switches_to_bytes,
	  other_upgrades_stay_http, a_half_closed_client_gets_its_answer,
	  every_byte_border_gives_the_same_answer,
	  large_bodies_pass_unchanged, internal_headers_of_a_caller_are_taken_out,
	  paths_are_sent_in_their_normal_form, bad_requests_get_their_status_and_reach_no_service,
	  long_heads_are_refused, a_refusal_can_be_read_although_the_body_was_not,
	  chunked_bodies_are_limited_too, a_slow_head_is_not_waited_for, bad_answers_of_a_service,
	  answers_are_checked_like_requests,
	  a_cut_answer_never_looks_complete, bytes_beyond_an_answer_are_never_the_next_one,
	  a_service_that_is_not_there, routes_answer_redirect_and_rewrite,
	  unknown_hosts_follow_the_outbound_policy, readiness_is_told,
	  connections_beyond_the_limit_are_closed, running_out_of_descriptors_is_survived)
