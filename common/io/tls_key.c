/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_key: a workload's key pair and the request for its certificate. Layer io. The private key is
 * made here, stays in this process's memory and is handed to an identity. What the CA reads from
 * the request is the public key; the name in it only makes requests readable.
 */
#include <errno.h>
#include <stdlib.h>

#include <openssl/ec.h>
#include <openssl/pem.h>

#include "io/tls_priv.h"

int tls_key_new(struct tls_key **ret, struct err *err)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");

	if (!pkey)
		return tls_err_set(err, "cannot make an EC P-256 key");
	*ret = kv_zalloc(sizeof(**ret));
	(*ret)->pkey = pkey;
	return 0;
}

void tls_key_free(struct tls_key *k)
{
	if (!k)
		return;
	EVP_PKEY_free(k->pkey);
	free(k);
}

static GENERAL_NAMES *san_of(struct str uri)
{
	GENERAL_NAMES *sans = GENERAL_NAMES_new();
	GENERAL_NAME *san = GENERAL_NAME_new();
	ASN1_IA5STRING *text = ASN1_IA5STRING_new();

	kv_assert(sans && san && text && ASN1_STRING_set(text, uri.p, (int)uri.n) == 1);
	GENERAL_NAME_set0_value(san, GEN_URI, text);
	kv_assert(sk_GENERAL_NAME_push(sans, san) > 0);
	return sans;
}

static bool add_san(X509_REQ *req, struct str uri)
{
	GENERAL_NAMES *sans = san_of(uri);
	X509_EXTENSIONS *extensions = NULL;
	bool ok = X509V3_add1_i2d(&extensions, NID_subject_alt_name, sans, 1, 0) == 1 &&
		  X509_REQ_add_extensions(req, extensions) == 1;

	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	GENERAL_NAMES_free(sans);
	return ok;
}

static char *req_pem(X509_REQ *req)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *pem = NULL;

	if (bio && PEM_write_bio_X509_REQ(bio, req) == 1) {
		long n = BIO_get_mem_data(bio, &data);

		pem = kv_malloc((size_t)n + 1);
		memcpy(pem, data, (size_t)n);
		pem[n] = '\0';
	}
	BIO_free(bio);
	return pem;
}

int tls_key_csr(struct tls_key *k, struct str spiffe_id, char **ret_csr_pem, struct err *err)
{
	struct tls_spiffe id;

	if (!tls_spiffe_parse(spiffe_id, &id))
		return err_set(err, -EINVAL, "cannot ask for a certificate: '%.*s' is no SPIFFE ID",
			       STR_ARG(spiffe_id));
	X509_REQ *req = X509_REQ_new();

	*ret_csr_pem = NULL;
	if (req && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
	    X509_REQ_set_pubkey(req, k->pkey) == 1 && add_san(req, spiffe_id) &&
	    X509_REQ_sign(req, k->pkey, tls_sha256()) > 0)
		*ret_csr_pem = req_pem(req);
	X509_REQ_free(req);
	return *ret_csr_pem ? 0 : tls_err_set(err, "cannot make a certificate request");
}

int tls_key_pem(struct tls_key *k, char **ret_pem, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;

	*ret_pem = NULL;
	if (!bio || PEM_write_bio_PrivateKey(bio, k->pkey, NULL, NULL, 0, NULL, NULL) != 1) {
		BIO_free(bio);
		return tls_err_set(err, "cannot write a private key");
	}
	long n = BIO_get_mem_data(bio, &data);

	*ret_pem = kv_malloc((size_t)n + 1);
	memcpy(*ret_pem, data, (size_t)n);
	(*ret_pem)[n] = '\0';
	OPENSSL_cleanse(data, (size_t)n);
	BIO_free(bio);
	return 0;
}
