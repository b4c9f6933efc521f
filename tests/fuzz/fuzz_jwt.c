/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_jwt: a token that is taken is spelled in one way only (its parts encoded again are itself),
 * has claims of the kinds that others rely on, and no bytes are a signature of a key that did not
 * make them. Input: a token; or, behind a NUL, header NUL payload NUL signature, which are encoded
 * here, so that what is below base64url is reached.
 */
#include <stdlib.h>

#include "base/base64.h"
#include "core/jwt.h"
#include "fuzz.h"
#include "io/tls_jws.h"

static struct str encode(struct str s, struct arena *a)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char *out = arena_alloc(a, s.n * 4 / 3 + 4);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i += 3) {
		size_t k = s.n - i < 3 ? s.n - i : 3;
		uint32_t v = 0;

		for (size_t j = 0; j < 3; j++)
			v = v << 8 | (j < k ? (uint8_t)s.p[i + j] : 0);
		for (size_t j = 0; j <= k; j++)
			out[n++] = alphabet[v >> (18 - 6 * j) & 63];
	}
	return str_from(out, n);
}

static void check_spelling(struct str token, struct arena *a)
{
	struct str rest = token, part, bytes;

	for (int i = 0; i < 3; i++) {
		fuzz_assert(str_split(&rest, '.', &part) && base64url_decode(part, a, &bytes));
		fuzz_assert(str_eq(encode(bytes, a), part));
	}
	fuzz_assert(!rest.p);
}

static void check_claims(const struct jwt *t)
{
	static const char *const times[] = { "exp", "nbf", "iat" };
	const struct doc *aud = doc_get(t->claims, STR("aud")), *iss = doc_get(t->claims, STR("iss"));

	fuzz_assert(t->alg.n > 0 && t->claims->kind == DOC_MAP);
	fuzz_assert(iss ? iss->kind == DOC_STR && str_eq(iss->s, t->issuer) : t->issuer.n == 0);
	fuzz_assert(t->audiences.n == (!aud ? 0 : aud->kind == DOC_LIST ? aud->n : 1));
	for (size_t i = 0; i < 3; i++) {
		const struct doc *d = doc_get(t->claims, str_c(times[i]));

		fuzz_assert(!d || d->kind == DOC_INT || d->kind == DOC_REAL);
	}
	fuzz_assert(doc_get(t->claims, STR("exp")) || jwt_check_time(t, 0));
	(void)jwt_claim(t, t->subject);
	(void)jwt_claim_at(t->claims, t->issuer);
}

/* Nobody has the private halves. */
static void check_signature(const struct jwt *t)
{
	static struct tls_jwk *keys[2];
	enum tls_jws_alg alg;

	if (!keys[0]) {
		/* The points of RFC 6979 A.2.5 (P-256) and of RFC 8032 7.1, test 1. */
		fuzz_assert(tls_jwk_ec(STR("P-256"),
				       STR("\x60\xFE\xD4\xBA\x25\x5A\x9D\x31\xC9\x61\xEB\x74\xC6\x35\x6D\x68"
					   "\xC0\x49\xB8\x92\x3B\x61\xFA\x6C\xE6\x69\x62\x2E\x60\xF2\x9F\xB6"),
				       STR("\x79\x03\xFE\x10\x08\xB8\xBC\x99\xA4\x1A\xE9\xE9\x56\x28\xBC\x64"
					   "\xF2\xF1\xB2\x0C\x2D\x7E\x9F\x51\x77\xA3\xC2\x94\xD4\x46\x22\x99"),
				       &keys[0], NULL) == 0);
		fuzz_assert(tls_jwk_okp(STR("Ed25519"),
					STR("\xd7\x5a\x98\x01\x82\xb1\x0a\xb7\xd5\x4b\xfe\xd3\xc9\x64\x07\x3a"
					    "\x0e\xe1\x72\xf3\xda\xa6\x23\x25\xaf\x02\x1a\x68\xf7\x07\x51\x1a"),
					&keys[1], NULL) == 0);
	}
	if (!tls_jws_alg_of(t->alg, &alg))
		return;
	for (size_t i = 0; i < 2; i++)
		fuzz_assert(!tls_jws_verify(keys[i], alg, t->input, t->signature));
}

static void check(struct str token, struct arena *a)
{
	struct jwt t;

	if (jwt_parse(token, a, &t))
		return;
	check_spelling(token, a);
	check_claims(&t);
	check_signature(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = str_from((const char *)data, size), header, payload;
	struct arena a;

	arena_init(&a, 0);
	if (size == 0 || data[0] != '\0') {
		check(in, &a);
	} else {
		in = str_skip(in, 1);
		if (str_split(&in, '\0', &header) && str_split(&in, '\0', &payload) && in.p)
			check(arena_printf(&a, "%.*s.%.*s.%.*s", STR_ARG(encode(header, &a)),
					   STR_ARG(encode(payload, &a)), STR_ARG(encode(in, &a))), &a);
	}
	arena_done(&a);
	return 0;
}
