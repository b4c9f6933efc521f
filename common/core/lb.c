/* SPDX-License-Identifier: Apache-2.0 */
/* lb: least request, smooth weighted round robin, random, peak EWMA. Layer core. */
#include "core/lb.h"

#include <math.h>

#include "base/arena.h"

/*
 * Blind draws before a scan: with half of the endpoints usable, a scan is needed once in 256 picks.
 */
#define DRAWS 8

bool lb_is_weighted(const struct snap_endpoint *v, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		if (v[i].weight != v[0].weight)
			return true;
	}
	return false;
}

/* Envoy's curve: the time's share to the power of 1/aggression, and never below the minimum. */
int64_t lb_warm_weight(const struct snap_warmup *w, int64_t weight, uint64_t age_us)
{
	double share = (double)age_us / (double)w->duration_us, least = (double)w->minimum_ppm / 1e6;
	int64_t full = weight * LB_WARM_UNIT;

	if (share >= 1)
		return full;
	if (w->aggression_milli != 1000)
		share = pow(share, 1000.0 / (double)w->aggression_milli);
	int64_t now = (int64_t)((double)full * (share > least ? share : least));

	return now > 0 ? now : 1;
}

void lb_tried_add(struct lb_tried *t, size_t i)
{
	t->v[t->n++ % LB_TRIED_MAX] = (uint32_t)i;
}

bool lb_tried_has(const struct lb_tried *t, size_t i)
{
	unsigned n = t->n < LB_TRIED_MAX ? t->n : LB_TRIED_MAX;
	for (unsigned k = 0; k < n; k++) {
		if (t->v[k] == i)
			return true;
	}
	return false;
}

/* May i be picked? but: an index that may not, LB_NONE for none. */
static bool is_eligible(const struct lb_set *set, const struct lb_tried *tried, size_t i,
			size_t but, struct lb_host *ret)
{
	if (i == but || (tried && lb_tried_has(tried, i)))
		return false;
	*ret = set->get(set->arg, i);
	return ret->usable;
}

/* A uniformly chosen eligible endpoint, or LB_NONE. */
static size_t draw(const struct lb_set *set, const struct lb_tried *tried, size_t but,
		   struct rng *rng, struct lb_host *ret)
{
	for (unsigned k = 0; k < DRAWS; k++) {
		size_t i = (size_t)rng_below(rng, set->n);
		if (is_eligible(set, tried, i, but, ret))
			return i;
	}
	size_t best = LB_NONE, seen = 0;
	struct lb_host h;
	for (size_t i = 0; i < set->n; i++) {
		if (is_eligible(set, tried, i, but, &h) && rng_below(rng, ++seen) == 0) {
			best = i;
			*ret = h;
		}
	}
	return best;
}

/* The less busy of two (power of two choices). */
static size_t least_request(const struct lb_set *set, const struct lb_tried *tried, struct rng *rng)
{
	struct lb_host a, b;
	size_t i = draw(set, tried, LB_NONE, rng, &a);
	if (i == LB_NONE || set->n == 1)
		return i;
	size_t k = draw(set, tried, i, rng, &b);
	return k != LB_NONE && b.active < a.active ? k : i;
}

/* With weights: a lot in proportion to weight / (active + 1). */
static size_t weighted_least_request(const struct lb_set *set, const struct lb_tried *tried,
				     struct rng *rng)
{
	size_t best = LB_NONE;
	double total = 0;
	struct lb_host h;
	for (size_t i = 0; i < set->n; i++) {
		if (!is_eligible(set, tried, i, LB_NONE, &h))
			continue;
		double share = (double)h.weight / ((double)h.active + 1);
		total += share;
		if (rng_unit(rng) * total < share)
			best = i;
	}
	return best;
}

/*
 * What one more request there would wait, as if those under way were served one after the other. Of
 * one that is not known one request finds out; until it is answered any other is better.
 */
static double wait_of(const struct lb_host *h)
{
	if (h->latency_us > 0)
		return h->latency_us * ((double)h->active + 1) / (double)h->weight;
	return h->active == 0 ? 0 : 1e15 + (double)h->active;
}

/* The one of two with the shorter wait. */
static size_t least_wait(const struct lb_set *set, const struct lb_tried *tried, struct rng *rng)
{
	struct lb_host a, b;
	size_t i = draw(set, tried, LB_NONE, rng, &a);

	if (i == LB_NONE || set->n == 1)
		return i;
	size_t k = draw(set, tried, i, rng, &b);

	return k != LB_NONE && wait_of(&b) < wait_of(&a) ? k : i;
}

static void rr_prepare(struct lb_rr *rr, const struct lb_set *set, struct rng *rng)
{
	if (set->weighted && rr->n != set->n) {
		free(rr->current);
		rr->current = kv_zalloc(set->n * sizeof(*rr->current));
		rr->n = set->n;
	}
	/* Owners of one cluster begin at different endpoints. */
	if (!rr->started || rr->last >= set->n)
		rr->last = (size_t)rng_below(rng, set->n);
	rr->started = true;
}

static size_t round_robin(const struct lb_set *set, const struct lb_tried *tried, struct lb_rr *rr)
{
	struct lb_host h;
	for (size_t k = 1; k <= set->n; k++) {
		size_t i = (rr->last + k) % set->n;
		if (is_eligible(set, tried, i, LB_NONE, &h)) {
			rr->last = i;
			return i;
		}
	}
	return LB_NONE;
}

/*
 * Every pick gives each endpoint its weight and takes the total from the richest: evenly
 * interleaved.
 */
static size_t weighted_round_robin(const struct lb_set *set, const struct lb_tried *tried,
				   struct lb_rr *rr)
{
	size_t best = LB_NONE;
	int64_t total = 0;
	struct lb_host h;
	for (size_t k = 1; k <= set->n; k++) {
		size_t i = (rr->last + k) % set->n;
		if (!is_eligible(set, tried, i, LB_NONE, &h))
			continue;
		rr->current[i] += h.weight;
		total += h.weight;
		if (best == LB_NONE || rr->current[i] > rr->current[best])
			best = i;
	}
	if (best != LB_NONE)
		rr->current[best] -= total;
	return best;
}

void lb_rr_done(struct lb_rr *rr)
{
	free(rr->current);
	*rr = (struct lb_rr){ 0 };
}

bool lb_can_pick(enum snap_lb kind)
{
	return kind == SNAP_LB_LEAST_REQUEST || kind == SNAP_LB_ROUND_ROBIN ||
	       kind == SNAP_LB_RANDOM || kind == SNAP_LB_EWMA;
}

static size_t pick(enum snap_lb kind, const struct lb_set *set, const struct lb_tried *tried,
		   struct lb_rr *rr, struct rng *rng)
{
	struct lb_host h;
	if (kind == SNAP_LB_RANDOM)
		return draw(set, tried, LB_NONE, rng, &h);
	if (kind == SNAP_LB_EWMA)
		return least_wait(set, tried, rng);
	if (kind == SNAP_LB_ROUND_ROBIN) {
		rr_prepare(rr, set, rng);
		return set->weighted ? weighted_round_robin(set, tried, rr)
				     : round_robin(set, tried, rr);
	}
	return set->weighted ? weighted_least_request(set, tried, rng)
			     : least_request(set, tried, rng);
}

size_t lb_pick(enum snap_lb kind, const struct lb_set *set, const struct lb_tried *tried,
	       struct lb_rr *rr, struct rng *rng)
{
	kv_assert(lb_can_pick(kind));
	if (set->n == 0)
		return LB_NONE;
	size_t i = pick(kind, set, tried, rr, rng);
	return i == LB_NONE && tried ? pick(kind, set, NULL, rr, rng) : i;
}
