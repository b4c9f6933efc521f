/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sign: certificate requests in, leaf certificates out. Layer daemons/ca. Of a request nothing but
 * the public key is used (security-model §5.7): names, extensions and attributes in it have no
 * effect.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "ca/keystore.h"

#define SIGN_CSR_MAX 16384u
#define SIGN_SERIAL_BYTES 16

struct sign_request;            /* a public key whose owner proved to have the private one */

/*
 * One PEM PKCS#10: its own signature holds, the key is EC P-256 or RSA of 2048…4096 bits and not
 * the CA's own. KV_ERR_SCHEMA or KV_ERR_LIMIT with the reason.
 */
int sign_read_csr(struct str pem, const struct keystore *k, struct sign_request **ret,
		  struct err *err);
void sign_request_free(struct sign_request *r);

/*
 * 128 random bits, the first one 0 so that the number is positive, never all zero. Hex text below.
 */
struct sign_serial {
	unsigned char bytes[SIGN_SERIAL_BYTES];
	char text[2 * SIGN_SERIAL_BYTES + 1];
};
int sign_new_serial(struct sign_serial *ret, struct err *err);

struct sign_leaf {
	struct str spiffe;              /* checked by the caller */
	const struct sign_serial *serial;
	int64_t not_before_s, not_after_s;
	const char *use;                /* its extended key usage; NULL: a peer in TLS, of both sides */
};
/* *ret_pem is malloc'ed: the leaf alone. */
int sign_leaf(const struct keystore *k, const struct sign_request *r, const struct sign_leaf *leaf,
	      char **ret_pem, struct err *err);
