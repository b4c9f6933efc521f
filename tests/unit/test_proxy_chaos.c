/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients and services that do the wrong thing at the wrong moment, through two proxies, while
 * snapshots change: nothing crashes, nothing is left, and whoever behaves is served. What the
 * sanitizers say is half of this test. The seed is printed; KVMESH_CHAOS_SEED repeats it,
 * KVMESH_CHAOS_ROUNDS makes it longer.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/rng.h"
#include "proxy_net.h"

#define ID_NODE1 "spiffe://cluster.local/ns/kvmesh-system/sa/n1"
#define ID_APP "spiffe://cluster.local/ns/default/sa/app"
#define PEERS \
	"'peers': [{'name': 'n1', 'ns': 'kvmesh-system', 'principal': '" ID_NODE1 "'}," \
	"{'name': 'app-v1', 'ns': 'default', 'principal': '" ID_APP "'}]"
#define SNI "inbound_.80_.app-v1_.app.default.svc.cluster.local"
#define SETTINGS \
	"'settings': {'trust_domain': 'cluster.local', 'stream_idle_timeout_us': 2000000," \
	" 'header_timeout_us': 1000000}"
#define SERVER \
	SETTINGS ", 'identities': ['" ID_APP "']," PEERS "," \
	"'workloads': [{'peer': 1, 'identity': 0, 'view': 0}], 'views': [{'name': 'v'}]," \
	"'listeners': [{'kind': 'MESH', 'address': '127.0.0.1', 'port': 0}]," \
	"'inbounds': [{'workload': 0, 'address': '127.0.0.1', 'port': %d, 'mtls': 'STRICT'}]," \
	"'snis': [{'name': '" SNI "', 'targets': [0], 'service': -1}]"
#define CLIENT \
	SETTINGS ", 'identities': ['" ID_NODE1 "']," PEERS "," \
	"'workloads': [{'peer': 0, 'identity': 0, 'view': 0}]," \
	"'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', 'port': 0}," \
	"  {'kind': 'TCP', 'address': '127.0.0.1', 'port': 0, 'service': 'app'," \
	"   'service_port': 80}]," \
	"'views': [{'name': 'v', 'vhosts': [{'name': 'app:80', 'port': 80, 'domains': ['app']," \
	"  'routes': [{'name': 'r', 'destinations': [{'cluster': 0, 'weight': 1}]," \
	"   'total_weight': 1, %s 'retry': {'attempts': 2, 'on': %d, 'backoff_us': 1000," \
	"   'per_try_us': 1500000}}]}]," \
	"  'l4': [{'name': 'app', 'service': 'app', 'port': 80, 'destinations':" \
	"  [{'cluster': 1, 'weight': 1}], 'total_weight': 1}]}]," \
	"'clusters': [{'name': 'app', 'limits': {'max_requests_per_connection': %d}, 'endpoints':" \
	"  [{'address': '127.0.0.1', 'port': 1, 'weight': 1, 'peer': 1," \
	"    'mesh_address': '127.0.0.1', 'mesh_port': %d, 'mesh_sni': '" SNI "'}]}," \
	"  {'name': 'app-plain', 'endpoints': [{'address': '127.0.0.1', 'port': %d, 'weight': 1," \
	"   'peer': -1}]}]"

struct chaos {
	struct net client, server;
	struct net_ca *ca;
	struct backend *app;
	uint16_t http, tcp, mesh;
	uint64_t seed;
	atomic_uint next, done;
	unsigned rounds;
	atomic_bool stop;
};

static const char *const paths[] = {
	"/ok", "/echo", "/chunked", "/trailers", "/empty", "/nolength", "/close", "/once", "/drop",
	"/cut", "/cut-chunked", "/reset", "/junk", "/ws", "/status/503", "/big/300000", "/info",
	"/excess", "/headers", "/hang",
};

/* ---- one round ------------------------------------------------------------------------------- */

static bool chance(struct rng *r, unsigned percent)
{
	return rng_below(r, 100) < percent;
}

/* In pieces; false when the peer has had enough. */
static bool send_pieces(int fd, struct rng *r, const char *p, size_t n)
{
	while (n > 0) {
		size_t now = chance(r, 70) ? n : 1 + (size_t)rng_below(r, n);
		ssize_t k = send(fd, p, now, MSG_NOSIGNAL);

		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
		if (n > 0 && chance(r, 30))
			usleep((useconds_t)rng_below(r, 2000));
	}
	return true;
}

static size_t make_request(struct rng *r, char *to, size_t room)
{
	const char *path = paths[rng_below(r, sizeof(paths) / sizeof(paths[0]))];
	bool upgrade = strcmp(path, "/ws") == 0;
	int body = chance(r, 30) ? (int)rng_below(r, 3000) : -1;
	int n = snprintf(to, room, "%s %s HTTP/1.1\r\nHost: app\r\n%s%s",
			 body >= 0 ? "POST" : chance(r, 10) ? "HEAD" : "GET", path,
			 upgrade ? "Connection: Upgrade\r\nUpgrade: websocket\r\n" : "",
			 chance(r, 10) ? "Connection: close\r\n" : "");

	if (body < 0)
		return (size_t)(n + snprintf(to + n, room - (size_t)n, "\r\n"));
	if (chance(r, 50))
		n += snprintf(to + n, room - (size_t)n, "Content-Length: %d\r\n\r\n"
							"%0*d", body, body, 0);
	else
		n += snprintf(to + n, room - (size_t)n,
			      "Transfer-Encoding: chunked\r\n\r\n%x\r\n%0*d\r\n0\r\n%s\r\n",
				      body + 1,
			      body + 1, 0, chance(r, 50) ? "X-Sum: 1\r\n" : "");
	return (size_t)n;
}

static void read_some(int fd, struct rng *r)
{
	struct timeval tv = { .tv_usec = 1 + (suseconds_t)rng_below(r, 300000) };
	char buf[16384];
	size_t left = (size_t)rng_below(r, 400000);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	while (left > 0) {
		ssize_t n = recv(fd, buf, left < sizeof(buf) ? left : sizeof(buf), 0);

		if (n <= 0)
			return;
		left -= (size_t)n;
		if (chance(r, 5))
			usleep((useconds_t)rng_below(r, 5000));
	}
}

static void misbehave(struct chaos *c, struct rng *r)
{
	char text[16384];
	int fd = client_dial(chance(r, 20) ? c->tcp : c->http);
	size_t n = 0;

	for (unsigned k = (unsigned)rng_below(r, 4); k-- > 0 && n < 8000;)
		n += make_request(r, text + n, sizeof(text) - n);
	if (n > 0 && chance(r, 20))     /* only a part, or something broken in it */
		n = 1 + (size_t)rng_below(r, n);
	if (n > 0 && chance(r, 5))
		text[rng_below(r, n)] = (char)rng_below(r, 256);
	if (n > 0 && send_pieces(fd, r, text, n) && chance(r, 80))
		read_some(fd, r);
	if (chance(r, 30))
		shutdown(fd, SHUT_WR);
	if (chance(r, 30))
		read_some(fd, r);
	if (chance(r, 40))
		client_abort(fd);
	else
		close(fd);
}

/* ---- the others ------------------------------------------------------------------------------ */

static void *misbehaves(void *arg)
{
	struct chaos *c = arg;
	struct rng r;

	for (;;) {
		unsigned i = atomic_fetch_add(&c->next, 1);

		if (i >= c->rounds)
			return NULL;
		rng_init(&r, c->seed + i);
		misbehave(c, &r);
		atomic_fetch_add(&c->done, 1);
	}
}

static void publish_client(struct chaos *c, unsigned i)
{
	net_publish(&c->client, CLIENT, i % 2 ? "'timeout_us': 1800000," : "", i % 3 ? 1 : 80,
		    (int)(i % 4), c->mesh, backend_port(c->app));
}

static void *changes(void *arg)
{
	struct chaos *c = arg;

	for (unsigned i = 0; !atomic_load(&c->stop); i++) {
		publish_client(c, i);
		if (i % 5 == 0)
			net_publish(&c->server, SERVER, backend_port(c->app));
		usleep(30000);
	}
	return NULL;
}

/* Safe requests of a client that behaves: a service that closes at will costs it nothing. */
static void behave(struct chaos *c)
{
	int fd = client_dial(c->http);
	struct answer a;

	while (atomic_load(&c->done) < c->rounds) {
		client_ask(fd, &a, "GET %s HTTP/1.1\r\nHost: app\r\n\r\n",
			   rand() % 4 ? "/ok" : "/once");
		ck_assert_msg(a.status == 200, "%u: %s", a.status, a.body);
		answer_done(&a);
	}
	close(fd);
}

static uint64_t number_from_env(const char *name, uint64_t dflt)
{
	const char *v = getenv(name);

	return v ? strtoull(v, NULL, 10) : dflt;
}

START_TEST(chaos_leaves_nothing_behind)
{
	struct chaos c = { .ca = net_ca_new(), .app = backend_start("app") };
	pthread_t t[8], changer;

	rng_secure(&c.seed, sizeof(c.seed));
	c.seed = number_from_env("KVMESH_CHAOS_SEED", c.seed % 1000000);
	c.rounds = (unsigned)number_from_env("KVMESH_CHAOS_ROUNDS", 400);
	printf("seed %llu\n", (unsigned long long)c.seed);
	net_start(&c.server, 2);
	net_identity(&c.server, c.ca, ID_APP);
	net_publish(&c.server, SERVER, backend_port(c.app));
	c.mesh = net_port(&c.server, "MESH");
	net_start(&c.client, 2);
	net_identity(&c.client, c.ca, ID_NODE1);
	publish_client(&c, 0);
	c.http = net_port(&c.client, "HTTP_PROXY");
	c.tcp = net_port(&c.client, "TCP");
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, misbehaves, &c);
	pthread_create(&changer, NULL, changes, &c);
	behave(&c);
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	atomic_store(&c.stop, true);
	pthread_join(changer, NULL);
	net_await(&c.client, STATS_STREAMS, 0);
	net_await(&c.server, STATS_STREAMS, 0);
	net_await(&c.client, STATS_DOWN_CONNECTIONS, 0);
	net_stop(&c.client);
	net_stop(&c.server);
	backend_stop(c.app);
	net_ca_free(c.ca);
}
END_TEST

UNIT_MAIN("proxy_chaos", chaos_leaves_nothing_behind)
