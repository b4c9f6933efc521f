/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_jws: public keys of a JWK set and the signatures that they verify (RFC 7518, RFC 8037). Layer
 * io. Keys are read-only once made and may be used by every thread.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

/* No "none" and nothing symmetric: they cannot be named. */
enum tls_jws_alg {
	TLS_JWS_RS256, TLS_JWS_RS384, TLS_JWS_RS512, TLS_JWS_PS256, TLS_JWS_PS384, TLS_JWS_PS512,
	TLS_JWS_ES256, TLS_JWS_ES384, TLS_JWS_ES512, TLS_JWS_EDDSA,
	TLS_JWS__N
};
bool tls_jws_alg_of(struct str name, enum tls_jws_alg *ret);    /* "RS256"; case counts */

struct tls_jwk;
/* Bytes as they are after base64url. RSA: 2048 to 8192 bits. EC: on the curve, of its length. */
int tls_jwk_rsa(struct str n, struct str e, struct tls_jwk **ret, struct err *err);
int tls_jwk_ec(struct str crv, struct str x, struct str y, struct tls_jwk **ret, struct err *err);
int tls_jwk_okp(struct str crv, struct str x, struct tls_jwk **ret, struct err *err);
void tls_jwk_free(struct tls_jwk *k);   /* NULL is fine */

/* May that algorithm be used with that key? ES256 needs P-256 (RFC 7518 3.4), and so on. */
bool tls_jwk_fits(const struct tls_jwk *k, enum tls_jws_alg alg);
/* False: not signed by it, or alg does not fit. */
bool tls_jws_verify(const struct tls_jwk *k, enum tls_jws_alg alg, struct str input,
		    struct str signature);
