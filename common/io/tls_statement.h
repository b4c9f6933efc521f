/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_statement: what the CA says about a file by signing it, and whether to believe that. Layer io.
 * The key was made for this one signature; its certificate is for signing documents and nothing else,
 * and names spiffe://TRUST-DOMAIN/compliance. Who signs and who verifies build the same text.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/* id-kp-documentSigning (RFC 9336): no TLS peer takes such a certificate. */
#define TLS_STATEMENT_USE "1.3.6.1.5.5.7.3.36"
#define TLS_STATEMENT_PATH "/compliance"
#define TLS_STATEMENT_BASE64_MAX 128    /* of an ECDSA signature with P-256, and NUL */

struct tls_statement {
	struct str sha256;              /* of the file, lower-case hex */
	int64_t signed_at_us;           /* since 1970, whole milliseconds */
	struct str signed_by;           /* SPIFFE ID */
	struct str certificate;         /* PEM: its certificate */
	struct str chain;               /* PEM: issuer and up to the root */
	struct str signature;           /* base64 of DER: ECDSA P-256 with SHA-256 of the text below */
};

/* All but the signature, so that no byte of it can be another. In the arena. */
struct str tls_statement_text(const struct tls_statement *s, struct arena *a);

/*
 * anchors: PEM, one at least must be above the certificate at the time of signing. KV_ERR_REFUSED with
 * the reason, or KV_ERR_SCHEMA: anchors holds no certificate.
 */
int tls_statement_verify(const struct tls_statement *s, struct str anchors, struct err *err);
