/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mint: the CA's own certificates. Layer daemons/ca. Order of making: root key, root, issuer key,
 * issuer, each file written atomically.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/arena.h"
#include "base/log.h"
#include "ca/files.h"
#include "ca/mint.h"

#define BACKDATE_S 60

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

static int make_root(const struct files *f, const struct mint *m, enum file key_file,
		     enum file cert_file, struct err *err)
{
	_cleanup_pkey_ EVP_PKEY *key = NULL;
	_cleanup_x509_ X509 *cert = NULL;
	int64_t now_s = m->now_us / 1000000;
	int r = files_load_or_make_key(f, key_file, &key, err);

	if (r < 0)
		return r;
	const struct ca_cert c = {
		.key = key,
		.role = "root CA",
		.constraints = "critical,CA:TRUE",
		.trust_domain = m->trust_domain,
		.not_before_s = now_s - BACKDATE_S,
		.not_after_s = now_s + m->root_lifetime_us / 1000000,
	};

	r = make_ca_cert(&c, &cert, err);
	if (r == 0)
		r = files_write_cert(f, cert_file, cert, err);
	if (r == 0)
		log_info("made a root for trust domain %.*s; move %s to a safe place off this "
			 "machine",
			 STR_ARG(m->trust_domain), f->path[FILE_ROOT_KEY]);
	return r;
}

struct issuer_files {                   /* the root's, then those of the issuer to make */
	enum file root_key, root_cert, key, cert;
};

static int make_issuer(const struct files *f, const struct mint *m, const struct issuer_files *at,
		       struct err *err)
{
	_cleanup_pkey_ EVP_PKEY *key = NULL, *root_key = NULL;
	_cleanup_x509_ X509 *cert = NULL, *root = NULL;
	int64_t now_s = m->now_us / 1000000;
	int r = files_read_key(f, at->root_key, &root_key, err);

	if (r == 0)
		r = files_read_cert(f, at->root_cert, &root, err);
	if (r == 0)
		r = files_load_or_make_key(f, at->key, &key, err);
	if (r < 0)
		return r;
	int64_t root_end_s = ossl_time_s(X509_get0_notAfter(root));
	int64_t end_s = now_s + m->issuer_lifetime_us / 1000000;
	const struct ca_cert c = {
		.key = key,
		.parent = root,
		.parent_key = root_key,
		.role = "issuing CA",
		.constraints = "critical,CA:TRUE,pathlen:0",
		.trust_domain = m->trust_domain,
		.not_before_s = now_s - BACKDATE_S,
		.not_after_s = end_s < root_end_s ? end_s : root_end_s,
	};

	r = make_ca_cert(&c, &cert, err);
	return r < 0 ? r : files_write_cert(f, at->cert, cert, err);
}

int mint_missing(const struct files *f, const struct mint *m, struct err *err)
{
	bool whole = files_has(f, FILE_CA_KEY) && files_has(f, FILE_CA_CERT);

	if (!files_has(f, FILE_ROOT_CERT)) {
		if (whole)
			return err_set(err, -ENOENT,
				       "%s is missing: bring the root's certificate back",
				       f->path[FILE_ROOT_CERT]);
		int r = make_root(f, m, FILE_ROOT_KEY, FILE_ROOT_CERT, err);

		if (r < 0)
			return r;
	}
	if (whole)
		return 0;
	if (!files_has(f, FILE_ROOT_KEY))
		return err_set(err, -ENOENT,
			       "there is no issuing CA in %s, and the root's key that could make "
			       "one is not there either: bring %s back",
			       f->path[FILE_CA_CERT], f->path[FILE_ROOT_KEY]);
	return make_issuer(f, m,
			   &(struct issuer_files){ FILE_ROOT_KEY, FILE_ROOT_CERT, FILE_CA_KEY,
						   FILE_CA_CERT },
			   err);
}

int mint_next(const struct files *f, const struct mint *m, bool root, struct err *err)
{
	struct issuer_files at = { FILE_ROOT_KEY, FILE_ROOT_CERT, FILE_NEXT_KEY, FILE_NEXT_CERT };
	int r = 0;

	if (root) {
		at.root_key = FILE_NEXT_ROOT_KEY;
		at.root_cert = FILE_NEXT_ROOT_CERT;
		if (!files_has(f, FILE_NEXT_ROOT_CERT))
			r = make_root(f, m, at.root_key, at.root_cert, err);
	} else if (!files_has(f, FILE_ROOT_KEY)) {
		return err_set(err, -ENOENT,
			       "the root's key is not on this node: ask its holder for another "
			       "issuing certificate (kvmeshctl ca init --offline-root)");
	}
	if (r < 0 || files_has(f, FILE_NEXT_CERT))
		return r;
	return make_issuer(f, m, &at, err);
}

/* ---- does the issuer end? -------------------------------------------------------------------- */

/* How long an issuer made now would outlive the present one; without the root none can be made. */
static int64_t gain_s(const struct files *f, const struct mint *m, int64_t issuer_end_s)
{
	_cleanup_x509_ X509 *root = NULL;
	struct err ignored;
	int64_t end_s = (m->now_us + m->issuer_lifetime_us) / 1000000;

	if (!files_has(f, FILE_ROOT_KEY) || files_read_cert(f, FILE_ROOT_CERT, &root, &ignored) < 0)
		return 0;
	int64_t root_end_s = ossl_time_s(X509_get0_notAfter(root));

	return (end_s < root_end_s ? end_s : root_end_s) - issuer_end_s;
}

int mint_judge(const struct files *f, const struct mint *m, enum mint_verdict *ret, struct err *err)
{
	_cleanup_x509_ X509 *issuer = NULL;
	int64_t lifetime_s = m->issuer_lifetime_us / 1000000;
	int r = files_read_cert(f, FILE_CA_CERT, &issuer, err);

	if (r < 0)
		return r;
	int64_t end_s = ossl_time_s(X509_get0_notAfter(issuer));
	int64_t left_s = end_s - m->now_us / 1000000;

	*ret = MINT_LASTS;
	if (left_s >= lifetime_s / 4)
		return 0;
	*ret = gain_s(f, m, end_s) < lifetime_s / 4 ? MINT_CANNOT : MINT_ENDS;
	if (*ret == MINT_CANNOT)
		log_warn("the issuing CA ends in %lld hours and cannot be replaced: it needs %s "
			 "and a root that lasts longer (kvmeshctl ca rotate --root)",
			 (long long)(left_s / 3600), f->path[FILE_ROOT_KEY]);
	return 0;
}
