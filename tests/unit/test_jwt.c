/* SPDX-License-Identifier: Apache-2.0 */
/* core/jwt: what is a token and what only looks like one (security-model §5.5). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/jwt.h"
#include "unit.h"

static struct arena arena;

static struct str encoded(struct str s)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char *out = arena_alloc(&arena, s.n * 4 / 3 + 4);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i += 3) {
		uint32_t v = 0;
		size_t k = s.n - i < 3 ? s.n - i : 3;

		for (size_t j = 0; j < 3; j++)
			v = v << 8 | (j < k ? (uint8_t)s.p[i + j] : 0);
		for (size_t j = 0; j <= k; j++)
			out[n++] = alphabet[v >> (18 - 6 * j) & 63];
	}
	return str_from(out, n);
}

static struct str token(const char *header, const char *payload)
{
	return arena_printf(&arena, "%.*s.%.*s.c2ln", STR_ARG(encoded(str_c(header))), STR_ARG(encoded(str_c(payload))));
}

#define HEADER "{\"alg\":\"RS256\",\"kid\":\"a\"}"

START_TEST(a_token_and_what_is_in_it)
{
	struct jwt t;

	arena_init(&arena, 0);
	struct str s = token(HEADER, "{\"iss\":\"https://id.example\",\"sub\":\"u\",\"azp\":\"shop\",\"aud\":[\"a\",\"b\"],\"exp\":1000,"
			     "\"nbf\":500,\"realm\":{\"roles\":[\"x\"]}}");

	ck_assert_ptr_null(jwt_parse(s, &arena, &t));
	unit_str_eq(t.alg, "RS256");
	unit_str_eq(t.kid, "a");
	unit_str_eq(t.issuer, "https://id.example");
	unit_str_eq(t.subject, "u");
	unit_str_eq(t.presenter, "shop");
	unit_str_eq(t.signature, "sig");
	ck_assert_uint_eq(t.audiences.n, 2);
	ck_assert_uint_eq(t.input.n, s.n - 5);
	ck_assert_ptr_nonnull(jwt_claim(&t, STR("realm.roles")));
	ck_assert_ptr_null(jwt_claim(&t, STR("realm.roles.x")));
	ck_assert_ptr_null(jwt_claim(&t, STR("")));
	ck_assert_ptr_null(jwt_check_time(&t, 600));
	ck_assert_ptr_null(jwt_check_time(&t, 1000 + JWT_SKEW_S));
	ck_assert_str_eq(jwt_check_time(&t, 1001 + JWT_SKEW_S), "Jwt is expired");
	ck_assert_ptr_null(jwt_check_time(&t, 500 - JWT_SKEW_S));
	ck_assert_str_eq(jwt_check_time(&t, 499 - JWT_SKEW_S), "Jwt not yet valid");
	struct str one[] = { STR("c"), STR("b") };
	struct str_list both = { .v = one, .n = 2 }, first = { .v = one, .n = 1 }, none = { 0 };

	ck_assert(jwt_has_audience(&t, &both) && !jwt_has_audience(&t, &first) && jwt_has_audience(&t, &none));
	ck_assert_ptr_null(jwt_parse(token(HEADER, "{\"aud\":\"a\"}"), &arena, &t));
	ck_assert_uint_eq(t.audiences.n, 1);
	ck_assert_ptr_nonnull(jwt_check_time(&t, 0));
	arena_done(&arena);
}
END_TEST

START_TEST(what_is_none)
{
	static const struct { const char *header, *payload; } rows[] = {
		{ "{}", "{}" }, { "[]", "{}" }, { "{\"alg\":7}", "{}" }, { "{\"alg\":\"\"}", "{}" }, { "{\"alg\":\"RS256\",\"alg\":\"none\"}", "{}" },
		{ "{\"alg\":\"RS256\",\"kid\":7}", "{}" }, { "{\"alg\":\"RS256\",\"crit\":[\"b64\"]}", "{}" },
		{ "{\"alg\":\"RS256\",\"crit\":[]}", "{}" }, { "{\"alg\":\"RS256\"} x", "{}" }, { HEADER, "[]" }, { HEADER, "7" },
		{ HEADER, "{\"iss\":7}" }, { HEADER, "{\"sub\":[\"a\"]}" }, { HEADER, "{\"azp\":{}}" }, { HEADER, "{\"exp\":\"9999999999\"}" },
		{ HEADER, "{\"nbf\":null}" }, { HEADER, "{\"exp\":-1}" }, { HEADER, "{\"aud\":[7]}" }, { HEADER, "{\"aud\":7}" },
		{ HEADER, "{\"iss\":\"a\",\"iss\":\"b\"}" }, { HEADER, "{\"a\":{\"b\":1,\"b\":2}}" }, { HEADER, "{\"iss\":\"a\\u0000b\"}" },
		{ HEADER, "{\"iss\":\"\xff\"}" }, { HEADER, "{\"exp\":1e999}" },
	};
	struct jwt t;

	arena_init(&arena, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(jwt_parse(token(rows[i].header, rows[i].payload), &arena, &t) != NULL, "%s %s", rows[i].header, rows[i].payload);
	arena_done(&arena);
}
END_TEST

START_TEST(spellings_of_a_token)
{
	static const char good[] = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln";
	static const char *const bad[] = {
		"", ".", "..", "...", "eyJhbGciOiJSUzI1NiJ9.e30", "eyJhbGciOiJSUzI1NiJ9..c2ln", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln.", ".e30.c2ln",
		"eyJhbGciOiJSUzI1NiJ9.e30=.c2ln", "eyJhbGciOiJSUzI1NiJ9.e31.c2ln" /* unused bits */, "eyJhbGciOiJSUzI1NiJ9.e30.c2l+", "eyJhbGciOiJSUzI1NiJ9.e30.c",
		" eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln ", "eyJhbGciOiJSUzI1NiJ9.e3 0.c2ln",
	};
	struct jwt t;

	arena_init(&arena, 0);
	ck_assert_ptr_null(jwt_parse(str_c(good), &arena, &t));
	ck_assert_ptr_null(jwt_parse(STR("eyJhbGciOiJSUzI1NiJ9.e30."), &arena, &t));      /* no signature: nothing verifies it */
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(jwt_parse(str_c(bad[i]), &arena, &t) != NULL, "%s", bad[i]);
	arena_done(&arena);
}
END_TEST

START_TEST(long_and_deep_ones)
{
	char deep[3000];
	struct jwt t;

	arena_init(&arena, 0);
	for (int depth = JWT_DEPTH_MAX - 2; depth <= 1000; depth += depth < JWT_DEPTH_MAX ? 1 : 100) {
		size_t n = (size_t)snprintf(deep, sizeof(deep), "{\"a\":");

		memset(deep + n, '[', (size_t)depth);
		memset(deep + n + depth, ']', (size_t)depth);
		memcpy(deep + n + 2 * (size_t)depth, "}", 2);
		ck_assert_msg((jwt_parse(token(HEADER, deep), &arena, &t) == NULL) == (depth < JWT_DEPTH_MAX), "%d", depth);
	}
	char *big = arena_alloc(&arena, JWT_BYTES_MAX + 2);

	memset(big, 'A', JWT_BYTES_MAX + 1);
	ck_assert_str_eq(jwt_parse(str_from(big, JWT_BYTES_MAX + 1), &arena, &t), "Jwt is too long");
	arena_done(&arena);
}
END_TEST

UNIT_MAIN("jwt", a_token_and_what_is_in_it, what_is_none, spellings_of_a_token, long_and_deep_ones)
