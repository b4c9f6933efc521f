/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_session: one TLS connection between two byte queues. Layer io. Owns the SSL, its arena, and a
 * reference on its identity or context; the queues are the caller's and only touched inside a call.
 *
 * OpenSSL reads and writes through a BIO over struct buf, so it never blocks and never asks to
 * write again. Without read-ahead nothing but the record under way is ever hidden inside it, and
 * decrypted bytes that wait are what SSL_pending tells.
 */
#include <stdlib.h>

#include <openssl/bio.h>
#include <openssl/err.h>

#include "io/tls_priv.h"

#define RECORD_BYTES 16384u
#define READ_ROOM 4096u                 /* for the rest of a record: a smaller rest of a block is not used */
#define AFTER_HANDSHAKE_MAX 32          /* KeyUpdates and tickets in a row without data */
#define ALPN_BYTES_MAX 255
#define HEX_DIGEST (2 * TLS_DIGEST_BYTES + 1)

/* ---- the BIO ------------------------------------------------------------- */

static int bio_read(BIO *bio, char *to, int n)
{
	struct tls_session *s = BIO_get_data(bio);
	int got = 0;

	BIO_clear_retry_flags(bio);
	if (s->flooded)
		return -1;      /* an end, not a pause */
	while (s->in && s->in->n > 0 && got < n) {
		struct str run = str_take(buf_peek(s->in), (size_t)(n - got));

		memcpy(to + got, run.p, run.n);
		got += (int)run.n;
		buf_consume(s->in, run.n);
	}
	if (got > 0)
		return got;
	BIO_set_retry_read(bio);
	return -1;
}

static int bio_write(BIO *bio, const char *from, int n)
{
	struct tls_session *s = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	kv_assert(s->out);
	buf_append(s->out, from, (size_t)n);
	return n;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP ? 1 : 0;
}

static BIO_METHOD *bio_method;
static pthread_once_t bio_once = PTHREAD_ONCE_INIT;

static void make_bio_method(void)
{
	bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "kvmesh buf");
	kv_assert(bio_method && BIO_meth_set_read(bio_method, bio_read) == 1 &&
		  BIO_meth_set_write(bio_method, bio_write) == 1 &&
		  BIO_meth_set_ctrl(bio_method, bio_ctrl) == 1);
}

static void attach_bio(struct tls_session *s)
{
	pthread_once(&bio_once, make_bio_method);
	BIO *bio = BIO_new(bio_method);

	kv_assert(bio);
	BIO_set_data(bio, s);
	BIO_set_init(bio, 1);
	SSL_set_bio(s->ssl, bio, bio);
}

/* ---- callbacks of OpenSSL ------------------------------------------------ */

/* Costs a few nanoseconds per record; a peer that sends nothing but key updates costs much more. */
void tls_count_message(int write, int version, int type, const void *p, size_t n, SSL *ssl,
		       void *arg)
{
	struct tls_session *s = SSL_get_app_data(ssl);

	(void)version;
	(void)p;
	(void)n;
	(void)arg;
	if (write == 0 && type == SSL3_RT_HANDSHAKE && s && s->established &&
	    ++s->after_handshake > AFTER_HANDSHAKE_MAX)
		s->flooded = true;
}

int tls_on_certificate_asked(SSL *ssl, void *arg)
{
	struct tls_session *s = SSL_get_app_data(ssl);

	(void)arg;
	s->asked_certificate = true;
	return 1;
}

int tls_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
		unsigned in_n, void *arg)
{
	struct tls_session *s = SSL_get_app_data(ssl);
	unsigned char *chosen;

	(void)arg;
	if (s->alpn.n == 0)
		return SSL_TLSEXT_ERR_NOACK;
	if (SSL_select_next_proto(&chosen, out_n, (const unsigned char *)s->alpn.p,
				  (unsigned)s->alpn.n, in, in_n) != OPENSSL_NPN_NEGOTIATED) {
		tls_set_error(s, "handshake", "the client offers none of our protocols");
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static struct str hello_sni(SSL *ssl)
{
	const unsigned char *p;
	size_t n;

	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) != 1)
		return STR_NULL;
	return tls_sni_of(str_from((const char *)p, n));
}

static void become(struct tls_session *s, struct tls_identity *id)
{
	s->id = tls_identity_ref(id);
	kv_assert(SSL_set_SSL_CTX(s->ssl, id->server));
	kv_assert(SSL_set_session_id_context(s->ssl, id->sid, sizeof(id->sid)) == 1);
}

/* Before anything is decided: whose door is this? */
int tls_on_hello(SSL *ssl, int *alert, void *arg)
{
	struct tls_session *s = SSL_get_app_data(ssl);

	(void)arg;
	s->sni = arena_str(&s->arena, hello_sni(ssl));
	struct tls_identity *id = s->pick(s->pick_arg, s->sni);

	if (!id) {
		tls_set_error(s, "unrecognized_name", "nobody here is called '%.*s'",
			      STR_ARG(s->sni));
		*alert = SSL_AD_UNRECOGNIZED_NAME;
		return SSL_CLIENT_HELLO_ERROR;
	}
	become(s, id);
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* ---- life ---------------------------------------------------------------- */

static struct str alpn_wire(struct arena *a, const char *const *names)
{
	char wire[ALPN_BYTES_MAX + 1];
	size_t n = 0;

	for (; names && *names; names++) {
		size_t len = strlen(*names);

		kv_assert(len > 0 && n + len + 1 <= ALPN_BYTES_MAX);
		wire[n++] = (char)len;
		memcpy(wire + n, *names, len);
		n += len;
	}
	return n > 0 ? arena_str(a, str_from(wire, n)) : STR_NULL;
}

static struct tls_session *session_new(SSL_CTX *ctx, bool server, const char *const *alpn)
{
	struct tls_session *s = kv_zalloc(sizeof(*s));

	arena_init(&s->arena, 1024);
	s->server = server;
	s->alpn = alpn_wire(&s->arena, alpn);
	s->ssl = SSL_new(ctx);
	kv_assert(s->ssl && SSL_set_app_data(s->ssl, s) == 1);
	attach_bio(s);
	if (server)
		SSL_set_accept_state(s->ssl);
	else
		SSL_set_connect_state(s->ssl);
	return s;
}

/* A name goes into the hello unless it is an address (RFC 6066). */
static void set_client_names(struct tls_session *s, const char *sni, const struct str *want,
			     size_t n_want)
{
	s->want = arena_alloc(&s->arena, (n_want + 1) * sizeof(*s->want));
	for (size_t i = 0; i < n_want; i++)
		s->want[s->n_want++] = arena_str(&s->arena, want[i]);
	if (s->alpn.n > 0)
		kv_assert(SSL_set_alpn_protos(s->ssl, (const unsigned char *)s->alpn.p,
					      (unsigned)s->alpn.n) == 0);
	if (!sni || !*sni)
		return;
	char *name = arena_strdup(&s->arena, sni);

	s->sni = str_c(name);
	ASN1_OCTET_STRING *ip = a2i_IPADDRESS(sni);

	if (!ip && strlen(sni) <= TLSEXT_MAXLEN_host_name)
		kv_assert(SSL_set_tlsext_host_name(s->ssl, name) == 1);
	ASN1_OCTET_STRING_free(ip);
	ERR_clear_error();
}

struct tls_session *tls_client_new(struct tls_identity *id, const char *sni,
				   const char *const *alpn, const struct str *want, size_t n_want,
				   struct str resume_key)
{
	struct tls_session *s = session_new(id->client, false, alpn);

	kv_assert(n_want > 0);
	s->id = tls_identity_ref(id);
	s->resume_key = arena_str(&s->arena, resume_key);
	set_client_names(s, sni, want, n_want);
	tls_resume_offer(s);
	return s;
}

struct tls_session *tls_server_new(tls_pick_fn pick, void *arg, const char *const *alpn)
{
	struct tls_session *s = session_new(tls_front_ctx(), true, alpn);

	s->pick = pick;
	s->pick_arg = arg;
	return s;
}

void tls_server_want(struct tls_session *s, const struct str *want, size_t n)
{
	s->want = arena_new_n(&s->arena, struct str, n);
	for (size_t i = 0; i < n; i++)
		s->want[s->n_want++] = arena_str(&s->arena, want[i]);
}

struct tls_session *tls_client_new_ctx(struct tls_ctx *c, const char *sni, const char *const *alpn,
				       const struct str *want_dns, size_t n_want)
{
	struct tls_session *s = session_new(c->ssl, false, alpn);
	struct str from_sni = str_c(sni);

	s->ctx = tls_ctx_ref(c);
	if (n_want == 0 && from_sni.n > 0)
		set_client_names(s, sni, &from_sni, 1);
	else
		set_client_names(s, sni, want_dns, n_want);
	return s;
}

struct tls_session *tls_server_new_ctx(struct tls_ctx *c, const char *const *alpn)
{
	struct tls_session *s = session_new(c->ssl, true, alpn);

	s->ctx = tls_ctx_ref(c);
	s->want = c->want;
	s->n_want = c->n_want;
	return s;
}

void tls_session_free(struct tls_session *s)
{
	if (!s)
		return;
	/* Else OpenSSL takes the session for broken and never resumes it. */
	if (s->established && s->end != TLS_FAILED)
		SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(s->ssl);
	tls_identity_unref(s->id);
	tls_ctx_unref(s->ctx);
	arena_done(&s->arena);
	free(s);
}

/* ---- handshake ----------------------------------------------------------- */

static enum tls_result fail(struct tls_session *s, const char *doing)
{
	tls_set_error_from_queue(s, doing);
	s->end = TLS_FAILED;
	return TLS_FAILED;
}

static enum tls_result established(struct tls_session *s)
{
	s->established = true;
	if (s->id && SSL_session_reused(s->ssl)) {
		s->asked_certificate = s->asked_before;
		if (!tls_recheck_mesh(s)) {
			s->peer_spiffe = STR_NULL;
			tls_resume_forget(s);
			return fail(s, "resuming a session");
		}
	}
	return TLS_OK;
}

static enum tls_result handshake(struct tls_session *s)
{
	int r = SSL_do_handshake(s->ssl);

	if (r == 1)
		return established(s);
	if (!s->flooded && SSL_get_error(s->ssl, r) == SSL_ERROR_WANT_READ)
		return TLS_AGAIN;
	tls_resume_forget(s);
	return fail(s, "the TLS handshake");
}

enum tls_result tls_handshake(struct tls_session *s, struct buf *cipher_in, struct buf *cipher_out)
{
	if (s->end != TLS_OK)
		return s->end;
	s->in = cipher_in;
	s->out = cipher_out;
	enum tls_result r = s->established ? TLS_OK : handshake(s);

	s->in = s->out = NULL;
	return r;
}

/* ---- data ---------------------------------------------------------------- */

static void read_failed(struct tls_session *s)
{
	int e = SSL_get_error(s->ssl, 0);

	if (e == SSL_ERROR_WANT_READ && !s->flooded)
		return;
	if (e == SSL_ERROR_ZERO_RETURN)
		s->end = TLS_CLOSED;
	else
		fail(s, "decrypting");
}

/*
 * Room for all of the next record, so that its bytes lie together and are passed on as they are. Its header says how
 * many; when the last call ended within a record, no header is in sight and the old answer holds.
 */
static size_t room_wanted(struct tls_session *s)
{
	struct str run = buf_peek(s->in);
	const unsigned char *p = (const unsigned char *)run.p;

	if (run.n >= SSL3_RT_HEADER_LENGTH && p[0] == SSL3_RT_APPLICATION_DATA && p[1] == SSL3_VERSION_MAJOR)
		s->record_bytes = (unsigned)p[3] << 8 | p[4];
	return s->record_bytes == 0 || s->record_bytes > RECORD_BYTES ? RECORD_BYTES : s->record_bytes;
}

/* Plaintext into plain until max, nothing left to decrypt, or the end. */
static size_t decrypt(struct tls_session *s, struct buf *plain, size_t max)
{
	size_t got = 0;

	while (got < max && (s->in->n > 0 || SSL_pending(s->ssl) > 0)) {
		size_t room, n;
		char *to = buf_reserve(plain, SSL_pending(s->ssl) > 0 ? READ_ROOM : room_wanted(s), &room);

		if (room > max - got)
			room = max - got;
		if (SSL_read_ex(s->ssl, to, room, &n) != 1) {
			buf_commit(plain, 0);
			read_failed(s);
			break;
		}
		buf_commit(plain, n);
		got += n;
		s->after_handshake = 0;
	}
	return got;
}

enum tls_result tls_decrypt(struct tls_session *s, struct buf *cipher_in, struct buf *plain,
			    size_t max, struct buf *cipher_out)
{
	size_t got = 0;

	kv_assert(s->established || s->end != TLS_OK);
	if (s->end == TLS_OK) {
		s->in = cipher_in;
		s->out = cipher_out;
		got = decrypt(s, plain, max);
		s->in = s->out = NULL;
	}
	if (got > 0)
		return TLS_OK;
	if (s->end == TLS_OK)
		return TLS_AGAIN;
	s->end_told = true;
	return s->end;
}

bool tls_has_pending(const struct tls_session *s)
{
	return s->end == TLS_OK ? SSL_pending(s->ssl) > 0 : !s->end_told;
}

enum tls_result tls_eof(struct tls_session *s)
{
	return s->end == TLS_OK ? TLS_TRUNCATED : s->end;
}

/*
 * The next record from the front of plain as one run. Small pieces are gathered; one that does not fit with those
 * before it waits for its own record, else every piece behind it would be cut and copied.
 */
static struct str next_record(struct buf *plain)
{
	static _Thread_local char gathered[RECORD_BYTES];
	struct str run = str_take(buf_peek(plain), RECORD_BYTES);
	size_t n = 0;

	if (run.n == RECORD_BYTES || run.n == plain->n)
		return run;
	_scratch_ struct iovec iov[64];
	int pieces = buf_iov(plain, iov, 64), i = 0;

	while (i < pieces && iov[i].iov_len <= RECORD_BYTES - n)
		n += iov[i++].iov_len;
	if (i == 1)
		return run;
	n = 0;
	for (int k = 0; k < i; k++) {
		memcpy(gathered + n, iov[k].iov_base, iov[k].iov_len);
		n += iov[k].iov_len;
	}
	return str_from(gathered, n);
}

enum tls_result tls_encrypt(struct tls_session *s, struct buf *plain, struct buf *cipher_out)
{
	kv_assert(s->established || s->end != TLS_OK);
	if (s->end == TLS_FAILED)
		return TLS_FAILED;
	s->out = cipher_out;
	while (plain->n > 0 && s->end != TLS_FAILED) {
		struct str record = next_record(plain);
		size_t n;

		if (SSL_write_ex(s->ssl, record.p, record.n, &n) == 1)
			buf_consume(plain, n);
		else
			fail(s, "encrypting");
	}
	s->out = NULL;
	return s->end == TLS_FAILED ? TLS_FAILED : TLS_OK;
}

void tls_shutdown(struct tls_session *s, struct buf *cipher_out)
{
	if (!s->established || s->end == TLS_FAILED ||
	    (SSL_get_shutdown(s->ssl) & SSL_SENT_SHUTDOWN) != 0)
		return;
	s->out = cipher_out;
	if (SSL_shutdown(s->ssl) < 0)
		ERR_clear_error();
	s->out = NULL;
}

/* ---- what was agreed ----------------------------------------------------- */

static const char *digest_hex(struct tls_session *s, X509 *cert)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	char *out = arena_alloc(&s->arena, HEX_DIGEST);

	kv_assert(X509_digest(cert, tls_sha256(), digest, &n) == 1 && n == TLS_DIGEST_BYTES);
	for (unsigned i = 0; i < n; i++) {
		out[2 * i] = hex[digest[i] >> 4];
		out[2 * i + 1] = hex[digest[i] & 15];
	}
	out[HEX_DIGEST - 1] = '\0';
	return out;
}

static const char *subject_text(struct tls_session *s, X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *out;

	kv_assert(bio);
	X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253);
	long n = BIO_get_mem_data(bio, &data);

	out = arena_alloc(&s->arena, (size_t)n + 1);
	if (n > 0)
		memcpy(out, data, (size_t)n);
	out[n] = '\0';
	BIO_free(bio);
	ERR_clear_error();
	return out;
}

static bool is_mutual(const struct tls_session *s, const X509 *peer)
{
	if (s->id)
		return s->peer_spiffe.n > 0 && (s->server || s->asked_certificate);
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a session has an identity or a context */
	return s->ctx->verify && peer && SSL_get_verify_result(s->ssl) == X509_V_OK &&
	       (s->server || (SSL_get_certificate(s->ssl) && s->asked_certificate));
}

static struct tls_facts *gather_facts(struct tls_session *s)
{
	struct tls_facts *f = arena_new(&s->arena, struct tls_facts);
	X509 *peer = SSL_get0_peer_certificate(s->ssl);
	const unsigned char *alpn;
	unsigned alpn_n;

	SSL_get0_alpn_selected(s->ssl, &alpn, &alpn_n);
	f->version = SSL_get_version(s->ssl);
	f->cipher = SSL_get_cipher_name(s->ssl);
	f->alpn = str_from((const char *)alpn, alpn_n);
	f->sni = s->sni;
	if (s->server && s->ctx)
		f->sni = str_c(SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name));
	f->peer_spiffe = s->peer_spiffe;
	f->own_spiffe = s->id ? tls_identity_spiffe(s->id) : STR_NULL;
	f->mutual = is_mutual(s, peer);
	f->resumed = SSL_session_reused(s->ssl) == 1;
	if (peer) {
		f->peer_cert_sha256 = digest_hex(s, peer);
		f->peer_subject = subject_text(s, peer);
		if (s->ctx)
			tls_list_sans(peer, &s->arena, &f->peer_uris, &f->peer_dns);
	}
	return f;
}

const struct tls_facts *tls_facts(struct tls_session *s)
{
	kv_assert(s->established);
	if (!s->facts)
		s->facts = gather_facts(s);
	return s->facts;
}

const char *tls_error(const struct tls_session *s)
{
	return s->reason ? s->error.p : "";
}

const char *tls_error_reason(const struct tls_session *s)
{
	return s->reason ? s->reason : "";
}
