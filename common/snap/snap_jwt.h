/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snap_jwt: tokens that a workload accepts (semantics 2.12). Layer snap; included by snap.h. Keys
 * are here as a JWK set has them; the proxy makes them usable.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "doc/bind.h"

#define SNAP_JWKS_MAX 100               /* security-model L13 */

struct snap_jwk {
	struct str kid, alg;            /* "" when it says neither */
	struct str kty, crv;
	struct str n, e, x, y;          /* base64url */
};
struct snap_jwt_header {
	struct str name, prefix;        /* name: lower case */
};
struct snap_jwt_claim {
	struct str header, claim;       /* header: lower case; a dot in claim goes deeper */
};
struct snap_jwt_rule {
	struct str issuer;              /* "": any that one of the keys has signed for */
	struct str_list audiences;      /* empty: any */
	struct { struct snap_jwk *v; size_t n; } keys;          /* none: every token is refused */
	struct str uri;                 /* where the proxy fetches the keys; "": they are here */
	bool discover;                  /* what is there is the issuer's OpenID configuration, which knows where */
	int64_t timeout_us;             /* of that */
	struct { struct snap_jwt_header *v; size_t n; } headers;
	struct str_list params, cookies;
	struct str payload_header;      /* lower case; "": none */
	bool forward;                   /* the token stays in the request */
	struct { struct snap_jwt_claim *v; size_t n; } claims;  /* that become headers */
	struct str_list spaced;         /* claims with several values separated by blanks */
	struct str file;                /* where it was written */
	int64_t line;
};

/*
 * The keys for signatures of a JWK set, at most SNAP_JWKS_MAX, into *to; strings are in the arena.
 * Fails when it is no such set.
 */
int snap_jwk_set(struct str text, struct arena *a, struct snap_jwt_rule *to, struct err *err);

extern const struct bind_table snap_jwt_rule_table;
