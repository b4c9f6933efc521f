/* SPDX-License-Identifier: Apache-2.0 */
/* tls_websocket: the handshake's proof of RFC 6455, for proxies between protocol versions. Layer io. */
#pragma once

#include "base/str.h"

#define TLS_WEBSOCKET_KEY_MAX 24        /* base64 of 16 bytes */
#define TLS_WEBSOCKET_ACCEPT_MAX 28     /* of a SHA-1 */

/* Sec-WebSocket-Key of 16 bytes of chance; no NUL behind it. */
void tls_websocket_key(const uint8_t nonce[static 16], char ret[static TLS_WEBSOCKET_KEY_MAX]);
/* Sec-WebSocket-Accept for a key (RFC 6455 4.2.2); no NUL behind it. */
void tls_websocket_accept(struct str key, char ret[static TLS_WEBSOCKET_ACCEPT_MAX]);
