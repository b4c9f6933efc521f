/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit: circuit breakers (Istio 2.8.5): a counter that is never over its maximum, shared by
 * threads. Layer core. Who took gives back exactly once.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "snap/snap.h"

enum limit_kind { LIMIT_CONNECTIONS, LIMIT_PENDING, LIMIT_REQUESTS, LIMIT_RETRIES, LIMIT_KIND__N };

/* Maximum of that kind; 0: unlimited. */
int64_t limit_max(const struct snap_limits *l, enum limit_kind kind);
/*
 * Retries at a time when so many requests are under way: max_retries, or the retry budget where
 * there is one (never below 1, for 0 would mean unlimited).
 */
int64_t limit_max_retries(const struct snap_limits *l, unsigned requests);
/* One more, unless max are taken. False: overflow (503 UO), nothing was taken. max 0: unlimited. */
bool limit_take(atomic_uint *count, int64_t max);
void limit_give(atomic_uint *count);
