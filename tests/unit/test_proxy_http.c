/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 through one proxy to one service: messages, connections, headers, routes. */
#include "config.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy_one.h"

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

UNIT_MAIN("proxy_http", a_request_is_answered, absolute_form_and_host_lead_to_the_same,
	  connections_are_kept_on_both_sides, pipelined_requests_are_answered_in_order,
	  chunked_bodies_pass_both_ways, trailers_reach_the_client, head_204_and_304_have_no_body,
	  a_body_without_length_becomes_chunked, http_1_0_clients_get_what_they_can_read,
	  continue_is_forwarded_and_relayed, informational_answers_are_relayed,
	  websocket_switches_to_bytes, other_upgrades_stay_http,
	  a_half_closed_client_gets_its_answer, every_byte_border_gives_the_same_answer,
	  large_bodies_pass_unchanged, internal_headers_of_a_caller_are_taken_out,
	  paths_are_sent_in_their_normal_form, routes_answer_redirect_and_rewrite,
	  unknown_hosts_follow_the_outbound_policy, readiness_is_told)
