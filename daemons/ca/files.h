/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files: the CA's PEM files, under Istio's names where Istio has some. Layer daemons/ca, below
 * keystore and mint. Owns the paths.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"
#include "ca/ossl.h"

enum file {
	FILE_ROOT_KEY,
	FILE_ROOT_CERT,
	FILE_CA_KEY,
	FILE_CA_CERT,
	FILE_CHAIN,             /* between issuer and root, plugged-in only */
	FILE_NEXT_KEY,          /* the issuer that is trusted already and signs soon */
	FILE_NEXT_CERT,
	FILE_OLD_CERT,          /* what signed before, issuer first; trusted for a while */
	FILE_NEXT_ROOT_KEY,     /* of a change of the root */
	FILE_NEXT_ROOT_CERT,
	FILE_ASKED_KEY,         /* a certificate for it was asked for elsewhere */
	FILE_IN_USE,            /* what signs or is to sign soon, issuer first: files may be changed by hand */
	FILE_ROTATION,          /* which step of a change is under way (rotation.h) */
	FILE_JWT_KEY,           /* signs tokens (jwt_keys.h) */
	FILE_JWT_NEXT_KEY,      /* published, and signs soon */
	FILE__N
};

struct files {
	char *path[FILE__N];
	/* FILE_CA_KEY and FILE_JWT_KEY as the service manager hands them over; NULL none. */
	char *credential, *jwt_credential;
};

void files_init(struct files *f, const char *dir);      /* DIR/ca */
void files_done(struct files *f);
/* Keys that sign may also be credentials; the file itself goes first. */
bool files_has(const struct files *f, enum file which);
bool files_has_file(const struct files *f, enum file which);

/* The key must be readable by its owner (and group) alone and have no passphrase. */
int files_read_key(const struct files *f, enum file which, EVP_PKEY **ret, struct err *err);
/* Every certificate, first to last, at most FILES_CHAIN_MAX; at least one. */
#define FILES_CHAIN_MAX 8
int files_read_certs(const struct files *f, enum file which, STACK_OF(X509) **ret, struct err *err);
int files_read_cert(const struct files *f, enum file which, X509 **ret, struct err *err);
/* The same from a text; what: for the sentence. */
int files_parse_certs(struct str text, const char *what, STACK_OF(X509) **ret, struct err *err);
/* EC P-256 when there is none. */
int files_load_or_make_key(const struct files *f, enum file which, EVP_PKEY **ret, struct err *err);
/* Mode 0400, atomically. */
int files_write_key(const struct files *f, enum file which, EVP_PKEY *key, struct err *err);
int files_write_cert(const struct files *f, enum file which, X509 *cert, struct err *err);
int files_write_certs(const struct files *f, enum file which, const STACK_OF(X509) *certs,
		      struct err *err);
/* Each certificate of those files that exist once, in their order, as one file. */
int files_join_certs(const struct files *f, const enum file *from, size_t n, enum file to,
		     struct err *err);
/* On disk when they return. */
int files_move(const struct files *f, enum file from, enum file to, struct err *err);
int files_remove(const struct files *f, enum file which, struct err *err);      /* missing is fine */
/* Half-written files of an earlier run, which may hold keys; when nobody else works in DIR/ca. */
void files_sweep(const char *dir);
