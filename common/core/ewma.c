/* SPDX-License-Identifier: Apache-2.0 */
/* ewma: see ewma.h. Layer core. */
#include "core/ewma.h"

#include <math.h>
#include <string.h>

/* What was seen stays seen, however long ago: 0 is for what never was. */
#define LEAST_US 0.001f

struct estimate {
	float us;
	uint32_t at_ms;                 /* it wraps after 49 days: then an old one looks new, once */
};
_Static_assert(sizeof(struct estimate) == sizeof(uint64_t), "both fit into one word");

static struct estimate unpack(uint64_t word)
{
	struct estimate e;

	memcpy(&e, &word, sizeof(e));
	return e;
}

static uint64_t pack(struct estimate e)
{
	uint64_t word;

	memcpy(&word, &e, sizeof(word));
	return word;
}

/* What is left of 1 since then. Another thread may be ahead of this one's clock. */
static double left_of(struct estimate e, uint64_t now_us)
{
	int32_t ms = (int32_t)((uint32_t)(now_us / 1000) - e.at_ms);

	return ms > 0 ? exp(-(double)ms * 1000 / (double)EWMA_DECAY_US) : 1;
}

void ewma_observe(struct ewma *e, uint64_t latency_us, uint64_t now_us)
{
	uint64_t before = atomic_load_explicit(&e->word, memory_order_relaxed);
	double us = (double)latency_us;
	struct estimate next = { .at_ms = (uint32_t)(now_us / 1000) };

	do {
		struct estimate now = unpack(before);
		double left = left_of(now, now_us);

		next.us = (float)(us > (double)now.us ? us : (double)now.us * left + us * (1 - left));
		if (next.us < LEAST_US)
			next.us = LEAST_US;
	} while (!atomic_compare_exchange_weak_explicit(&e->word, &before, pack(next),
							memory_order_relaxed, memory_order_relaxed));
}

double ewma_latency(struct ewma *e, uint64_t now_us)
{
	uint64_t word = atomic_load_explicit(&e->word, memory_order_relaxed);
	struct estimate now = unpack(word);

	if (word == 0)
		return 0;
	double us = (double)now.us * left_of(now, now_us);

	return us > (double)LEAST_US ? us : (double)LEAST_US;
}
