/* SPDX-License-Identifier: Apache-2.0 */
/* ossl: what keystore.c and sign.c share about OpenSSL. Layer daemons/ca, for those two only. */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/err.h"
#include "base/str.h"

#define OSSL_SCOPED(type, fn) \
	static inline void ossl_cleanup_##type(type **p) { fn(*p); }
OSSL_SCOPED(X509, X509_free)
OSSL_SCOPED(X509_REQ, X509_REQ_free)
OSSL_SCOPED(EVP_PKEY, EVP_PKEY_free)
OSSL_SCOPED(BIO, BIO_free_all)
#define _cleanup_x509_ _cleanup_(ossl_cleanup_X509)
#define _cleanup_req_ _cleanup_(ossl_cleanup_X509_REQ)
#define _cleanup_pkey_ _cleanup_(ossl_cleanup_EVP_PKEY)
#define _cleanup_bio_ _cleanup_(ossl_cleanup_BIO)

/* KV_ERR_TLS with OpenSSL's own reason behind "cannot WHAT"; empties its error queue. */
int ossl_fail(struct err *err, const char *what);
/* Add an extension by its configuration text ("critical,CA:TRUE,pathlen:0"). */
int ossl_add_ext(X509 *cert, X509 *issuer, int nid, const char *value, struct err *err);
/* Serial, validity, public key and names of a new version 3 certificate. */
struct ossl_cert_head {
	const unsigned char *serial;
	int serial_bytes;
	int64_t not_before_s, not_after_s;
	EVP_PKEY *key;
	const X509_NAME *subject, *issuer;      /* NULL: empty */
};
int ossl_set_head(X509 *cert, const struct ossl_cert_head *h, struct err *err);
/* PEM of a certificate, malloc'ed. */
int ossl_cert_pem(X509 *cert, char **ret, struct err *err);
struct str ossl_bio_str(BIO *b);        /* what a memory BIO holds, borrowed */
/* A request that tells the key and nothing else, in PEM. */
int ossl_request(EVP_PKEY *key, BIO *to, struct err *err);
int64_t ossl_time_s(const ASN1_TIME *t);
