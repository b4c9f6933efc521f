/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two proxies and mTLS between them: identities, what is refused, what the service sees; renewal
 * under load.
 */
#include "config.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy_two.h"

static void get(int fd, const char *path, struct answer *a)
{
	client_ask(fd, a, "GET %s HTTP/1.1\r\nHost: app\r\n\r\n", path);
}

/* ---- through both proxies -------------------------------------------------------------------- */

START_TEST(a_request_crosses_both_proxies)
{
	struct mesh m;
	struct answer a;

	mesh_setup(&m);
	int fd = client_dial(net_port(&m.client, "HTTP_PROXY"));

	client_ask(fd, &a, "GET /headers HTTP/1.1\r\nHost: app\r\nX-Kvmesh-Peer: other.default\r\n"
			   "X-Forwarded-Client-Cert: URI=spiffe://evil\r\n\r\n");
	ck_assert_uint_eq(a.status, 200);
	ck_assert_ptr_nonnull(strstr(a.body, "x-forwarded-client-cert: By=" ID_APP ";Hash="));
	ck_assert_ptr_nonnull(strstr(a.body, ";Subject=\"\";URI=" ID_NODE1 "\r\n"));
	ck_assert_ptr_null(strstr(a.body, "evil"));
	ck_assert_ptr_null(strstr(a.body, "x-kvmesh"));
	ck_assert_ptr_nonnull(strstr(a.body, "x-envoy-attempt-count: 1\r\n"));
	ck_assert_str_eq(answer_field(&a, "server"), "envoy");
	answer_done(&a);
	for (int i = 0; i < 20; i++) {
		get(fd, "/ok", &a);
		ck_assert_str_eq(a.body, "app");
		answer_done(&a);
	}
	ck_assert_int_eq(net_stat(&m.server, STATS_TLS_HANDSHAKES), 1);
	close(fd);
	mesh_teardown(&m);
}
END_TEST

START_TEST(large_bodies_cross_unchanged)
{
	struct mesh m;
	struct answer a;

	mesh_setup(&m);
	int fd = client_dial(net_port(&m.client, "HTTP_PROXY"));

	get(fd, "/big/5000000", &a);
	ck_assert_uint_eq(a.n, 5000000);
	ck_assert_uint_eq(strspn(a.body, "x"), 5000000);
	answer_done(&a);
	close(fd);
	mesh_teardown(&m);
}
END_TEST

START_TEST(sessions_are_resumed_but_not_across_identities)
{
	struct mesh m;
	struct answer a;

	mesh_setup(&m);
	net_publish(&m.client, CLIENT_WITH("'limits': {'max_requests_per_connection': 1},"), 2,
		    m.mesh_port);
	int fd = client_dial(net_port(&m.client, "HTTP_PROXY"));

	while (net_stat(&m.client, STATS_UP_CONNECTED) < 10) {  /* until that snapshot is there */
		get(fd, "/ok", &a);
		ck_assert_uint_eq(a.status, 200);
		answer_done(&a);
	}
	int64_t resumed = net_stat(&m.server, STATS_TLS_RESUMED);

	ck_assert_int_ge(resumed, 8);
	net_identity(&m.client, m.ca, ID_NODE1);
	net_republish(&m.client);
	net_identity(&m.server, m.ca, ID_APP);
	net_republish(&m.server);
	int64_t full = net_stat(&m.server, STATS_TLS_HANDSHAKES) - resumed;

	for (int i = 0; i < 10; i++) {
		get(fd, "/ok", &a);
		ck_assert_uint_eq(a.status, 200);
		answer_done(&a);
	}
	/* the new key of the client has begun with a handshake of its own */
	ck_assert_int_gt(net_stat(&m.server, STATS_TLS_HANDSHAKES) - net_stat(&m.server,
		STATS_TLS_RESUMED), full);
	close(fd);
	mesh_teardown(&m);
}
END_TEST

/* ---- opaque TCP ------------------------------------------------------------------------------ */

/* Speaks first, then echoes until the client's end, then says how much it was. */
static void greet_and_echo(int fd, void *arg)
{
	char buf[65536];
	size_t total = 0;
	ssize_t n;

	(void)arg;
	client_send(fd, "hello\n");
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		total += (size_t)n;
	client_sendf(fd, "%zu\n", total);
}

START_TEST(tcp_crosses_with_half_close)
{
	struct mesh m = { .ca = net_ca_new() };
	char buf[32] = "", *rest;
	size_t n;

	mesh_setup_with(&m, m.ca, backend_start_raw(greet_and_echo, NULL), "TCP", 2);
	int fd = client_dial(net_port(&m.client, "TCP"));
	char *block = calloc(1, 1000000);

	client_read_some(fd, buf, 6);           /* the server speaks first */
	ck_assert_str_eq(buf, "hello\n");
	client_send_n(fd, block, 1000000);
	shutdown(fd, SHUT_WR);
	rest = client_read_all(fd, &n);
	ck_assert_str_eq(rest, "1000000\n");
	free(rest);
	free(block);
	close(fd);
	net_await(&m.client, STATS_STREAMS, 0);
	net_await(&m.server, STATS_STREAMS, 0);
	mesh_teardown(&m);
}
END_TEST

/* ---- what gets nothing ----------------------------------------------------------------------- */

START_TEST(a_server_with_another_identity_gets_nothing)
{
	struct mesh m = { .ca = net_ca_new() };
	struct answer a;

	/* the caller expects "other", the mesh port proves "app" */
	mesh_setup_with(&m, m.ca, backend_start("app"), "HTTP", 3);
	int fd = client_dial(net_port(&m.client, "HTTP_PROXY"));

	get(fd, "/secret", &a);
	ck_assert_uint_eq(a.status, 503);
	answer_done(&a);
	ck_assert_uint_eq(backend_requests(m.app), 0);
	close(fd);
	mesh_teardown(&m);
}
END_TEST

START_TEST(a_client_of_a_foreign_ca_gets_nothing)
{
	struct mesh m = { .ca = net_ca_new() };
	struct net_ca *foreign = net_ca_new();
	struct answer a;

	mesh_setup_with(&m, foreign, backend_start("app"), "HTTP", 2);
	int fd = client_dial(net_port(&m.client, "HTTP_PROXY"));

	get(fd, "/secret", &a);
	ck_assert_uint_eq(a.status, 503);
	answer_done(&a);
	ck_assert_uint_eq(backend_requests(m.app), 0);
	close(fd);
	mesh_teardown(&m);
	net_ca_free(foreign);
}
END_TEST

START_TEST(plain_text_on_the_mesh_port_gets_no_byte)
{
	struct mesh m;

	mesh_setup(&m);
	int fd = client_dial(m.mesh_port);
	size_t n;

	client_send(fd, "GET /ok HTTP/1.1\r\nHost: app\r\n\r\n");
	char *all = client_read_all(fd, &n);

	ck_assert_msg(n == 0 || all[0] == 0x15, "%zu bytes came back: "
						"%s", n, all);    /* at most a TLS alert */
	ck_assert_ptr_null(strstr(all, "HTTP"));
	ck_assert_uint_eq(backend_requests(m.app), 0);
	free(all);
	close(fd);
	mesh_teardown(&m);
}
END_TEST

/* A TLS client of the test's own. Returns what it read after a request, "" when nothing. */
static char *raw_tls(struct mesh *m, const char *sni, const char *spiffe, const char *request)
{
	_cleanup_free_ char *cert = NULL, *key = NULL;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int fd = client_dial(m->mesh_port);

	if (spiffe) {
		net_ca_leaf_pem(m->ca, spiffe, &cert, &key);
		BIO *b = BIO_new_mem_buf(cert, -1);
		X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);

		BIO_free(b);
		b = BIO_new_mem_buf(key, -1);
		EVP_PKEY *k = PEM_read_bio_PrivateKey(b, NULL, NULL, NULL);

		BIO_free(b);
		ck_assert(SSL_CTX_use_certificate(ctx, x) == 1 && SSL_CTX_use_PrivateKey(ctx,
			k) == 1);
		X509_free(x);
		EVP_PKEY_free(k);
	}
	SSL *ssl = SSL_new(ctx);
	char *out = calloc(1, 65536);

	if (sni)
		SSL_set_tlsext_host_name(ssl, sni);
	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) == 1 && SSL_write(ssl, request, (int)strlen(request)) > 0) {
		int n = 0, r;

		while ((r = SSL_read(ssl, out + n, 65535 - n)) > 0 && n < 65535)
			n += r;
	}
	ERR_clear_error();
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	return out;
}

START_TEST(any_client_of_this_mesh_gets_through_by_istios_name)
{
	struct mesh m;

	mesh_setup(&m);
	char *out = raw_tls(&m, SNI_ISTIO, ID_OTHER, "GET /headers HTTP/1.1\r\nHost: app\r\n"
						     "Connection: close\r\n"
						     "X-Kvmesh-Peer: app-v1.default\r\n\r\n");

	ck_assert_ptr_nonnull(strstr(out, "HTTP/1.1 200 OK\r\n"));
	ck_assert_ptr_nonnull(strstr(out, "URI=" ID_OTHER));
	ck_assert_ptr_nonnull(strstr(out, "server: istio-envoy\r\n"));
	ck_assert_ptr_null(strstr(out, "x-kvmesh"));
	free(out);
	mesh_teardown(&m);
}
END_TEST

START_TEST(no_certificate_or_an_unknown_name_gets_nothing)
{
	static const char request[] = "GET /ok HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";
	struct mesh m;
	char *out;

	mesh_setup(&m);
	out = raw_tls(&m, SNI, NULL, request);
	ck_assert_str_eq(out, "");
	free(out);
	out = raw_tls(&m, "outbound_.80_._.nobody.default.svc.cluster.local", ID_OTHER, request);
	ck_assert_str_eq(out, "");
	free(out);
	out = raw_tls(&m, NULL, ID_OTHER, request);
	ck_assert_str_eq(out, "");
	free(out);
	ck_assert_uint_eq(backend_requests(m.app), 0);
	mesh_teardown(&m);
}
END_TEST

START_TEST(without_a_certificate_of_our_own_nothing_leaves)
{
	struct mesh m;
	struct answer a;
	struct net bare;

	mesh_setup(&m);
	net_start(&bare, 1);
	net_publish(&bare, CLIENT, 2, m.mesh_port);
	int fd = client_dial(net_port(&bare, "HTTP_PROXY"));

	get(fd, "/ok", &a);
	ck_assert_uint_eq(a.status, 503);
	answer_done(&a);
	ck_assert_uint_eq(backend_requests(m.app), 0);
	close(fd);
	net_stop(&bare);
	mesh_teardown(&m);
}
END_TEST

/* ---- TLS outside the mesh -------------------------------------------------------------------- */

/* A TLS service of the test's own: answers who the client is, asks for a certificate. */
struct tls_service {
	SSL_CTX *ctx;
	char dir[64], ca[96], cert[96], key[96];
};

static void put_file(const char *path, char *text)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	free(text);
}

static void serve_tls(int fd, void *arg)
{
	struct tls_service *t = arg;
	SSL *ssl = SSL_new(t->ctx);
	char buf[4096], out[512];
	int n;

	SSL_set_fd(ssl, fd);
	while (SSL_is_init_finished(ssl) ? true : SSL_accept(ssl) == 1) {
		n = SSL_read(ssl, buf, sizeof(buf));
		if (n <= 0)
			break;
		X509 *peer = SSL_get1_peer_certificate(ssl);
		const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
		int body = snprintf(out + 256, 256, "cert=%d "
						    "sni=%s", peer != NULL, sni ? sni : "-");

		X509_free(peer);
		n = snprintf(out, 256, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", body);
		memmove(out + n, out + 256, (size_t)body);
		SSL_write(ssl, out, n + body);
	}
	ERR_clear_error();
	SSL_free(ssl);
}

/* One certificate serves both sides; its only name is a SPIFFE ID. */
static void make_service(struct tls_service *t, struct net_ca *ca)
{
	char *cert, *key;

	snprintf(t->dir, sizeof(t->dir), "/tmp/kvmesh-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(t->dir));
	snprintf(t->ca, sizeof(t->ca), "%s/ca.crt", t->dir);
	snprintf(t->cert, sizeof(t->cert), "%s/tls.crt", t->dir);
	snprintf(t->key, sizeof(t->key), "%s/tls.key", t->dir);
	net_ca_leaf_pem(ca, ID_OTHER, &cert, &key);
	put_file(t->ca, net_ca_root_pem(ca));
	put_file(t->cert, cert);
	put_file(t->key, key);
	t->ctx = SSL_CTX_new(TLS_server_method());
	ck_assert(SSL_CTX_use_certificate_file(t->ctx, t->cert, SSL_FILETYPE_PEM) == 1 &&
		  SSL_CTX_use_PrivateKey_file(t->ctx, t->key, SSL_FILETYPE_PEM) == 1 &&
		  SSL_CTX_load_verify_locations(t->ctx, t->ca, NULL) == 1);
	SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
}

static void drop_service(struct tls_service *t)
{
	unlink(t->ca);
	unlink(t->cert);
	unlink(t->key);
	rmdir(t->dir);
	SSL_CTX_free(t->ctx);
}

#define OUTSIDE \
	NET_SETTINGS "," NET_NODE "," \
	"'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', 'port': 0}]," \
	"'views': [{'name': 'v', 'vhosts': [{'name': 'a', 'domains': ['app'], 'routes': [{" \
	"  'name': 'r', 'destinations': [{'cluster': 0, 'weight': 1}], 'total_weight': 1}]}]}]," \
	"'clusters': [{'name': 'c', 'tls': {%s}, 'endpoints': [{'address': '127.0.0.1', " \
	"  'port': %d, 'weight': 1, 'peer': -1}]}]"

static unsigned ask_outside(const char *tls, struct backend *b, struct answer *a)
{
	struct net n;

	net_start(&n, 1);
	net_publish(&n, OUTSIDE, tls, backend_port(b));
	int fd = client_dial(net_port(&n, "HTTP_PROXY"));

	get(fd, "/", a);
	close(fd);
	net_stop(&n);
	return a->status;
}

START_TEST(services_outside_are_verified_as_their_rule_says)
{
	struct net_ca *ca = net_ca_new();
	struct tls_service t;
	struct answer a;
	char tls[512];

	make_service(&t, ca);
	struct backend *b = backend_start_raw(serve_tls, &t);

	/* no name of its own: it is not who the rule says */
	snprintf(tls, sizeof(tls), "'mode': 'SIMPLE', 'sni': 'db.example', 'ca': '%s'", t.ca);
	ck_assert_uint_eq(ask_outside(tls, b, &a), 503);
	answer_done(&a);
	/* not verified, because the rule says so */
	snprintf(tls, sizeof(tls), "'mode': 'SIMPLE', 'sni': 'db.example', 'skip_verify': true");
	ck_assert_uint_eq(ask_outside(tls, b, &a), 200);
	ck_assert_str_eq(a.body, "cert=0 sni=db.example");
	answer_done(&a);
	snprintf(tls, sizeof(tls), "'mode': 'MUTUAL', 'sni': 'db.example', 'skip_verify': true,"
		 "'cert': '%s', 'key': '%s'", t.cert, t.key);
	ck_assert_uint_eq(ask_outside(tls, b, &a), 200);
	ck_assert_str_eq(a.body, "cert=1 sni=db.example");
	answer_done(&a);
	/* the files are not there: no fallback to anything */
	snprintf(tls, sizeof(tls), "'mode': 'MUTUAL', 'cert': '/nonexistent', 'key': "
				   "'/nonexistent'");
	ck_assert_uint_eq(ask_outside(tls, b, &a), 503);
	answer_done(&a);
	backend_stop(b);
	drop_service(&t);
	net_ca_free(ca);
}
END_TEST

/* ---- changes under load ---------------------------------------------------------------------- */

struct load {
	uint16_t port;
	atomic_bool stop;
	atomic_uint ok, bad;
	unsigned worst_status;
};

static void *ask_on(void *arg)
{
	struct load *l = arg;
	int fd = client_dial(l->port);
	struct answer a;

	while (!atomic_load(&l->stop)) {
		get(fd, "/ok", &a);
		if (a.status == 200 && strcmp(a.body, "app") == 0) {
			atomic_fetch_add(&l->ok, 1);
		} else {
			l->worst_status = a.status;
			atomic_fetch_add(&l->bad, 1);
		}
		answer_done(&a);
	}
	close(fd);
	return NULL;
}

static void await_more(struct load *l, unsigned n)
{
	unsigned want = atomic_load(&l->ok) + n;

	for (int i = 0; atomic_load(&l->ok) < want; i++) {
		ck_assert_int_lt(i, NET_DEADLINE_MS);
		usleep(1000);
	}
}

START_TEST(snapshots_and_certificates_change_under_load)
{
	struct mesh m;
	struct load l = { 0 };
	pthread_t t[4];

	mesh_setup(&m);
	l.port = net_port(&m.client, "HTTP_PROXY");
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, ask_on, &l);
	for (int i = 0; i < 20; i++) {
		await_more(&l, 20);
		switch (i % 4) {
		case 0:
			net_publish(&m.client, CLIENT, 2, m.mesh_port);
			break;
		case 1:
			net_publish(&m.server, SERVER, backend_port(m.app), "HTTP");
			break;
		case 2:
			net_identity(&m.client, m.ca, ID_NODE1);
			net_republish(&m.client);
			break;
		default:
			net_identity(&m.server, m.ca, ID_APP);
			net_republish(&m.server);
			break;
		}
	}
	await_more(&l, 20);
	atomic_store(&l.stop, true);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	ck_assert_msg(atomic_load(&l.bad) == 0, "%u failed, one with "
						"%u", atomic_load(&l.bad), l.worst_status);
	mesh_teardown(&m);
}
END_TEST

UNIT_MAIN("proxy_mtls", a_request_crosses_both_proxies, large_bodies_cross_unchanged,
	  sessions_are_resumed_but_not_across_identities,
	  tcp_crosses_with_half_close, a_server_with_another_identity_gets_nothing,
	  a_client_of_a_foreign_ca_gets_nothing, plain_text_on_the_mesh_port_gets_no_byte,
	  any_client_of_this_mesh_gets_through_by_istios_name,
	  no_certificate_or_an_unknown_name_gets_nothing,
	  without_a_certificate_of_our_own_nothing_leaves,
	  services_outside_are_verified_as_their_rule_says,
	  snapshots_and_certificates_change_under_load)
