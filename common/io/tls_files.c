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

static struct tls_ctx *wrap(SSL_CTX *c, int verify)
{
	struct tls_ctx *t = kv_zalloc(sizeof(*t));

	*t = (struct tls_ctx){ .refs = 1, .ssl = c, .verify = verify != SSL_VERIFY_NONE };
	arena_init(&t->arena, 256);
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
		r = load_ca(c, f->ca, err);
	if (r < 0) {
		SSL_CTX_free(c);
		return r;
	}
	*ret = wrap(c, f->skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER);
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

static int load_server(SSL_CTX *c, const struct tls_files *f, const struct tls_server_opts *o,
		       struct err *err)
{
	int r = load_pair(c, f, err);

	if (r == 0 && !f->cert)
		r = err_set(err, -EINVAL, "a TLS server needs a certificate and its key");
	if (r == 0 && o->clients != TLS_CLIENTS_ANY)
		r = load_ca(c, f->ca, err);
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
	struct tls_ctx *t = *ret = wrap(c, verify_mode(o->clients));

	t->want = arena_new_n(&t->arena, struct str, o->n_names);
	for (size_t i = 0; i < o->n_names; i++)
		t->want[t->n_want++] = arena_str(&t->arena, o->names[i]);
	return 0;
}
