/* SPDX-License-Identifier: Apache-2.0 */
/* io/tls_jws: the examples of RFC 7515 and RFC 8037, and that nothing else is signed by them. */
#include "config.h"

#include <string.h>

#include "base/arena.h"
#include "base/base64.h"
#include "io/tls_jws.h"
#include "unit.h"

static struct arena arena;

static struct str raw(const char *text)
{
	struct str s;

	ck_assert(base64_decode(str_c(text), &arena, &s));
	return s;
}

static const struct sample {
	const char *alg, *kty, *a, *b, *input, *signature;
} samples[] = {
	{ "RS256", "RSA",
	  "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_Yp"
	  "RPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3"
	  "qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
	  "AQAB",
	  "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
	  "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjb"
	  "KBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZES"
	  "c6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw" },
	{ "ES256", "P-256", "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
	  "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
	  "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q" },
	{ "EdDSA", "Ed25519", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", NULL,
	  "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
	  "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg" },
};
#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

static struct tls_jwk *key_of(const struct sample *s)
{
	struct tls_jwk *k;
	struct err err = { 0 };
	int r = strcmp(s->kty, "RSA") == 0 ? tls_jwk_rsa(raw(s->a), raw(s->b), &k, &err) :
		s->b ? tls_jwk_ec(str_c(s->kty), raw(s->a), raw(s->b), &k, &err) :
		       tls_jwk_okp(str_c(s->kty), raw(s->a), &k, &err);

	ck_assert_msg(r == 0, "%s: %s", s->alg, err.text);
	return k;
}

START_TEST(the_examples_of_the_rfcs)
{
	arena_init(&arena, 0);
	for (size_t i = 0; i < SAMPLES; i++) {
		struct tls_jwk *k = key_of(&samples[i]);
		struct str sig = raw(samples[i].signature), input = str_c(samples[i].input);
		enum tls_jws_alg alg;

		ck_assert(tls_jws_alg_of(str_c(samples[i].alg), &alg));
		ck_assert_msg(tls_jws_verify(k, alg, input, sig), "%s", samples[i].alg);
		ck_assert(!tls_jws_verify(k, alg, str_take(input, input.n - 1), sig));
		ck_assert(!tls_jws_verify(k, alg, input, str_take(sig, sig.n - 1)));
		ck_assert(!tls_jws_verify(k, alg, input, STR("")));
		for (int other = 0; other < TLS_JWS__N; other++)
			ck_assert_msg(other == (int)alg || !tls_jws_verify(k, (enum tls_jws_alg)other, input, sig),
				      "%s as %d", samples[i].alg, other);
		/* Every bit of a signature counts. */
		for (size_t b = 0; b < sig.n; b++) {

			char *bent = arena_alloc(&arena, sig.n);

			memcpy(bent, sig.p, sig.n);
			bent[b] = (char)(bent[b] ^ 1);
			ck_assert(!tls_jws_verify(k, alg, input, str_from(bent, sig.n)));
		}
		tls_jwk_free(k);
	}
	arena_done(&arena);
}
END_TEST

/* CVE-2022-21449: a signature of zeros must not be valid. */
START_TEST(zeros_are_no_signature)
{
	static const char zeros[64];
	enum tls_jws_alg alg;

	arena_init(&arena, 0);
	struct tls_jwk *k = key_of(&samples[1]);

	ck_assert(tls_jws_alg_of(STR("ES256"), &alg));
	ck_assert(!tls_jws_verify(k, alg, str_c(samples[1].input), str_from(zeros, sizeof(zeros))));
	tls_jwk_free(k);
	arena_done(&arena);
}
END_TEST

START_TEST(what_is_no_key_and_no_algorithm)
{
	static const char *const names[] = { "none", "None", "HS256", "HS512", "rs256", "RS1", "ES256K", "", "RSA-OAEP", "RS256 " };
	static char big[2000];
	enum tls_jws_alg alg;
	struct tls_jwk *k;
	struct err err = { 0 };

	arena_init(&arena, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		ck_assert_msg(!tls_jws_alg_of(str_c(names[i]), &alg), "%s", names[i]);
	memset(big, 0xff, sizeof(big));
	ck_assert_int_lt(tls_jwk_rsa(str_from(big, 128), STR("\x03"), &k, &err), 0);
	ck_assert_int_lt(tls_jwk_rsa(str_from(big, 1025), STR("\x03"), &k, &err), 0);
	ck_assert_int_lt(tls_jwk_rsa(str_from(big, 256), STR("\x01"), &k, &err), 0);
	ck_assert_int_lt(tls_jwk_rsa(str_from(big, 256), STR("\x02"), &k, &err), 0);
	ck_assert_int_lt(tls_jwk_rsa(str_from(big, 256), STR(""), &k, &err), 0);
	ck_assert_int_lt(tls_jwk_ec(STR("P-256"), str_from(big, 32), str_from(big, 32), &k, &err), 0);
	ck_assert_int_lt(tls_jwk_ec(STR("P-256"), str_from(big, 31), str_from(big, 32), &k, &err), 0);
	ck_assert_int_lt(tls_jwk_ec(STR("secp256k1"), str_from(big, 32), str_from(big, 32), &k, &err), 0);
	ck_assert_int_lt(tls_jwk_okp(STR("X25519"), str_from(big, 32), &k, &err), 0);
	ck_assert_int_lt(tls_jwk_okp(STR("Ed25519"), str_from(big, 33), &k, &err), 0);
	arena_done(&arena);
}
END_TEST

UNIT_MAIN("jws", the_examples_of_the_rfcs, zeros_are_no_signature, what_is_no_key_and_no_algorithm)
