/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cors: whether a request of another origin may be, and the fields of the answer that tell a browser
 * (Istio 2.6.8, 2.6.9). Layer core. The prepared policy is read-only and borrows the snapshot.
 */
#pragma once

#include "core/regex.h"
#include "core/route_table.h"
#include "http/head.h"
#include "snap/snap.h"

struct cors;
/* In the arena; patterns are the cache's. */
int cors_new(const struct snap_cors *policy, struct regex_cache *cache, struct arena *a,
	     const struct cors **ret, struct err *err);

enum cors_verdict {
	CORS_NOT,                       /* no Origin, or one that is not allowed: nothing to do */
	CORS_ALLOWED,                   /* forward; the answer gets cors_put */
	CORS_PREFLIGHT,                 /* answer 200 here, with cors_put_preflight */
	CORS_PREFLIGHT_OTHER,           /* answer 200 here, without a field of this kind */
};
/* Istio 2.6.8; whatever any policy says of its origin. */
bool cors_is_preflight(const struct head *req);
/* *ret_limits grows by the expressions that were given up: they do not fit. */
enum cors_verdict cors_judge(const struct cors *c, const struct head *req,
			     struct regex_scratch *scratch, unsigned *ret_limits);
/* What the service said itself is overwritten. origin: as the request has it. */
void cors_put(const struct cors *c, struct str origin, struct head *res);
void cors_put_preflight(const struct cors *c, struct str origin, struct head *res);
