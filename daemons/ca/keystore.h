/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keystore: the root, the issuing intermediate and its key: made at the first start, or those that
 * were put into ETC/ca under Istio's file names. Layer daemons/ca; with files.c, mint.c, ossl.c and
 * sign.c the only files here that know OpenSSL. Owns the key of the issuer; the root's key is read
 * only to make an issuer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct keystore;
struct stack_st_X509;           /* OpenSSL's STACK_OF(X509) */
struct x509_st;                 /* OpenSSL's X509 */
struct evp_pkey_st;             /* OpenSSL's EVP_PKEY */
struct mint;                    /* ca/mint.h */

/* OpenSSL's locked, never dumped memory for keys; once, before any key is read. */
int keystore_init(struct err *err);

struct keystore_opts {
	const char *etc_dir, *state_dir;
	const struct mint *mint;        /* what is missing in STATE is made; NULL: nothing is */
	const struct keystore *prev;    /* in use until now, or NULL */
};
/*
 * ETC/ca/ca-key.pem and its companions when that file exists, else STATE/ca. -ENOENT: there is no
 * CA yet and nothing was made (mint == NULL).
 */
int keystore_open(const struct keystore_opts *o, struct keystore **ret, struct err *err);
void keystore_free(struct keystore *k);

struct x509_st *keystore_issuer(const struct keystore *k);
/* NULL: it must not sign before everybody trusts it, and the key before it is gone. */
struct evp_pkey_st *keystore_issuer_key(const struct keystore *k);
#define KEYSTORE_ISSUER_ID_MAX 65
const char *keystore_issuer_id(const struct keystore *k);       /* its certificate's SHA-256, hex */
/* Roots and issuing intermediates, PEM, as the mesh trusts them. */
struct str keystore_bundle(const struct keystore *k);
struct str keystore_chain_pem(const struct keystore *k);        /* the issuer, and up to the root */
uint64_t keystore_generation(const struct keystore *k); /* changes with the bundle's content */
bool keystore_root_key_on_node(const struct keystore *k);
bool keystore_is_plugged_in(const struct keystore *k);  /* from ETC/ca */
/* ETC/ca holds others than those in use: trusted, but not signing yet. */
bool keystore_is_outdated(const struct keystore *k);
/* May the issuer sign for that trust domain (its name constraint)? */
bool keystore_allows(const struct keystore *k, struct str trust_domain);

struct keystore_cert {
	char subject[256];
	char serial[48];
	int64_t not_before_s, not_after_s;
};
void keystore_describe_root(const struct keystore *k, struct keystore_cert *ret);
void keystore_describe_issuer(const struct keystore *k, struct keystore_cert *ret);
const char *keystore_library(void);                     /* "OpenSSL 3.0.22 …" */

/* A set that is not in use: issuer and what is behind it, below that root. what: for the sentence. */
int keystore_judge(struct x509_st *root, struct stack_st_X509 *issuer, const char *what,
		   struct err *err);
bool keystore_cert_allows(struct x509_st *issuer, struct str trust_domain);
struct x509_st *keystore_root(const struct keystore *k);
