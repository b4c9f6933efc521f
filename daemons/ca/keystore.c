/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keystore: the CA's keys and certificates as they are in use: read, judged as the peers will judge
 * them, put together to the trust bundle. Layer daemons/ca.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"
#include "ca/files.h"
#include "ca/keystore.h"
#include "ca/mint.h"
#include "ca/ossl.h"

#define SECURE_HEAP_BYTES (64u << 10)

struct keystore {
	X509 *root, *issuer;
	EVP_PKEY *issuer_key;
	STACK_OF(X509) *chain;          /* trusted as well, listed before the issuer */
	X509 *next;                     /* the issuer to come, trusted already; NULL none */
	char *bundle;
	bool root_key_on_node, plugged_in;
};

const char *keystore_library(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

int keystore_init(struct err *err)
{
	if (CRYPTO_secure_malloc_initialized())
		return 0;
	switch (CRYPTO_secure_malloc_init(SECURE_HEAP_BYTES, 32)) {
	case 1:
		return 0;
	case 2:
		log_warn(
			"the memory that holds keys cannot be locked: it may reach the swap space");
		return 0;
	default:
		return ossl_fail(err, "set memory for keys apart");
	}
}

/* ---- judging ------------------------------------------------------------------------------- */

/* Issuer up to root, as the peers will: CA:TRUE, keyCertSign, path length, constraints, dates. */
static int verify_issuer(const struct keystore *k, const char *path, struct err *err)
{
	X509_STORE *roots = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int r = 0;

	if (!roots || !ctx || X509_STORE_add_cert(roots, k->root) != 1 ||
	    X509_STORE_CTX_init(ctx, roots, k->issuer, k->chain) != 1) {
		r = ossl_fail(err, "set up verification");
	} else {
		X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT);
		if (X509_verify_cert(ctx) != 1)
			r = err_set(err, KV_ERR_TLS, "%s is no good issuing CA: %s", path,
				    X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	}
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(roots);
	ERR_clear_error();
	if (r == 0 &&
	    (X509_check_ca(k->issuer) != 1 || !(X509_get_key_usage(k->issuer) & KU_KEY_CERT_SIGN)))
		r = err_set(err, KV_ERR_TLS,
			    "%s may not sign certificates (CA:TRUE and keyCertSign)", path);
	return r;
}

static bool add_pem(BIO *b, X509 *x)
{
	return !x || PEM_write_bio_X509(b, x) == 1;
}

/* In order of age, so that a change of the signing issuer alone does not change the text. */
static int make_bundle(struct keystore *k, struct err *err)
{
	_cleanup_bio_ BIO *b = BIO_new(BIO_s_mem());
	bool ok = b && add_pem(b, k->root);
	char *p;

	for (int i = 0; ok && k->chain && i < sk_X509_num(k->chain); i++) {
		X509 *x = sk_X509_value(k->chain, i);

		if (X509_cmp(x, k->root) != 0 && X509_cmp(x, k->issuer) != 0)
			ok = add_pem(b, x);
	}
	if (ok && X509_cmp(k->root, k->issuer) != 0)
		ok = add_pem(b, k->issuer);
	if (!ok || !add_pem(b, k->next))
		return ossl_fail(err, "write the trust bundle");
	long n = BIO_get_mem_data(b, &p);

	k->bundle = kv_asprintf("%.*s", (int)n, p);
	return 0;
}

static int load_issuer(const struct files *f, struct keystore *k, struct err *err)
{
	int r = files_read_cert(f, FILE_ROOT_CERT, &k->root, err);

	if (r == 0)
		r = files_read_cert(f, FILE_CA_CERT, &k->issuer, err);
	if (r == 0)
		r = files_read_key(f, FILE_CA_KEY, &k->issuer_key, err);
	if (r < 0)
		return r;
	if (X509_check_private_key(k->issuer, k->issuer_key) == 1)
		return 0;
	ERR_clear_error();
	return err_set(err, KV_ERR_TLS, "%s does not belong to %s", f->path[FILE_CA_KEY],
		       f->path[FILE_CA_CERT]);
}

/* Certificates of the issuer before live on until it ends. */
static int load_old(const struct files *f, int64_t now_s, struct keystore *k, struct err *err)
{
	STACK_OF(X509) *old = NULL;
	int r = files_read_certs(f, FILE_OLD_CERT, &old, err);

	if (r < 0)
		return r;
	if (ossl_time_s(X509_get0_notAfter(sk_X509_value(old, 0))) > now_s)
		k->chain = old;
	else
		sk_X509_pop_free(old, X509_free);
	return 0;
}

static int open_plugged_in(const struct files *f, struct keystore *k, struct err *err)
{
	int r = load_issuer(f, k, err);

	k->root_key_on_node = files_has(f, FILE_ROOT_KEY);
	if (r == 0 && files_has(f, FILE_CHAIN))
		r = files_read_certs(f, FILE_CHAIN, &k->chain, err);
	return r;
}

static int open_own(const struct files *f, const struct mint *mint, struct keystore *k,
		    struct err *err)
{
	int64_t now_s = mint ? mint->now_us / 1000000 : 0;
	int r = 0;

	if (mint) {
		r = mint_missing(f, mint, err);
		if (r == 0)
			r = mint_rotate(f, mint, err);
	} else if (!files_has(f, FILE_CA_KEY) || !files_has(f, FILE_CA_CERT)) {
		r = err_set(err, -ENOENT, "there is no CA in %s yet", f->path[FILE_CA_CERT]);
	}
	if (r == 0)
		r = load_issuer(f, k, err);
	if (r == 0 && files_has(f, FILE_OLD_CERT))
		r = load_old(f, now_s, k, err);
	if (r == 0 && files_has(f, FILE_NEXT_CERT))
		r = files_read_cert(f, FILE_NEXT_CERT, &k->next, err);
	k->root_key_on_node = files_has(f, FILE_ROOT_KEY);
	return r;
}

int keystore_open(const char *etc_dir, const char *state_dir, const struct mint *mint,
		  struct keystore **ret, struct err *err)
{
	struct keystore *k = kv_zalloc(sizeof(*k));
	struct files etc, state;

	files_init(&etc, etc_dir);
	files_init(&state, state_dir);
	k->plugged_in = files_has(&etc, FILE_CA_KEY);
	const struct files *f = k->plugged_in ? &etc : &state;
	int r = k->plugged_in ? open_plugged_in(f, k, err) : open_own(f, mint, k, err);

	if (r == 0)
		r = verify_issuer(k, f->path[FILE_CA_CERT], err);
	if (r == 0)
		r = make_bundle(k, err);
	files_done(&etc);
	files_done(&state);
	if (r < 0) {
		keystore_free(k);
		return r;
	}
	*ret = k;
	return 0;
}

void keystore_free(struct keystore *k)
{
	if (!k)
		return;
	X509_free(k->root);
	X509_free(k->issuer);
	X509_free(k->next);
	EVP_PKEY_free(k->issuer_key);
	sk_X509_pop_free(k->chain, X509_free);
	free(k->bundle);
	free(k);
}

/* ---- asking -------------------------------------------------------------------------------- */

struct x509_st *keystore_issuer(const struct keystore *k)
{
	return k->issuer;
}

struct evp_pkey_st *keystore_issuer_key(const struct keystore *k)
{
	return k->issuer_key;
}

struct str keystore_bundle(const struct keystore *k)
{
	return str_c(k->bundle);
}

uint64_t keystore_generation(const struct keystore *k)
{
	/* JSON numbers are signed 64-bit here; 0 means "none". */
	return (hash_str(str_c(k->bundle)) >> 1) | 1;
}

bool keystore_root_key_on_node(const struct keystore *k)
{
	return k->root_key_on_node;
}

bool keystore_is_plugged_in(const struct keystore *k)
{
	return k->plugged_in;
}

static bool constraint_is(const GENERAL_SUBTREE *t, struct str trust_domain)
{
	if (t->base->type != GEN_URI)
		return false;
	const ASN1_IA5STRING *uri = t->base->d.uniformResourceIdentifier;

	return str_eq(
		str_from((const char *)ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri)),
		trust_domain);
}

bool keystore_allows(const struct keystore *k, struct str trust_domain)
{
	NAME_CONSTRAINTS *nc = X509_get_ext_d2i(k->issuer, NID_name_constraints, NULL, NULL);
	bool any_uri = false, found = false;

	for (int i = 0; nc && i < sk_GENERAL_SUBTREE_num(nc->permittedSubtrees); i++) {
		const GENERAL_SUBTREE *t = sk_GENERAL_SUBTREE_value(nc->permittedSubtrees, i);

		any_uri |= t->base->type == GEN_URI;
		found |= constraint_is(t, trust_domain);
	}
	NAME_CONSTRAINTS_free(nc);
	return found || !any_uri;
}

static void describe(X509 *x, struct keystore_cert *ret)
{
	BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
	char *hex = n ? BN_bn2hex(n) : NULL;
	BIO *b = BIO_new(BIO_s_mem());
	char *p = NULL;
	long len = 0;

	if (b && X509_NAME_print_ex(b, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) >= 0)
		len = BIO_get_mem_data(b, &p);
	snprintf(ret->subject, sizeof(ret->subject), "%.*s", (int)len, p ? p : "");
	snprintf(ret->serial, sizeof(ret->serial), "%s", hex ? hex : "");
	for (char *c = ret->serial; *c; c++)
		if (*c >= 'A' && *c <= 'F')
			*c = (char)(*c - 'A' + 'a');
	ret->not_before_s = ossl_time_s(X509_get0_notBefore(x));
	ret->not_after_s = ossl_time_s(X509_get0_notAfter(x));
	BIO_free(b);
	OPENSSL_free(hex);
	BN_free(n);
}

void keystore_describe_root(const struct keystore *k, struct keystore_cert *ret)
{
	describe(k->root, ret);
}

void keystore_describe_issuer(const struct keystore *k, struct keystore_cert *ret)
{
	describe(k->issuer, ret);
}
