/* SPDX-License-Identifier: Apache-2.0 */
/* tls_unit: certificates and connections for the TLS tests. */
#include "tls_unit.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

/* ---- certificates -------------------------------------------------------- */

EVP_PKEY *pki_ec_key(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	ck_assert_ptr_nonnull(key);
	return key;
}

EVP_PKEY *pki_rsa_key(unsigned bits)
{
	EVP_PKEY *key = EVP_RSA_gen(bits);

	ck_assert_ptr_nonnull(key);
	return key;
}

static void add_ext(X509 *cert, const struct pki_ca *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer ? issuer->cert : cert, cert, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);

	ck_assert_msg(ext != NULL, "%s", value);
	ck_assert_int_eq(X509_add_ext(cert, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

static void add_raw_ext(X509 *cert, int nid, bool critical, const unsigned char *p, int n)
{
	ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();

	ASN1_OCTET_STRING_set(data, p, n);
	X509_EXTENSION *ext = X509_EXTENSION_create_by_NID(NULL, nid, critical, data);

	ck_assert_int_eq(X509_add_ext(cert, ext, -1), 1);
	X509_EXTENSION_free(ext);
	ASN1_OCTET_STRING_free(data);
}

static void add_san(X509 *cert, const struct pki_spec *s)
{
	char value[8192] = "";
	size_t n = 0;

	if (s->san_hex) {
		long len;
		unsigned char *raw = OPENSSL_hexstr2buf(s->san_hex, &len);

		add_raw_ext(cert, NID_subject_alt_name, true, raw, (int)len);
		OPENSSL_free(raw);
		return;
	}
	n += (size_t)snprintf(value, sizeof(value), "%s", s->san_not_critical ? "" : "critical");
	if (s->uri)
		n += (size_t)snprintf(value + n, sizeof(value) - n, ",URI:%s", s->uri);
	if (s->uri2)
		n += (size_t)snprintf(value + n, sizeof(value) - n, ",URI:%s", s->uri2);
	if (s->dns)
		n += (size_t)snprintf(value + n, sizeof(value) - n, ",DNS:%s", s->dns);
	for (int i = 0; i < s->many_dns; i++)
		n += (size_t)snprintf(value + n, sizeof(value) - n, ",DNS:n%d.example", i);
	if (s->uri || s->uri2 || s->dns || s->many_dns)
		add_ext(cert, NULL, NID_subject_alt_name, value + (s->san_not_critical ? 1 : 0));
}

static const char *or_else(const char *given, const char *usual)
{
	return given ? given : usual;
}

static void add_exts(X509 *cert, const struct pki_spec *s, const struct pki_ca *issuer)
{
	const char *basic = or_else(s->basic, s->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	const char *usage = or_else(s->usage, s->ca ? "critical,keyCertSign,cRLSign"
						    : "critical,digitalSignature");
	const char *eku = or_else(s->eku, s->ca ? "" : "clientAuth,serverAuth");

	add_ext(cert, issuer, NID_subject_key_identifier, "hash");
	add_ext(cert, issuer, NID_authority_key_identifier, "keyid:always");
	if (*basic)
		add_ext(cert, issuer, NID_basic_constraints, basic);
	if (*usage)
		add_ext(cert, issuer, NID_key_usage, usage);
	if (*eku)
		add_ext(cert, issuer, NID_ext_key_usage, eku);
	if (s->constraints)
		add_ext(cert, issuer, NID_name_constraints, s->constraints);
	if (s->unknown_critical)
		add_raw_ext(cert, NID_ms_smartcard_login, true, (const unsigned char *)"\x05\x00",
			    2);
	add_san(cert, s);
}

X509 *pki_cert(const struct pki_spec *spec, EVP_PKEY *subject_key, const struct pki_ca *issuer)
{
	static long serial = 0xabc1;
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);
	time_t now = time(NULL);

	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
	ASN1_TIME_set(X509_getm_notBefore(cert), now + (spec->from ? spec->from : -60));
	ASN1_TIME_set(X509_getm_notAfter(cert), now + (spec->until ? spec->until : 3600));
	if (spec->cn || spec->ca)
		X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					   (const unsigned char *)or_else(spec->cn, "a CA"), -1, -1,
					   0);
	X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer->cert) : name);
	X509_set_pubkey(cert, subject_key);
	add_exts(cert, spec, issuer);
	ck_assert_int_gt(X509_sign(cert, issuer ? issuer->key : subject_key,
				   spec->sha1 ? EVP_sha1() : EVP_sha256()), 0);
	return cert;
}

static struct pki_ca *make_ca(const struct pki_spec *spec, const struct pki_ca *parent)
{
	struct pki_ca *ca = kv_zalloc(sizeof(*ca));

	ca->key = pki_ec_key();
	ca->cert = pki_cert(spec, ca->key, parent);
	return ca;
}

struct pki_ca *pki_root(void)
{
	return make_ca(&(struct pki_spec){ .ca = true, .cn = "root" }, NULL);
}

struct pki_ca *pki_sub(const struct pki_ca *parent, const char *constraints)
{
	static int count;
	char name[40];

	snprintf(name, sizeof(name), "intermediate %d", count++);
	return make_ca(&(struct pki_spec){ .ca = true, .cn = name, .constraints = constraints,
					   .basic = "critical,CA:TRUE,pathlen:0" }, parent);
}

void pki_ca_free(struct pki_ca *ca)
{
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
	free(ca);
}

static char *bio_text(BIO *bio)
{
	char *data;
	long n = BIO_get_mem_data(bio, &data);
	char *text = kv_asprintf("%.*s", (int)n, data);

	BIO_free(bio);
	return text;
}

char *pki_pem(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());

	PEM_write_bio_X509(bio, cert);
	return bio_text(bio);
}

char *pki_key_pem(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());

	PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	return bio_text(bio);
}

EVP_PKEY *pki_public_of(const char *csr_pem)
{
	BIO *bio = BIO_new_mem_buf(csr_pem, -1);
	X509_REQ *req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);

	ck_assert_ptr_nonnull(req);
	EVP_PKEY *key = X509_REQ_get_pubkey(req);

	ck_assert_int_eq(X509_REQ_verify(req, key), 1);
	X509_REQ_free(req);
	BIO_free(bio);
	return key;
}

struct tls_trust *pki_trust(uint64_t generation, const struct pki_ca *ca, ...)
{
	struct tls_trust *t = NULL;
	struct err err;
	char *pem = kv_strdup("");
	va_list ap;

	va_start(ap, ca);
	for (; ca; ca = va_arg(ap, const struct pki_ca *)) {
		char *one = pki_pem(ca->cert), *both = kv_asprintf("%s%s", pem, one);

		free(pem);
		free(one);
		pem = both;
	}
	va_end(ap);
	ck_assert_msg(tls_trust_new(str_c(pem), STR("cluster.local"), generation, &t, &err) == 0,
		      "%s", err.text);
	free(pem);
	return t;
}

struct tls_identity *pki_identity_until(const struct pki_ca *issuer, struct tls_trust *trust,
					const char *spiffe, int64_t until)
{
	struct tls_identity *id = NULL;
	struct tls_key *key;
	struct err err;
	char *csr;

	ck_assert_int_eq(tls_key_new(&key, &err), 0);
	ck_assert_int_eq(tls_key_csr(key, str_c(spiffe), &csr, &err), 0);
	EVP_PKEY *pub = pki_public_of(csr);
	X509 *cert = pki_cert(&(struct pki_spec){ .uri = spiffe, .until = until }, pub, issuer);
	char *pem = pki_pem(cert);

	ck_assert_msg(tls_identity_new(key, str_c(pem), trust, &id, &err) == 0, "%s", err.text);
	free(pem);
	free(csr);
	X509_free(cert);
	EVP_PKEY_free(pub);
	return id;
}

struct tls_identity *pki_identity(const struct pki_ca *issuer, struct tls_trust *trust,
				  const char *spiffe)
{
	return pki_identity_until(issuer, trust, spiffe, 3600);
}

/* ---- connections --------------------------------------------------------- */

void wire_init(struct wire *w, struct tls_session *client, struct tls_session *server)
{
	*w = (struct wire){ .client = client, .server = server, .client_result = TLS_AGAIN,
			    .server_result = TLS_AGAIN };
}

/* One side takes a step on at most step bytes of what waits for it. */
static void shake_one(struct tls_session *s, enum tls_result *r, struct buf *in, struct buf *out,
		      size_t step)
{
	struct buf some = { 0 };

	if (*r != TLS_AGAIN)
		return;
	if (step == 0 || step > in->n)
		step = in->n;
	buf_move_n(&some, in, step);
	*r = tls_handshake(s, &some, out);
	buf_move(&some, in);
	buf_move(in, &some);
}

void wire_shake(struct wire *w, size_t step)
{
	size_t before;

	do {
		before = w->up.n + w->down.n;
		enum tls_result c = w->client_result, s = w->server_result;

		shake_one(w->client, &w->client_result, &w->down, &w->up, step);
		shake_one(w->server, &w->server_result, &w->up, &w->down, step);
		if (c != w->client_result || s != w->server_result)
			before = SIZE_MAX;
	} while (w->up.n + w->down.n != before);
}

void wire_ok(const struct wire *w)
{
	ck_assert_msg(w->client_result == TLS_OK, "client: %d %s", (int)w->client_result,
		      tls_error(w->client));
	ck_assert_msg(w->server_result == TLS_OK, "server: %d %s", (int)w->server_result,
		      tls_error(w->server));
}

void wire_tickets(struct wire *w)
{
	struct buf none = { 0 };

	ck_assert_int_eq(tls_decrypt(w->client, &w->down, &none, 100, &w->up), TLS_AGAIN);
	ck_assert_uint_eq(none.n, 0);
}

void wire_say(struct wire *w, bool to_server, const char *text)
{
	struct buf plain = { 0 };
	struct buf *cipher = to_server ? &w->up : &w->down, *back = to_server ? &w->down : &w->up;

	buf_append_str(&plain, str_c(text));
	ck_assert_int_eq(tls_encrypt(to_server ? w->client : w->server, &plain, cipher), TLS_OK);
	ck_assert_uint_eq(plain.n, 0);
	ck_assert_int_eq(tls_decrypt(to_server ? w->server : w->client, cipher, &plain, 1000, back),
			 TLS_OK);
	unit_str_eq(buf_pullup(&plain, plain.n), text);
	buf_done(&plain);
}

void wire_close(struct wire *w)
{
	tls_shutdown(w->client, &w->up);
	tls_shutdown(w->server, &w->down);
	wire_done(w);
}

void wire_done(struct wire *w)
{
	tls_session_free(w->client);
	tls_session_free(w->server);
	buf_done(&w->up);
	buf_done(&w->down);
}

void raw_init(struct raw *r, SSL_CTX *ctx, bool server)
{
	r->ssl = SSL_new(ctx);
	r->in = BIO_new(BIO_s_mem());
	r->out = BIO_new(BIO_s_mem());
	SSL_set_bio(r->ssl, r->in, r->out);
	if (server)
		SSL_set_accept_state(r->ssl);
	else
		SSL_set_connect_state(r->ssl);
}

void raw_done(struct raw *r)
{
	SSL_free(r->ssl);
	ERR_clear_error();
}

void raw_flush(struct raw *r, struct buf *b)
{
	char piece[4096];
	int n;

	while ((n = BIO_read(r->out, piece, sizeof(piece))) > 0)
		buf_append(b, piece, (size_t)n);
}

void raw_feed(struct raw *r, struct buf *b)
{
	struct str all = buf_pullup(b, b->n);

	if (all.n > 0)
		ck_assert_int_eq(BIO_write(r->in, all.p, (int)all.n), (int)all.n);
	buf_consume(b, all.n);
}

enum tls_result raw_shake(struct raw *r, struct tls_session *s, struct buf *to_s,
			  struct buf *from_s, int *ret_raw)
{
	enum tls_result result = TLS_AGAIN;

	for (int i = 0; i < 10; i++) {
		*ret_raw = SSL_do_handshake(r->ssl);
		ERR_clear_error();
		raw_flush(r, to_s);
		if (result == TLS_AGAIN)
			result = tls_handshake(s, to_s, from_s);
		raw_feed(r, from_s);
	}
	return result;
}
