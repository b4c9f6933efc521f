/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng: fast random numbers for load balancing and jitter, one state per owner. Layer base.
 * Not for keys, serials or tokens: those come from OpenSSL or rng_secure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t s[4]; /* xoshiro256** */
};

void rng_init(struct rng *r, uint64_t seed);
void rng_init_random(struct rng *r); /* seeded by getrandom(2) */
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* uniform in [0, n); n > 0 */
double rng_unit(struct rng *r);                /* uniform in [0, 1) */
void rng_secure(void *p, size_t n);            /* getrandom(2); aborts when there is none */
