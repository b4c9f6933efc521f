/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools: services that close whenever they like, endpoints that leave and come back. The number of
 * requests of the long test is KVMESH_REQUESTS (default 50,000).
 */
#include "config.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/rng.h"
#include "proxy_one.h"
#include "proxy_two.h"

/* ---- endpoints that leave ---------------------------------------------------------------------- */

static void publish(struct fixture *f, const struct backend *to)
{
	net_publish(&f->net, ONE_SERVICE(""), backend_port(to));
}

START_TEST(connections_to_what_left_are_closed)
{
	struct fixture f;
	struct answer a;
	struct backend *other = backend_start("other");

	setup(&f);
	int fd = client_dial(f.port);

	get(fd, "/ok", &a);
	ck_assert_str_eq(a.body, "app");
	answer_done(&a);
	net_await(&f.net, STATS_UP_CONNECTIONS, 1);
	publish(&f, other);
	net_await(&f.net, STATS_UP_CONNECTIONS, 0);     /* nobody asks, no time passes */
	get(fd, "/ok", &a);
	ck_assert_str_eq(a.body, "other");
	answer_done(&a);
	publish(&f, f.app);
	net_await(&f.net, STATS_UP_CONNECTIONS, 0);
	for (int i = 0; i < 3; i++) {                   /* back again, and pooled as before */
		get(fd, "/ok", &a);
		ck_assert_str_eq(a.body, "app");
		answer_done(&a);
	}
	ck_assert_uint_eq(backend_accepted(f.app), 2);
	net_await(&f.net, STATS_UP_CONNECTIONS, 1);
	publish(&f, f.app);                             /* nothing changes */
	get(fd, "/ok", &a);
	answer_done(&a);
	ck_assert_uint_eq(backend_accepted(f.app), 2);
	close(fd);
	teardown(&f);
	backend_stop(other);
}
END_TEST

START_TEST(what_is_under_way_there_ends_first)
{
	struct fixture f;
	struct answer a;
	struct backend *other = backend_start("other");

	setup(&f);
	int fd = client_dial(f.port), probe = client_dial(f.port);

	client_send(fd, "POST /echo HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\nab");
	net_await(&f.net, STATS_UP_CONNECTIONS, 1);
	publish(&f, other);
	do {                                            /* until the new one is in force */
		get(probe, "/ok", &a);
		bool there = strcmp(a.body, "other") == 0;

		answer_done(&a);
		if (there)
			break;
	} while (true);
	client_send(fd, "cd");
	ck_assert(client_read(fd, "POST", &a));
	ck_assert_str_eq(a.body, "abcd");
	answer_done(&a);
	net_await(&f.net, STATS_UP_CONNECTIONS, 1);     /* the probe's */
	close(fd);
	close(probe);
	teardown(&f);
	backend_stop(other);
}
END_TEST

/* The service's node without the service; with a drain time. */
#define WITHOUT(drain) \
	"'settings': {'trust_domain': 'cluster.local', 'drain_us': " drain "}," \
	"'identities': ['" ID_NODE2 "']," PEERS "," \
	"'workloads': [{'peer': 1, 'identity': 0, 'view': 0}], 'views': [{'name': 'v'}]," \
	"'listeners': [{'kind': 'MESH', 'address': '127.0.0.1', 'port': 0}]"

/* The caller's node learns it later than the service's: on the old connection and on a new one. */
START_TEST(who_has_not_heard_that_it_left_is_served)
{
	struct mesh m;
	struct answer a;

	mesh_setup(&m);
	int fd = client_dial(net_port(&m.client, "HTTP_PROXY"));

	get(fd, "/ok", &a);
	ck_assert_str_eq(a.body, "app");
	answer_done(&a);
	net_publish_str(&m.server, WITHOUT("60000000"));
	for (int i = 0; i < 20; i++) {
		get(fd, "/ok", &a);
		ck_assert_uint_eq(a.status, 200);
		answer_done(&a);
	}
	net_identity(&m.client, m.ca, ID_NODE1);        /* a new certificate, a new connection */
	net_republish(&m.client);
	net_await(&m.client, STATS_UP_CONNECTIONS, 0);
	for (int i = 0; i < 20; i++) {
		get(fd, "/ok", &a);
		ck_assert_uint_eq(a.status, 200);
		answer_done(&a);
	}
	close(fd);
	mesh_teardown(&m);
}
END_TEST

START_TEST(after_the_drain_time_it_is_gone)
{
	struct mesh m;
	struct answer a;
	unsigned status = 200;

	mesh_setup(&m);
	int fd = client_dial(net_port(&m.client, "HTTP_PROXY"));

	/* the first of the two sets the time, the second begins it */
	net_publish_str(&m.server, WITHOUT("1000"));
	net_publish_str(&m.server, WITHOUT("1001"));
	while (status == 200) {
		get(fd, "/ok", &a);
		status = a.status;
		answer_done(&a);
	}
	ck_assert(status == 404 || status == 503);
	close(fd);
	mesh_teardown(&m);
}
END_TEST

/* ---- services that close at random ------------------------------------------------------------- */

#define CLIENTS 8
#define SERVERS 64              /* connections served at once; others wait in the backlog */

struct fickle {
	int fd;
	uint16_t port;
	pthread_t threads[SERVERS];
};

static atomic_uint seeds;
static _Atomic uint64_t closed;

static void rst(int fd)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

/* Reads one request (they have no bodies). False: the peer has gone. */
static bool read_request(int fd, char *buf, size_t cap)
{
	size_t n = 0;

	while (n < cap - 1) {
		ssize_t r = recv(fd, buf + n, cap - 1 - n, 0);

		if (r <= 0)
			return false;
		n += (size_t)r;
		buf[n] = '\0';
		if (strstr(buf, "\r\n\r\n"))
			return true;
	}
	return false;
}

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define LAST "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
#define CHUNKS "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"

/*
 * Each connection answers its first request, and then closes at one of the many moments at which a
 * service may. False: it did.
 */
static bool answer_and_close(int fd, struct rng *r, char *buf, size_t cap)
{
	switch (rng_below(r, 12)) {
	case 0:                         /* at once, without having said so */
		client_send(fd, ANSWER);
		return false;
	case 1:                         /* having said so */
		client_send(fd, LAST);
		return false;
	case 2:                         /* when the next request may be on its way */
		client_send(fd, ANSWER);
		usleep((unsigned)rng_below(r, 300));
		return false;
	case 3:                         /* the same with a reset */
		client_send(fd, ANSWER);
		usleep((unsigned)rng_below(r, 300));
		rst(fd);
		return false;
	case 4:                         /* when the next request has come */
		client_send(fd, ANSWER);
		(void)read_request(fd, buf, cap);
		return false;
	case 5:                         /* its own half first */
		client_send(fd, CHUNKS);
		(void)shutdown(fd, SHUT_WR);
		usleep((unsigned)rng_below(r, 300));
		return false;
	case 6:
		client_send(fd, CHUNKS);
		return true;
	default:
		client_send(fd, ANSWER);
		return true;
	}
}

static void *serve(void *arg)
{
	struct fickle *f = arg;
	char buf[4096];
	struct rng r;
	int fd;

	rng_init(&r, 1000 + atomic_fetch_add(&seeds, 1));
	while ((fd = accept(f->fd, NULL, NULL)) >= 0) {
		while (read_request(fd, buf, sizeof(buf)))
			if (!answer_and_close(fd, &r, buf, sizeof(buf)))
				break;
		close(fd);
		atomic_fetch_add(&closed, 1);
	}
	return NULL;
}

static void fickle_start(struct fickle *f)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a);

	f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(f->fd, (struct sockaddr *)&a, len), 0);
	ck_assert_int_eq(listen(f->fd, 256), 0);
	ck_assert_int_eq(getsockname(f->fd, (struct sockaddr *)&a, &len), 0);
	f->port = ntohs(a.sin_port);
	for (int i = 0; i < SERVERS; i++)
		ck_assert_int_eq(pthread_create(&f->threads[i], NULL, serve, f), 0);
}

static void fickle_stop(struct fickle *f)
{
	(void)shutdown(f->fd, SHUT_RDWR);       /* wakes who waits in accept */
	for (int i = 0; i < SERVERS; i++)
		pthread_join(f->threads[i], NULL);
	close(f->fd);
}

struct asker {
	pthread_t thread;
	uint16_t port;
	uint64_t requests, failures;
};

static bool ends_with(const char *text, size_t n, const char *end)
{
	return n >= strlen(end) && memcmp(text + n - strlen(end), end, strlen(end)) == 0;
}

/* One answer in large pieces, as there will be a million: is it whole, and the right one? */
static bool read_answer(int fd, bool head, char *buf, size_t cap)
{
	size_t n = 0;

	while (n < cap - 1) {
		ssize_t r = recv(fd, buf + n, cap - 1 - n, 0);

		if (r <= 0)
			return false;
		n += (size_t)r;
		buf[n] = '\0';
		if (n > 12 && strncmp(buf, "HTTP/1.1 200", 12) != 0)
			return false;
		if (head ? ends_with(buf, n, "\r\n\r\n") :
			   ends_with(buf, n, "\r\n\r\nok") ||
				   ends_with(buf, n, "\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
			return true;
	}
	return false;
}

static void *ask(void *arg)
{
	static const char *const methods[] = { "GET", "GET", "GET", "PUT", "DELETE", "HEAD" };
	struct asker *k = arg;
	char buf[4096];
	int fd = client_dial(k->port);

	for (uint64_t i = 0; i < k->requests; i++) {
		const char *m = methods[i % 6];

		buf[0] = '\0';
		client_sendf(fd, "%s /x HTTP/1.1\r\nHost: app\r\n\r\n", m);
		if (read_answer(fd, strcmp(m, "HEAD") == 0, buf, sizeof(buf)))
			continue;
		printf("%s: %s\n", m, buf);
		k->failures++;
		close(fd);
		fd = client_dial(k->port);
	}
	close(fd);
	return NULL;
}

START_TEST(random_closes_fail_no_safe_request)
{
	const char *wanted = getenv("KVMESH_REQUESTS");
	struct asker askers[CLIENTS];
	uint64_t total = 50000, failures = 0;
	struct fickle service;
	struct net net;

	if (wanted)
		ck_assert(str_to_u64(str_c(wanted), &total));
	fickle_start(&service);
	net_start(&net, 2);
	net_publish(&net, ONE_SERVICE(""), service.port);
	uint16_t port = net_port(&net, "HTTP_PROXY");

	for (int i = 0; i < CLIENTS; i++) {
		askers[i] = (struct asker){ .port = port, .requests = total / CLIENTS };
		ck_assert_int_eq(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
	}
	for (int i = 0; i < CLIENTS; i++) {
		pthread_join(askers[i].thread, NULL);
		failures += askers[i].failures;
	}
	int64_t races = net_stat(&net, STATS_UP_IDLE_RACE);

	printf("%llu requests, %llu connections closed, %lld sent again, %llu failures\n",
	       (unsigned long long)total, (unsigned long long)atomic_load(&closed),
	       (long long)races, (unsigned long long)failures);
	ck_assert_uint_eq(failures, 0);
	ck_assert_int_gt(races, 0);
	net_await(&net, STATS_STREAMS, 0);
	net_stop(&net);
	fickle_stop(&service);
}
END_TEST

UNIT_MAIN("proxy_pools", connections_to_what_left_are_closed, what_is_under_way_there_ends_first,
	  who_has_not_heard_that_it_left_is_served, after_the_drain_time_it_is_gone,
	  random_closes_fail_no_safe_request)
