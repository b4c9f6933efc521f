/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keystore: the CA's keys and certificates as they are in use: read, judged as the peers will judge
 * them, put together to the trust bundle. Layer daemons/ca.
 */
#include "config.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* What signs: an issuer with its key, and what is between it and its root. */
struct set {
	X509 *root, *issuer;
	EVP_PKEY *key;                  /* NULL: it does not sign yet */
	STACK_OF(X509) *chain;          /* NULL: nothing */
};

struct keystore {
	struct set in_use;
	STACK_OF(X509) *others;         /* trusted as well: those before and those to come */
	char *bundle, *chain_pem;
	char issuer_id[KEYSTORE_ISSUER_ID_MAX];
	bool root_key_on_node, plugged_in, outdated;
};

const char *keystore_library(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

/*
 * Readers of files copy what they decode into ordinary memory and let it go as it is: nothing that
 * OpenSSL frees keeps its content.
 */
static void *take_memory(size_t n, const char *file, int line)
{
	(void)file, (void)line;
	return malloc(n > 0 ? n : 1);
}

static void wipe_and_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static void *change_memory(void *p, size_t n, const char *file, int line)
{
	size_t had = p ? malloc_usable_size(p) : 0;
	void *to = n > 0 ? take_memory(n, file, line) : NULL;

	if (n > 0 && !to)
		return NULL;
	if (to && p)
		memcpy(to, p, had < n ? had : n);
	wipe_and_free(p, file, line);
	return to;
}

int keystore_init(struct err *err)
{
	if (CRYPTO_secure_malloc_initialized())
		return 0;
	/* Refused when OpenSSL has allocated already: then its leftovers stay, no more. */
	if (CRYPTO_set_mem_functions(take_memory, change_memory, wipe_and_free) != 1)
		log_warn("memory that OpenSSL frees is not wiped");
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

/* ---- judging ------------------------------------------------------------------------------- */

/* Each one may have as many CAs below it as there are, the issuer's leaves aside. */
static int check_path_length(X509_STORE_CTX *ctx, const char *path, struct err *err)
{
	const STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);

	for (int i = 0; i < sk_X509_num(chain); i++) {
		long allowed = X509_get_pathlen(sk_X509_value(chain, i));
		struct keystore_cert c;

		if (allowed < 0 || allowed >= i)
			continue;
		describe(sk_X509_value(chain, i), &c);
		return err_set(err, KV_ERR_TLS,
			       "%s is no good issuing CA: %s allows %ld authorities below it "
			       "(pathlen), there are %d",
			       path, c.subject, allowed, i);
	}
	return 0;
}

static int verify_chain(X509_STORE_CTX *ctx, const struct set *set, const char *path,
			struct err *err)
{
	struct keystore_cert c;

	X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT);
	if (X509_verify_cert(ctx) == 1)
		return check_path_length(ctx, path, err);
	X509 *at = X509_STORE_CTX_get_current_cert(ctx);

	describe(at ? at : set->issuer, &c);
	return err_set(err, KV_ERR_TLS, "%s is no good issuing CA: %s: %s", path, c.subject,
		       X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
}

/* Issuer up to root, as the peers will: CA:TRUE, keyCertSign, path length, constraints, dates. */
static int verify_set(const struct set *set, const char *path, struct err *err)
{
	if (X509_check_ca(set->issuer) != 1 ||
	    !(X509_get_key_usage(set->issuer) & KU_KEY_CERT_SIGN))
		return err_set(err, KV_ERR_TLS,
			       "%s may not sign certificates (CA:TRUE and keyCertSign)", path);
	X509_STORE *roots = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int r;

	if (!roots || !ctx || X509_STORE_add_cert(roots, set->root) != 1 ||
	    X509_STORE_CTX_init(ctx, roots, set->issuer, set->chain) != 1)
		r = ossl_fail(err, "set up verification");
	else
		r = verify_chain(ctx, set, path, err);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(roots);
	ERR_clear_error();
	return r;
}

/* ---- the bundle ---------------------------------------------------------------------------- */

/* Takes a reference. */
static bool share(STACK_OF(X509) *to, X509 *x)
{
	if (sk_X509_push(to, x) <= 0)
		return false;
	X509_up_ref(x);
	return true;
}

static bool share_all(STACK_OF(X509) *to, const STACK_OF(X509) *from)
{
	for (int i = 0; i < sk_X509_num(from); i++)
		if (!share(to, sk_X509_value(from, i)))
			return false;
	return true;
}

/* Roots first, the older first, the rest by what they are: the same set gives the same text. */
static int compare(const X509 *const *x, const X509 *const *y)
{
	bool root_x = X509_NAME_cmp(X509_get_subject_name(*x), X509_get_issuer_name(*x)) == 0;
	bool root_y = X509_NAME_cmp(X509_get_subject_name(*y), X509_get_issuer_name(*y)) == 0;
	int64_t age = ossl_time_s(X509_get0_notBefore(*x)) - ossl_time_s(X509_get0_notBefore(*y));

	if (root_x != root_y)
		return root_x ? -1 : 1;
	if (age != 0)
		return age < 0 ? -1 : 1;
	return X509_cmp(*x, *y);
}

static bool write_bundle(BIO *b, STACK_OF(X509) *all)
{
	sk_X509_sort(all);
	for (int i = 0; i < sk_X509_num(all); i++) {
		X509 *x = sk_X509_value(all, i);

		if (i > 0 && X509_cmp(sk_X509_value(all, i - 1), x) == 0)
			continue;
		if (PEM_write_bio_X509(b, x) != 1)
			return false;
	}
	return true;
}

/* A change of the one that signs alone does not change the text. */
static int make_bundle(struct keystore *k, struct err *err)
{
	_cleanup_bio_ BIO *b = BIO_new(BIO_s_mem());
	STACK_OF(X509) *all = sk_X509_new(compare);
	bool ok = b && all && share(all, k->in_use.root) && share(all, k->in_use.issuer) &&
		  share_all(all, k->in_use.chain) && share_all(all, k->others) &&
		  write_bundle(b, all);
	char *p;

	sk_X509_pop_free(all, X509_free);
	if (!ok)
		return ossl_fail(err, "write the trust bundle");
	long n = BIO_get_mem_data(b, &p);

	k->bundle = kv_asprintf("%.*s", (int)n, p);
	return 0;
}

/* Without the root, which a verifier has. */
static int write_chain(struct keystore *k, struct err *err)
{
	_cleanup_bio_ BIO *b = BIO_new(BIO_s_mem());
	bool ok = b && PEM_write_bio_X509(b, k->in_use.issuer) == 1;
	char *p;

	for (int i = 0; ok && i < sk_X509_num(k->in_use.chain); i++) {
		X509 *x = sk_X509_value(k->in_use.chain, i);

		if (X509_cmp(x, k->in_use.root) != 0 && X509_cmp(x, k->in_use.issuer) != 0)
			ok = PEM_write_bio_X509(b, x) == 1;
	}
	if (!ok)
		return ossl_fail(err, "write the issuer's chain");
	long n = BIO_get_mem_data(b, &p);

	k->chain_pem = kv_asprintf("%.*s", (int)n, p);
	return 0;
}

static int name_issuer(struct keystore *k, struct err *err)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (X509_digest(k->in_use.issuer, EVP_sha256(), digest, &n) != 1)
		return ossl_fail(err, "name the issuer");
	for (unsigned i = 0; i < n && 2 * i + 3 <= sizeof(k->issuer_id); i++)
		snprintf(k->issuer_id + 2 * (size_t)i, 3, "%02x", digest[i]);
	return 0;
}

/* ---- reading ------------------------------------------------------------------------------- */

static void set_done(struct set *set)
{
	X509_free(set->root);
	X509_free(set->issuer);
	EVP_PKEY_free(set->key);
	sk_X509_pop_free(set->chain, X509_free);
	*set = (struct set){ 0 };
}

static void set_share(struct set *to, const struct set *from)
{
	*to = *from;
	X509_up_ref(to->root);
	X509_up_ref(to->issuer);
	if (to->key)
		EVP_PKEY_up_ref(to->key);
	if (to->chain)
		to->chain = X509_chain_up_ref(to->chain);
}

/* What is behind the issuer in its file is between it and the root. */
static int load_issuer(const struct files *f, struct set *set, struct err *err)
{
	STACK_OF(X509) *certs = NULL;
	int r = files_read_certs(f, FILE_CA_CERT, &certs, err);

	if (r < 0)
		return r;
	set->issuer = sk_X509_shift(certs);
	if (!set->chain)
		set->chain = certs;
	else if (!share_all(set->chain, certs))
		r = ossl_fail(err, "read certificates");
	if (set->chain != certs)
		sk_X509_pop_free(certs, X509_free);
	return r;
}

static int load_set(const struct files *f, struct set *set, struct err *err)
{
	int r = files_read_cert(f, FILE_ROOT_CERT, &set->root, err);

	if (r == 0)
		r = load_issuer(f, set, err);
	if (r == 0)
		r = files_read_key(f, FILE_CA_KEY, &set->key, err);
	if (r < 0)
		return r;
	if (X509_check_private_key(set->issuer, set->key) == 1)
		return verify_set(set, f->path[FILE_CA_CERT], err);
	ERR_clear_error();
	return err_set(err, KV_ERR_TLS, "%s does not belong to %s", f->path[FILE_CA_KEY],
		       f->path[FILE_CA_CERT]);
}

/* Those of a file that are good still; certificates that one of them signed live on as long. */
static int add_others(const struct files *f, enum file which, int64_t now_s, struct keystore *k,
		      struct err *err)
{
	STACK_OF(X509) *some = NULL;
	bool ok = true;

	if (!files_has(f, which))
		return 0;
	int r = files_read_certs(f, which, &some, err);

	if (r < 0)
		return r;
	for (int i = 0; ok && i < sk_X509_num(some); i++) {
		X509 *x = sk_X509_value(some, i);

		ok = ossl_time_s(X509_get0_notAfter(x)) <= now_s || share(k->others, x);
	}
	sk_X509_pop_free(some, X509_free);
	return ok ? 0 : ossl_fail(err, "read certificates");
}

static bool is_in_use(const struct set *set, const STACK_OF(X509) *record)
{
	return X509_cmp(set->issuer, sk_X509_value(record, 0)) == 0;
}

/* The issuer before signs on: its key is in memory, or is the one that this CA made itself. */
static int find_signer(const struct files *state, const STACK_OF(X509) *record,
		       const struct keystore *prev, struct set *ret)
{
	struct err ignored;

	if (prev && prev->in_use.key && is_in_use(&prev->in_use, record)) {
		set_share(ret, &prev->in_use);
		return 0;
	}
	if (load_set(state, ret, &ignored) == 0 && is_in_use(ret, record))
		return 0;
	set_done(ret);
	return -ENOENT;
}

/*
 * Other files than before: what was in use signs on, as long as there is its key, until everybody
 * knows the new ones (rotation.h).
 */
static int wait_for_change(struct keystore *k, const struct files *state,
			   const STACK_OF(X509) *record, const struct keystore *prev, struct err *err)
{
	struct set before = { 0 };
	bool ok = share(k->others, k->in_use.issuer) && share(k->others, k->in_use.root) &&
		  share_all(k->others, k->in_use.chain) && share_all(k->others, record);

	k->outdated = true;
	if (find_signer(state, record, prev, &before) == 0) {
		set_done(&k->in_use);
		k->in_use = before;
	} else {
		EVP_PKEY_free(k->in_use.key);
		k->in_use.key = NULL;
	}
	return ok ? 0 : ossl_fail(err, "read certificates");
}

static int write_record(const struct files *state, const struct set *set, struct err *err)
{
	STACK_OF(X509) *record = sk_X509_new_null();
	bool ok = record && share(record, set->issuer) && share_all(record, set->chain) &&
		  share(record, set->root);
	int r = ok ? files_write_certs(state, FILE_IN_USE, record, err)
		   : ossl_fail(err, "read certificates");

	sk_X509_pop_free(record, X509_free);
	return r;
}

/* Which certificates are in use is remembered: files can be changed while the CA is not running. */
static int follow_record(const struct files *state, struct keystore *k, const struct keystore *prev,
			 struct err *err)
{
	STACK_OF(X509) *record = NULL;

	if (!files_has(state, FILE_IN_USE))
		return write_record(state, &k->in_use, err);
	int r = files_read_certs(state, FILE_IN_USE, &record, err);

	if (r == 0 && !is_in_use(&k->in_use, record))
		r = wait_for_change(k, state, record, prev, err);
	sk_X509_pop_free(record, X509_free);
	return r;
}

static int read_plugged_in(const struct files *etc, struct keystore *k, struct err *err)
{
	int r = 0;

	k->root_key_on_node = files_has(etc, FILE_ROOT_KEY);
	if (files_has(etc, FILE_CHAIN))
		r = files_read_certs(etc, FILE_CHAIN, &k->in_use.chain, err);
	return r < 0 ? r : load_set(etc, &k->in_use, err);
}

/* Something is made anew: nothing that was in use before can sign, but it is trusted. */
static int start_afresh(const struct files *f, const struct mint *m, struct keystore *k,
			struct err *err)
{
	int r = add_others(f, FILE_IN_USE, m->now_us / 1000000, k, err);

	if (r == 0)
		r = files_remove(f, FILE_IN_USE, err);
	return r < 0 ? r : mint_missing(f, m, err);
}

static int read_own(const struct files *f, const struct mint *mint, struct keystore *k,
		    struct err *err)
{
	bool whole = files_has(f, FILE_CA_KEY) && files_has(f, FILE_CA_CERT);
	int r = 0;

	if (!whole && !mint)
		return err_set(err, -ENOENT, "there is no CA in %s yet", f->path[FILE_CA_CERT]);
	if (!whole)
		r = start_afresh(f, mint, k, err);
	else if (mint)
		r = mint_missing(f, mint, err);         /* says what is missing */
	if (r == 0)
		r = load_set(f, &k->in_use, err);
	k->root_key_on_node = files_has(f, FILE_ROOT_KEY);
	return r;
}

static int add_all_others(const struct files *f, int64_t now_s, struct keystore *k, struct err *err)
{
	static const enum file others[] = { FILE_OLD_CERT, FILE_NEXT_CERT, FILE_NEXT_ROOT_CERT };
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(others) / sizeof(others[0]); i++)
		r = add_others(f, others[i], now_s, k, err);
	return r;
}

static int fill(const struct keystore_opts *o, const struct files *etc, const struct files *state,
		struct keystore *k, struct err *err)
{
	int r = k->plugged_in ? read_plugged_in(etc, k, err) : read_own(state, o->mint, k, err);

	if (r == 0 && o->mint)
		r = add_all_others(state, o->mint->now_us / 1000000, k, err);
	if (r == 0 && o->mint)
		r = follow_record(state, k, o->prev, err);
	if (r == 0)
		r = make_bundle(k, err);
	if (r == 0)
		r = write_chain(k, err);
	return r < 0 ? r : name_issuer(k, err);
}

int keystore_open(const struct keystore_opts *o, struct keystore **ret, struct err *err)
{
	struct keystore *k = kv_zalloc(sizeof(*k));
	struct files etc, state;

	files_init(&etc, o->etc_dir);
	files_init(&state, o->state_dir);
	/* A credential alone may be the key of the CA's own issuer. */
	k->plugged_in = files_has_file(&etc, FILE_CA_KEY) ||
			(etc.credential && files_has_file(&etc, FILE_CA_CERT));
	k->others = sk_X509_new_null();
	kv_assert(k->others);
	int r = fill(o, &etc, &state, k, err);

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
	set_done(&k->in_use);
	sk_X509_pop_free(k->others, X509_free);
	free(k->bundle);
	free(k->chain_pem);
	free(k);
}

/* ---- asking -------------------------------------------------------------------------------- */

struct x509_st *keystore_issuer(const struct keystore *k)
{
	return k->in_use.issuer;
}

struct evp_pkey_st *keystore_issuer_key(const struct keystore *k)
{
	return k->in_use.key;
}

struct str keystore_bundle(const struct keystore *k)
{
	return str_c(k->bundle);
}

struct str keystore_chain_pem(const struct keystore *k)
{
	return str_c(k->chain_pem);
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

bool keystore_is_outdated(const struct keystore *k)
{
	return k->outdated;
}

const char *keystore_issuer_id(const struct keystore *k)
{
	return k->issuer_id;
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
	return keystore_cert_allows(k->in_use.issuer, trust_domain);
}

struct x509_st *keystore_root(const struct keystore *k)
{
	return k->in_use.root;
}

int keystore_judge(struct x509_st *root, struct stack_st_X509 *issuer, const char *what,
		   struct err *err)
{
	const struct set set = {
		.root = root, .issuer = sk_X509_value(issuer, 0), .chain = issuer,
	};

	return verify_set(&set, what, err);
}

bool keystore_cert_allows(struct x509_st *issuer, struct str trust_domain)
{
	NAME_CONSTRAINTS *nc = X509_get_ext_d2i(issuer, NID_name_constraints, NULL, NULL);
	bool any_uri = false, found = false;

	for (int i = 0; nc && i < sk_GENERAL_SUBTREE_num(nc->permittedSubtrees); i++) {
		const GENERAL_SUBTREE *t = sk_GENERAL_SUBTREE_value(nc->permittedSubtrees, i);

		any_uri |= t->base->type == GEN_URI;
		found |= constraint_is(t, trust_domain);
	}
	NAME_CONSTRAINTS_free(nc);
	return found || !any_uri;
}

void keystore_describe_root(const struct keystore *k, struct keystore_cert *ret)
{
	describe(k->in_use.root, ret);
}

void keystore_describe_issuer(const struct keystore *k, struct keystore_cert *ret)
{
	describe(k->in_use.issuer, ret);
}
