/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mint: makes the CA's own root and issuers. Layer daemons/ca, below rotation and keystore. Whatever
 * a crash left out is made by the next call from what is there; what was finished is never made
 * again.
 */
#pragma once

#include <stdbool.h>
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
/* The next issuer, and the next root above it; under their own names. */
int mint_next(const struct files *f, const struct mint *m, bool root, struct err *err);

enum mint_verdict {
	MINT_LASTS,             /* the issuer is good for long enough */
	MINT_ENDS,              /* it ends: the next one should be made */
	MINT_CANNOT,            /* it ends, and a next one would not last longer, or cannot be made */
};
int mint_judge(const struct files *f, const struct mint *m, enum mint_verdict *ret, struct err *err);
