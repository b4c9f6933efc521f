/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwt: a compact JWS with claims, read strictly (RFC 7515, RFC 7519, security-model §5.5). Layer
 * core; pure: signatures are verified elsewhere, time is an argument.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "doc/bind.h"
#include "doc/doc.h"

#define JWT_BYTES_MAX (16u << 10)
#define JWT_DEPTH_MAX 32
#define JWT_SKEW_S 60                   /* semantics 2.12.6 */

struct jwt {
	struct str alg, kid;            /* kid.p NULL: none */
	struct str issuer, subject, presenter;  /* iss, sub, azp; empty: none */
	struct str_list audiences;      /* aud, one or many */
	const struct doc *claims;
	struct str payload;             /* as it stands in the token */
	struct str input, signature;    /* what is signed; the signature's bytes */
};

/*
 * NULL, or why it is none, in the words that Envoy's users look for. Everything in *ret is in the
 * arena or borrowed from token. Nothing is proven by it.
 */
const char *jwt_parse(struct str token, struct arena *a, struct jwt *ret);
/* exp and nbf against now, with JWT_SKEW_S on either side; NULL or why not. Without exp: why not. */
const char *jwt_check_time(const struct jwt *t, int64_t now_s);
/* One of allowed is in aud; an empty list allows any. */
bool jwt_has_audience(const struct jwt *t, const struct str_list *allowed);
/* The claim at "a.b.c", or NULL. */
const struct doc *jwt_claim(const struct jwt *t, struct str path);
/* The claim behind keys as policies write them, "a][b"; NULL: none. claims may be NULL. */
const struct doc *jwt_claim_at(const struct doc *claims, struct str keys);
