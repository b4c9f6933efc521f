/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asked: how a caller wants to be served beside or above its route (Istio 2.5.3): the headers of a
 * request that name timeouts and retries. Layer core. A value that cannot be read is not there.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "snap/snap.h"

#define ASKED_CODES_MAX 32

struct asked {
	int64_t timeout_us, per_try_us, attempts; /* -1: not asked for */
	int64_t on;                               /* SNAP_RETRY_* */
	int64_t codes[ASKED_CODES_MAX];
	size_t n_codes;
};

void asked_init(struct asked *a);
/* Is the header (lower case) one of these? */
bool asked_is_one(struct str name);
void asked_read(struct asked *a, struct str name, struct str value);
/* The route's policy (NULL: none) and what the caller adds; NULL: no conditions, no retries. */
const struct snap_retry *asked_retry(const struct asked *a, const struct snap_retry *of_route,
				     struct arena *arena);
