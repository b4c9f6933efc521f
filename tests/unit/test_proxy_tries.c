/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Destinations and tries: weights, retries, the idle-close race, time limits, breakers, drain,
 * memory.
 */
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "proxy_net.h"

#define RETRY_5XX 1
#define RETRY_CONNECT 16

/* Two clusters with one endpoint each; %s: members of the route, then of the first cluster. */
#define TWO \
	NET_SETTINGS "," NET_NODE "," \
	"'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', 'port': 0}]," \
	"'views': [{'name': 'all', 'outbound': 'REGISTRY_ONLY', 'vhosts': [{'name': 'app:80', " \
	"'port': 80," \
	"  'domains': ['app'], 'routes': [{'name': 'r', %s}]}]}]," \
	"'clusters': [" \
	"  {'name': 'v1', %s 'endpoints': [{'address': '127.0.0.1', 'port': %d, 'weight': 1, " \
	"'peer': -1}]}," \
	"  {'name': 'v2', 'endpoints': [{'address': '127.0.0.1', 'port': %d, 'weight': 1, " \
	"'peer': -1}]}," \
	"  {'name': 'both', 'endpoints': [{'address': '127.0.0.1', 'port': %d, 'weight': 1, " \
	"'peer': -1}," \
	"    {'address': '127.0.0.1', 'port': %d, 'weight': 1, 'peer': -1}]}," \
	"  {'name': 'empty', 'endpoints': []}]"
#define TO(cluster) "'destinations': [{'cluster': " #cluster ", 'weight': 1}], 'total_weight': 1"

struct fixture {
	struct net net;
	struct backend *v1, *v2;
	int fd;
};

static void publish(struct fixture *f, const char *route, const char *cluster)
{
	int p1 = backend_port(f->v1), p2 = backend_port(f->v2);

	net_publish(&f->net, TWO, route, cluster, p1, p2, p1, p2);
}

static void setup(struct fixture *f, const char *route, const char *cluster)
{
	f->v1 = backend_start("v1");
	f->v2 = backend_start("v2");
	net_start(&f->net, 1);
	publish(f, route, cluster);
	f->fd = client_dial(net_port(&f->net, "HTTP_PROXY"));
}

static void teardown(struct fixture *f)
{
	close(f->fd);
	net_stop(&f->net);
	backend_stop(f->v1);
	backend_stop(f->v2);
}

static unsigned get(struct fixture *f, const char *path, struct answer *a)
{
	client_ask(f->fd, a, "GET %s HTTP/1.1\r\nHost: app\r\n\r\n", path);
	return a->status;
}

/* ---- destinations ---------------------------------------------------------------------------- */

START_TEST(weights_split_within_4_sigma)
{
	enum { N = 4000 };
	struct fixture f;
	struct answer a;
	int n2 = 0;

	setup(&f, "'destinations': [{'cluster': 0, 'weight': 95}, {'cluster': 1, 'weight': 5}], "
		  "'total_weight': 100",
	      "");
	for (int i = 0; i < N; i++) {
		ck_assert_uint_eq(get(&f, "/ok", &a), 200);
		n2 += strcmp(a.body, "v2") == 0;
		answer_done(&a);
	}
	double sigma = sqrt(N * 0.05 * 0.95);

	ck_assert_msg(fabs(n2 - N * 0.05) <= 4 * sigma, "%d of %d", n2, N);
	teardown(&f);
}
END_TEST

START_TEST(unknown_and_empty_clusters)
{
	struct fixture f;
	struct answer a;

	setup(&f, "'destinations': [{'cluster': -1, 'cluster_name': 'gone', 'weight': 1}], "
		  "'total_weight': 1", "");
	ck_assert_uint_eq(get(&f, "/ok", &a), 503);
	ck_assert_str_eq(a.body, "");
	answer_done(&a);
	teardown(&f);
	setup(&f, TO(3), "");
	ck_assert_uint_eq(get(&f, "/ok", &a), 503);
	ck_assert_str_eq(a.body, "no healthy upstream");
	answer_done(&a);
	teardown(&f);
}
END_TEST

/* ---- retries --------------------------------------------------------------------------------- */

START_TEST(a_failed_connection_is_tried_elsewhere)
{
	struct fixture f;
	struct answer a;

	setup(&f, TO(2) ", 'retry': {'attempts': 2, 'on': 16, 'backoff_us': 1000, "
			"'ignore_previous_hosts': true}", "");
	int p2 = backend_port(f.v2);
	struct backend *gone = backend_start("gone");
	int p1 = backend_port(gone);

	backend_stop(gone);
	net_publish(&f.net, TWO, TO(2) ", 'retry': {'attempts': 2, 'on': 16, 'backoff_us': 1000,"
		    "'ignore_previous_hosts': true}", "", p1, p2, p1, p2);
	for (int i = 0; i < 50; i++) {
		ck_assert_uint_eq(get(&f, "/ok", &a), 200);
		answer_done(&a);
	}
	ck_assert_int_gt(net_stat(&f.net, STATS_RETRIES), 0);
	teardown(&f);
}
END_TEST

START_TEST(answers_are_tried_again_by_policy_and_then_passed_on)
{
	struct fixture f;
	struct answer a;

	setup(&f, TO(2) ", 'retry': {'attempts': 2, 'on': 1, 'backoff_us': 1000, "
			"'ignore_previous_hosts': true}", "");
	ck_assert_uint_eq(get(&f, "/status/500", &a), 500);
	ck_assert_str_eq(a.body, "status");
	answer_done(&a);
	ck_assert_uint_eq(backend_requests(f.v1) + backend_requests(f.v2), 3);
	/* the other one first, then back */
	ck_assert_uint_gt(backend_requests(f.v1), 0);
	ck_assert_uint_gt(backend_requests(f.v2), 0);
	/* a body that was kept goes again, a POST too: the policy says so */
	client_ask(f.fd, &a, "POST /status/503 HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\n"
			     "body");
	ck_assert_uint_eq(a.status, 503);
	answer_done(&a);
	ck_assert_uint_eq(backend_requests(f.v1) + backend_requests(f.v2), 6);
	ck_assert_uint_eq(get(&f, "/status/404", &a), 404);
	answer_done(&a);
	ck_assert_uint_eq(backend_requests(f.v1) + backend_requests(f.v2), 7);
	teardown(&f);
}
END_TEST

START_TEST(a_body_too_large_to_keep_is_sent_once)
{
	struct fixture f;
	struct answer a;
	char *body = malloc(200000);

	memset(body, 'b', 200000);
	setup(&f, TO(0) ", 'retry': {'attempts': 2, 'on': 1, 'backoff_us': 1000}", "");
	client_send(f.fd,
		    "POST /status/503 HTTP/1.1\r\nHost: app\r\nContent-Length: 200000\r\n\r\n");
	client_send_n(f.fd, body, 200000);
	ck_assert(client_read(f.fd, "POST", &a));
	ck_assert_uint_eq(a.status, 503);
	answer_done(&a);
	ck_assert_uint_eq(backend_requests(f.v1), 1);
	free(body);
	teardown(&f);
}
END_TEST

/* ---- the idle-close race --------------------------------------------------------------------- */

START_TEST(a_connection_closed_between_two_requests_fails_nobody)
{
	struct fixture f;
	struct answer a;

	setup(&f, TO(0), "");
	for (int i = 0; i < 300; i++) {
		/* the service answers and closes without having said so */
		ck_assert_uint_eq(get(&f, "/once", &a), 200);
		answer_done(&a);
		ck_assert_uint_eq(get(&f, i % 2 ? "/ok" : "/chunked", &a), 200);
		answer_done(&a);
	}
	teardown(&f);
}
END_TEST

/* Answers one request, then closes as soon as the next one arrives: the race, always lost. */
static void close_on_second(int fd, void *arg)
{
	atomic_int *seen = arg;
	char buf[4096];

	if (recv(fd, buf, sizeof(buf), 0) <= 0)
		return;
	atomic_fetch_add(seen, 1);
	client_send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	if (recv(fd, buf, sizeof(buf), 0) > 0)
		atomic_fetch_add(seen, 1);
}

START_TEST(a_lost_race_is_run_again_when_that_is_safe)
{
	struct fixture f;
	struct answer a;
	atomic_int seen = 0;
	struct backend *racer = backend_start_raw(close_on_second, &seen);
	int p = backend_port(racer);

	setup(&f, TO(0), "");
	net_publish(&f.net, TWO, TO(0), "", p, p, p, p);
	close(f.fd);
	f.fd = client_dial(net_port(&f.net, "HTTP_PROXY"));
	while (atomic_load(&seen) == 0) {       /* until the snapshot is there */
		get(&f, "/ok", &a);
		answer_done(&a);
	}
	for (int i = 0; i < 50; i++) {
		ck_assert_uint_eq(get(&f, "/ok", &a), 200);
		answer_done(&a);
	}
	ck_assert_int_ge(net_stat(&f.net, STATS_UP_IDLE_RACE), 25);
	/* a POST that has left may have been done: the client is told */
	client_ask(f.fd, &a, "POST /ok HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi");
	unsigned first = a.status;

	answer_done(&a);
	client_ask(f.fd, &a, "POST /ok HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi");
	ck_assert_msg(first == 503 || a.status == 503, "%u and %u", first, a.status);
	answer_done(&a);
	teardown(&f);
	backend_stop(racer);
}
END_TEST

/* ---- time ------------------------------------------------------------------------------------ */

START_TEST(time_limits_answer_504)
{
	struct fixture f;
	struct answer a;

	setup(&f, TO(0) ", 'timeout_us': 100000", "");
	ck_assert_uint_eq(get(&f, "/hang", &a), 504);
	ck_assert_str_eq(a.body, "upstream request timeout");
	answer_done(&a);
	/* the connection is fit for use; without the limit, once that snapshot is there */
	publish(&f, TO(0), "");
	for (unsigned status = 0; status != 200;) {
		status = get(&f, "/ok", &a);
		answer_done(&a);
	}
	teardown(&f);
	setup(&f, TO(0) ", 'retry': {'attempts': 2, 'on': 2, 'per_try_us': 50000, 'backoff_us': "
			"1000}", "");
	ck_assert_uint_eq(get(&f, "/hang", &a), 504);
	answer_done(&a);
	ck_assert_uint_eq(backend_requests(f.v1), 3);
	teardown(&f);
}
END_TEST

START_TEST(an_exchange_without_progress_ends)
{
	struct net n;
	struct answer a;
	struct backend *app = backend_start("app");

	net_start(&n, 1);
	net_publish(&n, "'settings': {'trust_domain': 'cluster.local', 'stream_idle_timeout_us': "
			"200000}," NET_NODE
		    ", 'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', 'port': 0}],"
		    "'views': [{'name': 'v', 'vhosts': [{'name': 'a', 'domains': ['*'], 'routes': "
		    "[{'name': 'r', "
		    TO(0) "}]}]}], 'clusters': [{'name': 'c', 'endpoints': [{'address': "
			  "'127.0.0.1', 'port': %d,"
		    " 'weight': 1, 'peer': -1}]}]", backend_port(app));
	int fd = client_dial(net_port(&n, "HTTP_PROXY"));

	client_ask(fd, &a, "GET /hang HTTP/1.1\r\nHost: app\r\n\r\n");
	ck_assert_uint_eq(a.status, 504);
	answer_done(&a);
	close(fd);
	net_await(&n, STATS_STREAMS, 0);
	net_stop(&n);
	backend_stop(app);
}
END_TEST

/* ---- breakers -------------------------------------------------------------------------------- */

START_TEST(breakers_refuse_what_is_too_much)
{
	struct fixture f;
	struct answer a;
	int busy[2];

	setup(&f, TO(0), "'limits': {'max_connections': 1, 'max_pending': 1},");
	for (int i = 0; i < 2; i++) {   /* one holds the connection, one waits for it */
		busy[i] = client_dial(net_port(&f.net, "HTTP_PROXY"));
		client_send(busy[i], "GET /hang HTTP/1.1\r\nHost: app\r\n\r\n");
		net_await(&f.net, STATS_STREAMS, i + 1);
	}
	ck_assert_uint_eq(get(&f, "/ok", &a), 503);
	ck_assert_str_eq(a.body, "upstream connect error or disconnect/reset before headers. reset "
				 "reason: overflow");
	ck_assert_str_eq(answer_field(&a, "x-envoy-overloaded"), "true");
	answer_done(&a);
	client_abort(busy[0]);
	client_abort(busy[1]);
	net_await(&f.net, STATS_STREAMS, 0);
	ck_assert_uint_eq(get(&f, "/ok", &a), 200);
	answer_done(&a);
	teardown(&f);
	setup(&f, TO(0), "'limits': {'max_requests': 1},");
	busy[0] = client_dial(net_port(&f.net, "HTTP_PROXY"));
	client_send(busy[0], "GET /hang HTTP/1.1\r\nHost: app\r\n\r\n");
	net_await(&f.net, STATS_STREAMS, 1);
	ck_assert_uint_eq(get(&f, "/ok", &a), 503);
	answer_done(&a);
	client_abort(busy[0]);
	teardown(&f);
}
END_TEST

START_TEST(connections_end_after_so_many_requests)
{
	struct fixture f;
	struct answer a;

	setup(&f, TO(0), "'limits': {'max_requests_per_connection': 3},");
	for (int i = 0; i < 9; i++) {
		ck_assert_uint_eq(get(&f, "/ok", &a), 200);
		answer_done(&a);
	}
	ck_assert_uint_eq(backend_accepted(f.v1), 3);
	teardown(&f);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

static size_t rss_kib(void)
{
	unsigned long pages = 0;
	FILE *p = fopen("/proc/self/statm", "re");

	ck_assert(p && fscanf(p, "%*u %lu", &pages) == 1);
	fclose(p);
	return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* What a sanitizer keeps of freed memory: its quarantine. */
#ifdef __SANITIZE_ADDRESS__
#define KEPT_BACK_KIB (256u * 1024)
#else
#define KEPT_BACK_KIB 0u
#endif

START_TEST(slow_readers_are_waited_for_in_bounded_memory)
{
	enum { READERS = 20 };
	struct fixture f;
	struct answer a;
	int fds[READERS];

	setup(&f, TO(0), "");
	ck_assert_uint_eq(get(&f, "/big/1000000", &a), 200);
	answer_done(&a);
	size_t before = rss_kib();

	for (int i = 0; i < READERS; i++) {
		fds[i] = client_dial(net_port(&f.net, "HTTP_PROXY"));
		client_send(fds[i], "GET /big/100000000 HTTP/1.1\r\nHost: app\r\n\r\n");
	}
	net_await(&f.net, STATS_STREAMS, READERS);
	/* Others are served meanwhile. */
	for (int i = 0; i < 500; i++) {
		ck_assert_uint_eq(get(&f, "/ok", &a), 200);
		answer_done(&a);
	}
	size_t grown = rss_kib() - before;

	/* Of 2 GB that are under way. */
	ck_assert_msg(grown < READERS * 4096 + KEPT_BACK_KIB, "grew by %zu KiB", grown);
	for (int i = 0; i < READERS; i++)
		close(fds[i]);
	net_await(&f.net, STATS_STREAMS, 0);
	teardown(&f);
}
END_TEST

START_TEST(slow_services_stop_fast_uploaders)
{
	struct fixture f;
	char block[65536];
	size_t sent = 0;

	memset(block, 'u', sizeof(block));
	setup(&f, TO(0), "");
	size_t before = rss_kib();

	/*
	 * "/hang" reads one byte at a time, /slow never reads: send until the kernel takes no more
	 */
	client_send(f.fd, "POST /hang HTTP/1.1\r\nHost: app\r\nContent-Length: 1000000000\r\n\r\n");
	struct timeval tv = { .tv_sec = 1 };

	setsockopt(f.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	for (ssize_t n; (n = send(f.fd, block, sizeof(block),
				  MSG_NOSIGNAL)) > 0 && sent < 900000000;)
		sent += (size_t)n;
	ck_assert_uint_lt(sent, 100000000);
	ck_assert_uint_lt(rss_kib() - before, 32768 + KEPT_BACK_KIB);
	teardown(&f);
}
END_TEST

/* ---- drain ----------------------------------------------------------------------------------- */

struct drained {
	struct loop *loop;
	atomic_bool done;
};

static void on_drained(void *arg)
{
	struct drained *d = arg;

	atomic_store(&d->done, true);
	loop_stop(d->loop);
}

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

START_TEST(a_drain_finishes_what_is_under_way)
{
	struct fixture f;
	struct answer a;
	struct drained d = { .loop = loop_new() };
	pthread_t t;

	setup(&f, TO(0), "");
	int idle = client_dial(net_port(&f.net, "HTTP_PROXY"));

	client_ask(idle, &a, "GET /ok HTTP/1.1\r\nHost: app\r\n\r\n");
	answer_done(&a);
	uint16_t port = net_port(&f.net, "HTTP_PROXY");

	client_send(f.fd, "POST /echo HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\nab");
	net_await(&f.net, STATS_STREAMS, 1);
	pthread_create(&t, NULL, run_loop, d.loop);
	worker_drain(f.net.workers, 30000000, d.loop, on_drained, &d);
	client_expect_end(idle);
	client_send(f.fd, "cd");
	ck_assert(client_read(f.fd, "POST", &a));
	ck_assert_str_eq(a.body, "abcd");
	answer_done(&a);
	client_expect_end(f.fd);
	close(f.fd);
	pthread_join(t, NULL);
	ck_assert(atomic_load(&d.done));
	f.fd = idle;
	(void)port;
	teardown(&f);
	loop_free(d.loop);
}
END_TEST

START_TEST(a_drain_has_an_end)
{
	struct fixture f;
	struct drained d = { .loop = loop_new() };
	pthread_t t;

	setup(&f, TO(0), "");
	client_send(f.fd, "GET /hang HTTP/1.1\r\nHost: app\r\n\r\n");
	net_await(&f.net, STATS_STREAMS, 1);
	pthread_create(&t, NULL, run_loop, d.loop);
	worker_drain(f.net.workers, 100000, d.loop, on_drained, &d);
	pthread_join(t, NULL);
	ck_assert(atomic_load(&d.done));
	teardown(&f);
	loop_free(d.loop);
}
END_TEST

/* ---- snapshots under load -------------------------------------------------------------------- */

struct load {
	uint16_t port;
	atomic_bool stop;
	atomic_uint ok, bad;
};

static void *ask_on(void *arg)
{
	struct load *l = arg;
	struct answer a;

	while (!atomic_load(&l->stop)) {
		int fd = client_dial(l->port);  /* new connections too: none may be refused */

		for (int i = 0; i < 10; i++) {
			client_ask(fd, &a, "GET /ok HTTP/1.1\r\nHost: app\r\n\r\n");
			atomic_fetch_add(a.status == 200 ? &l->ok : &l->bad, 1);
			answer_done(&a);
		}
		close(fd);
	}
	return NULL;
}

START_TEST(snapshots_change_under_load)
{
	struct fixture f;
	struct load l = { 0 };
	pthread_t t[4];

	setup(&f, TO(0), "");
	l.port = net_port(&f.net, "HTTP_PROXY");
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, ask_on, &l);
	for (unsigned i = 0; i < 50; i++) {
		while (atomic_load(&l.ok) + atomic_load(&l.bad) < i * 20)
			usleep(500);
		publish(&f, i % 2 ? TO(0) : TO(1), i % 3 ? "" : "'lb': 'ROUND_ROBIN',");
	}
	atomic_store(&l.stop, true);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	ck_assert_uint_eq(atomic_load(&l.bad), 0);
	ck_assert_uint_gt(backend_requests(f.v1), 0);
	ck_assert_uint_gt(backend_requests(f.v2), 0);
	teardown(&f);
}
END_TEST

UNIT_MAIN("proxy_tries", weights_split_within_4_sigma, unknown_and_empty_clusters,
	  a_failed_connection_is_tried_elsewhere,
	  answers_are_tried_again_by_policy_and_then_passed_on,
	  a_body_too_large_to_keep_is_sent_once,
	  a_connection_closed_between_two_requests_fails_nobody,
	  a_lost_race_is_run_again_when_that_is_safe, time_limits_answer_504,
	  an_exchange_without_progress_ends,
	  breakers_refuse_what_is_too_much, connections_end_after_so_many_requests,
	  slow_readers_are_waited_for_in_bounded_memory, slow_services_stop_fast_uploaders,
	  a_drain_finishes_what_is_under_way, a_drain_has_an_end, snapshots_change_under_load)
