/* SPDX-License-Identifier: Apache-2.0 */
/* fetch: see fetch.h. Layer proxy. */
#include "config.h"

#include "proxy/fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "http/h1.h"
#include "http/url.h"
#include "io/buf.h"
#include "io/sock.h"
#include "io/tls.h"

#define READ_BYTES (64u << 10)

struct fetch {
	struct loop *loop;
	fetch_fn fn;
	void *arg;
	fetch_allows allows;            /* NULL: everything is */
	void *allows_arg;
	bool named;                     /* the host is a name */
	struct arena arena;
	struct str host, authority, path;
	uint16_t port;
	bool secure;
	const char *wrong;              /* with the URL */
	struct loop_later begin;

	struct dns_query *query;
	struct loop_timer deadline;
	uint8_t addresses[DNS_ADDRESSES_MAX][16];
	size_t n, next;                 /* known; to be tried next */

	int fd;                         /* -1 none */
	struct loop_fd io;
	bool connected, ready, eof;     /* ready: the request may go */
	struct tls_ctx *ctx;
	struct tls_session *tls;
	struct buf in, out, cipher_in, cipher_out;

	struct h1_parser parser;
	struct h1_chunked chunks;
	struct head head;
	bool head_done, body_done;
	struct buf body;
};

/* ---- the end --------------------------------------------------------------------------------- */

static void disconnect(struct fetch *f)
{
	if (f->fd < 0)
		return;
	loop_fd_done(&f->io);
	close(f->fd);
	f->fd = -1;
	f->connected = false;
}

static void fetch_free(void *p)
{
	struct fetch *f = p;
	struct buf *const all[] = { &f->in, &f->out, &f->cipher_in, &f->cipher_out, &f->body };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		buf_done(all[i]);
	if (f->tls)
		tls_session_free(f->tls);
	if (f->ctx)
		tls_ctx_unref(f->ctx);
	arena_done(&f->arena);
	free(f);
}

void fetch_cancel(struct fetch *f)
{
	if (!f)
		return;
	disconnect(f);
	dns_cancel(f->query);
	loop_timer_done(&f->deadline);
	loop_later_done(&f->begin);
	loop_defer_free(f->loop, fetch_free, f);
}

static void finish(struct fetch *f, const char *why)
{
	struct str body = STR_NULL;
	fetch_fn fn = f->fn;
	void *arg = f->arg;

	if (!why && !buf_linear(&f->body, FETCH_BYTES_MAX, &body))
		why = "the answer is too long";
	fetch_cancel(f);
	fn(arg, body, why);
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* NULL, or what is wrong with it. */
static const char *read_head(struct fetch *f)
{
	size_t used;

	while (!f->head_done && f->in.n > 0) {
		struct str in = buf_pullup(&f->in, READ_BYTES);

		switch (h1_parse_response(&f->parser, &h1_limits_default, in, STR("GET"), &f->head, &used)) {
		case H1_MORE:
			return NULL;
		case H1_BAD:
			return "the answer is no HTTP/1.1";
		case H1_DONE:
			break;
		}
		buf_consume(&f->in, used);
		if (f->head.status >= 100 && f->head.status < 200) {
			h1_parser_init(&f->parser);
			head_init(&f->head, &f->arena);
			continue;
		}
		if (f->head.status != 200)
			return arena_printf(&f->arena, "the answer's status is %u", f->head.status).p;
		f->head_done = true;
		f->body_done = f->head.body == HEAD_BODY_NONE;
	}
	return NULL;
}

static const char *read_chunks(struct fetch *f)
{
	while (!f->body_done && f->in.n > 0) {
		struct str data = STR_NULL;
		size_t used = 0;
		enum h1_result r = h1_chunked_next(&f->chunks, &h1_limits_default,
						   buf_pullup(&f->in, READ_BYTES), &data, &used, NULL);

		if (r == H1_BAD)
			return "the answer's chunks are malformed";
		buf_append_str(&f->body, data);
		buf_consume(&f->in, used);
		f->body_done = r == H1_DONE;
		if (r == H1_MORE && data.n == 0)
			return NULL;
	}
	return NULL;
}

static const char *read_body(struct fetch *f)
{
	if (f->head.body == HEAD_BODY_CHUNKED)
		return read_chunks(f);
	if (f->head.body == HEAD_BODY_LENGTH && f->head.content_length > FETCH_BYTES_MAX)
		return "the answer is too long";
	buf_move(&f->body, &f->in);
	if (f->head.body == HEAD_BODY_LENGTH)
		f->body_done = f->body.n >= f->head.content_length;
	else
		f->body_done = f->eof;
	return f->head.body == HEAD_BODY_LENGTH && f->body.n > f->head.content_length ?
		       "the answer is longer than it says" : NULL;
}

/* True: it is over. */
static bool digest(struct fetch *f)
{
	const char *why = read_head(f);

	if (!why && f->head_done && !f->body_done)
		why = read_body(f);
	if (!why && f->body.n > FETCH_BYTES_MAX)
		why = "the answer is too long";
	if (!why && f->eof && !f->body_done)
		why = "the connection ended too early";
	if (!why && !f->body_done)
		return false;
	finish(f, why);
	return true;
}

/* ---- the connection -------------------------------------------------------------------------- */

static void connect_next(struct fetch *f, const char *why);      /* what it dials comes back here */

static void put_request(struct fetch *f)
{
	struct str text = arena_printf(&f->arena,
				       "GET %.*s HTTP/1.1\r\nhost: %.*s\r\naccept: application/json\r\n"
				       "user-agent: kvmesh\r\nconnection: close\r\n\r\n",
				       STR_ARG(f->path), STR_ARG(f->authority));

	buf_append_str(&f->out, text);
	f->ready = true;
}

static const char *shake_hands(struct fetch *f)
{
	enum tls_result r = tls_handshake(f->tls, &f->cipher_in, &f->cipher_out);

	if (r == TLS_FAILED || r == TLS_CLOSED || r == TLS_TRUNCATED)
		return arena_str(&f->arena, str_c(tls_error(f->tls))).p;
	if (r == TLS_OK)
		put_request(f);
	return NULL;
}

static const char *decrypt(struct fetch *f)
{
	enum tls_result r = TLS_OK;

	while (r == TLS_OK && f->in.n <= FETCH_BYTES_MAX)
		r = tls_decrypt(f->tls, &f->cipher_in, &f->in, READ_BYTES, &f->cipher_out);
	if (r == TLS_FAILED)
		return arena_str(&f->arena, str_c(tls_error(f->tls))).p;
	/* An answer without a length ends with close_notify or not at all. */
	if (f->eof && r != TLS_CLOSED && tls_eof(f->tls) == TLS_TRUNCATED && f->head.body == HEAD_BODY_UNTIL_CLOSE)
		return "the connection was cut";
	f->eof = f->eof || r == TLS_CLOSED;
	return NULL;
}

static const char *flush(struct fetch *f)
{
	struct buf *b = f->tls ? &f->cipher_out : &f->out;

	if (f->tls && f->ready && f->out.n > 0 && tls_encrypt(f->tls, &f->out, &f->cipher_out) == TLS_FAILED)
		return "TLS failed";
	ssize_t n = b->n > 0 ? buf_write_fd(b, f->fd) : 0;

	loop_fd_want(&f->io, LOOP_READ | (b->n > 0 ? LOOP_WRITE : 0));
	return n < 0 && n != -EAGAIN ? err_code_name((int)n) : NULL;
}

static const char *read_some(struct fetch *f)
{
	ssize_t n = buf_read_fd(f->tls ? &f->cipher_in : &f->in, f->fd, READ_BYTES);

	if (n == -EAGAIN)
		return NULL;
	f->eof = n == 0;
	return n < 0 ? err_code_name((int)n) : NULL;
}

static const char *move(struct fetch *f, unsigned what)
{
	const char *why = what & LOOP_READ ? read_some(f) : NULL;

	if (!why && f->tls && !f->ready)
		why = shake_hands(f);
	if (!why && f->tls && f->ready)
		why = decrypt(f);
	if (!why && f->eof && !f->ready)
		why = "the connection ended in the TLS handshake";
	return why ? why : flush(f);
}

static void on_io(void *arg, unsigned what)
{
	struct fetch *f = arg;

	if (f->fd < 0)
		return;
	if (!f->connected) {
		int r = sock_error(f->fd);

		if (r < 0) {
			connect_next(f, err_code_name(r));
			return;
		}
		f->connected = true;
		if (!f->tls)
			put_request(f);
		what = 0;
	}
	const char *why = move(f, what);

	if (why)
		finish(f, why);
	else if (f->ready)
		(void)digest(f);
}

/* Where no key server is, and secrets of a cloud may be. */
static bool is_forbidden(const uint8_t a[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	static const uint8_t metadata[16] = { 0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54 };

	if (memcmp(a, mapped, sizeof(mapped)) == 0)
		return a[12] == 169 && a[13] == 254;
	return (a[0] == 0xfe && (a[1] & 0xc0) == 0x80) || memcmp(a, metadata, sizeof(metadata)) == 0;
}

static struct sock_addr address_of(const struct fetch *f, const uint8_t a[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct sock_addr to = { 0 };

	if (memcmp(a, mapped, sizeof(mapped)) == 0) {
		to.len = sizeof(to.in);
		to.in.sin_family = AF_INET;
		memcpy(&to.in.sin_addr, a + 12, 4);
	} else {
		to.len = sizeof(to.in6);
		to.in6.sin6_family = AF_INET6;
		memcpy(&to.in6.sin6_addr, a, 16);
	}
	sock_addr_set_port(&to, f->port);
	return to;
}

static const char *refusal(struct fetch *f, const uint8_t a[16])
{
	struct sock_addr to = address_of(f, a);
	struct err err = { 0 };

	if (f->allows && !f->allows(f->allows_arg, f->host, &to, f->named, &err))
		return arena_str(&f->arena, str_c(err.text)).p;

	if (is_forbidden(a))
		return "link-local and metadata addresses are not asked";
	return f->secure || sock_addr_is_loopback(&to) ? NULL : "http is for this host alone: https is needed";
}

static const char *begin_tls(struct fetch *f)
{
	static const char *const alpn[] = { "http/1.1", NULL };
	const struct tls_files system = { .ca = "system" };
	bool named = !sock_addr_parse(f->host, 1, &(struct sock_addr){ 0 });
	struct err err = { 0 };

	if (!f->secure)
		return NULL;
	if (!f->ctx && tls_ctx_new_client(&system, &f->ctx, &err) < 0)
		return arena_str(&f->arena, str_c(err.text)).p;
	if (f->tls)
		tls_session_free(f->tls);
	f->tls = tls_client_new_ctx(f->ctx, named ? f->host.p : NULL, alpn, &f->host, 1);
	return NULL;
}

static void connect_next(struct fetch *f, const char *why)
{
	disconnect(f);
	while (f->next < f->n) {
		const uint8_t *a = f->addresses[f->next++];
		struct sock_addr to = address_of(f, a);
		struct err err = { 0 };

		why = refusal(f, a);
		if (!why)
			why = begin_tls(f);
		if (why)
			continue;
		f->fd = sock_connect(&to, &err);
		if (f->fd >= 0) {
			loop_fd_init(&f->io, f->loop, f->fd, LOOP_WRITE, on_io, f);
			return;
		}
		why = arena_str(&f->arena, str_c(err.text)).p;
	}
	finish(f, why);
}

/* ---- the name -------------------------------------------------------------------------------- */

static void on_addresses(void *arg, const struct dns_answer *a)
{
	struct fetch *f = arg;

	f->query = NULL;
	f->n = a->n;
	if (a->n > 0)
		memcpy(f->addresses, a->v, a->n * sizeof(a->v[0]));
	connect_next(f, a->error ? a->error : "the host has no address");
}

static void on_deadline(void *arg)
{
	finish(arg, "it took too long");
}

static bool read_url(struct fetch *f, struct str url)
{
	struct str rest;

	f->secure = str_has_prefix(url, STR("https://"));
	if (f->secure)
		rest = str_skip(url, sizeof("https://") - 1);
	else if (str_has_prefix(url, STR("http://")))
		rest = str_skip(url, sizeof("http://") - 1);
	else
		return false;
	ptrdiff_t slash = str_find(rest, '/');

	f->authority = arena_str(&f->arena, slash < 0 ? rest : str_take(rest, (size_t)slash));
	f->path = slash < 0 ? STR("/") : arena_str(&f->arena, str_skip(rest, (size_t)slash));
	if (!url_split_authority(f->authority, &f->host, &f->port))
		return false;
	f->host = arena_str(&f->arena, f->host);        /* ends with NUL */
	if (f->port == 0)
		f->port = f->secure ? 443 : 80;
	for (size_t i = 0; i < f->path.n; i++)
		if (f->path.p[i] <= ' ' || f->path.p[i] > '~' || f->path.p[i] == '#')
			return false;
	return f->host.n > 0;
}

/* An address that needs no looking up. */
static bool is_address(struct fetch *f)
{
	struct sock_addr a;

	if (!sock_addr_parse(f->host, 1, &a) || a.sa.sa_family == AF_UNIX)
		return false;
	f->n = 1;
	memset(f->addresses[0], 0, 16);
	if (a.sa.sa_family == AF_INET6) {
		memcpy(f->addresses[0], &a.in6.sin6_addr, 16);
		return true;
	}
	memset(f->addresses[0] + 10, 0xff, 2);
	memcpy(f->addresses[0] + 12, &a.in.sin_addr, 4);
	return true;
}

static void on_begin(void *arg)
{
	struct fetch *f = arg;

	connect_next(f, f->wrong);
}

struct fetch *fetch_start(struct loop *l, struct dns *dns, struct str url, uint64_t timeout_us,
			  fetch_fn fn, void *arg)
{
	struct fetch *f = kv_zalloc(sizeof(*f));

	f->loop = l;
	f->fn = fn;
	f->arg = arg;
	f->fd = -1;
	arena_init(&f->arena, 0);
	h1_parser_init(&f->parser);
	h1_chunked_init(&f->chunks);
	head_init(&f->head, &f->arena);
	loop_timer_init(&f->deadline, l, on_deadline, f);
	loop_timer_set(&f->deadline, timeout_us);
	loop_later_init(&f->begin, on_begin, f);
	if (!read_url(f, url))
		f->wrong = "it is no http or https URL";
	f->named = !f->wrong && !is_address(f);
	if (!f->named)
		loop_later(l, &f->begin);
	else
		f->query = dns_ask(dns, f->host.p, on_addresses, f);
	return f;
}

void fetch_guard(struct fetch *f, fetch_allows allows, void *arg)
{
	f->allows = allows;
	f->allows_arg = arg;
}
