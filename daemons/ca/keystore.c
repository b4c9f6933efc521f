/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keystore: where the CA's keys and certificates come from. Layer daemons/ca. Order of making: root
 * key, root, issuer key, issuer, each file written atomically; whatever a crash left out is made by
 * the next start from what is there, and nothing that was finished is made again.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/log.h"
#include "ca/keystore.h"
#include "ca/ossl.h"

#define PEM_FILE_MAX (256u << 10)
#define CHAIN_MAX 8
#define BACKDATE_S 60
#define SECURE_HEAP_BYTES (64u << 10)

struct keystore {
	X509 *root, *issuer;
	EVP_PKEY *issuer_key;
	STACK_OF(X509) *chain;          /* between issuer and root, plugged-in only */
	char *bundle;
	bool root_key_on_node, plugged_in;
};

enum file { FILE_ROOT_KEY, FILE_ROOT_CERT, FILE_CA_KEY, FILE_CA_CERT, FILE_CHAIN, FILE__N };
static const char *const file_names[FILE__N] = {
	"root-key.pem", "root-cert.pem", "ca-key.pem", "ca-cert.pem", "cert-chain.pem",
};

struct store {                          /* a directory with the files above */
	char *path[FILE__N];
};

static void store_init(struct store *s, const char *dir)
{
	for (int i = 0; i < FILE__N; i++)
		s->path[i] = kv_asprintf("%s/ca/%s", dir, file_names[i]);
}

static void store_done(struct store *s)
{
	for (int i = 0; i < FILE__N; i++)
		free(s->path[i]);
}

static bool store_has(const struct store *s, enum file f)
{
	return access(s->path[f], F_OK) == 0;
}

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

/* ---- reading ------------------------------------------------------------------------------- */

/* OpenSSL would ask for the passphrase of an encrypted key on the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf, (void)size, (void)writing, (void)arg;
	return -1;
}

static int read_key(const char *path, EVP_PKEY **ret, struct err *err)
{
	struct stat st;
	char *text;
	size_t n;

	if (stat(path, &st) == 0 && (st.st_mode & 007) != 0)
		return err_set(
			err, -EPERM,
			"%s is open to every user (mode %03o); chmod o= it and make a new key",
			path, (unsigned)(st.st_mode & 0777));
	int r = fs_read(path, PEM_FILE_MAX, &text, &n, err);

	if (r < 0)
		return r;
	BIO *b = BIO_new_mem_buf(text, (int)n);

	*ret = b ? PEM_read_bio_PrivateKey(b, NULL, no_passphrase, NULL) : NULL;
	BIO_free(b);
	explicit_bzero(text, n);
	free(text);
	if (!*ret) {
		ERR_clear_error();
		return err_set(err, KV_ERR_SYNTAX,
			       "%s holds no private key in PEM without passphrase", path);
	}
	return 0;
}

/* Every certificate of a file, first to last, at most CHAIN_MAX. */
static int read_certs(const char *path, STACK_OF(X509) **ret, struct err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t n;
	int r = fs_read(path, PEM_FILE_MAX, &text, &n, err);

	if (r < 0)
		return r;
	_cleanup_bio_ BIO *b = BIO_new_mem_buf(text, (int)n);
	STACK_OF(X509) *certs = sk_X509_new_null();
	X509 *x;

	while (b && certs && sk_X509_num(certs) < CHAIN_MAX &&
	       (x = PEM_read_bio_X509(b, NULL, no_passphrase, NULL)) != NULL)
		if (sk_X509_push(certs, x) <= 0)
			X509_free(x);
	ERR_clear_error();
	if (sk_X509_num(certs) <= 0) {
		sk_X509_pop_free(certs, X509_free);
		return err_set(err, KV_ERR_SYNTAX, "%s holds no certificate in PEM", path);
	}
	*ret = certs;
	return 0;
}

static int read_cert(const char *path, X509 **ret, struct err *err)
{
	STACK_OF(X509) *certs;
	int r = read_certs(path, &certs, err);

	if (r < 0)
		return r;
	*ret = sk_X509_shift(certs);
	sk_X509_pop_free(certs, X509_free);
	return 0;
}

/* ---- making -------------------------------------------------------------------------------- */

static int write_key(const char *path, EVP_PKEY *key, struct err *err)
{
	_cleanup_bio_ BIO *b = BIO_new(BIO_s_secmem());
	char *p;

	if (!b || PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) != 1)
		return ossl_fail(err, "write a private key");
	long n = BIO_get_mem_data(b, &p);

	return fs_write(path, p, (size_t)n, 0400, err);
}

static int write_cert(const char *path, X509 *cert, struct err *err)
{
	_cleanup_free_ char *pem = NULL;
	int r = ossl_cert_pem(cert, &pem, err);

	return r < 0 ? r : fs_write(path, pem, strlen(pem), 0400, err);
}

static int load_or_make_key(const char *path, EVP_PKEY **ret, struct err *err)
{
	if (access(path, F_OK) == 0)
		return read_key(path, ret, err);
	*ret = EVP_EC_gen("P-256");
	if (!*ret)
		return ossl_fail(err, "make a key");
	int r = write_key(path, *ret, err);

	if (r < 0) {
		EVP_PKEY_free(*ret);
		*ret = NULL;
	}
	return r;
}

static X509_NAME *ca_name(struct str trust_domain, const char *cn)
{
	X509_NAME *name = X509_NAME_new();
	_cleanup_free_ char *o = kv_asprintf("%.*s", STR_ARG(trust_domain));

	/* ub-organization-name of RFC 5280: 64 characters. */
	if (strlen(o) > 64)
		o[64] = '\0';
	if (name &&
	    X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)o, -1, -1,
				       0) == 1 &&
	    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1,
				       0) == 1)
		return name;
	X509_NAME_free(name);
	return NULL;
}

struct ca_cert {                        /* one CA certificate to make */
	EVP_PKEY *key;                  /* its own */
	X509 *parent;                   /* NULL: self-signed */
	EVP_PKEY *parent_key;
	const char *role;               /* "root CA" */
	const char *constraints;        /* basicConstraints */
	int64_t not_before_s, not_after_s;
	struct str trust_domain;
};

static int add_ca_exts(X509 *cert, X509 *parent, const struct ca_cert *c, struct err *err)
{
	_cleanup_free_ char *permitted = kv_asprintf("critical,permitted;URI:%.*s",
						     STR_ARG(c->trust_domain));
	int r = ossl_add_ext(cert, parent, NID_basic_constraints, c->constraints, err);

	if (r == 0)
		r = ossl_add_ext(cert, parent, NID_key_usage, "critical,keyCertSign,cRLSign", err);
	if (r == 0)
		r = ossl_add_ext(cert, parent, NID_subject_key_identifier, "hash", err);
	if (r == 0 && c->parent)
		r = ossl_add_ext(cert, parent, NID_authority_key_identifier, "keyid:always", err);
	/* The root stays free, so that a later intermediate may be for a further trust domain. */
	if (r == 0 && c->parent)
		r = ossl_add_ext(cert, parent, NID_name_constraints, permitted, err);
	return r;
}

static int make_ca_cert(const struct ca_cert *c, X509 **ret, struct err *err)
{
	unsigned char serial[16];
	char cn[64];

	if (RAND_bytes(serial, sizeof(serial)) != 1)
		return ossl_fail(err, "draw a serial number");
	serial[0] &= 0x7f;
	/* Two CAs of one mesh must not share a name: verifiers find issuers by it. */
	snprintf(cn, sizeof(cn), "kvmesh %s %02x%02x%02x%02x", c->role, serial[1], serial[2],
		 serial[3], serial[4]);
	_cleanup_x509_ X509 *cert = X509_new();
	X509_NAME *name = ca_name(c->trust_domain, cn);
	const struct ossl_cert_head head = {
		.serial = serial,
		.serial_bytes = sizeof(serial),
		.not_before_s = c->not_before_s,
		.not_after_s = c->not_after_s,
		.key = c->key,
		.subject = name,
		.issuer = c->parent ? X509_get_subject_name(c->parent) : NULL,
	};
	int r = cert && name ? ossl_set_head(cert, &head, err)
			     : ossl_fail(err, "name a certificate");

	X509_NAME_free(name);
	if (r == 0)
		r = add_ca_exts(cert, c->parent ? c->parent : cert, c, err);
	if (r == 0 && X509_sign(cert, c->parent ? c->parent_key : c->key, EVP_sha256()) == 0)
		r = ossl_fail(err, "sign a CA certificate");
	if (r == 0)
		*ret = take(&cert);
	return r;
}

static int make_root(const struct store *s, const struct keystore_new_ca *make, struct err *err)
{
	_cleanup_pkey_ EVP_PKEY *key = NULL;
	_cleanup_x509_ X509 *cert = NULL;
	int64_t now_s = make->now_us / 1000000;
	int r = load_or_make_key(s->path[FILE_ROOT_KEY], &key, err);

	if (r < 0)
		return r;
	const struct ca_cert c = {
		.key = key,
		.role = "root CA",
		.constraints = "critical,CA:TRUE",
		.trust_domain = make->trust_domain,
		.not_before_s = now_s - BACKDATE_S,
		.not_after_s = now_s + make->root_lifetime_us / 1000000,
	};

	r = make_ca_cert(&c, &cert, err);
	if (r == 0)
		r = write_cert(s->path[FILE_ROOT_CERT], cert, err);
	if (r == 0)
		log_info("made the root of trust domain %.*s; move %s to a safe place off this "
			 "machine",
			 STR_ARG(make->trust_domain), s->path[FILE_ROOT_KEY]);
	return r;
}

static int make_issuer(const struct store *s, const struct keystore_new_ca *make, struct err *err)
{
	_cleanup_pkey_ EVP_PKEY *key = NULL, *root_key = NULL;
	_cleanup_x509_ X509 *cert = NULL, *root = NULL;
	int64_t now_s = make->now_us / 1000000;

	if (!store_has(s, FILE_ROOT_KEY))
		return err_set(
			err, -ENOENT,
			"there is no issuing CA in %s, and the root's key that could make one "
			"is not there either: bring %s back",
			s->path[FILE_CA_CERT], s->path[FILE_ROOT_KEY]);
	int r = read_key(s->path[FILE_ROOT_KEY], &root_key, err);

	if (r == 0)
		r = read_cert(s->path[FILE_ROOT_CERT], &root, err);
	if (r == 0)
		r = load_or_make_key(s->path[FILE_CA_KEY], &key, err);
	if (r < 0)
		return r;
	int64_t root_end_s = ossl_time_s(X509_get0_notAfter(root));
	int64_t end_s = now_s + make->issuer_lifetime_us / 1000000;
	const struct ca_cert c = {
		.key = key,
		.parent = root,
		.parent_key = root_key,
		.role = "issuing CA",
		.constraints = "critical,CA:TRUE,pathlen:0",
		.trust_domain = make->trust_domain,
		.not_before_s = now_s - BACKDATE_S,
		.not_after_s = end_s < root_end_s ? end_s : root_end_s,
	};

	r = make_ca_cert(&c, &cert, err);
	return r < 0 ? r : write_cert(s->path[FILE_CA_CERT], cert, err);
}

static int make_missing(const struct store *s, const struct keystore_new_ca *make, struct err *err)
{
	bool whole = store_has(s, FILE_CA_KEY) && store_has(s, FILE_CA_CERT);
	int r = 0;

	if (!store_has(s, FILE_ROOT_CERT)) {
		if (whole)
			return err_set(err, -ENOENT,
				       "%s is missing: bring the root's certificate back",
				       s->path[FILE_ROOT_CERT]);
		r = make_root(s, make, err);
	}
	return r < 0 || whole ? r : make_issuer(s, make, err);
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

static int make_bundle(struct keystore *k, struct err *err)
{
	_cleanup_bio_ BIO *b = BIO_new(BIO_s_mem());
	bool ok = b && PEM_write_bio_X509(b, k->root) == 1;
	char *p;

	for (int i = 0; ok && k->chain && i < sk_X509_num(k->chain); i++) {
		X509 *x = sk_X509_value(k->chain, i);

		if (X509_cmp(x, k->root) != 0 && X509_cmp(x, k->issuer) != 0)
			ok = PEM_write_bio_X509(b, x) == 1;
	}
	if (ok && X509_cmp(k->root, k->issuer) != 0)
		ok = PEM_write_bio_X509(b, k->issuer) == 1;
	if (!ok)
		return ossl_fail(err, "write the trust bundle");
	long n = BIO_get_mem_data(b, &p);

	k->bundle = kv_asprintf("%.*s", (int)n, p);
	return 0;
}

static int load_store(const struct store *s, bool with_chain, struct keystore *k, struct err *err)
{
	int r = read_cert(s->path[FILE_ROOT_CERT], &k->root, err);

	if (r == 0)
		r = read_cert(s->path[FILE_CA_CERT], &k->issuer, err);
	if (r == 0)
		r = read_key(s->path[FILE_CA_KEY], &k->issuer_key, err);
	if (r == 0 && with_chain && store_has(s, FILE_CHAIN))
		r = read_certs(s->path[FILE_CHAIN], &k->chain, err);
	if (r < 0)
		return r;
	if (X509_check_private_key(k->issuer, k->issuer_key) != 1) {
		ERR_clear_error();
		return err_set(err, KV_ERR_TLS, "%s does not belong to %s", s->path[FILE_CA_KEY],
			       s->path[FILE_CA_CERT]);
	}
	r = verify_issuer(k, s->path[FILE_CA_CERT], err);
	return r < 0 ? r : make_bundle(k, err);
}

static int open_state(const struct store *s, const struct keystore_new_ca *make, struct keystore *k,
		      struct err *err)
{
	if (make) {
		int r = make_missing(s, make, err);

		if (r < 0)
			return r;
	} else if (!store_has(s, FILE_CA_KEY) || !store_has(s, FILE_CA_CERT)) {
		return err_set(err, -ENOENT, "there is no CA in %s yet", s->path[FILE_CA_CERT]);
	}
	k->root_key_on_node = store_has(s, FILE_ROOT_KEY);
	return load_store(s, false, k, err);
}

int keystore_open(const char *etc_dir, const char *state_dir, const struct keystore_new_ca *make,
		  struct keystore **ret, struct err *err)
{
	struct keystore *k = kv_zalloc(sizeof(*k));
	struct store etc, state;
	int r;

	store_init(&etc, etc_dir);
	store_init(&state, state_dir);
	k->plugged_in = store_has(&etc, FILE_CA_KEY);
	if (k->plugged_in) {
		k->root_key_on_node = store_has(&etc, FILE_ROOT_KEY);
		r = load_store(&etc, true, k, err);
	} else {
		r = open_state(&state, make, k, err);
	}
	store_done(&etc);
	store_done(&state);
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
