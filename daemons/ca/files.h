/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files: the CA's PEM files, under Istio's names where Istio has some. Layer daemons/ca, below
 * keystore and mint. Owns the paths.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "ca/ossl.h"

enum file {
	FILE_ROOT_KEY,
	FILE_ROOT_CERT,
	FILE_CA_KEY,
	FILE_CA_CERT,
	FILE_CHAIN,             /* between issuer and root, plugged-in only */
	FILE_NEXT_KEY,          /* the issuer that is trusted already and signs soon */
	FILE_NEXT_CERT,
	FILE_OLD_CERT,          /* the issuer before, trusted until it ends */
	FILE__N
};

struct files {
	char *path[FILE__N];
};

void files_init(struct files *f, const char *dir);      /* DIR/ca */
void files_done(struct files *f);
bool files_has(const struct files *f, enum file which);

/* The key must be readable by its owner (and group) alone and have no passphrase. */
int files_read_key(const struct files *f, enum file which, EVP_PKEY **ret, struct err *err);
/* Every certificate, first to last, at most FILES_CHAIN_MAX; at least one. */
#define FILES_CHAIN_MAX 8
int files_read_certs(const struct files *f, enum file which, STACK_OF(X509) **ret, struct err *err);
int files_read_cert(const struct files *f, enum file which, X509 **ret, struct err *err);
/* Mode 0400, atomically. */
int files_write_key(const struct files *f, enum file which, EVP_PKEY *key, struct err *err);
int files_write_cert(const struct files *f, enum file which, X509 *cert, struct err *err);
