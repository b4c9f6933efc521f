/* SPDX-License-Identifier: Apache-2.0 */
/*
 * svid: DER, and the few bytes of protobuf around it (spiffe.workload API, workloadapi.proto). Layer
 * daemons/ca.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/arena.h"
#include "ca/ossl.h"
#include "ca/svid.h"

/* ---- protobuf ------------------------------------------------------------------------------ */

static size_t put_varint(unsigned char *p, size_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		p[n++] = (unsigned char)(v | 0x80);
	p[n++] = (unsigned char)v;
	return n;
}

/* Field numbers below 16 and length-delimited values are all there is. */
static size_t field_bytes(size_t n)
{
	unsigned char head[10];

	return 1 + put_varint(head, n) + n;
}

static void append_head(struct buf *to, unsigned field, size_t n)
{
	unsigned char head[12];

	head[0] = (unsigned char)(field << 3 | 2);
	buf_append(to, head, 1 + put_varint(head + 1, n));
}

static void append_field(struct buf *to, unsigned field, struct str value)
{
	append_head(to, field, value.n);
	buf_append_str(to, value);
}

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

struct parts {
	BIO *chain, *key, *bundle;
};

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

static int fill(struct authority *a, const struct svid_ask *ask, struct str spiffe,
		const struct parts *p, int64_t *ret_end_s, struct err *err)
{
	_cleanup_pkey_ EVP_PKEY *key = EVP_EC_gen("P-256");
	struct authority_cert cert = { 0 };
	int r = key ? issue(a, ask, spiffe, key, &cert, err) : ossl_fail(err, "make a key");

	if (r == 0)
		r = certs_to_der(str_c(cert.pem), p->chain, err);
	/* Who verifies with the roots alone needs the way to them. */
	if (r == 0)
		r = certs_to_der(keystore_chain_pem(a->keystore), p->chain, err);
	if (r == 0 && i2d_PKCS8PrivateKey_bio(p->key, key, NULL, NULL, 0, NULL, NULL) != 1)
		r = ossl_fail(err, "write a private key");
	if (r == 0)
		r = certs_to_der(keystore_bundle(a->keystore), p->bundle, err);
	*ret_end_s = cert.not_after_s;
	free(cert.pem);
	return r;
}

int svid_append(struct authority *a, const struct svid_ask *ask, struct str spiffe, struct buf *to,
		int64_t *ret_end_s, struct err *err)
{
	const struct parts p = { BIO_new(BIO_s_mem()), BIO_new(BIO_s_secmem()),
				 BIO_new(BIO_s_mem()) };
	int r = p.chain && p.key && p.bundle ? fill(a, ask, spiffe, &p, ret_end_s, err)
					     : ossl_fail(err, "write an identity");

	if (r == 0) {
		const struct str fields[] = { spiffe, ossl_bio_str(p.chain),
					      ossl_bio_str(p.key), ossl_bio_str(p.bundle) };
		size_t n = 0;

		for (size_t i = 0; i < 4; i++)
			n += field_bytes(fields[i].n);
		append_head(to, 1, n);
		for (unsigned i = 0; i < 4; i++)
			append_field(to, i + 1, fields[i]);
	}
	BIO_free_all(p.chain);
	BIO_free_all(p.key);
	BIO_free_all(p.bundle);
	return r;
}

int svid_append_bundle(const struct authority *a, struct buf *to, struct err *err)
{
	_cleanup_bio_ BIO *der = BIO_new(BIO_s_mem());
	_cleanup_free_ char *name = kv_asprintf("spiffe://%.*s", STR_ARG(a->registry->trust_domain));
	int r = der ? certs_to_der(keystore_bundle(a->keystore), der, err)
		    : ossl_fail(err, "write a trust bundle");

	if (r < 0)
		return r;
	struct str value = ossl_bio_str(der);

	append_head(to, 2, field_bytes(strlen(name)) + field_bytes(value.n));
	append_field(to, 1, str_c(name));
	append_field(to, 2, value);
	return 0;
}
