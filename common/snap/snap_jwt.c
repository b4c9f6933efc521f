/* SPDX-License-Identifier: Apache-2.0 */
/* snap_jwt: the rows of snap_jwt.h in the message. Layer snap. */
#include "snap/snap_jwt.h"

#include "doc/doc.h"

#define TABLE(var, T, title, f)                                                                    \
	const struct bind_table var = {                                                            \
		.name = title, .size = sizeof(T), .origin_offset = -1, .fields = f                 \
	}

static const struct field jwk_fields[] = {
	{ F_STR(struct snap_jwk, kid) },
	{ F_STR(struct snap_jwk, alg) },
	{ F_STR(struct snap_jwk, kty), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_jwk, crv) },
	{ F_STR(struct snap_jwk, n) },
	{ F_STR(struct snap_jwk, e) },
	{ F_STR(struct snap_jwk, x) },
	{ F_STR(struct snap_jwk, y) },
	F_END
};
static TABLE(jwk_table, struct snap_jwk, "Jwk", jwk_fields);

static const struct field header_fields[] = {
	{ F_STR(struct snap_jwt_header, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_jwt_header, prefix) },
	F_END
};
static TABLE(header_table, struct snap_jwt_header, "JwtHeader", header_fields);

static const struct field claim_fields[] = {
	{ F_STR(struct snap_jwt_claim, header), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_STR(struct snap_jwt_claim, claim), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	F_END
};
static TABLE(claim_table, struct snap_jwt_claim, "JwtClaim", claim_fields);

static const struct field rule_fields[] = {
	{ F_STR(struct snap_jwt_rule, issuer) },
	{ F_STR_LIST(struct snap_jwt_rule, audiences) },
	{ F_LIST(struct snap_jwt_rule, keys, jwk_table) },
	{ F_STR(struct snap_jwt_rule, uri) },
	{ F_BOOL(struct snap_jwt_rule, discover) },
	{ F_INT(struct snap_jwt_rule, timeout_us, 0, INT64_C(3600000000)) },
	{ F_LIST(struct snap_jwt_rule, headers, header_table) },
	{ F_STR_LIST(struct snap_jwt_rule, params) },
	{ F_STR_LIST(struct snap_jwt_rule, cookies) },
	{ F_STR(struct snap_jwt_rule, payload_header) },
	{ F_BOOL(struct snap_jwt_rule, forward) },
	{ F_LIST(struct snap_jwt_rule, claims, claim_table) },
	{ F_STR_LIST(struct snap_jwt_rule, spaced) },
	{ F_STR(struct snap_jwt_rule, file) },
	{ F_INT(struct snap_jwt_rule, line, 0, INT32_MAX) },
	F_END
};
TABLE(snap_jwt_rule_table, struct snap_jwt_rule, "JwtRule", rule_fields);

/* Keys for encryption sign nothing. */
static bool is_for_signing(const struct doc *key)
{
	return str_eq(doc_get_str(key, "use", STR("sig")), STR("sig"));
}

int snap_jwk_set(struct str text, struct arena *a, struct snap_jwt_rule *to, struct err *err)
{
	static const char *const names[] = { "kid", "alg", "kty", "crv", "n", "e", "x", "y" };
	struct doc *set;
	int r = doc_read_json(text, a, &set, err);

	if (r < 0)
		return r;
	const struct doc *keys = doc_get(set, STR("keys"));

	if (!keys || keys->kind != DOC_LIST)
		return err_set(err, KV_ERR_CHECK, "there is no list 'keys'");
	size_t n = keys->n < SNAP_JWKS_MAX ? keys->n : SNAP_JWKS_MAX;

	to->keys.v = arena_new_n(a, struct snap_jwk, n);
	for (size_t i = 0; i < n; i++) {
		struct snap_jwk *k = &to->keys.v[to->keys.n];
		struct str *members[] = { &k->kid, &k->alg, &k->kty, &k->crv, &k->n, &k->e, &k->x, &k->y };

		if (!is_for_signing(keys->v[i]))
			continue;
		for (size_t m = 0; m < sizeof(names) / sizeof(names[0]); m++)
			*members[m] = doc_get_str(keys->v[i], names[m], STR(""));
		to->keys.n += k->kty.n > 0;
	}
	return 0;
}
