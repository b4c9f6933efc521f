/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outlier: passive health checks (Istio 2.8.8, Envoy's consecutive detectors): an endpoint that
 * fails several times in a row is left out for a while. Layer core. One state per endpoint, shared
 * by threads; nothing sweeps: an ejection ends when its time is over, and what a sweep would count
 * is worked out at the next one.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "snap/snap.h"

struct outlier_host {                   /* zeroed to begin with */
	atomic_uint n_5xx, n_gateway, n_local;  /* in a row */
	_Atomic uint64_t ejected_until_us;      /* monotonic; 0: never was */
	atomic_uint times;                      /* ejections that the next one builds on */
};

enum outlier_kind { OUTLIER_5XX, OUTLIER_GATEWAY, OUTLIER_LOCAL };

/* The endpoints 0 … n-1 of the cluster. */
struct outlier_set {
	size_t n;
	struct outlier_host *(*get)(void *arg, size_t i);
	void *arg;
};

static inline bool outlier_is_ejected(struct outlier_host *h, uint64_t now_us)
{
	return atomic_load_explicit(&h->ejected_until_us, memory_order_relaxed) > now_us;
}

/*
 * The endpoint answered with that HTTP status (gRPC: what its status means in HTTP), or could not
 * be reached or broke off (local). True: it was ejected just now; *ret_us is for how long, *ret_why
 * which row of failures was too long.
 */
bool outlier_answered(const struct snap_outlier *o, const struct outlier_set *set, size_t host,
		      unsigned status, uint64_t now_us, uint64_t *ret_us, enum outlier_kind *ret_why);
bool outlier_broke(const struct snap_outlier *o, const struct outlier_set *set, size_t host,
		   uint64_t now_us, uint64_t *ret_us, enum outlier_kind *ret_why);
/* A connection was made: ends a row of local failures when they count apart; TCP: any row. */
void outlier_connected(const struct snap_outlier *o, struct outlier_host *h, bool tcp);
/* So few are healthy that ejections are overlooked (2.8.9). */
bool outlier_panics(const struct snap_outlier *o, const struct outlier_set *set, uint64_t now_us);
/* HTTP status of a gRPC status, as Envoy counts it. */
unsigned outlier_status_of_grpc(int grpc_status);
