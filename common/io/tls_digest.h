/* SPDX-License-Identifier: Apache-2.0 */
/* tls_digest: SHA-256 (FIPS 180-4) of bytes that come in pieces. Layer io. */
#pragma once

#include "base/str.h"

#define TLS_DIGEST_HEX_MAX 65           /* 64 lower-case digits and NUL */

struct tls_digest;
struct tls_digest *tls_digest_new(void);
void tls_digest_add(struct tls_digest *d, struct str s);
/* What was added so far, in hex; frees d. */
void tls_digest_end(struct tls_digest *d, char ret[static TLS_DIGEST_HEX_MAX]);
