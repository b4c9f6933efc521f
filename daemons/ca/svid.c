/* SPDX-License-Identifier: Apache-2.0 */
/*
 * svid: certificate, key and trust in the messages of workloadapi.proto (DER) and of Envoy's
 * extensions/transport_sockets/tls/v3/{common,secret}.proto (PEM). Layer daemons/ca.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/arena.h"
#include "ca/ossl.h"
#include "ca/svid.h"
#include "io/protobuf.h"

/* ---- DER ----------------------------------------------------------------------------------- */

static int certs_to_der(struct str pem, BIO *to, struct err *err)
{
	_cleanup_bio_ BIO *from = BIO_new_mem_buf(pem.p, (int)pem.n);
	bool ok = from != NULL;
	X509 *x;

	while (ok && (x = PEM_read_bio_X509(from, NULL, NULL, NULL)) != NULL) {
		ok = i2d_X509_bio(to, x) == 1;
		X509_free(x);
	}
	ERR_clear_error();
	return ok ? 0 : ossl_fail(err, "write a certificate");
}

static int issue(struct authority *a, const struct svid_ask *ask, struct str spiffe, EVP_PKEY *key,
		 struct authority_cert *ret, struct err *err)
{
	_cleanup_bio_ BIO *csr = BIO_new(BIO_s_mem());
	int r = csr ? ossl_request(key, csr, err) : ossl_fail(err, "make a certificate request");

	if (r < 0)
		return r;
	const struct authority_ask full = {
		.caller = ask->caller,
		.csr = ossl_bio_str(csr),
		.spiffe = spiffe,
		.now_us = ask->now_us,
		.mono_us = ask->mono_us,
	};

	return authority_issue(a, &full, ret, err);
}

/* A new key and a certificate for it. */
static int issue_new(struct authority *a, const struct svid_ask *ask, struct str spiffe,
		     EVP_PKEY **ret_key, struct authority_cert *ret, struct err *err)
{
	*ret_key = EVP_EC_gen("P-256");
	return *ret_key ? issue(a, ask, spiffe, *ret_key, ret, err) : ossl_fail(err, "make a key");
}

static int fill_der(struct authority *a, EVP_PKEY *key, const char *cert_pem, BIO *chain, BIO *to_key,
		    struct err *err)
{
	int r = certs_to_der(str_c(cert_pem), chain, err);

	/* Who verifies with the roots alone needs the way to them. */
	if (r == 0)
		r = certs_to_der(keystore_chain_pem(a->keystore), chain, err);
	if (r == 0 && i2d_PKCS8PrivateKey_bio(to_key, key, NULL, NULL, 0, NULL, NULL) != 1)
		r = ossl_fail(err, "write a private key");
	return r;
}

int svid_append(struct authority *a, const struct svid_ask *ask, struct str spiffe, struct buf *to,
		int64_t *ret_end_s, struct err *err)
{
	_cleanup_bio_ BIO *chain = BIO_new(BIO_s_mem());
	_cleanup_bio_ BIO *pkcs8 = BIO_new(BIO_s_secmem());
	_cleanup_bio_ BIO *bundle = BIO_new(BIO_s_mem());
	_cleanup_pkey_ EVP_PKEY *key = NULL;
	struct authority_cert cert = { 0 };
	struct buf body;
	int r = chain && pkcs8 && bundle ? issue_new(a, ask, spiffe, &key, &cert, err)
					 : ossl_fail(err, "write an identity");

	if (r == 0)
		r = fill_der(a, key, cert.pem, chain, pkcs8, err);
	if (r == 0)
		r = certs_to_der(keystore_bundle(a->keystore), bundle, err);
	free(cert.pem);
	*ret_end_s = cert.not_after_s;
	if (r < 0)
		return r;
	buf_init(&body);
	protobuf_put_bytes(&body, 1, spiffe);
	protobuf_put_bytes(&body, 2, ossl_bio_str(chain));
	protobuf_put_bytes(&body, 3, ossl_bio_str(pkcs8));
	protobuf_put_bytes(&body, 4, ossl_bio_str(bundle));
	protobuf_put_message(to, 1, &body);
	return 0;
}

int svid_append_bundle(const struct authority *a, struct buf *to, struct err *err)
{
	_cleanup_bio_ BIO *der = BIO_new(BIO_s_mem());
	int r = der ? certs_to_der(keystore_bundle(a->keystore), der, err)
		    : ossl_fail(err, "write a trust bundle");

	if (r == 0)
		svid_append_of_domain(a, ossl_bio_str(der), 2, to);
	return r;
}

void svid_append_of_domain(const struct authority *a, struct str value, uint32_t number,
			   struct buf *to)
{
	_cleanup_free_ char *name = kv_asprintf("spiffe://%.*s", STR_ARG(a->registry->trust_domain));
	struct buf entry;

	buf_init(&entry);
	protobuf_put_bytes(&entry, 1, str_c(name));
	protobuf_put_bytes(&entry, 2, value);
	protobuf_put_message(to, number, &entry);
}

/* ---- PEM, for Envoy ------------------------------------------------------------------------ */

void svid_append_source(struct str pem, uint32_t number, struct buf *to)
{
	struct buf source;

	buf_init(&source);
	protobuf_put_bytes(&source, 2, pem);    /* inline_bytes */
	protobuf_put_message(to, number, &source);
}

int svid_append_pair(struct authority *a, const struct svid_ask *ask, struct str spiffe,
		     struct buf *to, int64_t *ret_end_s, struct err *err)
{
	_cleanup_bio_ BIO *pkcs8 = BIO_new(BIO_s_secmem());
	_cleanup_pkey_ EVP_PKEY *key = NULL;
	struct authority_cert cert = { 0 };
	int r = pkcs8 ? issue_new(a, ask, spiffe, &key, &cert, err)
		      : ossl_fail(err, "write an identity");

	if (r == 0 && PEM_write_bio_PKCS8PrivateKey(pkcs8, key, NULL, NULL, 0, NULL, NULL) != 1)
		r = ossl_fail(err, "write a private key");
	if (r == 0) {
		_cleanup_free_ char *chain = kv_asprintf("%s%.*s", cert.pem,
							 STR_ARG(keystore_chain_pem(a->keystore)));

		svid_append_source(str_c(chain), 1, to);
		svid_append_source(ossl_bio_str(pkcs8), 2, to);
	}
	free(cert.pem);
	*ret_end_s = cert.not_after_s;
	return r;
}
