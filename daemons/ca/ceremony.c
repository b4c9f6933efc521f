/* SPDX-License-Identifier: Apache-2.0 */
/* ceremony: the request and its answer. Layer daemons/ca. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/arena.h"
#include "base/log.h"
#include "ca/advance.h"
#include "ca/ceremony.h"
#include "ca/files.h"

#define WHAT_CERTIFICATE "the certificate that was brought"
#define WHAT_ROOT "the root that was brought"

/* ---- out ----------------------------------------------------------------------------------- */

static bool add_wish(STACK_OF(X509_EXTENSION) **to, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	bool ok = e && X509v3_add_ext(to, e, -1) != NULL;

	X509_EXTENSION_free(e);
	return ok;
}

/* What the holder of the root may copy as it stands. */
static bool add_wishes(X509_REQ *req, struct str trust_domain)
{
	_cleanup_free_ char *permitted =
		kv_asprintf("critical,permitted;URI:%.*s", STR_ARG(trust_domain));
	STACK_OF(X509_EXTENSION) *wishes = NULL;
	bool ok = add_wish(&wishes, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
		  add_wish(&wishes, NID_key_usage, "critical,keyCertSign,cRLSign") &&
		  add_wish(&wishes, NID_name_constraints, permitted) &&
		  X509_REQ_add_extensions(req, wishes) == 1;

	sk_X509_EXTENSION_pop_free(wishes, X509_EXTENSION_free);
	return ok;
}

static bool name_request(X509_REQ *req, struct str trust_domain)
{
	_cleanup_free_ char *o = kv_asprintf("%.*s", STR_ARG(str_take(trust_domain, 64)));
	X509_NAME *name = X509_NAME_new();
	bool ok = name &&
		  X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)o, -1,
					     -1, 0) == 1 &&
		  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					     (const unsigned char *)"kvmesh issuing CA", -1, -1,
					     0) == 1 &&
		  X509_REQ_set_subject_name(req, name) == 1;

	X509_NAME_free(name);
	return ok;
}

static int write_request(EVP_PKEY *key, struct str trust_domain, char **ret, struct err *err)
{
	_cleanup_req_ X509_REQ *req = X509_REQ_new();
	_cleanup_bio_ BIO *b = BIO_new(BIO_s_mem());
	char *p;

	if (!req || !b || X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 ||
	    X509_REQ_set_pubkey(req, key) != 1 || !name_request(req, trust_domain) ||
	    !add_wishes(req, trust_domain) || X509_REQ_sign(req, key, EVP_sha256()) <= 0 ||
	    PEM_write_bio_X509_REQ(b, req) != 1)
		return ossl_fail(err, "make a certificate request");
	long n = BIO_get_mem_data(b, &p);

	*ret = kv_asprintf("%.*s", (int)n, p);
	return 0;
}

int ceremony_request(struct authority *a, char **ret_pem, struct err *err)
{
	_cleanup_pkey_ EVP_PKEY *key = NULL;
	struct files f;

	if (!a->registry)
		return err_set(err, -EAGAIN,
			       "this CA waits for the router's first list of identities");
	files_init(&f, a->state_dir);
	int r = files_load_or_make_key(&f, FILE_ASKED_KEY, &key, err);

	files_done(&f);
	return r < 0 ? r : write_request(key, a->registry->trust_domain, ret_pem, err);
}

/* ---- in ------------------------------------------------------------------------------------ */

/* The key that was asked for; after a crash in the middle it may have its next name already. */
static int take_key(const struct files *f, X509 *issuer, struct err *err)
{
	static const enum file where[] = { FILE_ASKED_KEY, FILE_NEXT_KEY };

	for (size_t i = 0; i < 2; i++) {
		_cleanup_pkey_ EVP_PKEY *key = NULL;

		if (!files_has(f, where[i]))
			continue;
		int r = files_read_key(f, where[i], &key, err);

		if (r < 0)
			return r;
		if (X509_check_private_key(issuer, key) == 1)
			return i == 0 ? files_move(f, FILE_ASKED_KEY, FILE_NEXT_KEY, err) : 0;
		ERR_clear_error();
	}
	return err_set(err, KV_ERR_TLS,
		       WHAT_CERTIFICATE " is for another key than this CA asked for (kvmeshctl ca "
					"init --offline-root)");
}

struct brought {
	STACK_OF(X509) *issuer;         /* and what is behind it */
	STACK_OF(X509) *root;           /* one */
	bool new_root;
};

static int read_brought(const struct authority *a, const struct ceremony_answer *answer,
			struct brought *b, struct err *err)
{
	int r = files_parse_certs(answer->certificate, WHAT_CERTIFICATE, &b->issuer, err);

	if (r < 0)
		return r;
	X509 *present = keystore_root(a->keystore);

	if (answer->root.n > 0)
		r = files_parse_certs(answer->root, WHAT_ROOT, &b->root, err);
	else if ((b->root = sk_X509_new_null()) == NULL || sk_X509_push(b->root, present) <= 0)
		r = ossl_fail(err, "read certificates");
	else
		X509_up_ref(present);
	if (r == 0 && sk_X509_num(b->root) != 1)
		r = err_set(err, KV_ERR_TLS, WHAT_ROOT " is %d certificates, one is needed",
			    sk_X509_num(b->root));
	if (r == 0)
		b->new_root = X509_cmp(sk_X509_value(b->root, 0), present) != 0;
	return r;
}

static int judge(const struct authority *a, const struct brought *b, struct err *err)
{
	X509 *issuer = sk_X509_value(b->issuer, 0), *root = sk_X509_value(b->root, 0);

	if (X509_check_ca(root) != 1)
		return err_set(err, KV_ERR_TLS, WHAT_ROOT " is no CA certificate (CA:TRUE)");
	if (X509_cmp(issuer, root) == 0)
		return err_set(err, KV_ERR_TLS,
			       "the root itself was brought: its key must stay away from here");
	int r = keystore_judge(root, b->issuer, WHAT_CERTIFICATE, err);

	if (r == 0 && !keystore_cert_allows(issuer, a->registry->trust_domain))
		r = err_set(err, KV_ERR_CHECK,
			    WHAT_CERTIFICATE " is not for the trust domain %.*s (its name "
					     "constraints)",
			    STR_ARG(a->registry->trust_domain));
	return r;
}

/* The certificate comes last: before it is there nothing is begun. */
static int put_down(const struct files *f, const struct brought *b, struct err *err)
{
	int r = take_key(f, sk_X509_value(b->issuer, 0), err);

	if (r == 0)
		r = files_remove(f, FILE_NEXT_ROOT_KEY, err);
	if (r == 0 && b->new_root)
		r = files_write_certs(f, FILE_NEXT_ROOT_CERT, b->root, err);
	return r < 0 ? r : files_write_certs(f, FILE_NEXT_CERT, b->issuer, err);
}

static int begin(struct authority *a, const struct brought *b, int64_t now_us, struct err *err)
{
	const struct rotation_plan plan = {
		.kind = b->new_root ? ROTATION_ROOT : ROTATION_ISSUER,
		.now_s = now_us / 1000000,
	};
	struct files f;

	files_init(&f, a->state_dir);
	int r = put_down(&f, b, err);

	if (r == 0)
		r = rotation_begin(&f, NULL, &plan, &a->rotation, err);
	files_done(&f);
	return r;
}

int ceremony_install(struct authority *a, const struct ceremony_answer *answer, int64_t now_us,
		     bool *ret_changed, struct err *err)
{
	struct brought b = { 0 };
	int r = advance_may_begin(a, err);

	*ret_changed = false;
	if (r == 0)
		r = read_brought(a, answer, &b, err);
	if (r == 0)
		r = judge(a, &b, err);
	if (r == 0)
		r = begin(a, &b, now_us, err);
	sk_X509_pop_free(b.issuer, X509_free);
	sk_X509_pop_free(b.root, X509_free);
	return r < 0 ? r : authority_reload(a, now_us, ret_changed, err);
}
