/* SPDX-License-Identifier: Apache-2.0 */
/* rng: xoshiro256** for chance, getrandom(2) for secrets. Layer base. */
#include "base/rng.h"

#include <errno.h>
#include <sys/random.h>

#include "base/err.h"

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

/* splitmix64: any seed, also 0, gives four words that are not all zero. */
void rng_init(struct rng *r, uint64_t seed)
{
	for (size_t i = 0; i < 4; i++) {
		uint64_t z = (seed += 0x9e3779b97f4a7c15u);
		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		r->s[i] = z ^ (z >> 31);
	}
}

void rng_init_random(struct rng *r)
{
	uint64_t seed;

	rng_secure(&seed, sizeof(seed));
	rng_init(r, seed);
}

uint64_t rng_next(struct rng *r)
{
	uint64_t *s = r->s;
	uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
	kv_assert(n > 0);
	/* 2^64 mod n values at the bottom would make the remainder uneven. */
	uint64_t reject = (0 - n) % n, x;

	do {
		x = rng_next(r);
	} while (x < reject);
	return x % n;
}

double rng_unit(struct rng *r)
{
	return (double)(rng_next(r) >> 11) * 0x1.0p-53;
}

void rng_secure(void *p, size_t n)
{
	unsigned char *at = p;

	while (n > 0) {
		ssize_t got = getrandom(at, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		kv_assert(got > 0);
		at += got;
		n -= (size_t)got;
	}
}
