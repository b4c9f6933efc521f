/* SPDX-License-Identifier: Apache-2.0 */
/*
 * priority: which level of endpoints a request goes to (Istio 2.8.10, Envoy's priority levels).
 * The nearest one gets all while 1/1.4 of it is healthy; below that its share falls and the next
 * ones take over. Layer core.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "snap/snap.h"

struct priority_level {
	uint32_t healthy, all;
};
/* Percent of requests for each level; they make 100, or all are 0 when nobody is healthy. */
void priority_shares(const struct priority_level *v, size_t n, unsigned *ret_percent);
/* One level by these shares; 0 when nobody is healthy. n is 1 to SNAP_PRIORITIES_MAX. */
size_t priority_pick(const struct priority_level *v, size_t n, struct rng *rng);
