/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lb: which endpoint of a cluster gets a request (Istio 2.8.1, 2.8.2, and EWMA of our own). Layer core. It sees
 * endpoints through a function that tells their state now, so that picking one of thousands reads
 * two.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "snap/snap.h"

struct lb_host {
	int64_t weight;                 /* >= 1 */
	uint32_t active;                /* requests under way */
	double latency_us;              /* EWMA only: how long it takes to answer; 0: not known */
	bool usable;                    /* healthy, not ejected */
};
/* The endpoints 0 … n-1 of a cluster. */
struct lb_set {
	size_t n;
	bool weighted;                  /* lb_is_weighted */
	struct lb_host (*get)(void *arg, size_t i);
	void *arg;
};
/* Weights differ: then they count. */
bool lb_is_weighted(const struct snap_endpoint *v, size_t n);

/*
 * The weight that counts now for an endpoint that came, or came back, age_us ago (Istio 2.8.13), in
 * units of 1/LB_WARM_UNIT: all weights of a set are in them where one may warm up.
 */
#define LB_WARM_UNIT 1000
int64_t lb_warm_weight(const struct snap_warmup *w, int64_t weight, uint64_t age_us);

/* Endpoints that a request has been to; the oldest are forgotten when there are too many. */
#define LB_TRIED_MAX 8
struct lb_tried {
	uint32_t v[LB_TRIED_MAX];
	unsigned n;                     /* added so far */
};
void lb_tried_add(struct lb_tried *t, size_t i);
bool lb_tried_has(const struct lb_tried *t, size_t i);

/* State of round robin, one per cluster and owner; zeroed to begin with. */
struct lb_rr {
	int64_t *current;               /* smooth weighted: one per endpoint */
	size_t n;
	size_t last;                    /* picked before */
	bool started;
};
void lb_rr_done(struct lb_rr *rr);

#define LB_NONE SIZE_MAX
/*
 * Is this algorithm one of lb_pick's? The others need no choice (PASSTHROUGH) or tables that are
 * not made yet.
 */
bool lb_can_pick(enum snap_lb kind);
/*
 * Index of a usable endpoint, one that was not tried while there is one; LB_NONE: no usable
 * endpoint (503 UH). kind must satisfy lb_can_pick. tried may be NULL; rr is only touched by round
 * robin.
 */
size_t lb_pick(enum snap_lb kind, const struct lb_set *set, const struct lb_tried *tried,
	       struct lb_rr *rr, struct rng *rng);
