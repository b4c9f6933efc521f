/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_csr: what the CA reads of strangers and of the administrator: certificate requests and chains.
 * Input: mode, then PEM or DER. Mode: 1 certificates instead of a request; 2 it is DER, which is put
 * into PEM here. A leaf that is issued holds what the CA said and nothing of the request but its key.
 */
#include "config.h"

#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "ca/files.h"
#include "fuzz_ca.h"

enum { CERTS = 1, DER = 2 };
#define DER_MAX 12000u

/* malloc'ed. */
static char *pem_of(const uint8_t *p, size_t n, const char *name, size_t *ret_n)
{
	char *text = NULL, *data;
	BIO *b = BIO_new(BIO_s_mem());

	fuzz_assert(PEM_write_bio(b, name, "", p, (long)n) > 0);
	long size = BIO_get_mem_data(b, &data);

	text = kv_malloc((size_t)size);
	memcpy(text, data, (size_t)size);
	*ret_n = (size_t)size;
	BIO_free(b);
	return text;
}

static void check_leaf(const char *pem)
{
	BIO *b = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(b, NULL, NULL, NULL);

	fuzz_assert(cert);
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

	fuzz_assert(names && sk_GENERAL_NAME_num(names) == 1);
	const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, 0);

	fuzz_assert(name->type == GEN_URI);
	fuzz_assert(str_eq(str_from((const char *)ASN1_STRING_get0_data(name->d.ia5),
				    (size_t)ASN1_STRING_length(name->d.ia5)), STR(FUZZ_CA_ID)));
	fuzz_assert(X509_check_ca(cert) == 0);
	fuzz_assert(X509_NAME_entry_count(X509_get_subject_name(cert)) == 0);
	GENERAL_NAMES_free(names);
	X509_free(cert);
	BIO_free(b);
}

static void read_request(struct str pem)
{
	const struct keystore *k = fuzz_ca.keystore;
	struct sign_request *r = NULL;
	struct sign_serial serial;
	struct err err = { 0 };
	char *leaf = NULL;

	if (sign_read_csr(pem, k, &r, &err) < 0) {
		fuzz_assert(err.text[0] != '\0' && !r);
		return;
	}
	fuzz_assert(pem.n <= SIGN_CSR_MAX);
	fuzz_assert(sign_new_serial(&serial, &err) == 0);
	struct sign_leaf l = { .spiffe = STR(FUZZ_CA_ID), .serial = &serial, .not_before_s = 1700000000,
			       .not_after_s = 1700003600 };

	fuzz_assert(sign_leaf(k, r, &l, &leaf, &err) == 0);
	check_leaf(leaf);
	free(leaf);
	sign_request_free(r);
}

static void read_certs(struct str pem)
{
	STACK_OF(X509) *certs = NULL;
	struct err err = { 0 };

	if (files_parse_certs(pem, "certs", &certs, &err) < 0) {
		fuzz_assert(err.text[0] != '\0');
		return;
	}
	int n = sk_X509_num(certs);

	fuzz_assert(n >= 1 && n <= FILES_CHAIN_MAX);
	X509 *root = sk_X509_value(certs, n - 1);

	(void)keystore_cert_allows(sk_X509_value(certs, 0), STR("td"));
	if (keystore_judge(root, certs, "certs", &err) < 0)
		fuzz_assert(err.text[0] != '\0');
	sk_X509_pop_free(certs, X509_free);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *made = NULL;
	size_t n;

	fuzz_ca_start();
	if (size < 2)                   /* OpenSSL writes no PEM of nothing */
		return 0;
	uint8_t mode = *data++;
	struct str pem = str_from((const char *)data, --size);

	if (mode & DER) {
		made = pem_of(data, size < DER_MAX ? size : DER_MAX,
			      mode & CERTS ? "CERTIFICATE" : "CERTIFICATE REQUEST", &n);
		pem = str_from(made, n);
	}
	if (mode & CERTS)
		read_certs(pem);
	else
		read_request(pem);
	free(made);
	return 0;
}
