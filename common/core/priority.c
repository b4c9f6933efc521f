/* SPDX-License-Identifier: Apache-2.0 */
/* priority: see priority.h. Layer core. */
#include "core/priority.h"

#define OVERPROVISIONING 140            /* percent; Envoy's default */

static unsigned health(const struct priority_level *l)
{
	uint64_t percent = l->all > 0 ? (uint64_t)l->healthy * OVERPROVISIONING / l->all : 0;

	return percent < 100 ? (unsigned)percent : 100;
}

void priority_shares(const struct priority_level *v, size_t n, unsigned *ret_percent)
{
	unsigned total = 0, left = 100, largest = 0;

	for (size_t i = 0; i < n; i++)
		total += health(&v[i]);
	total = total < 100 ? total : 100;
	for (size_t i = 0; i < n; i++) {
		unsigned share = total > 0 ? health(&v[i]) * 100 / total : 0;

		ret_percent[i] = share < left ? share : left;
		left -= ret_percent[i];
		if (ret_percent[i] > ret_percent[largest])
			largest = (unsigned)i;
	}
	if (total > 0)                  /* what rounding left over */
		ret_percent[largest] += left;
}

size_t priority_pick(const struct priority_level *v, size_t n, struct rng *rng)
{
	unsigned percent[SNAP_PRIORITIES_MAX];
	uint64_t at;

	if (n == 1)
		return 0;
	priority_shares(v, n, percent);
	at = rng_below(rng, 100);
	for (size_t i = 0; i < n; i++) {
		if (at < percent[i])
			return i;
		at -= percent[i];
	}
	return 0;
}
