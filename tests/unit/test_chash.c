/* SPDX-License-Identifier: Apache-2.0 */
/* core/chash: shares, stability, and what happens to the keys of an endpoint that is away. */
#include "core/chash.h"

#include <stdio.h>

#include "base/hash.h"

#include "unit.h"

#define N_KEYS 100000
#define N_MAX 16

static struct {
	size_t asked;
	bool away[N_MAX];
	int64_t weight[N_MAX];
} world;

static struct lb_host get(void *arg, size_t i)
{
	(void)arg;
	world.asked++;
	return (struct lb_host){ .weight = world.weight[i], .usable = !world.away[i] };
}

static struct lb_set set_of(size_t n)
{
	return (struct lb_set){ .n = n, .get = get };
}

/* Endpoints 10.0.0.FIRST … of those weights (0: the first FIRST are left out). */
static struct chash *table_of(enum snap_lb kind, size_t first, size_t n, int64_t size)
{
	static struct snap_endpoint v[N_MAX];
	static char text[N_MAX][32];
	struct snap_hash hash = { .table_size = size };
	struct snap_cluster c = { .lb = (int)kind, .hash = &hash, .endpoints = { .v = v, .n = n } };

	for (size_t i = 0; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "10.0.0.%zu", first + i);
		v[i] = (struct snap_endpoint){ .address = str_c(text[i]), .port = 80, .weight = world.weight[i] };
	}
	return chash_new(&c);
}

static void reset(void)
{
	memset(&world, 0, sizeof(world));
	for (size_t i = 0; i < N_MAX; i++)
		world.weight[i] = 1;
}

static uint64_t key(uint64_t i)
{
	return hash_bytes(&i, sizeof(i), 7);
}

static const enum snap_lb kinds[] = { SNAP_LB_RING_HASH, SNAP_LB_MAGLEV };

START_TEST(shares_follow_the_weights)
{
	for (size_t k = 0; k < 2; k++) {
		size_t got[4] = { 0 };

		reset();
		world.weight[3] = 3;
		struct chash *t = table_of(kinds[k], 1, 4, k == 0 ? 65536 : 0);
		struct lb_set set = set_of(4);

		for (uint64_t i = 0; i < N_KEYS; i++)
			got[chash_pick(t, &set, key(i))]++;
		/* Shares of 1/6, 1/6, 1/6, 1/2: a ring of 65,536 points is within 3 % of them, maglev within 1 %. */
		for (size_t e = 0; e < 4; e++)
			ck_assert_msg(got[e] * 6 > N_KEYS * (e == 3 ? 3 : 1) * 94 / 100 &&
				      got[e] * 6 < N_KEYS * (e == 3 ? 3 : 1) * 106 / 100,
				      "kind %zu, endpoint %zu: %zu of %d", k, e, got[e], N_KEYS);
		chash_free(t);
	}
}
END_TEST

START_TEST(only_the_keys_of_the_one_that_left_move)
{
	for (size_t k = 0; k < 2; k++) {
		size_t moved = 0, of_it = 0;

		reset();
		struct chash *all = table_of(kinds[k], 1, 10, 0), *fewer = table_of(kinds[k], 2, 9, 0);
		struct lb_set ten = set_of(10), nine = set_of(9);

		for (uint64_t i = 0; i < N_KEYS; i++) {
			size_t a = chash_pick(all, &ten, key(i)), b = chash_pick(fewer, &nine, key(i)) + 1;

			of_it += a == 0;
			moved += a != 0 && a != b;
		}
		ck_assert_uint_gt(of_it, N_KEYS / 20);
		/* None on a ring; maglev gives up a little (the paper: a few percent of the slots). */
		ck_assert_msg(moved <= (k == 0 ? 0 : N_KEYS / 20), "kind %zu: %zu moved", k, moved);
		chash_free(all);
		chash_free(fewer);
	}
}
END_TEST

START_TEST(who_is_away_is_passed_over_and_keeps_his_keys)
{
	for (size_t k = 0; k < 2; k++) {
		size_t other[5] = { 0 };

		reset();
		struct chash *t = table_of(kinds[k], 1, 5, 0);
		struct lb_set set = set_of(5);

		for (uint64_t i = 0; i < N_KEYS; i++) {
			world.away[2] = false;
			size_t before = chash_pick(t, &set, key(i));

			world.away[2] = true;
			size_t now = chash_pick(t, &set, key(i));

			ck_assert_uint_ne(now, 2);
			ck_assert(before == 2 || now == before);
			ck_assert_uint_eq(now, chash_pick(t, &set, key(i)));
			other[now] += before == 2;
		}
		for (size_t e = 0; e < 5; e++)
			ck_assert_msg(e == 2 || other[e] > 0, "its keys are spread over all others");
		for (size_t e = 0; e < 5; e++)
			world.away[e] = true;
		ck_assert_uint_eq(chash_pick(t, &set, 1), LB_NONE);
		chash_free(t);
	}
}
END_TEST

/* A million points: neither when all are away nor when only featherweights are left are they walked. */
START_TEST(a_large_ring_is_not_walked)
{
	size_t got[4] = { 0 };

	reset();
	world.weight[0] = world.weight[1] = 1000000;
	world.away[0] = world.away[1] = true;
	struct chash *t = table_of(SNAP_LB_RING_HASH, 1, 4, 1000000);
	struct lb_set set = set_of(4);

	for (uint64_t i = 0; i < 1000; i++)
		got[chash_pick(t, &set, key(i))]++;
	ck_assert_uint_lt(world.asked, 1000 * 1100);
	/* The lot of two keys: within five standard deviations of half. */
	ck_assert_msg(got[2] > 420 && got[3] > 420, "%zu and %zu", got[2], got[3]);
	world.asked = 0;
	world.away[2] = world.away[3] = true;
	ck_assert_uint_eq(chash_pick(t, &set, key(0)), LB_NONE);
	ck_assert_uint_lt(world.asked, 1100);
	chash_free(t);
}
END_TEST

START_TEST(nobody_to_choose)
{
	struct lb_set none = set_of(0);
	struct snap_cluster c = { .lb = SNAP_LB_MAGLEV };

	ck_assert_ptr_null(chash_new(&c));
	ck_assert_uint_eq(chash_pick(NULL, &none, 1), LB_NONE);
}
END_TEST

UNIT_MAIN("chash", shares_follow_the_weights, only_the_keys_of_the_one_that_left_move,
	  who_is_away_is_passed_over_and_keeps_his_keys, a_large_ring_is_not_walked, nobody_to_choose)
