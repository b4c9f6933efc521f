/* SPDX-License-Identifier: Apache-2.0 */
/* tls_digest: SHA-256, see tls_digest.h. Layer io. */
#include "config.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "io/tls_digest.h"
#include "io/tls_priv.h"

struct tls_digest *tls_digest_new(void)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	kv_assert(ctx && EVP_DigestInit_ex(ctx, tls_sha256(), NULL) == 1);
	return (struct tls_digest *)ctx;
}

void tls_digest_add(struct tls_digest *d, struct str s)
{
	kv_assert(EVP_DigestUpdate((EVP_MD_CTX *)d, s.p, s.n) == 1);
}

void tls_digest_end(struct tls_digest *d, char ret[static TLS_DIGEST_HEX_MAX])
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	unsigned n;

	kv_assert(EVP_DigestFinal_ex((EVP_MD_CTX *)d, bytes, &n) == 1);
	kv_assert(2 * n + 1 == TLS_DIGEST_HEX_MAX);
	for (unsigned i = 0; i < n; i++)
		snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
	EVP_MD_CTX_free((EVP_MD_CTX *)d);
}
