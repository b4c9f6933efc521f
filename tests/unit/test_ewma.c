/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/ewma and the choice by it: the estimate, and a simulated service of three endpoints of which
 * one is slow for a while. Time is the simulation's.
 */
#include "core/ewma.h"

#include <math.h>
#include <stdio.h>

#include "core/lb.h"
#include "unit.h"

#define S UINT64_C(1000000)

static bool is_near(double a, double b)
{
	return fabs(a - b) <= 0.001 * b;
}

START_TEST(the_estimate)
{
	struct ewma e = { 0 };

	ck_assert(ewma_latency(&e, 5 * S) == 0);
	ewma_observe(&e, 1000, 5 * S);
	ck_assert(is_near(ewma_latency(&e, 5 * S), 1000));
	/* Up at once. */
	ewma_observe(&e, 8000, 5 * S);
	ck_assert(is_near(ewma_latency(&e, 5 * S), 8000));
	/* Down bit by bit: after one time constant 1/e of the old is left. */
	ck_assert(is_near(ewma_latency(&e, 15 * S), 8000 * exp(-1)));
	ewma_observe(&e, 1000, 15 * S);
	ck_assert(is_near(ewma_latency(&e, 15 * S), 8000 * exp(-1) + 1000 * (1 - exp(-1))));
	/* Many short ones in one millisecond are no time that passes. */
	double before = ewma_latency(&e, 15 * S);

	for (int i = 0; i < 100000; i++)
		ewma_observe(&e, 10, 15 * S);
	ck_assert(is_near(ewma_latency(&e, 15 * S), before));
	/* What was seen is never unknown again; a clock that is behind is no harm. */
	ck_assert(ewma_latency(&e, 100000 * S) > 0);
	ck_assert(is_near(ewma_latency(&e, 14 * S), before));
	ewma_observe(&e, 0, 200000 * S);
	ck_assert(ewma_latency(&e, 200000 * S) > 0);
}
END_TEST

/* 100,000 observations at 10,000 a second lead where they should, whatever the unit of the clock. */
START_TEST(a_high_rate_converges)
{
	struct ewma e = { 0 };
	uint64_t now = 5 * S;

	ewma_observe(&e, 100000, now);
	for (int i = 0; i < 1000000; i++, now += 100)
		ewma_observe(&e, 500, now);
	double want = 500 + 99500 * exp(-100.0 / 10);

	ck_assert_msg(fabs(ewma_latency(&e, now) - want) < 0.02 * want, "%f, expected %f", ewma_latency(&e, now), want);
}
END_TEST

/* ---- a simulated service ---------------------------------------------------------------------------------- */

#define N 3
#define UNDER_WAY 4096

struct world {
	struct ewma ewma[N];
	uint32_t active[N];
	uint64_t service_us[N];
	bool fails[N];
	uint64_t now_us;
	struct request { uint64_t began_us, ends_us; size_t at; } v[UNDER_WAY];
	size_t n;
	long got[N], answers;
	double total_us;
	struct lb_rr rr;
	struct rng rng;
};

static struct lb_host look(void *arg, size_t i)
{
	struct world *w = arg;

	return (struct lb_host){ .weight = 1, .usable = true, .active = w->active[i],
				 .latency_us = ewma_latency(&w->ewma[i], w->now_us) };
}

static void answer(struct world *w, size_t i)
{
	struct request r = w->v[i];
	uint64_t us = r.ends_us - r.began_us;

	w->v[i] = w->v[--w->n];
	w->active[r.at]--;
	ewma_observe(&w->ewma[r.at], w->fails[r.at] && us < EWMA_FAILED_US ? EWMA_FAILED_US : us, r.ends_us);
	w->total_us += (double)us;
	w->answers++;
}

static void answer_until(struct world *w, uint64_t until_us)
{
	for (;;) {
		size_t first = w->n;

		for (size_t i = 0; i < w->n; i++)
			if (w->v[i].ends_us <= until_us && (first == w->n || w->v[i].ends_us < w->v[first].ends_us))
				first = i;
		if (first == w->n)
			break;
		answer(w, first);
	}
	w->now_us = until_us;
}

/* Requests at random moments, 200 a second. */
static void run(struct world *w, enum snap_lb kind, uint64_t for_us)
{
	struct lb_set set = { .n = N, .get = look, .arg = w };
	uint64_t end = w->now_us + for_us;

	memset(w->got, 0, sizeof(w->got));
	w->answers = 0;
	w->total_us = 0;
	while (w->now_us < end) {
		answer_until(w, w->now_us + (uint64_t)(-log(1 - rng_unit(&w->rng)) * 5000) + 1);
		size_t i = lb_pick(kind, &set, NULL, &w->rr, &w->rng);
		/* Half fixed, half by lot, so that no two times are the same. */
		uint64_t us = w->service_us[i] / 2 + (uint64_t)(rng_unit(&w->rng) * (double)w->service_us[i]);

		ck_assert_uint_lt(w->n, UNDER_WAY);
		w->v[w->n++] = (struct request){ w->now_us, w->now_us + us, i };
		w->active[i]++;
		w->got[i]++;
	}
}

static void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->now_us = 1000 * S;
	rng_init(&w->rng, 42);
	for (size_t i = 0; i < N; i++)
		w->service_us[i] = 2000;
}

static double share(const struct world *w, size_t i)
{
	return (double)w->got[i] / (double)(w->got[0] + w->got[1] + w->got[2]);
}

static struct world one;

START_TEST(equals_are_equal)
{
	world_init(&one);
	run(&one, SNAP_LB_EWMA, 60 * S);
	for (size_t i = 0; i < N; i++)
		ck_assert_msg(share(&one, i) > 0.25 && share(&one, i) < 0.42, "%zu: %f", i, share(&one, i));
}
END_TEST

START_TEST(a_slow_endpoint_is_spared_and_comes_back)
{
	static const enum snap_lb others[] = { SNAP_LB_ROUND_ROBIN, SNAP_LB_LEAST_REQUEST };

	world_init(&one);
	run(&one, SNAP_LB_EWMA, 20 * S);
	one.service_us[2] = 200000;
	run(&one, SNAP_LB_EWMA, 60 * S);
	double mean = one.total_us / (double)one.answers;

	printf("one of three 100 times slower: EWMA gives it %.2f %% of 12,000 requests, mean %.1f ms\n",
	       100 * share(&one, 2), mean / 1000);
	ck_assert_msg(share(&one, 2) < 0.01, "%f", share(&one, 2));
	ck_assert_msg(one.got[2] > 0, "it is asked now and then");
	one.service_us[2] = 2000;
	run(&one, SNAP_LB_EWMA, 120 * S);       /* it is found out */
	run(&one, SNAP_LB_EWMA, 60 * S);
	ck_assert_msg(share(&one, 2) > 0.25, "it is as good as the others again, and has %f", share(&one, 2));
	for (size_t k = 0; k < 2; k++) {
		world_init(&one);
		one.service_us[2] = 200000;
		run(&one, others[k], 60 * S);
		double other = one.total_us / (double)one.answers;

		printf("%s: %.2f %%, mean %.1f ms\n", snap_lb_names[others[k]], 100 * share(&one, 2), other / 1000);
		ck_assert_msg(other > 2 * mean, "%f against %f", other, mean);
	}
	lb_rr_done(&one.rr);
}
END_TEST

START_TEST(failing_fast_attracts_nobody)
{
	world_init(&one);
	one.service_us[1] = 50;
	one.fails[1] = true;
	run(&one, SNAP_LB_EWMA, 60 * S);
	ck_assert_msg(share(&one, 1) < 0.01, "%f", share(&one, 1));
}
END_TEST

START_TEST(weights_and_those_who_were_tried)
{
	struct lb_tried tried = { 0 };

	world_init(&one);
	struct lb_set set = { .n = N, .get = look, .arg = &one };

	for (size_t i = 0; i < N; i++)
		ewma_observe(&one.ewma[i], 1000 * (i + 1), one.now_us);
	lb_tried_add(&tried, 0);
	for (int i = 0; i < 50; i++)
		ck_assert_uint_eq(lb_pick(SNAP_LB_EWMA, &set, &tried, NULL, &one.rng), 1);
	/* Nothing is known of it: one request finds out, and no second before that is answered. */
	one.ewma[2] = (struct ewma){ 0 };
	for (int i = 0; i < 50; i++)
		ck_assert_uint_eq(lb_pick(SNAP_LB_EWMA, &set, &tried, NULL, &one.rng), 2);
	one.active[2] = 1;
	for (int i = 0; i < 50; i++)
		ck_assert_uint_eq(lb_pick(SNAP_LB_EWMA, &set, &tried, NULL, &one.rng), 1);
}
END_TEST

UNIT_MAIN("ewma", the_estimate, a_high_rate_converges, equals_are_equal, a_slow_endpoint_is_spared_and_comes_back,
	  failing_fast_attracts_nobody, weights_and_those_who_were_tried)
