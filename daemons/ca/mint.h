/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mint: makes the CA's own root and issuers, and replaces an issuer before it ends. Layer
 * daemons/ca, below keystore. Whatever a crash left out is made by the next call from what is
 * there; what was finished is never made again.
 *
 * Replacing (security-model K5): in the last quarter of an issuer's life the next one is made and
 * put into the trust bundle; once every proxy had time to hear of it, it signs; the one before
 * stays trusted until it ends.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct files;                   /* ca/files.h */

struct mint {                           /* how to make what is missing */
	struct str trust_domain;
	int64_t root_lifetime_us, issuer_lifetime_us;
	int64_t now_us;
};

int mint_missing(const struct files *f, const struct mint *m, struct err *err);
int mint_rotate(const struct files *f, const struct mint *m, struct err *err);
