/* SPDX-License-Identifier: Apache-2.0 */
/* tls_jws: see tls_jws.h. Layer io. */
#include "config.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <stdlib.h>

#include "io/tls_jws.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192               /* more would be a way to keep a worker busy */
#define EC_BYTES_MAX 66                 /* of a coordinate of P-521 */
#define DER_MAX (2 * EC_BYTES_MAX + 16)
#define ED25519_BYTES 32

enum jwk_kind { JWK_RSA, JWK_EC, JWK_ED25519 };

struct tls_jwk {
	EVP_PKEY *pkey;
	enum jwk_kind kind;
	size_t curve_bytes;             /* EC */
};

static const struct {
	const char *name, *digest;
	enum jwk_kind kind;
	bool pss;
	size_t curve_bytes;
} algs[TLS_JWS__N] = {
	[TLS_JWS_RS256] = { "RS256", "SHA256", JWK_RSA, false, 0 },
	[TLS_JWS_RS384] = { "RS384", "SHA384", JWK_RSA, false, 0 },
	[TLS_JWS_RS512] = { "RS512", "SHA512", JWK_RSA, false, 0 },
	[TLS_JWS_PS256] = { "PS256", "SHA256", JWK_RSA, true, 0 },
	[TLS_JWS_PS384] = { "PS384", "SHA384", JWK_RSA, true, 0 },
	[TLS_JWS_PS512] = { "PS512", "SHA512", JWK_RSA, true, 0 },
	[TLS_JWS_ES256] = { "ES256", "SHA256", JWK_EC, false, 32 },
	[TLS_JWS_ES384] = { "ES384", "SHA384", JWK_EC, false, 48 },
	[TLS_JWS_ES512] = { "ES512", "SHA512", JWK_EC, false, 66 },
	[TLS_JWS_EDDSA] = { "EdDSA", NULL, JWK_ED25519, false, 0 },
};

bool tls_jws_alg_of(struct str name, enum tls_jws_alg *ret)
{
	for (int i = 0; i < TLS_JWS__N; i++)
		if (str_eq(name, str_c(algs[i].name))) {
			*ret = (enum tls_jws_alg)i;
			return true;
		}
	return false;
}

/* ---- keys ---------------------------------------------------------------------------------- */

static const unsigned char *bytes(struct str s)
{
	return (const unsigned char *)s.p;
}

static int wrap(EVP_PKEY *pkey, enum jwk_kind kind, size_t curve_bytes, struct tls_jwk **ret,
		struct err *err)
{
	ERR_clear_error();
	if (!pkey)
		return err_set(err, KV_ERR_TLS, "the key is no valid public key");
	*ret = kv_zalloc(sizeof(**ret));
	**ret = (struct tls_jwk){ .pkey = pkey, .kind = kind, .curve_bytes = curve_bytes };
	return 0;
}

/* NULL: OpenSSL finds it invalid. Takes the builder. */
static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *bld)
{
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *pkey = NULL;

	kv_assert(params && ctx && EVP_PKEY_fromdata_init(ctx) == 1);
	if (EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
		pkey = NULL;
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	return pkey;
}

int tls_jwk_rsa(struct str n, struct str e, struct tls_jwk **ret, struct err *err)
{
	BIGNUM *bn_n, *bn_e;

	if (n.n < RSA_BITS_MIN / 8 || n.n > RSA_BITS_MAX / 8 || n.p[0] == 0)
		return err_set(err, KV_ERR_TLS, "an RSA key must have 2048 to 8192 bits");
	if (e.n == 0 || e.n > 4 || (e.p[e.n - 1] & 1) == 0 || (e.n == 1 && e.p[0] == 1))
		return err_set(err, KV_ERR_TLS, "the RSA exponent is none");
	bn_n = BN_bin2bn(bytes(n), (int)n.n, NULL);
	bn_e = BN_bin2bn(bytes(e), (int)e.n, NULL);
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();

	kv_assert(bn_n && bn_e && bld);
	kv_assert(OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn_n) == 1);
	kv_assert(OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, bn_e) == 1);
	EVP_PKEY *pkey = from_params("RSA", bld);

	BN_free(bn_n);
	BN_free(bn_e);
	return wrap(pkey, JWK_RSA, 0, ret, err);
}

int tls_jwk_ec(struct str crv, struct str x, struct str y, struct tls_jwk **ret, struct err *err)
{
	static const struct { const char *name, *group; size_t bytes; } curves[] = {
		{ "P-256", "prime256v1", 32 }, { "P-384", "secp384r1", 48 }, { "P-521", "secp521r1", 66 },
	};
	unsigned char point[1 + 2 * EC_BYTES_MAX] = { POINT_CONVERSION_UNCOMPRESSED };
	size_t i = 0;

	while (i < 3 && !str_eq(crv, str_c(curves[i].name)))
		i++;
	if (i == 3)
		return err_set(err, KV_ERR_TLS, "crv '%.*s' is none of P-256, P-384, P-521", STR_ARG(crv));
	size_t n = curves[i].bytes;

	if (x.n != n || y.n != n)
		return err_set(err, KV_ERR_TLS, "x and y must have %zu bytes each", n);
	memcpy(point + 1, x.p, n);
	memcpy(point + 1 + n, y.p, n);
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();

	kv_assert(bld && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME,
							 curves[i].group, 0) == 1);
	kv_assert(OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point,
						   1 + 2 * n) == 1);
	return wrap(from_params("EC", bld), JWK_EC, n, ret, err);
}

int tls_jwk_okp(struct str crv, struct str x, struct tls_jwk **ret, struct err *err)
{
	if (!str_eq(crv, STR("Ed25519")))
		return err_set(err, KV_ERR_TLS, "crv '%.*s' is not Ed25519", STR_ARG(crv));
	if (x.n != ED25519_BYTES)
		return err_set(err, KV_ERR_TLS, "x must have 32 bytes");
	return wrap(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, bytes(x), x.n), JWK_ED25519, 0,
		    ret, err);
}

void tls_jwk_free(struct tls_jwk *k)
{
	if (!k)
		return;
	EVP_PKEY_free(k->pkey);
	free(k);
}

bool tls_jwk_fits(const struct tls_jwk *k, enum tls_jws_alg alg)
{
	return algs[alg].kind == k->kind && algs[alg].curve_bytes == k->curve_bytes;
}

/* ---- signatures ---------------------------------------------------------------------------- */

/* r and s side by side (RFC 7518 3.4) as OpenSSL wants them. 0: they are not. */
static size_t to_der(struct str raw, size_t curve_bytes, unsigned char der[DER_MAX])
{
	unsigned char *p = der;

	if (raw.n != 2 * curve_bytes)
		return 0;
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(bytes(raw), (int)curve_bytes, NULL);
	BIGNUM *s = BN_bin2bn(bytes(raw) + curve_bytes, (int)curve_bytes, NULL);

	kv_assert(sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1);
	int n = i2d_ECDSA_SIG(sig, NULL);

	kv_assert(n > 0 && n <= DER_MAX && i2d_ECDSA_SIG(sig, &p) == n);
	ECDSA_SIG_free(sig);
	return (size_t)n;
}

static bool use_pss(EVP_PKEY_CTX *ctx)
{
	return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

bool tls_jws_verify(const struct tls_jwk *k, enum tls_jws_alg alg, struct str input,
		    struct str signature)
{
	unsigned char der[DER_MAX];
	EVP_PKEY_CTX *ctx;

	if (!tls_jwk_fits(k, alg))
		return false;
	if (k->kind == JWK_EC) {
		size_t n = to_der(signature, k->curve_bytes, der);

		if (n == 0)
			return false;
		signature = str_from((const char *)der, n);
	}
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	kv_assert(md);
	bool ok = EVP_DigestVerifyInit_ex(md, &ctx, algs[alg].digest, NULL, NULL, k->pkey, NULL) == 1 &&
		  (!algs[alg].pss || use_pss(ctx)) &&
		  EVP_DigestVerify(md, bytes(signature), signature.n, bytes(input), input.n) == 1;

	EVP_MD_CTX_free(md);
	ERR_clear_error();
	return ok;
}
