/* SPDX-License-Identifier: Apache-2.0 */
/* ossl: the pieces that every certificate made here has in common. Layer daemons/ca. */
#include "config.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/arena.h"
#include "ca/ossl.h"

int ossl_fail(struct err *err, const char *what)
{
	unsigned long e = ERR_peek_last_error();
	const char *reason = e ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	return err_set(err, KV_ERR_TLS, "cannot %s: %s", what, reason ? reason : "no reason given");
}

int ossl_add_ext(X509 *cert, X509 *issuer, int nid, const char *value, struct err *err)
{
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	int ok = e ? X509_add_ext(cert, e, -1) : 0;

	X509_EXTENSION_free(e);
	return ok == 1 ? 0 : ossl_fail(err, OBJ_nid2sn(nid));
}

static bool set_times(X509 *cert, int64_t not_before_s, int64_t not_after_s)
{
	/* GeneralizedTime from 2050 on, as RFC 5280 wants it: ASN1_TIME_set chooses. */
	return ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)not_before_s) &&
	       ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)not_after_s);
}

int ossl_set_head(X509 *cert, const struct ossl_cert_head *h, struct err *err)
{
	BIGNUM *serial = BN_bin2bn(h->serial, h->serial_bytes, NULL);
	bool ok = serial && X509_set_version(cert, X509_VERSION_3) == 1 &&
		  BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) &&
		  set_times(cert, h->not_before_s, h->not_after_s) &&
		  X509_set_pubkey(cert, h->key) == 1 &&
		  (!h->subject || X509_set_subject_name(cert, h->subject) == 1) &&
		  X509_set_issuer_name(cert, h->issuer ? h->issuer : h->subject) == 1;

	BN_free(serial);
	return ok ? 0 : ossl_fail(err, "fill in a certificate");
}

int ossl_cert_pem(X509 *cert, char **ret, struct err *err)
{
	_cleanup_bio_ BIO *b = BIO_new(BIO_s_mem());
	char *p;

	if (!b || PEM_write_bio_X509(b, cert) != 1)
		return ossl_fail(err, "write a certificate");
	long n = BIO_get_mem_data(b, &p);

	*ret = kv_malloc((size_t)n + 1);
	memcpy(*ret, p, (size_t)n);
	(*ret)[n] = '\0';
	return 0;
}

int64_t ossl_time_s(const ASN1_TIME *t)
{
	int days = 0, seconds = 0;
	ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);

	if (!epoch || ASN1_TIME_diff(&days, &seconds, epoch, t) != 1)
		days = seconds = 0;
	ASN1_TIME_free(epoch);
	return (int64_t)days * 86400 + seconds;
}

struct str ossl_bio_str(BIO *b)
{
	char *p;
	long n = BIO_get_mem_data(b, &p);

	return str_from(p, n > 0 ? (size_t)n : 0);
}

int ossl_request(EVP_PKEY *key, BIO *to, struct err *err)
{
	_cleanup_req_ X509_REQ *req = X509_REQ_new();

	if (!req || X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 ||
	    X509_REQ_set_pubkey(req, key) != 1 || X509_REQ_sign(req, key, EVP_sha256()) <= 0 ||
	    PEM_write_bio_X509_REQ(to, req) != 1)
		return ossl_fail(err, "make a certificate request");
	return 0;
}
