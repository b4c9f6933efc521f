/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwt_keys: the keys that sign tokens (JWT SVIDs): EC P-256, of their own, changed by themselves.
 * Layer daemons/ca. Owns STATE/ca/jwt-*.pem, STATE/ca/jwt-keys.json and the public keys in
 * STATE/jwks/mesh.json, which anybody may read.
 *
 * A key is published half of its life before it signs, signs for that life, and stays published until
 * the last token that it signed has ended. One that the service manager hands over as a credential
 * signs until it is replaced there.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct jwt_keys;
struct tls_jwk;                 /* io/tls_jws.h */

#define JWT_KEYS_SKEW_S 60      /* what verifiers allow behind the end of a token */

struct jwt_keys_life {
	int64_t key_s, token_s;
};

/* What there is; nothing is made before jwt_keys_advance. */
int jwt_keys_open(const char *state_dir, struct jwt_keys **ret, struct err *err);
void jwt_keys_free(struct jwt_keys *k);
/* What time brings. On disk first; *ret_changed: other public keys than before. */
int jwt_keys_advance(struct jwt_keys *k, const struct jwt_keys_life *life, int64_t now_s,
		     bool *ret_changed, struct err *err);
bool jwt_keys_can_sign(const struct jwt_keys *k);       /* NULL: no */
struct str jwt_keys_jwks(const struct jwt_keys *k);     /* a JWK set, JSON */
uint64_t jwt_keys_revision(const struct jwt_keys *k);   /* another set, another number */
const char *jwt_keys_kid(const struct jwt_keys *k);     /* of the one that signs */
/* NULL: it is none of ours. */
const struct tls_jwk *jwt_keys_find(const struct jwt_keys *k, struct str kid);
/* ES256 over input: r and s, 64 bytes. */
int jwt_keys_sign(const struct jwt_keys *k, struct str input, char ret[static 64], struct err *err);
