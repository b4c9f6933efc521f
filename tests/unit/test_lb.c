/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/lb: which endpoint is picked. Seeds are fixed; where counts are compared, the bound is five standard
 * deviations of the binomial distribution (one chance in 1.7 million per comparison had the seed been free).
 */
#include "core/lb.h"

#include <math.h>

#include "unit.h"

#define N_MAX 64
static struct lb_host hosts[N_MAX];

static struct lb_host get(void *arg, size_t i)
{
	(void)arg;
	return hosts[i];
}

static struct lb_set set_of(size_t n)
{
	for (size_t i = 0; i < n; i++)
		hosts[i] = (struct lb_host){ .weight = 1, .usable = true };
	return (struct lb_set){ .n = n, .get = get };
}

static struct lb_set weighted(size_t n, const int64_t *w)
{
	struct lb_set s = set_of(n);
	s.weighted = true;
	for (size_t i = 0; i < n; i++)
		hosts[i].weight = w[i];
	return s;
}

static void check_share(long got, long n, double p)
{
	double sd = sqrt((double)n * p * (1 - p));
	ck_assert_msg(fabs((double)got - (double)n * p) <= 5 * sd, "got %ld of %ld, expected %.4f", got, n, p);
}

static void count(enum snap_lb kind, const struct lb_set *s, const struct lb_tried *tried, long n, long *ret)
{
	struct rng r;
	struct lb_rr rr = { 0 };
	rng_init(&r, 42);
	memset(ret, 0, N_MAX * sizeof(*ret));
	for (long k = 0; k < n; k++) {
		size_t i = lb_pick(kind, s, tried, &rr, &r);
		ck_assert_uint_lt(i, s->n);
		ret[i]++;
	}
	lb_rr_done(&rr);
}

START_TEST(random_is_uniform)
{
	long got[N_MAX];
	struct lb_set s = set_of(5);
	hosts[2].usable = false;
	hosts[3].active = 1000;
	count(SNAP_LB_RANDOM, &s, NULL, 40000, got);
	ck_assert_int_eq(got[2], 0);
	for (size_t i = 0; i < 5; i++) {
		if (i != 2)
			check_share(got[i], 40000, 0.25);
	}
	/* Few usable ones among many: the scan behind the blind draws is uniform too. */
	s = set_of(64);
	for (size_t i = 0; i < 64; i++)
		hosts[i].usable = i == 1 || i == 62 || i == 63;
	count(SNAP_LB_RANDOM, &s, NULL, 30000, got);
	check_share(got[1], 30000, 1.0 / 3);
	check_share(got[62], 30000, 1.0 / 3);
	check_share(got[63], 30000, 1.0 / 3);
}
END_TEST

START_TEST(least_request_prefers_the_idle)
{
	long got[N_MAX];
	struct lb_set s = set_of(4);
	count(SNAP_LB_LEAST_REQUEST, &s, NULL, 40000, got);
	for (size_t i = 0; i < 4; i++)
		check_share(got[i], 40000, 0.25);
	/* Two choices of four: the busiest never wins; the idlest wins whenever it is drawn (1/2). */
	for (uint32_t i = 0; i < 4; i++)
		hosts[i].active = i;
	count(SNAP_LB_LEAST_REQUEST, &s, NULL, 40000, got);
	check_share(got[0], 40000, 0.5);
	check_share(got[1], 40000, 1.0 / 3);
	check_share(got[2], 40000, 1.0 / 6);
	ck_assert_int_eq(got[3], 0);
}
END_TEST

START_TEST(least_request_with_weights)
{
	static const int64_t w[] = { 1, 2, 5 };
	long got[N_MAX];
	struct lb_set s = weighted(3, w);
	count(SNAP_LB_LEAST_REQUEST, &s, NULL, 40000, got);
	check_share(got[0], 40000, 0.125);
	check_share(got[1], 40000, 0.25);
	check_share(got[2], 40000, 0.625);
	hosts[2].active = 4;            /* 5 / (4 + 1) = 1 */
	count(SNAP_LB_LEAST_REQUEST, &s, NULL, 40000, got);
	check_share(got[0], 40000, 0.25);
	check_share(got[1], 40000, 0.5);
	check_share(got[2], 40000, 0.25);
}
END_TEST

START_TEST(round_robin_takes_turns)
{
	long got[N_MAX];
	struct lb_set s = set_of(4);
	hosts[1].usable = false;
	count(SNAP_LB_ROUND_ROBIN, &s, NULL, 300, got);
	ck_assert_int_eq(got[1], 0);
	/* The neighbour of an unusable endpoint gets no double share. */
	ck_assert(got[0] == 100 && got[2] == 100 && got[3] == 100);
}
END_TEST

START_TEST(weighted_round_robin_is_exact_and_smooth)
{
	static const int64_t w[] = { 5, 1, 1 };
	struct lb_set s = weighted(3, w);
	struct lb_rr rr = { 0 };
	struct rng r;
	rng_init(&r, 1);
	long got[3] = { 0 };
	int run = 0, longest = 0;
	size_t last = LB_NONE;
	for (int k = 0; k < 700; k++) {
		size_t i = lb_pick(SNAP_LB_ROUND_ROBIN, &s, NULL, &rr, &r);
		got[i]++;
		run = i == last ? run + 1 : 1;
		longest = run > longest ? run : longest;
		last = i;
	}
	ck_assert(got[0] == 500 && got[1] == 100 && got[2] == 100);
	/* 5:1:1 interleaved never gives more than four in a row (two around the turn of a period). */
	ck_assert_int_le(longest, 4);
	lb_rr_done(&rr);
}
END_TEST

/* Istio 2.8.13 */
START_TEST(a_new_endpoint_warms_up)
{
	struct snap_warmup w = { .duration_us = 1000000, .minimum_ppm = 100000, .aggression_milli = 1000 };
	long got[N_MAX];

	ck_assert_int_eq(lb_warm_weight(&w, 1, 0), 100);
	ck_assert_int_eq(lb_warm_weight(&w, 1, 99999), 100);
	ck_assert_int_eq(lb_warm_weight(&w, 1, 250000), 250);
	ck_assert_int_eq(lb_warm_weight(&w, 4, 250000), 1000);
	ck_assert_int_eq(lb_warm_weight(&w, 4, 1000000), 4000);
	ck_assert_int_eq(lb_warm_weight(&w, 4, UINT64_MAX), 4000);
	w.aggression_milli = 2000;      /* the root: fast at first */
	ck_assert_int_eq(lb_warm_weight(&w, 1, 250000), 500);
	w.aggression_milli = 500;       /* the square */
	ck_assert_int_eq(lb_warm_weight(&w, 1, 500000), 250);
	w.minimum_ppm = 0;
	ck_assert_int_eq(lb_warm_weight(&w, 1, 0), 1);

	/* A quarter of the way: 1/9 of the requests beside two that are there. */
	const int64_t weights[] = { 1000, 1000, 250 };
	struct lb_set s = weighted(3, weights);

	count(SNAP_LB_ROUND_ROBIN, &s, NULL, 900, got);
	ck_assert_msg(labs(got[2] - 100) <= 1, "%ld of 900", got[2]);
	count(SNAP_LB_LEAST_REQUEST, &s, NULL, 40000, got);
	check_share(got[2], 40000, 1.0 / 9);
}
END_TEST

START_TEST(what_was_tried_is_avoided_while_possible)
{
	static const enum snap_lb kinds[] = { SNAP_LB_LEAST_REQUEST, SNAP_LB_ROUND_ROBIN, SNAP_LB_RANDOM };
	long got[N_MAX];
	for (size_t k = 0; k < 3; k++) {
		struct lb_tried t = { 0 };
		struct lb_set s = set_of(3);
		lb_tried_add(&t, 0);
		lb_tried_add(&t, 2);
		count(kinds[k], &s, &t, 200, got);
		ck_assert_int_eq(got[1], 200);
		lb_tried_add(&t, 1);
		count(kinds[k], &s, &t, 200, got);
		ck_assert(got[0] > 0 && got[1] > 0 && got[2] > 0);
	}
}
END_TEST

START_TEST(the_oldest_tries_are_forgotten)
{
	struct lb_tried t = { 0 };
	for (size_t i = 0; i < LB_TRIED_MAX + 2; i++)
		lb_tried_add(&t, i);
	ck_assert(!lb_tried_has(&t, 0) && !lb_tried_has(&t, 1));
	ck_assert(lb_tried_has(&t, 2) && lb_tried_has(&t, LB_TRIED_MAX + 1));
	ck_assert(!lb_tried_has(&(struct lb_tried){ 0 }, 0));
}
END_TEST

START_TEST(none_usable)
{
	static const enum snap_lb kinds[] = { SNAP_LB_LEAST_REQUEST, SNAP_LB_ROUND_ROBIN, SNAP_LB_RANDOM };
	struct rng r;
	rng_init(&r, 1);
	for (size_t k = 0; k < 6; k++) {
		struct lb_rr rr = { 0 };
		struct lb_set s = set_of(3);
		s.weighted = k >= 3;
		for (size_t i = 0; i < 3; i++)
			hosts[i].usable = false;
		ck_assert_uint_eq(lb_pick(kinds[k % 3], &s, NULL, &rr, &r), LB_NONE);
		s.n = 0;
		ck_assert_uint_eq(lb_pick(kinds[k % 3], &s, NULL, &rr, &r), LB_NONE);
		lb_rr_done(&rr);
	}
	ck_assert(!lb_can_pick(SNAP_LB_RING_HASH) && !lb_can_pick(SNAP_LB_MAGLEV) && !lb_can_pick(SNAP_LB_PASSTHROUGH));
}
END_TEST

START_TEST(the_set_may_change_size)
{
	static const int64_t w[] = { 1, 2, 3, 4 };
	struct lb_rr rr = { 0 };
	struct rng r;
	rng_init(&r, 9);
	for (size_t n = 4; n > 0; n--) {
		struct lb_set s = weighted(n, w);
		for (int k = 0; k < 20; k++)
			ck_assert_uint_lt(lb_pick(SNAP_LB_ROUND_ROBIN, &s, NULL, &rr, &r), n);
	}
	lb_rr_done(&rr);
	struct snap_endpoint e[2] = { { .weight = 2 }, { .weight = 2 } };
	ck_assert(!lb_is_weighted(e, 2) && !lb_is_weighted(e, 0));
	e[1].weight = 3;
	ck_assert(lb_is_weighted(e, 2));
}
END_TEST

UNIT_MAIN("lb", random_is_uniform, least_request_prefers_the_idle, least_request_with_weights, round_robin_takes_turns,
	  weighted_round_robin_is_exact_and_smooth, a_new_endpoint_warms_up, what_was_tried_is_avoided_while_possible,
	  the_oldest_tries_are_forgotten, none_usable, the_set_may_change_size)
