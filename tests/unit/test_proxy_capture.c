/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Redirected connections in a network namespace of the test's own: PeerAuthentication's modes on a
 * workload's port, protocol detection, outbound policy. Skipped where namespaces or nft are not to
 * be had.
 */
#include "config.h"

#include <fcntl.h>
#include <net/if.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy_net.h"

#define NOBODY 65534
#define ID_APP "spiffe://cluster.local/ns/default/sa/app"
#define ID_OTHER "spiffe://cluster.local/ns/default/sa/other"

/* ---- the namespace --------------------------------------------------------------------------- */

static bool lo_up(void)
{
	struct ifreq r = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &r) == 0;

	r.ifr_flags |= IFF_UP;
	ok = ok && ioctl(fd, SIOCSIFFLAGS, &r) == 0;
	close(fd);
	return ok;
}

static bool nft(const char *rules)
{
	int p[2], st;

	if (pipe2(p, O_CLOEXEC) != 0)
		return false;
	pid_t pid = fork();

	if (pid == 0) {
		dup2(p[0], STDIN_FILENO);
		execlp("nft", "nft", "-f", "-", NULL);
		_exit(127);
	}
	close(p[0]);
	bool ok = write(p[1], rules, strlen(rules)) == (ssize_t)strlen(rules);

	close(p[1]);
	return waitpid(pid, &st, 0) == pid && ok && WIFEXITED(st) && WEXITSTATUS(st) == 0;
}

/* What user nobody sends to from goes to to; ours does not. */
static void redirect(uint16_t from, uint16_t to)
{
	char rules[512];

	snprintf(rules, sizeof(rules), "flush ruleset\ntable ip t { chain o { type nat hook output "
				       "priority -100;\n"
		 "meta skuid %d tcp dport %d redirect to :%d\n}\n}\n", NOBODY, from, to);
	ck_assert(nft(rules));
}

static int dial_captured(uint16_t port)
{
	setfsuid(NOBODY);
	int fd = client_dial(port);

	setfsuid(0);
	return fd;
}

/* ---- inbound --------------------------------------------------------------------------------- */

#define INBOUND \
	NET_SETTINGS ", 'identities': ['spiffe://cluster.local/ns/kvmesh-system/sa/n1', " \
		     "'" ID_APP "']," \
	"'peers': [{'name': 'n1', 'ns': 'kvmesh-system', 'principal': " \
	"'spiffe://cluster.local/ns/kvmesh-system/sa/n1'}," \
	"  {'name': 'app-v1', 'ns': 'default', 'principal': '" ID_APP "'}]," \
	"'workloads': [{'peer': 0, 'identity': 0, 'view': 0}, {'peer': 1, 'identity': 1, 'view': " \
	"0}]," \
	"'views': [{'name': 'v'}], 'listeners': [{'kind': 'INBOUND', 'address': '127.0.0.1', " \
	"'port': 0}]," \
	"'inbounds': [{'workload': 1, 'address': '127.0.0.1', 'port': %d, 'protocol': '%s', " \
	"'mtls': '%s'}]"

struct inbound {
	struct net_ca *ca;
	struct net net;
	struct backend *app;
};

static void setup(struct inbound *f, struct backend *app, const char *protocol, const char *mtls)
{
	f->ca = net_ca_new();
	f->app = app;
	net_start(&f->net, 1);
	net_identity(&f->net, f->ca, "spiffe://cluster.local/ns/kvmesh-system/sa/n1");
	net_identity(&f->net, f->ca, ID_APP);
	net_publish(&f->net, INBOUND, backend_port(app), protocol, mtls);
	redirect(backend_port(app), net_port(&f->net, "INBOUND"));
	/* the redirect leads nowhere until the worker listens */
	close(client_dial(net_port(&f->net, "INBOUND")));
	net_await(&f->net, STATS_DOWN_CONNECTIONS, 0);
}

static void teardown(struct inbound *f)
{
	net_stop(&f->net);
	backend_stop(f->app);
	net_ca_free(f->ca);
}

/* A TLS client that offers that ALPN; what came back, "" when nothing. */
static char *tls_ask(struct inbound *f, const char *alpn, const char *request)
{
	_cleanup_free_ char *cert = NULL, *key = NULL;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int fd = dial_captured(backend_port(f->app)), n = 0, r;
	char *out = calloc(1, 65536);

	net_ca_leaf_pem(f->ca, ID_OTHER, &cert, &key);
	BIO *b = BIO_new_mem_buf(cert, -1);
	X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);

	BIO_free(b);
	b = BIO_new_mem_buf(key, -1);
	EVP_PKEY *k = PEM_read_bio_PrivateKey(b, NULL, NULL, NULL);

	BIO_free(b);
	SSL_CTX_use_certificate(ctx, x);
	SSL_CTX_use_PrivateKey(ctx, k);
	SSL *ssl = SSL_new(ctx);
	unsigned char wire[64];

	wire[0] = (unsigned char)strlen(alpn);
	memcpy(wire + 1, alpn, strlen(alpn));
	SSL_set_alpn_protos(ssl, wire, (unsigned)strlen(alpn) + 1);
	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) == 1 && SSL_write(ssl, request, (int)strlen(request)) > 0)
		while ((r = SSL_read(ssl, out + n, 65535 - n)) > 0)
			n += r;
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	X509_free(x);
	EVP_PKEY_free(k);
	close(fd);
	return out;
}

static const char ask_headers[] = "GET /headers HTTP/1.1\r\nHost: app\r\nConnection: close\r\n"
				  "X-Forwarded-Client-Cert: URI=spiffe://evil\r\nX-Kvmesh-Peer: "
				  "n1.kvmesh-system\r\n\r\n";

START_TEST(permissive_takes_plain_and_mutual)
{
	struct inbound f;
	struct answer a;

	setup(&f, backend_start("app"), "HTTP", "PERMISSIVE");
	int fd = dial_captured(backend_port(f.app));

	client_send(fd, ask_headers);
	ck_assert(client_read(fd, "GET", &a));
	ck_assert_uint_eq(a.status, 200);
	ck_assert_str_eq(answer_field(&a, "server"), "istio-envoy");
	ck_assert_ptr_null(strstr(a.body, "x-forwarded-client-cert"));
	ck_assert_ptr_null(strstr(a.body, "x-kvmesh"));
	answer_done(&a);
	close(fd);
	char *out = tls_ask(&f, "istio", ask_headers);

	ck_assert_ptr_nonnull(strstr(out, "HTTP/1.1 200 OK"));
	ck_assert_ptr_nonnull(strstr(out, "By=" ID_APP));
	ck_assert_ptr_nonnull(strstr(out, "URI=" ID_OTHER));
	free(out);
	/* TLS that is not the mesh's has no business on an HTTP port */
	out = tls_ask(&f, "http/1.1", ask_headers);
	ck_assert_str_eq(out, "");
	free(out);
	teardown(&f);
}
END_TEST

START_TEST(strict_gives_plain_text_no_byte)
{
	struct inbound f;
	size_t n;

	setup(&f, backend_start("app"), "HTTP", "STRICT");
	int fd = dial_captured(backend_port(f.app));

	client_send(fd, ask_headers);
	char *all = client_read_all(fd, &n);

	ck_assert_uint_eq(n, 0);
	free(all);
	close(fd);
	ck_assert_uint_eq(backend_accepted(f.app), 0);
	char *out = tls_ask(&f, "istio-http/1.1", ask_headers);

	ck_assert_ptr_nonnull(strstr(out, "URI=" ID_OTHER));
	free(out);
	teardown(&f);
}
END_TEST

START_TEST(a_connection_kept_open_follows_a_stricter_policy)
{
	struct inbound f;
	struct answer a;

	setup(&f, backend_start("app"), "HTTP", "PERMISSIVE");
	int fd = dial_captured(backend_port(f.app));

	client_ask(fd, &a, "GET /ok HTTP/1.1\r\nHost: app\r\n\r\n");
	ck_assert_uint_eq(a.status, 200);
	answer_done(&a);
	net_publish(&f.net, INBOUND, backend_port(f.app), "HTTP", "STRICT");
	for (int i = 0; i < NET_DEADLINE_MS; i++) {
		client_send(fd, "GET /ok HTTP/1.1\r\nHost: app\r\n\r\n");
		bool open = client_read(fd, "GET", &a);

		answer_done(&a);
		if (!open)
			break;
		ck_assert_int_lt(i, NET_DEADLINE_MS - 1);
		usleep(1000);
	}
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(disable_passes_everything_through)
{
	struct inbound f;
	struct answer a;

	setup(&f, backend_start("app"), "HTTP", "DISABLE");
	int fd = dial_captured(backend_port(f.app));

	client_ask(fd, &a, "GET /ok HTTP/1.1\r\nHost: app\r\n\r\n");
	ck_assert_uint_eq(a.status, 200);
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

/* Says hello first, then what the first byte of the client was. */
static void greet(int fd, void *arg)
{
	unsigned char c;

	(void)arg;
	client_send(fd, "hello\n");
	if (recv(fd, &c, 1, 0) == 1)
		client_sendf(fd, "%02x\n", c);
}

static void expect_greeting(int fd, const char *say, const char *answer)
{
	char buf[8] = "";

	client_read_some(fd, buf, 6);
	ck_assert_str_eq(buf, "hello\n");
	client_send(fd, say);
	memset(buf, 0, sizeof(buf));
	client_read_some(fd, buf, 3);
	ck_assert_str_eq(buf, answer);
}

START_TEST(who_speaks_first_is_not_stalled)
{
	static const char *const protocols[] = { "TCP", "AUTO" };

	for (size_t i = 0; i < 2; i++) {
		struct inbound f;

		setup(&f, backend_start_raw(greet, NULL), protocols[i], "PERMISSIVE");
		int fd = dial_captured(backend_port(f.app));

		expect_greeting(fd, "x", "78\n");
		close(fd);
		teardown(&f);
	}
}
END_TEST

START_TEST(tls_that_is_the_applications_own_is_passed_on)
{
	struct inbound f;
	char buf[16] = "";
	static const unsigned char hello[] = { 0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3,
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
			24, 25, 26, 27,
		28, 29, 30, 31, 32, 0, 0, 2, 0x13, 1, 1, 0 };

	setup(&f, backend_start_raw(greet, NULL), "TCP", "PERMISSIVE");
	int fd = dial_captured(backend_port(f.app));

	client_send_n(fd, hello, sizeof(hello));
	client_read_some(fd, buf, 9);
	ck_assert_str_eq(buf, "hello\n16\n");
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(an_undeclared_port_is_http_when_it_looks_so)
{
	struct inbound f;
	struct answer a;

	setup(&f, backend_start("app"), "AUTO", "PERMISSIVE");
	int fd = dial_captured(backend_port(f.app));

	client_ask(fd, &a, "GET /headers HTTP/1.1\r\nHost: app\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(a.body, "x-request-id: "));
	answer_done(&a);
	close(fd);
	teardown(&f);
}
END_TEST

/* ---- outbound -------------------------------------------------------------------------------- */

#define OUTBOUND \
	NET_SETTINGS "," NET_NODE "," \
	"'listeners': [{'kind': 'OUTBOUND', 'address': '127.0.0.1', 'port': 0}]," \
	"'views': [{'name': 'v', 'outbound': '%s', %s 'vhosts': []}]," \
	"'clusters': [{'name': 'c', 'endpoints': [{'address': '127.0.0.1', 'port': %d," \
	"'weight': 1," \
	" 'peer': -1}]}]"
#define ROW(rest) "'l4': [{'name': 'row', " rest \
	"'destinations': [{'cluster': 0, 'weight': 1}], 'total_weight': 1}],"

static void setup_outbound(struct inbound *f, struct backend *app, const char *policy,
			   const char *rows,
			   uint16_t captured)
{
	f->ca = net_ca_new();
	f->app = app;
	net_start(&f->net, 1);
	net_publish(&f->net, OUTBOUND, policy, rows, backend_port(app));
	redirect(captured, net_port(&f->net, "OUTBOUND"));
	close(client_dial(net_port(&f->net, "OUTBOUND")));
	net_await(&f->net, STATS_DOWN_CONNECTIONS, 0);
}

START_TEST(allow_any_reaches_what_the_caller_named)
{
	struct inbound f;
	struct answer a;
	struct backend *app = backend_start("app");

	setup_outbound(&f, app, "ALLOW_ANY", "", backend_port(app));
	int fd = dial_captured(backend_port(app));

	client_ask(fd, &a, "GET /ok HTTP/1.1\r\nHost: whatever\r\n\r\n");
	ck_assert_uint_eq(a.status, 200);
	answer_done(&a);
	close(fd);
	teardown(&f);
	app = backend_start_raw(greet, NULL);
	setup_outbound(&f, app, "ALLOW_ANY", "", backend_port(app));
	fd = dial_captured(backend_port(app));
	expect_greeting(fd, "x", "78\n");
	close(fd);
	teardown(&f);
}
END_TEST

START_TEST(registry_only_refuses_what_nobody_declared)
{
	struct inbound f;
	struct answer a;
	struct backend *app = backend_start("app");

	setup_outbound(&f, app, "REGISTRY_ONLY", "", backend_port(app));
	int fd = dial_captured(backend_port(app));

	client_ask(fd, &a, "GET /ok HTTP/1.1\r\nHost: whatever\r\n\r\n");
	ck_assert_uint_eq(a.status, 502);
	answer_done(&a);
	close(fd);
	fd = dial_captured(backend_port(app));
	client_send(fd, "\x01 not http");
	client_expect_end(fd);
	close(fd);
	ck_assert_uint_eq(backend_accepted(app), 0);
	teardown(&f);
}
END_TEST

START_TEST(tcp_services_are_found_by_address_and_by_name)
{
	struct inbound f;
	char buf[16] = "";
	static const unsigned char hello[] = { 0x16, 3, 1, 0, 67, 1, 0, 0, 63, 3, 3,
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
			24, 25, 26, 27,
		28, 29, 30, 31, 32, 0, 0, 2, 0x13, 1, 1, 0, 0, 20, 0, 0, 0, 16, 0, 14, 0, 0, 11,
		'd', 'b', '.', 'e', 'x', 'a', 'm', 'p', 'l', 'e', 's' };

	/* port 9 has nobody: only the row can lead anywhere */
	setup_outbound(&f, backend_start_raw(greet, NULL), "REGISTRY_ONLY",
		       ROW("'port': 9, 'addresses': ['127.0.0.0/8'],"), 9);
	int fd = dial_captured(9);

	expect_greeting(fd, "x", "78\n");
	close(fd);
	teardown(&f);
	setup_outbound(&f, backend_start_raw(greet, NULL), "REGISTRY_ONLY",
		       ROW("'port': 9, 'sni': ['*.examples', 'db.examples'],"), 9);
	fd = dial_captured(9);
	client_send_n(fd, hello, sizeof(hello));
	client_read_some(fd, buf, 9);
	ck_assert_str_eq(buf, "hello\n16\n");
	close(fd);
	fd = dial_captured(9);
	client_send(fd, "no name at all");
	client_expect_end(fd);
	close(fd);
	teardown(&f);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		permissive_takes_plain_and_mutual, strict_gives_plain_text_no_byte,
		a_connection_kept_open_follows_a_stricter_policy, disable_passes_everything_through,
		who_speaks_first_is_not_stalled, tls_that_is_the_applications_own_is_passed_on,
		an_undeclared_port_is_http_when_it_looks_so,
			allow_any_reaches_what_the_caller_named,
		registry_only_refuses_what_nobody_declared,
			tcp_services_are_found_by_address_and_by_name,
	};

	if (unshare(CLONE_NEWNET) != 0 || !lo_up() || !nft("flush ruleset\n")) {
		puts("skipped: no network namespace or no nft here");
		return 77;
	}
	return unit_run("proxy_capture", tests, sizeof(tests) / sizeof(tests[0]));
}
