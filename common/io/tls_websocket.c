/* SPDX-License-Identifier: Apache-2.0 */
/* tls_websocket: see tls_websocket.h. Here because OpenSSL has the digest. Layer io. */
#include "config.h"

#include <openssl/evp.h>

#include "base/err.h"
#include "io/tls_websocket.h"

void tls_websocket_key(const uint8_t nonce[static 16], char ret[static TLS_WEBSOCKET_KEY_MAX])
{
	unsigned char text[TLS_WEBSOCKET_KEY_MAX + 1];

	EVP_EncodeBlock(text, nonce, 16);
	memcpy(ret, text, TLS_WEBSOCKET_KEY_MAX);
}

void tls_websocket_accept(struct str key, char ret[static TLS_WEBSOCKET_ACCEPT_MAX])
{
	const struct str guid = STR("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
	unsigned char digest[EVP_MAX_MD_SIZE], text[TLS_WEBSOCKET_ACCEPT_MAX + 1];
	EVP_MD_CTX *m = EVP_MD_CTX_new();
	unsigned n;

	kv_assert(m && EVP_DigestInit_ex(m, EVP_sha1(), NULL) == 1);
	kv_assert(EVP_DigestUpdate(m, key.p, key.n) == 1 && EVP_DigestUpdate(m, guid.p, guid.n) == 1);
	kv_assert(EVP_DigestFinal_ex(m, digest, &n) == 1 && n == 20);
	EVP_MD_CTX_free(m);
	EVP_EncodeBlock(text, digest, 20);
	memcpy(ret, text, TLS_WEBSOCKET_ACCEPT_MAX);
}
