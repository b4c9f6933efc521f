/* SPDX-License-Identifier: Apache-2.0 */
/* report: see report.h. Layer daemons/ca. */
#include "config.h"

#include <stdlib.h>

#include <openssl/err.h>

#include "base/arena.h"
#include "ca/ossl.h"
#include "ca/report.h"

#define LIFE_US (10ll * 60 * 1000000)
#define SIGNATURE_MAX 80        /* DER of two numbers of 33 bytes */

static bool is_digest(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
			return false;
	return s.n == 64;
}

static int sign_text(EVP_PKEY *key, struct str text, struct arena *arena, struct str *ret,
		     struct err *err)
{
	unsigned char der[SIGNATURE_MAX], base64[TLS_STATEMENT_BASE64_MAX];
	size_t n = sizeof(der);
	EVP_MD_CTX *m = EVP_MD_CTX_new();
	bool ok = m && EVP_DigestSignInit(m, NULL, EVP_sha256(), NULL, key) == 1 &&
		  EVP_DigestSign(m, der, &n, (const unsigned char *)text.p, text.n) == 1;

	EVP_MD_CTX_free(m);
	if (!ok)
		return ossl_fail(err, "sign a report");
	EVP_EncodeBlock(base64, der, (int)n);
	*ret = arena_str(arena, str_c((const char *)base64));
	return 0;
}

static int certify(struct authority *a, const struct report_ask *by, EVP_PKEY *key, struct str spiffe,
		   struct authority_cert *ret, struct err *err)
{
	_cleanup_bio_ BIO *csr = BIO_new(BIO_s_mem());
	int r = csr ? ossl_request(key, csr, err) : ossl_fail(err, "make a certificate request");

	if (r < 0)
		return r;
	const struct authority_ask ask = {
		.caller = { .uid = by->uid, .unit = "", .executable = "" },
		.csr = ossl_bio_str(csr),
		.now_us = by->now_us,
	};
	const struct authority_grant grant = {
		.spiffe = spiffe, .proxy = STR(""), .life_us = LIFE_US, .use = TLS_STATEMENT_USE,
	};

	return authority_sign(a, &ask, &grant, ret, err);
}

int report_sign(struct authority *a, const struct report_ask *ask, struct arena *arena,
		struct report_signed *ret, struct err *err)
{
	_cleanup_pkey_ EVP_PKEY *key = NULL;
	struct authority_cert cert = { 0 };

	if (!is_digest(ask->sha256))
		return err_set(err, KV_ERR_SCHEMA, "sha256 must be 64 lower-case hex digits");
	int r = authority_can_sign(a, err);

	if (r < 0)
		return r;
	key = EVP_EC_gen("P-256");
	struct str spiffe = arena_printf(arena, "spiffe://%.*s" TLS_STATEMENT_PATH,
					 STR_ARG(a->registry->trust_domain));

	r = key ? certify(a, ask, key, spiffe, &cert, err) : ossl_fail(err, "make a key");
	if (r < 0)
		return r;
	ret->statement = (struct tls_statement){
		.sha256 = ask->sha256,
		.signed_at_us = ask->now_us - ask->now_us % 1000,
		.signed_by = spiffe,
		.certificate = arena_str(arena, str_c(cert.pem)),
		.chain = arena_str(arena, keystore_chain_pem(a->keystore)),
	};
	ret->serial = cert.serial;
	free(cert.pem);
	return sign_text(key, tls_statement_text(&ret->statement, arena), arena,
			 &ret->statement.signature, err);
}
