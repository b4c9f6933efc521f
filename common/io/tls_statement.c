/* SPDX-License-Identifier: Apache-2.0 */
/* tls_statement: see tls_statement.h. Layer io. */
#include "config.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/base64.h"
#include "base/clock.h"
#include "io/tls_digest.h"
#include "io/tls_priv.h"
#include "io/tls_statement.h"

#define PEM_BYTES_MAX 65536u

static struct str digest_of(struct str s, struct arena *a)
{
	struct tls_digest *d = tls_digest_new();
	char hex[TLS_DIGEST_HEX_MAX];

	tls_digest_add(d, s);
	tls_digest_end(d, hex);
	return arena_str(a, str_c(hex));
}

struct str tls_statement_text(const struct tls_statement *s, struct arena *a)
{
	struct str certificate = digest_of(s->certificate, a), chain = digest_of(s->chain, a);
	char when[CLOCK_RFC3339_MAX];

	return arena_printf(a,
			    "kvmesh signature 1\nsha256 %.*s\nsigned at %s\nsigned by %.*s\n"
			    "certificate %.*s\nchain %.*s\n",
			    STR_ARG(s->sha256), clock_rfc3339(s->signed_at_us, when),
			    STR_ARG(s->signed_by), STR_ARG(certificate), STR_ARG(chain));
}

/* ---- certificates -------------------------------------------------------------------------- */

static STACK_OF(X509) *read_all(struct str pem)
{
	STACK_OF(X509) *all = sk_X509_new_null();
	BIO *bio = pem.n <= PEM_BYTES_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
	X509 *x;

	kv_assert(all);
	while (bio && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
		kv_assert(sk_X509_push(all, x) > 0);
	ERR_clear_error();
	BIO_free(bio);
	return all;
}

static bool is_for_documents_alone(X509 *leaf)
{
	EXTENDED_KEY_USAGE *uses = X509_get_ext_d2i(leaf, NID_ext_key_usage, NULL, NULL);
	char oid[64] = "";

	if (uses && sk_ASN1_OBJECT_num(uses) == 1)
		OBJ_obj2txt(oid, sizeof(oid), sk_ASN1_OBJECT_value(uses, 0), 1);
	sk_ASN1_OBJECT_pop_free(uses, ASN1_OBJECT_free);
	return strcmp(oid, TLS_STATEMENT_USE) == 0;
}

static bool names_signer(X509 *leaf, struct str signed_by)
{
	GENERAL_NAMES *sans;
	struct str spiffe;
	struct tls_spiffe id;
	bool ok = tls_leaf_spiffe(leaf, &sans, &spiffe) && str_eq(spiffe, signed_by) &&
		  tls_spiffe_parse(spiffe, &id) && str_eq(id.path, STR(TLS_STATEMENT_PATH));

	GENERAL_NAMES_free(sans);
	return ok;
}

static int check_leaf(X509 *leaf, const struct tls_statement *s, struct err *err)
{
	const char *fault = tls_leaf_fault(leaf);
	int64_t at_s = s->signed_at_us / 1000000;

	if (fault)
		return err_set(err, KV_ERR_REFUSED, "the signer's certificate %s", fault);
	if (!is_for_documents_alone(leaf))
		return err_set(err, KV_ERR_REFUSED, "the signer's certificate is not for documents");
	if (!names_signer(leaf, s->signed_by))
		return err_set(err, KV_ERR_REFUSED, "the signer's certificate is not that of %.*s, or "
			       "that is no identity for reports", STR_ARG(str_take(s->signed_by, 256)));
	if (at_s < tls_time(X509_get0_notBefore(leaf)) || at_s > tls_time(X509_get0_notAfter(leaf)))
		return err_set(err, KV_ERR_REFUSED,
			       "the signer's certificate was not valid at the time of signing");
	return 0;
}

static X509_STORE *store_of(const STACK_OF(X509) *anchors, int64_t at_s)
{
	X509_STORE *store = X509_STORE_new();
	X509_VERIFY_PARAM *param = store ? X509_STORE_get0_param(store) : NULL;

	kv_assert(param);
	for (int i = 0; i < sk_X509_num(anchors); i++)
		kv_assert(X509_STORE_add_cert(store, sk_X509_value(anchors, i)) == 1);
	/* Bundles of the mesh hold issuers beside roots, and either will do. */
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
	X509_VERIFY_PARAM_set_time(param, (time_t)at_s);
	return store;
}

static int check_chain(X509 *leaf, STACK_OF(X509) *chain, const STACK_OF(X509) *anchors, int64_t at_s,
		       struct err *err)
{
	X509_STORE *store = store_of(anchors, at_s);
	X509_STORE_CTX *x = X509_STORE_CTX_new();
	int r = 0;

	kv_assert(x && X509_STORE_CTX_init(x, store, leaf, chain) == 1);
	if (X509_verify_cert(x) != 1)
		r = err_set(err, KV_ERR_REFUSED, "the signer's certificate: %s",
			    X509_verify_cert_error_string(X509_STORE_CTX_get_error(x)));
	X509_STORE_CTX_free(x);
	X509_STORE_free(store);
	ERR_clear_error();
	return r;
}

/* ---- the signature ------------------------------------------------------------------------- */

/* One spelling alone: what is decoded, encoded again, is the same text. */
static bool read_signature(struct str text, struct arena *a, struct str *ret)
{
	unsigned char again[TLS_STATEMENT_BASE64_MAX + 4];

	if (text.n == 0 || text.n >= TLS_STATEMENT_BASE64_MAX || !base64_decode(text, a, ret))
		return false;
	int n = EVP_EncodeBlock(again, (const unsigned char *)ret->p, (int)ret->n);

	return str_eq(text, str_from((const char *)again, (size_t)n));
}

static int check_signature(X509 *leaf, const struct tls_statement *s, struct err *err)
{
	EVP_PKEY *key = X509_get0_pubkey(leaf);
	EVP_MD_CTX *m = EVP_MD_CTX_new();
	struct arena a;
	struct str der;

	arena_init(&a, 0);
	struct str text = tls_statement_text(s, &a);
	bool ok = key && m && EVP_PKEY_is_a(key, "EC") && read_signature(s->signature, &a, &der) &&
		  EVP_DigestVerifyInit(m, NULL, tls_sha256(), NULL, key) == 1 &&
		  EVP_DigestVerify(m, (const unsigned char *)der.p, der.n,
				   (const unsigned char *)text.p, text.n) == 1;

	EVP_MD_CTX_free(m);
	ERR_clear_error();
	arena_done(&a);
	return ok ? 0 : err_set(err, KV_ERR_REFUSED, "the signature does not fit");
}

int tls_statement_verify(const struct tls_statement *s, struct str anchors, struct err *err)
{
	STACK_OF(X509) *own = read_all(s->certificate), *chain = read_all(s->chain);
	STACK_OF(X509) *trusted = read_all(anchors);
	X509 *leaf = sk_X509_num(own) == 1 ? sk_X509_value(own, 0) : NULL;
	int r;

	if (sk_X509_num(trusted) == 0)
		r = err_set(err, KV_ERR_SCHEMA, "there is no certificate to trust in it");
	else if (!leaf)
		r = err_set(err, KV_ERR_REFUSED, "the signature comes without one certificate in PEM");
	else
		r = check_leaf(leaf, s, err);
	if (r == 0)
		r = check_signature(leaf, s, err);
	if (r == 0)
		r = check_chain(leaf, chain, trusted, s->signed_at_us / 1000000, err);
	sk_X509_pop_free(own, X509_free);
	sk_X509_pop_free(chain, X509_free);
	sk_X509_pop_free(trusted, X509_free);
	return r;
}
