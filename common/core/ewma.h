/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ewma: how long an endpoint takes to answer, as the choice by latency sees it: the peak EWMA of
 * Finagle and Linkerd. A longer time counts at once, a shorter one pulls the estimate down bit by
 * bit, and what is not asked falls towards nothing, so that it is asked again some day. Layer core.
 * One state per endpoint, shared by threads: a single word.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

/* An estimate keeps 1/e of itself for so long; Linkerd's value. */
#define EWMA_DECAY_US (UINT64_C(10) * 1000 * 1000)
/* A try that failed, as an answer of 502, 503 or 504, counts as one that took at least this long: failing fast must attract nobody. */
#define EWMA_FAILED_US (UINT64_C(1) * 1000 * 1000)

struct ewma {                           /* zeroed to begin with */
	_Atomic uint64_t word;          /* the bits of a float, microseconds; when, milliseconds */
};

void ewma_observe(struct ewma *e, uint64_t latency_us, uint64_t now_us);
/* Microseconds; 0: nothing is known of it. */
double ewma_latency(struct ewma *e, uint64_t now_us);
