/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls: contexts: what is trusted and who we are. Layer io; with the other
 * tls*.c files the only place that knows OpenSSL. Owns the reference-counted contexts and one
 * context of the process where mesh server sessions begin; all of them are used by several threads
 * and never change once made (SSL_CTX and X509_STORE lock what they must).
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#include "io/tls_priv.h"

#define ANCHORS_MAX 200
/* Each holds its peer's certificate, about 6 kB; of a client only the newest is of use. */
#define SERVER_CACHE_SESSIONS 512

/* ---- helpers ------------------------------------------------------------- */

int tls_err_set(struct err *err, const char *fmt, ...)
{
	char what[300];
	unsigned long code = ERR_peek_last_error();
	const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	ERR_clear_error();
	return err_set(err, KV_ERR_TLS, "%s%s%s", what, why ? ": " : "", why ? why : "");
}

static EVP_MD *sha256;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

/* Fetched once: an implicit fetch takes a lock and most of a microsecond. */
static void fetch_sha256(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	kv_assert(sha256);
}

const EVP_MD *tls_sha256(void)
{
	pthread_once(&sha256_once, fetch_sha256);
	return sha256;
}

int64_t tls_time(const ASN1_TIME *t)
{
	struct tm tm = { 0 };

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : INT64_MIN;
}

static BIO *bio_over(struct str s)
{
	BIO *bio = s.n <= INT32_MAX ? BIO_new_mem_buf(s.p, (int)s.n) : NULL;

	kv_assert(bio);
	return bio;
}

/* ---- common settings ----------------------------------------------------- */

/* A machine without AES in hardware is faster, and safer against timing, with ChaCha20. */
static bool has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_cpu_supports("aes");
#elif defined(__aarch64__)
	return (getauxval(AT_HWCAP) & (1ul << 3)) != 0;         /* HWCAP_AES */
#else
	return false;
#endif
}

static bool set_ciphers(SSL_CTX *c)
{
	static char groups[] = "X25519:P-256";          /* the macro wants it writable */
	const char *tls13 = has_aes() ? "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
				      : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";

	return SSL_CTX_set_ciphersuites(c, tls13) == 1 &&
	       SSL_CTX_set_cipher_list(c, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
	       SSL_CTX_set1_groups_list(c, groups) == 1;
}

SSL_CTX *tls_ctx_make(bool server, int min_version)
{
	SSL_CTX *c = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

	if (!c)
		return NULL;
	SSL_CTX_set_security_level(c, 2);
	SSL_CTX_set_options(c, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
				       SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_max_cert_list(c, TLS_CHAIN_BYTES_MAX);
	SSL_CTX_set_msg_callback(c, tls_count_message);
	SSL_CTX_set_timeout(c, TLS_SESSION_SECONDS);
	if (SSL_CTX_set_min_proto_version(c, min_version) != 1 || !set_ciphers(c)) {
		SSL_CTX_free(c);
		return NULL;
	}
	return c;
}

/* Sessions stay here, not in tickets: resuming costs a third, and a change of trust ends them. */
void tls_keep_sessions(SSL_CTX *c)
{
	SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(c, 1);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_SERVER);
	SSL_CTX_sess_set_cache_size(c, SERVER_CACHE_SESSIONS);
	SSL_CTX_sess_set_new_cb(c, tls_on_new_server_session);
	SSL_CTX_set_alpn_select_cb(c, tls_on_alpn, NULL);
}

static SSL_CTX *front;
static pthread_once_t front_once = PTHREAD_ONCE_INIT;

static void make_front(void)
{
	front = tls_ctx_make(true, TLS1_3_VERSION);
	kv_assert(front);
	tls_keep_sessions(front);
	SSL_CTX_set_verify(front, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_client_hello_cb(front, tls_on_hello, NULL);
}

SSL_CTX *tls_front_ctx(void)
{
	pthread_once(&front_once, make_front);
	return front;
}

/* ---- trust --------------------------------------------------------------- */

static void trust_free(struct tls_trust *t)
{
	X509_STORE_free(t->store);
	map_done(&t->revoked);
	arena_done(&t->arena);
	free(t->domain);
	free(t);
}

struct tls_trust *tls_trust_ref(struct tls_trust *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void tls_trust_unref(struct tls_trust *t)
{
	if (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
		trust_free(t);
}

static int add_anchor(struct tls_trust *t, X509 *cert, size_t n, EVP_MD_CTX *digest,
		      struct err *err)
{
	unsigned char *der = NULL;

	if (n > ANCHORS_MAX)
		return err_set(err, KV_ERR_LIMIT, "the trust bundle has more than %d certificates",
			       ANCHORS_MAX);
	if (X509_check_ca(cert) != 1)
		return err_set(err, KV_ERR_TLS,
			       "certificate %zu of the trust bundle is no CA certificate", n);
	int len = i2d_X509(cert, &der);
	bool ok = len > 0 && EVP_DigestUpdate(digest, der, (size_t)len) == 1 &&
		  X509_STORE_add_cert(t->store, cert) == 1;

	OPENSSL_free(der);
	return ok ? 0 : tls_err_set(err, "cannot use certificate %zu of the trust bundle", n);
}

/* The end of the text is no error; whatever else stops the reader is. */
static bool pem_ended(void)
{
	unsigned long e = ERR_peek_last_error();

	ERR_clear_error();
	return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

static int add_anchors(struct tls_trust *t, struct str pem, EVP_MD_CTX *digest, struct err *err)
{
	BIO *bio = bio_over(pem);
	size_t n = 0;
	int r = 0;
	X509 *cert;

	ERR_clear_error();
	while (r == 0 && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		r = add_anchor(t, cert, ++n, digest, err);
		X509_free(cert);
	}
	BIO_free(bio);
	if (r == 0 && !pem_ended())
		return err_set(err, KV_ERR_TLS, "certificate %zu of the trust bundle is damaged",
			       n + 1);
	if (r == 0 && n == 0)
		return err_set(err, KV_ERR_TLS, "the trust bundle has no certificate");
	return r;
}

static int fill_trust(struct tls_trust *t, struct str pem, struct err *err)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	X509_VERIFY_PARAM *param = X509_STORE_get0_param(t->store);

	kv_assert(digest && EVP_DigestInit_ex(digest, tls_sha256(), NULL) == 1);
	/*
	 * An intermediate of the bundle is an anchor: a leaf is sent alone and checked with one
	 * signature.
	 */
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_X509_STRICT);
	int r = add_anchors(t, pem, digest, err);

	kv_assert(EVP_DigestFinal_ex(digest, t->digest, NULL) == 1);
	EVP_MD_CTX_free(digest);
	return r;
}

/* A domain is what may stand in a SPIFFE ID. */
static bool is_domain(struct str domain)
{
	_cleanup_free_ char *id = kv_asprintf("spiffe://%.*s/x", STR_ARG(domain));
	struct tls_spiffe parsed;

	return tls_spiffe_parse(str_c(id), &parsed) && str_eq(parsed.trust_domain, domain);
}

int tls_trust_new(struct str pem, struct str trust_domain, uint64_t generation,
		  struct tls_trust **ret, struct err *err)
{
	if (!is_domain(trust_domain))
		return err_set(err, -EINVAL, "'%.*s' is no trust domain", STR_ARG(trust_domain));
	struct tls_trust *t = kv_zalloc(sizeof(*t));

	t->refs = 1;
	map_init(&t->revoked);
	arena_init(&t->arena, 0);
	t->generation = generation;
	t->domain = kv_asprintf("%.*s", STR_ARG(trust_domain));
	t->store = X509_STORE_new();
	kv_assert(t->store);
	int r = fill_trust(t, pem, err);

	if (r < 0)
		trust_free(t);
	else
		*ret = t;
	return r;
}

/* ---- identities ---------------------------------------------------------- */

static void identity_free(struct tls_identity *i)
{
	tls_resume_clear(i);
	map_done(&i->sessions);
	pthread_mutex_destroy(&i->lock);
	SSL_CTX_free(i->server);
	SSL_CTX_free(i->client);
	X509_free(i->leaf);
	sk_X509_pop_free(i->chain, X509_free);
	tls_trust_unref(i->trust);
	free(i->spiffe);
	free(i->serial);
	free(i);
}

struct tls_identity *tls_identity_ref(struct tls_identity *i)
{
	atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);
	return i;
}

void tls_identity_unref(struct tls_identity *i)
{
	if (i && atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel) == 1)
		identity_free(i);
}

struct str tls_identity_spiffe(const struct tls_identity *i)
{
	return str_c(i->spiffe);
}

int64_t tls_identity_not_before(const struct tls_identity *i)
{
	return i->not_before;
}

int64_t tls_identity_not_after(const struct tls_identity *i)
{
	return i->not_after;
}

const char *tls_identity_serial(const struct tls_identity *i)
{
	return i->serial;
}

/* The leaf and what may follow it, with nothing but white space behind; NULL else. */
static STACK_OF(X509) *read_certs(struct str pem)
{
	BIO *bio = bio_over(pem);
	STACK_OF(X509) *certs = sk_X509_new_null();
	X509 *x;

	kv_assert(certs);
	while (sk_X509_num(certs) <= TLS_CHAIN_MAX && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		kv_assert(sk_X509_push(certs, x) > 0);
	if (sk_X509_num(certs) == 0 || sk_X509_num(certs) > TLS_CHAIN_MAX || !pem_ended()) {
		sk_X509_pop_free(certs, X509_free);
		certs = NULL;
	}
	BIO_free(bio);
	return certs;
}

static int take_names(struct tls_identity *i, struct err *err)
{
	GENERAL_NAMES *sans = NULL;
	const char *fault = tls_leaf_fault(i->leaf);
	struct tls_spiffe id;
	struct str spiffe;

	if (fault)
		return err_set(err, KV_ERR_TLS, "the certificate %s", fault);
	bool ok = tls_leaf_spiffe(i->leaf, &sans, &spiffe) && tls_spiffe_parse(spiffe, &id);

	if (ok)
		i->spiffe = kv_asprintf("%.*s", STR_ARG(spiffe));
	GENERAL_NAMES_free(sans);
	if (!ok)
		return err_set(err, KV_ERR_TLS, "the certificate has no valid SPIFFE ID");
	kv_assert(tls_spiffe_parse(str_c(i->spiffe), &id));
	if (!str_eq(id.trust_domain, str_c(i->trust->domain)))
		return err_set(err, KV_ERR_TLS, "the certificate of %s is not of trust domain %s",
			       i->spiffe, i->trust->domain);
	char serial[TLS_SERIAL_TEXT];

	tls_serial_text(i->leaf, serial);
	i->serial = kv_strdup(serial);
	i->not_before = tls_time(X509_get0_notBefore(i->leaf));
	i->not_after = tls_time(X509_get0_notAfter(i->leaf));
	return 0;
}

/* Would peers accept it, the clock apart? Better told here than by every peer. */
static bool chain_holds(struct tls_identity *i, int purpose, const char **ret_why)
{
	X509_STORE_CTX *x = X509_STORE_CTX_new();

	kv_assert(x && X509_STORE_CTX_init(x, i->trust->store, i->leaf, NULL) == 1);
	X509_STORE_CTX_set_purpose(x, purpose);
	X509_STORE_CTX_set_flags(x, X509_V_FLAG_NO_CHECK_TIME);
	bool ok = X509_verify_cert(x) == 1;

	*ret_why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(x));
	X509_STORE_CTX_free(x);
	ERR_clear_error();
	return ok;
}

static int check_identity(struct tls_identity *i, const struct tls_key *key, struct err *err)
{
	const char *why;
	int r = take_names(i, err);

	if (r < 0)
		return r;
	if (X509_check_private_key(i->leaf, key->pkey) != 1) {
		ERR_clear_error();
		return err_set(err, KV_ERR_TLS, "the certificate of %s is for another key",
			       i->spiffe);
	}
	if (!chain_holds(i, X509_PURPOSE_SSL_CLIENT, &why) ||
	    !chain_holds(i, X509_PURPOSE_SSL_SERVER, &why))
		return err_set(err, KV_ERR_TLS,
			       "the certificate of %s does not fit the trust bundle: %s", i->spiffe,
			       why);
	return 0;
}

/* P5: what a session was agreed under; it is not found under anything else. */
static void make_sid(struct tls_identity *i)
{
	EVP_MD_CTX *m = EVP_MD_CTX_new();

	kv_assert(m && EVP_DigestInit_ex(m, tls_sha256(), NULL) == 1);
	kv_assert(EVP_DigestUpdate(m, i->spiffe, strlen(i->spiffe) + 1) == 1);
	kv_assert(EVP_DigestUpdate(m, i->trust->domain, strlen(i->trust->domain) + 1) == 1);
	kv_assert(EVP_DigestUpdate(m, &i->trust->generation, sizeof(i->trust->generation)) == 1);
	kv_assert(EVP_DigestUpdate(m, i->trust->digest, sizeof(i->trust->digest)) == 1);
	kv_assert(EVP_DigestFinal_ex(m, i->sid, NULL) == 1);
	EVP_MD_CTX_free(m);
}

static SSL_CTX *identity_ctx(struct tls_identity *i, const struct tls_key *key, bool server)
{
	SSL_CTX *c = tls_ctx_make(server, TLS1_3_VERSION);

	if (!c)
		return NULL;
	SSL_CTX_set1_cert_store(c, i->trust->store);
	SSL_CTX_set_cert_verify_callback(c, tls_verify_mesh, NULL);
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	if (SSL_CTX_use_certificate(c, i->leaf) != 1 || SSL_CTX_set1_chain(c, i->chain) != 1 ||
	    SSL_CTX_use_PrivateKey(c, key->pkey) != 1 ||
	    SSL_CTX_set_session_id_context(c, i->sid, sizeof(i->sid)) != 1) {
		SSL_CTX_free(c);
		return NULL;
	}
	if (server) {
		SSL_CTX_set_alpn_select_cb(c, tls_on_alpn, NULL);
	} else {
		SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_CLIENT |
							  SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(c, tls_on_new_client_session);
		SSL_CTX_set_cert_cb(c, tls_on_certificate_asked, NULL);
	}
	return c;
}

/* Takes certs, the leaf first; NULL: they could not be read. */
static int make_identity(const struct tls_key *key, STACK_OF(X509) *certs, struct tls_trust *trust,
			 struct tls_identity **ret, struct err *err)
{
	struct tls_identity *i = kv_zalloc(sizeof(*i));

	i->refs = 1;
	i->trust = tls_trust_ref(trust);
	pthread_mutex_init(&i->lock, NULL);
	map_init(&i->sessions);
	i->leaf = certs ? sk_X509_shift(certs) : NULL;
	i->chain = certs;
	int r = certs ? check_identity(i, key, err)
		      : tls_err_set(err, "cannot read the certificate (in PEM, at most %d with those that vouch for it)", TLS_CHAIN_MAX);

	if (r == 0) {
		make_sid(i);
		i->server = identity_ctx(i, key, true);
		i->client = identity_ctx(i, key, false);
		if (!i->server || !i->client)
			r = tls_err_set(err, "cannot use the certificate of %s", i->spiffe);
	}
	if (r < 0) {
		identity_free(i);
		return r;
	}
	*ret = i;
	return 0;
}

int tls_identity_new(struct tls_key *key, struct str cert_pem, struct tls_trust *trust,
		     struct tls_identity **ret, struct err *err)
{
	int r = make_identity(key, read_certs(cert_pem), trust, ret, err);

	if (r == 0)
		tls_key_free(key);
	return r;
}

int tls_identity_retrust(const struct tls_identity *i, struct tls_trust *trust,
			 struct tls_identity **ret, struct err *err)
{
	const struct tls_key key = { .pkey = SSL_CTX_get0_privatekey(i->server) };

	STACK_OF(X509) *certs = X509_chain_up_ref(i->chain);

	X509_up_ref(i->leaf);
	kv_assert(certs && sk_X509_unshift(certs, i->leaf) > 0);
	return make_identity(&key, certs, trust, ret, err);
}
