/* SPDX-License-Identifier: Apache-2.0 */
/* limit: circuit breakers. Layer core. */
#include "core/limit.h"

int64_t limit_max(const struct snap_limits *l, enum limit_kind kind)
{
	switch (kind) {
	case LIMIT_CONNECTIONS:
		return l->max_connections;
	case LIMIT_PENDING:
		return l->max_pending;
	case LIMIT_REQUESTS:
		return l->max_requests;
	case LIMIT_RETRIES:
		return l->max_retries;
	case LIMIT_KIND__N:
	default:
		kv_assert(false);
		return 0;
	}
}

int64_t limit_max_retries(const struct snap_limits *l, unsigned requests)
{
	int64_t share = (int64_t)requests * l->retry_budget_ppm / 1000000;

	if (l->retry_budget_ppm == 0 && l->retry_budget_min == 0)
		return l->max_retries;
	share = share > l->retry_budget_min ? share : l->retry_budget_min;
	return share > 0 ? share : 1;
}

/*
 * Compare and swap rather than add and take back: a refused thread must not make others overflow.
 */
bool limit_take(atomic_uint *count, int64_t max)
{
	unsigned n = atomic_load_explicit(count, memory_order_relaxed);
	do {
		if (max > 0 && (int64_t)n >= max)
			return false;
		kv_assert(n < UINT32_MAX);
	} while (!atomic_compare_exchange_weak_explicit(count, &n, n + 1, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

void limit_give(atomic_uint *count)
{
	unsigned before = atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
	kv_assert(before > 0);
}
