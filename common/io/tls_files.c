/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_files: contexts made of files, for the world outside the mesh: clients of its services, servers
 * of gateways. Layer io; owns the reference-counted contexts, which never change once made.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include <openssl/rand.h>

#include "io/tls_priv.h"

struct tls_ctx *tls_ctx_ref(struct tls_ctx *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void tls_ctx_unref(struct tls_ctx *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	SSL_CTX_free(c->ssl);
	arena_done(&c->arena);
	free(c);
}

static int load_pair(SSL_CTX *c, const struct tls_files *f, struct err *err)
{
	if (!f->cert && !f->key)
		return 0;
	if (!f->cert || !f->key)
		return err_set(err, -EINVAL, "a certificate and its key are needed together");
	if (SSL_CTX_use_certificate_chain_file(c, f->cert) != 1)
		return tls_err_set(err, "cannot use the certificate %s", f->cert);
	if (SSL_CTX_use_PrivateKey_file(c, f->key, SSL_FILETYPE_PEM) != 1)
		return tls_err_set(err, "cannot use the key %s for the certificate %s", f->key,
				   f->cert);
	if (SSL_CTX_check_private_key(c) != 1)
		return tls_err_set(err, "the key %s does not belong to %s", f->key, f->cert);
	return 0;
}

/*
 * An authority of the file is trusted by being there: lists are asked for what is below it. So an
 * intermediate can be the anchor without its issuer's list.
 */
static int tolerate_anchor(int ok, X509_STORE_CTX *x)
{
	int last = sk_X509_num(X509_STORE_CTX_get0_chain(x)) - 1;

	if (ok == 1 || X509_STORE_CTX_get_error(x) != X509_V_ERR_UNABLE_TO_GET_CRL ||
	    last < 1 || X509_STORE_CTX_get_error_depth(x) != last)
		return ok;
	X509_STORE_CTX_set_error(x, X509_V_OK);
	return 1;
}

static int load_crl(SSL_CTX *c, const char *crl, struct err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(c);
	X509_LOOKUP *file = X509_STORE_add_lookup(store, X509_LOOKUP_file());

	if (!file || X509_load_crl_file(file, crl, X509_FILETYPE_PEM) < 1)
		return tls_err_set(err, "cannot use the revocation list %s", crl);
	X509_STORE_set_verify_cb(store, tolerate_anchor);
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(c),
				    X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return 0;
}

static int load_ca(SSL_CTX *c, const char *ca, struct err *err)
{
	if (!ca || strcmp(ca, "system") == 0) {
		if (SSL_CTX_set_default_verify_paths(c) != 1)
			return tls_err_set(err, "cannot use the system's CA certificates");
		return 0;
	}
	if (SSL_CTX_load_verify_file(c, ca) != 1)
		return tls_err_set(err, "cannot use the CA certificates %s", ca);
	/* An intermediate in the file is as good as its root. */
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(c), X509_V_FLAG_PARTIAL_CHAIN);
	return 0;
}

static int load_trust(SSL_CTX *c, const struct tls_files *f, struct err *err)
{
	int r = load_ca(c, f->ca, err);

	return r == 0 && f->crl ? load_crl(c, f->crl, err) : r;
}

static struct tls_ctx *wrap(SSL_CTX *c, const struct tls_files *f, int verify)
{
	struct tls_ctx *t = kv_zalloc(sizeof(*t));

	*t = (struct tls_ctx){ .refs = 1, .ssl = c, .verify = verify != SSL_VERIFY_NONE };
	arena_init(&t->arena, 256);
	t->scope = arena_strdup(&t->arena, f->scope);
	t->listed = t->verify && f->crl;
	if (t->verify)
		SSL_CTX_set_cert_verify_callback(c, tls_verify_outside, NULL);
	SSL_CTX_set_verify(c, verify, NULL);
	return t;
}

int tls_ctx_new_client(const struct tls_files *f, struct tls_ctx **ret, struct err *err)
{
	SSL_CTX *c = tls_ctx_make(false, TLS1_2_VERSION);

	kv_assert(c);
	SSL_CTX_set_max_cert_list(c, 65536);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_cert_cb(c, tls_on_certificate_asked, NULL);
	int r = load_pair(c, f, err);

	if (r == 0 && !f->skip_verify)
		r = load_trust(c, f, err);
	if (r < 0) {
		SSL_CTX_free(c);
		return r;
	}
	*ret = wrap(c, f, f->skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER);
	return 0;
}

/* ---- servers ------------------------------------------------------------- */

int64_t tls_ctx_not_after(const struct tls_ctx *c)
{
	const X509 *cert = SSL_CTX_get0_certificate(c->ssl);

	return cert ? tls_time(X509_get0_notAfter(cert)) : INT64_MAX;
}

bool tls_ctx_is_for(const struct tls_ctx *c, struct str host)
{
	X509 *cert = SSL_CTX_get0_certificate(c->ssl);

	return cert && tls_has_name(cert, host);
}

static int narrow(SSL_CTX *c, const struct tls_server_opts *o, struct err *err)
{
	if (o->tls12)
		kv_assert(SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION) == 1);
	if (o->ciphers && SSL_CTX_set_cipher_list(c, o->ciphers) != 1)
		return tls_err_set(err, "cannot use the cipher suites %s", o->ciphers);
	return 0;
}

/* OpenSSL keeps one certificate for each kind of key and chooses by what the client can. */
static int load_more(SSL_CTX *c, const struct tls_files *f, struct err *err)
{
	for (size_t i = 0; i < f->n_more; i++) {
		const struct tls_files pair = { .cert = f->more[i].cert, .key = f->more[i].key };
		int before = EVP_PKEY_get_base_id(SSL_CTX_get0_privatekey(c));
		int r = load_pair(c, &pair, err);

		if (r < 0)
			return r;
		if (EVP_PKEY_get_base_id(SSL_CTX_get0_privatekey(c)) == before)
			return err_set(err, -EINVAL, "the keys %s and %s are of one kind: one would never be used",
				       f->key, pair.key);
	}
	return 0;
}

static int load_server(SSL_CTX *c, const struct tls_files *f, const struct tls_server_opts *o,
		       struct err *err)
{
	int r = load_pair(c, f, err);

	if (r == 0 && !f->cert)
		r = err_set(err, -EINVAL, "a TLS server needs a certificate and its key");
	if (r == 0)
		r = load_more(c, f, err);
	if (r == 0 && o->clients != TLS_CLIENTS_ANY)
		r = load_trust(c, f, err);
	return r < 0 ? r : narrow(c, o, err);
}

static int verify_mode(enum tls_clients clients)
{
	switch (clients) {
	case TLS_CLIENTS_ANY:
		return SSL_VERIFY_NONE;
	case TLS_CLIENTS_OPTIONAL:
		return SSL_VERIFY_PEER;
	case TLS_CLIENTS_PROVED:
		break;
	}
	return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
}

static struct str *copy_list(struct tls_ctx *t, const struct str *v, size_t n)
{
	struct str *copy = arena_new_n(&t->arena, struct str, n);

	for (size_t i = 0; i < n; i++)
		copy[i] = arena_str(&t->arena, v[i]);
	return copy;
}

int tls_ctx_new_server(const struct tls_files *f, const struct tls_server_opts *o,
		       struct tls_ctx **ret, struct err *err)
{
	unsigned char sid[16];
	SSL_CTX *c = tls_ctx_make(true, o->tls13 ? TLS1_3_VERSION : TLS1_2_VERSION);

	kv_assert(c && RAND_bytes(sid, sizeof(sid)) == 1);
	tls_keep_sessions(c);
	/* New files make a new context: sessions of the old one end with it (P5). */
	kv_assert(SSL_CTX_set_session_id_context(c, sid, sizeof(sid)) == 1);
	int r = load_server(c, f, o, err);

	if (r < 0) {
		SSL_CTX_free(c);
		return r;
	}
	struct tls_ctx *t = *ret = wrap(c, f, verify_mode(o->clients));

	t->want = copy_list(t, o->names, t->n_want = o->n_names);
	t->spki = copy_list(t, o->spki, t->n_spki = o->n_spki);
	t->hashes = copy_list(t, o->hashes, t->n_hashes = o->n_hashes);
	return 0;
}

/* ---- lists that came later ----------------------------------------------- */

bool tls_ctx_is_listed(const struct tls_ctx *c)
{
	return c->listed;
}

static bool stands_on(X509_CRL *list, X509 *cert)
{
	X509_REVOKED *entry;

	return cert && X509_CRL_get0_by_cert(list, &entry, cert) == 1;
}

static bool is_on_list(X509_CRL *list, const struct tls_session *s)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(s->ssl);

	if (stands_on(list, SSL_get0_peer_certificate(s->ssl)))
		return true;
	for (int i = 0; chain && i < sk_X509_num(chain); i++)
		if (stands_on(list, sk_X509_value(chain, i)))
			return true;
	return false;
}

bool tls_ctx_revokes(const struct tls_ctx *now, const struct tls_session *s)
{
	X509_STORE *store = SSL_CTX_get_cert_store(now->ssl);
	bool found = false;

	if (!now->listed || !s->ctx || s->ctx == now || !s->ctx->scope || !now->scope ||
	    strcmp(s->ctx->scope, now->scope) != 0)
		return false;
	X509_STORE_lock(store);
	STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(store);

	for (int i = 0; !found && i < sk_X509_OBJECT_num(all); i++) {
		X509_CRL *list = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(all, i));

		found = list && is_on_list(list, s);
	}
	X509_STORE_unlock(store);
	return found;
}
