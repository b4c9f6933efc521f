/* SPDX-License-Identifier: Apache-2.0 */
/* sign: the request's key is judged, everything else of the leaf is ours. Layer daemons/ca. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/arena.h"
#include "ca/ossl.h"
#include "ca/sign.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 4096       /* one verification must not take the CA for long */

struct sign_request {
	EVP_PKEY *key;
};

static bool is_p256(const EVP_PKEY *key)
{
	char group[32];
	size_t n;

	return EVP_PKEY_get_group_name(key, group, sizeof(group), &n) == 1 &&
	       (strcmp(group, "prime256v1") == 0 || strcmp(group, "P-256") == 0);
}

static int check_key(const EVP_PKEY *key, const struct keystore *k, struct err *err)
{
	if (EVP_PKEY_is_a(key, "EC")) {
		if (!is_p256(key))
			return err_set(err, KV_ERR_SCHEMA, "the key's curve must be P-256");
	} else if (EVP_PKEY_is_a(key, "RSA")) {
		int bits = EVP_PKEY_get_bits(key);

		if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
			return err_set(err, KV_ERR_SCHEMA,
				       "an RSA key must have %d to %d bits, has %d", RSA_BITS_MIN,
				       RSA_BITS_MAX, bits);
	} else {
		return err_set(err, KV_ERR_SCHEMA, "the key must be EC P-256 or RSA");
	}
	if (EVP_PKEY_eq(key, keystore_issuer_key(k)) == 1)
		return err_set(err, KV_ERR_SCHEMA, "the key is that of the CA itself");
	return 0;
}

static int parse_csr(struct str pem, X509_REQ **ret, struct err *err)
{
	if (pem.n > SIGN_CSR_MAX)
		return err_set(err, KV_ERR_LIMIT, "the certificate request is longer than %u bytes",
			       SIGN_CSR_MAX);
	_cleanup_bio_ BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);

	*ret = b ? PEM_read_bio_X509_REQ(b, NULL, NULL, NULL) : NULL;
	ERR_clear_error();
	return *ret ? 0
		    : err_set(err, KV_ERR_SCHEMA, "the certificate request is no PKCS#10 in PEM");
}

int sign_read_csr(struct str pem, const struct keystore *k, struct sign_request **ret,
		  struct err *err)
{
	_cleanup_req_ X509_REQ *req = NULL;
	_cleanup_pkey_ EVP_PKEY *key = NULL;
	int r = parse_csr(pem, &req, err);

	if (r < 0)
		return r;
	key = X509_REQ_get_pubkey(req);
	r = key ? check_key(key, k, err)
		: err_set(err, KV_ERR_SCHEMA, "the certificate request has no usable key");
	if (r == 0 && X509_REQ_verify(req, key) != 1)
		r = err_set(err, KV_ERR_SCHEMA,
			    "the certificate request is not signed by its own key");
	ERR_clear_error();
	if (r < 0)
		return r;
	*ret = kv_zalloc(sizeof(**ret));
	(*ret)->key = take(&key);
	return 0;
}

void sign_request_free(struct sign_request *r)
{
	if (!r)
		return;
	EVP_PKEY_free(r->key);
	free(r);
}

int sign_new_serial(struct sign_serial *ret, struct err *err)
{
	static const char digits[] = "0123456789abcdef";

	do {
		if (RAND_bytes(ret->bytes, sizeof(ret->bytes)) != 1)
			return ossl_fail(err, "draw a serial number");
		ret->bytes[0] &= 0x7f;
	} while (ret->bytes[0] == 0);
	for (size_t i = 0; i < sizeof(ret->bytes); i++) {
		ret->text[2 * i] = digits[ret->bytes[i] >> 4];
		ret->text[2 * i + 1] = digits[ret->bytes[i] & 15];
	}
	ret->text[2 * sizeof(ret->bytes)] = '\0';
	return 0;
}

/* Critical, since the subject is empty (RFC 5280 4.1.2.6). */
static int add_san(X509 *cert, struct str spiffe, struct err *err)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *uri = ASN1_IA5STRING_new();
	bool ok = names && name && uri && ASN1_STRING_set(uri, spiffe.p, (int)spiffe.n) == 1;

	if (ok) {
		GENERAL_NAME_set0_value(name, GEN_URI, uri);
		uri = NULL;
		ok = sk_GENERAL_NAME_push(names, name) > 0;
	}
	if (ok) {
		name = NULL;
		ok = X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 1, X509V3_ADD_DEFAULT) ==
		     1;
	}
	ASN1_IA5STRING_free(uri);
	GENERAL_NAME_free(name);
	GENERAL_NAMES_free(names);
	return ok ? 0 : ossl_fail(err, "name a certificate");
}

static int add_leaf_exts(X509 *cert, X509 *issuer, const struct sign_leaf *leaf, struct err *err)
{
	const char *use = leaf->use ? leaf->use : "serverAuth,clientAuth";
	int r = ossl_add_ext(cert, issuer, NID_basic_constraints, "critical,CA:FALSE", err);

	if (r == 0)
		r = ossl_add_ext(cert, issuer, NID_key_usage, "critical,digitalSignature", err);
	if (r == 0)
		r = ossl_add_ext(cert, issuer, NID_ext_key_usage, use, err);
	if (r == 0)
		r = ossl_add_ext(cert, issuer, NID_authority_key_identifier, "keyid:always", err);
	return r < 0 ? r : add_san(cert, leaf->spiffe, err);
}

int sign_leaf(const struct keystore *k, const struct sign_request *r, const struct sign_leaf *leaf,
	      char **ret_pem, struct err *err)
{
	_cleanup_x509_ X509 *cert = X509_new();
	X509 *issuer = keystore_issuer(k);
	const struct ossl_cert_head head = {
		.serial = leaf->serial->bytes, .serial_bytes = SIGN_SERIAL_BYTES,
		.not_before_s = leaf->not_before_s, .not_after_s = leaf->not_after_s,
		.key = r->key, .issuer = X509_get_subject_name(issuer),
	};

	if (!cert)
		return ossl_fail(err, "make a certificate");
	int code = ossl_set_head(cert, &head, err);

	if (code == 0)
		code = add_leaf_exts(cert, issuer, leaf, err);
	if (code == 0 && X509_sign(cert, keystore_issuer_key(k), EVP_sha256()) == 0)
		code = ossl_fail(err, "sign a certificate");
	return code < 0 ? code : ossl_cert_pem(cert, ret_pem, err);
}
