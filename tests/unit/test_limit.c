/* SPDX-License-Identifier: Apache-2.0 */
/* core/limit: circuit-breaker counters, alone and under contention. */
#include "core/limit.h"

#include <pthread.h>

#include "unit.h"

START_TEST(takes_up_to_the_maximum)
{
	atomic_uint n = 0;
	ck_assert(limit_take(&n, 2) && limit_take(&n, 2));
	ck_assert(!limit_take(&n, 2));
	ck_assert_uint_eq(n, 2);
	limit_give(&n);
	ck_assert(limit_take(&n, 2));
	ck_assert(limit_take(&n, 0));           /* 0: unlimited */
	ck_assert_uint_eq(n, 3);
}
END_TEST

START_TEST(kinds)
{
	struct snap_limits l = { .max_connections = 1, .max_pending = 2, .max_requests = 3, .max_retries = 4 };
	ck_assert_int_eq(limit_max(&l, LIMIT_CONNECTIONS), 1);
	ck_assert_int_eq(limit_max(&l, LIMIT_PENDING), 2);
	ck_assert_int_eq(limit_max(&l, LIMIT_REQUESTS), 3);
	ck_assert_int_eq(limit_max(&l, LIMIT_RETRIES), 4);
}
END_TEST

#define MAX 3
#define THREADS 4
static atomic_uint shared, holders, over;

static void *take_and_give(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200000; i++) {
		if (!limit_take(&shared, MAX))
			continue;
		if (atomic_fetch_add(&holders, 1) >= MAX)
			atomic_fetch_add(&over, 1);
		atomic_fetch_sub(&holders, 1);
		limit_give(&shared);
	}
	return NULL;
}

START_TEST(never_over_across_threads)
{
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, take_and_give, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	ck_assert_uint_eq(over, 0);
	ck_assert_uint_eq(shared, 0);
}
END_TEST

START_TEST(a_budget_follows_the_requests_under_way)
{
	const struct snap_limits none = { .max_retries = 7 };
	const struct snap_limits fifth = { .max_retries = 7, .retry_budget_ppm = 200000, .retry_budget_min = 3 };
	const struct snap_limits zero = { .retry_budget_min = 0, .retry_budget_ppm = 1 };

	ck_assert_int_eq(limit_max_retries(&none, 1000), 7);
	ck_assert_int_eq(limit_max_retries(&fifth, 0), 3);
	ck_assert_int_eq(limit_max_retries(&fifth, 15), 3);
	ck_assert_int_eq(limit_max_retries(&fifth, 1000), 200);
	ck_assert_int_eq(limit_max_retries(&zero, 10), 1);
	ck_assert_int_eq(limit_max_retries(&fifth, UINT32_MAX), 858993459);
}
END_TEST

UNIT_MAIN("limit", a_budget_follows_the_requests_under_way, takes_up_to_the_maximum, kinds, never_over_across_threads)
