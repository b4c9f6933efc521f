/* SPDX-License-Identifier: Apache-2.0 */
/* proxy_net: workers on loopback for tests, and a client; the service is proxy_backend.c. */
#include "config.h"

#include "proxy_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "doc/doc.h"
#include "proxy/stats_table.h"
#include "fake_ca.h"
#include "io/tls.h"
#include "snap/snap.h"

/* ---- identities ------------------------------------------------------------------------------ */

struct net_ca {
	struct fake_ca fake;
};

struct net_ca *net_ca_new(void)
{
	struct net_ca *ca = kv_zalloc(sizeof(*ca));

	ca->fake.life_s = 3600;
	fake_ca_new_root(&ca->fake);
	return ca;
}

void net_ca_free(struct net_ca *ca)
{
	X509_free(ca->fake.cert);
	EVP_PKEY_free(ca->fake.key);
	free(ca);
}

char *net_ca_root_pem(struct net_ca *ca)
{
	return fake_ca_pem(ca->fake.cert);
}

struct tls_identity *net_ca_identity(struct net_ca *ca, const char *spiffe)
{
	_cleanup_free_ char *root = net_ca_root_pem(ca);
	struct tls_trust *trust;
	struct tls_identity *id;
	struct tls_key *key;
	char *csr, *cert;

	ck_assert_int_eq(tls_key_new(&key, NULL), 0);
	ck_assert_int_eq(tls_key_csr(key, str_c(spiffe), &csr, NULL), 0);
	cert = fake_ca_sign(&ca->fake, csr, spiffe);
	ck_assert_int_eq(tls_trust_new(str_c(root), STR("cluster.local"), 1, &trust, NULL), 0);
	struct err err = { 0 };
	int r = tls_identity_new(key, str_c(cert), trust, &id, &err);

	ck_assert_msg(r == 0, "identity: %s", err.text);
	tls_trust_unref(trust);
	free(csr);
	free(cert);
	return id;
}

static char *key_pem(EVP_PKEY *key)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *data;

	ck_assert_int_eq(PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL), 1);
	long n = BIO_get_mem_data(b, &data);
	char *pem = kv_asprintf("%.*s", (int)n, data);

	BIO_free(b);
	return pem;
}

void net_ca_leaf_pem(struct net_ca *ca, const char *spiffe, char **ret_cert, char **ret_key)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509_REQ *req = X509_REQ_new();
	BIO *b = BIO_new(BIO_s_mem());
	char *csr;

	X509_REQ_set_pubkey(req, key);
	ck_assert_int_gt(X509_REQ_sign(req, key, EVP_sha256()), 0);
	ck_assert_int_eq(PEM_write_bio_X509_REQ(b, req), 1);
	BIO_write(b, "", 1);
	BIO_get_mem_data(b, &csr);
	*ret_cert = fake_ca_sign(&ca->fake, csr, spiffe);
	*ret_key = key_pem(key);
	BIO_free(b);
	X509_REQ_free(req);
	EVP_PKEY_free(key);
}

/* ---- the proxy ------------------------------------------------------------------------------- */

void net_start(struct net *n, unsigned workers)
{
	*n = (struct net){ .state = attach_state_new(), .workers = worker_set_start(workers) };
	map_init(&n->identities);
}

void net_identity(struct net *n, struct net_ca *ca, const char *spiffe)
{
	struct tls_identity *old = map_put(&n->identities, str_c(spiffe), net_ca_identity(ca,
		spiffe));

	tls_identity_unref(old);
}

static void publish(struct net *n, struct snap *s)
{
	struct err err = { 0 };
	struct attached *at;
	int r = attach_new(n->state, s, &n->identities, n->at, &at, &err);

	ck_assert_msg(r == 0, "attach: %s", err.text);
	r = worker_publish(n->workers, at, &err);
	ck_assert_msg(r == 0, "publish: %s", err.text);
	if (n->at)
		attach_unref(n->at);
	n->at = at;
	attach_state_sweep(n->state);
}

void net_publish_str(struct net *n, const char *json)
{
	char *whole = kv_asprintf("{\"version\": %d, \"proxy\": \"node\", %s}", (int)++n->version,
				  json);
	struct err err = { 0 };
	struct snap *s;

	for (char *p = whole; *p; p++)
		if (*p == '\'')
			*p = '"';
	int r = snap_load(str_c(whole), &s, &err);

	ck_assert_msg(r == 0, "snapshot: %s\n%s", err.text, whole);
	publish(n, s);
	snap_unref(s);
	free(whole);
}

void net_publish(struct net *n, const char *fmt, ...)
{
	struct arena a;
	va_list ap;

	arena_init(&a, 0);
	va_start(ap, fmt);
	struct str json = arena_vprintf(&a, fmt, ap);

	va_end(ap);
	net_publish_str(n, arena_strdup(&a, json.p));
	arena_done(&a);
}

void net_republish(struct net *n)
{
	publish(n, n->at->snap);
}

uint16_t net_port(struct net *n, const char *kind)
{
	struct arena a;
	uint16_t port = 0;

	arena_init(&a, 0);
	struct doc *list = worker_listeners(n->workers, &a);

	for (size_t i = 0; i < list->n; i++)
		if (str_eq(doc_get_str(list->v[i], "kind", STR("")), str_c(kind)))
			port = (uint16_t)doc_get_int(list->v[i], "port", 0);
	arena_done(&a);
	ck_assert_msg(port > 0, "no listener of kind %s", kind);
	return port;
}

void net_stop(struct net *n)
{
	worker_set_stop(n->workers);
	if (n->at)
		attach_unref(n->at);
	attach_state_free(n->state);
	for (struct map_entry *e = map_first(&n->identities); e; e = map_next(&n->identities, e))
		tls_identity_unref(e->val);
	map_done(&n->identities);
}

int64_t net_stat(struct net *n, enum stats_id id)
{
	size_t count;
	struct stats *const *v = worker_stats(n->workers, &count);
	int64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += atomic_load_explicit(&v[i]->fixed[id], memory_order_relaxed);
	return sum;
}

void net_await(struct net *n, enum stats_id id, int64_t v)
{
	uint64_t end = clock_mono_us() + NET_DEADLINE_MS * 1000ull;

	while (net_stat(n, id) != v) {
		ck_assert_msg(clock_mono_us() < end, "counter %d stays at %d, expected %d", (int)id,
			      (int)net_stat(n, id), (int)v);
		usleep(2000);
	}
}

/* ---- a client -------------------------------------------------------------------------------- */

int client_dial(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct timeval tv = { .tv_sec = NET_DEADLINE_MS / 1000 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	uint64_t end = clock_mono_us() + NET_DEADLINE_MS * 1000ull;

	/* A worker opens its listener a moment after the publish. */
	while (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
		ck_assert_msg(errno == ECONNREFUSED && clock_mono_us() < end, "connect to %d: "
			"%s", port,
			      strerror(errno));
		usleep(2000);
	}
	return fd;
}

void client_abort(int fd)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

void client_send_n(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t r = send(fd, at, n, MSG_NOSIGNAL);

		ck_assert_msg(r > 0, "send: %s", strerror(errno));
		at += r;
		n -= (size_t)r;
	}
}

void client_send(int fd, const char *text)
{
	client_send_n(fd, text, strlen(text));
}

void client_sendf(int fd, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	ck_assert(vasprintf(&text, fmt, ap) >= 0);
	va_end(ap);
	client_send(fd, text);
	free(text);
}

/* One byte; false at the end. A deadline that passes fails the test. */
static bool read_byte(int fd, char *c)
{
	ssize_t r = recv(fd, c, 1, 0);

	ck_assert_msg(r >= 0 || errno == ECONNRESET, "no byte within the deadline: "
						     "%s", strerror(errno));
	return r == 1;
}

static bool read_line(int fd, char *line, size_t room)
{
	size_t n = 0;

	while (n + 1 < room) {
		if (!read_byte(fd, &line[n]))
			return false;
		if (n > 0 && line[n] == '\n' && line[n - 1] == '\r') {
			line[n - 1] = '\0';
			return true;
		}
		n++;
	}
	ck_abort_msg("a line without end");
}

static bool read_head(int fd, struct answer *a)
{
	size_t n = 0;

	for (;;) {
		if (n == 0 ? !read_byte(fd, a->head) : !read_byte(fd, &a->head[n]))
			return false;
		n++;
		ck_assert_uint_lt(n, sizeof(a->head));
		if (n >= 4 && memcmp(&a->head[n - 4], "\r\n\r\n", 4) == 0)
			break;
	}
	a->head[n] = '\0';
	ck_assert_msg(sscanf(a->head, "HTTP/1.%*1[01] %3u ", &a->status) == 1, "no status line: "
		"%s", a->head);
	return true;
}

const char *answer_field(const struct answer *a, const char *name)
{
	static _Thread_local char value[4096];
	size_t n = strlen(name);

	for (const char *p = strchr(a->head, '\n'); p; p = strchr(p + 1, '\n')) {
		if (strncasecmp(p + 1, name, n) != 0 || p[1 + n] != ':')
			continue;
		const char *v = p + 2 + n + strspn(p + 2 + n, " ");

		snprintf(value, sizeof(value), "%.*s", (int)strcspn(v, "\r\n"), v);
		return value;
	}
	return "";
}

static void append(struct answer *a, const char *p, size_t n)
{
	a->body = realloc(a->body, a->n + n + 1);
	memcpy(a->body + a->n, p, n);
	a->n += n;
	a->body[a->n] = '\0';
}

static bool read_exact(int fd, struct answer *a, size_t n)
{
	char buf[65536];

	while (n > 0) {
		ssize_t r = recv(fd, buf, n < sizeof(buf) ? n : sizeof(buf), 0);

		ck_assert_msg(r >= 0 || errno == ECONNRESET, "body: %s", strerror(errno));
		if (r <= 0)
			return false;
		append(a, buf, (size_t)r);
		n -= (size_t)r;
	}
	return true;
}

static bool read_chunked(int fd, struct answer *a)
{
	char line[1024];

	for (;;) {
		unsigned long n;

		if (!read_line(fd, line, sizeof(line)))
			return false;
		ck_assert_msg(sscanf(line, "%lx", &n) == 1, "no chunk size: %s", line);
		if (n == 0)
			break;
		if (!read_exact(fd, a, n) || !read_line(fd, line, sizeof(line)))
			return false;
		ck_assert_str_eq(line, "");
	}
	for (;;) {
		if (!read_line(fd, line, sizeof(line)))
			return false;
		if (line[0] == '\0')
			return true;
		size_t n_old = strlen(a->trailers);

		snprintf(a->trailers + n_old, sizeof(a->trailers) - n_old, "%s\n", line);
	}
}

bool client_read(int fd, const char *method, struct answer *a)
{
	memset(a, 0, sizeof(*a));
	append(a, "", 0);
	if (!read_head(fd, a))
		return false;
	if (strcmp(method, "HEAD") == 0 || a->status < 200 || a->status == 204 || a->status == 304)
		return true;
	a->chunked = strcmp(answer_field(a, "transfer-encoding"), "chunked") == 0;
	const char *length = answer_field(a, "content-length");

	if (a->chunked) {
		a->cut = !read_chunked(fd, a);
	} else if (length[0] != '\0') {
		a->cut = !read_exact(fd, a, strtoul(length, NULL, 10));
	} else {
		size_t n;
		char *all = client_read_all(fd, &n);

		append(a, all, n);
		free(all);
	}
	return true;
}

void answer_done(struct answer *a)
{
	free(a->body);
	a->body = NULL;
}

void client_ask(int fd, struct answer *a, const char *fmt, ...)
{
	char method[32] = "";
	va_list ap;
	char *text;

	va_start(ap, fmt);
	ck_assert(vasprintf(&text, fmt, ap) >= 0);
	va_end(ap);
	sscanf(text, "%31[^ ]", method);
	client_send(fd, text);
	ck_assert_msg(client_read(fd, method, a), "no answer to %s", text);
	free(text);
}

char *client_read_all(int fd, size_t *ret_n)
{
	struct answer a = { 0 };

	append(&a, "", 0);
	while (read_exact(fd, &a, 1))
		;
	*ret_n = a.n;
	return a.body;
}

size_t client_read_some(int fd, void *p, size_t n)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = recv(fd, (char *)p + got, n - got, 0);

		ck_assert_msg(r > 0, "read: %s after %zu of %zu "
				     "bytes", r == 0 ? "end" : strerror(errno), got, n);
		got += (size_t)r;
	}
	return got;
}

void client_expect_end(int fd)
{
	char c;
	ssize_t r = recv(fd, &c, 1, 0);

	ck_assert_msg(r == 0 || (r < 0 && errno == ECONNRESET), "expected the end, got %s",
		      r > 0 ? "a byte" : strerror(errno));
}
