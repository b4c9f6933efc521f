/* SPDX-License-Identifier: Apache-2.0 */
/* asked: see asked.h. Layer core. */
#include "core/asked.h"

#include <string.h>

#define BACKOFF_US 25000 /* where the route has no policy (Istio 2.5.8) */
#define ATTEMPTS 1       /* Envoy's, when only the conditions are named */
#define ATTEMPTS_MAX 100

/* ---- reading -----------------------------------------------------------------------------------
 */

static void put_ms(int64_t *to, struct str value)
{
	uint64_t v;

	if (str_to_u64(value, &v) && v <= UINT32_MAX)
		*to = (int64_t)v * 1000;
}

static void take_timeout(struct asked *a, struct str value)
{
	put_ms(&a->timeout_us, value);
}

static void take_per_try(struct asked *a, struct str value)
{
	put_ms(&a->per_try_us, value);
}

static void take_attempts(struct asked *a, struct str value)
{
	uint64_t v;

	if (str_to_u64(value, &v))
		a->attempts = v < ATTEMPTS_MAX ? (int64_t)v : ATTEMPTS_MAX;
}

static void take_code(struct asked *a, struct str word)
{
	uint64_t v;

	if (str_to_u64(word, &v) && v >= 100 && v <= 599 && a->n_codes < ASKED_CODES_MAX)
		a->codes[a->n_codes++] = (int64_t)v;
}

static void take_conditions(struct asked *a, struct str list)
{
	for (struct str word; str_split(&list, ',', &word);)
		a->on |= snap_retry_condition(str_trim(word));
}

static void take_codes(struct asked *a, struct str list)
{
	for (struct str word; str_split(&list, ',', &word);)
		take_code(a, str_trim(word));
}

/* Envoy reads the gRPC conditions in a header of their own; in either they mean the same. */
static const struct {
	struct str name;
	void (*read)(struct asked *a, struct str value);
} headers[] = {
	{ { "x-envoy-upstream-rq-timeout-ms", 30 }, take_timeout },
	{ { "x-envoy-upstream-rq-per-try-timeout-ms", 38 }, take_per_try },
	{ { "x-envoy-max-retries", 19 }, take_attempts },
	{ { "x-envoy-retry-on", 16 }, take_conditions },
	{ { "x-envoy-retry-grpc-on", 21 }, take_conditions },
	{ { "x-envoy-retriable-status-codes", 30 }, take_codes },
};

static size_t index_of(struct str name)
{
	size_t i = 0, n = sizeof(headers) / sizeof(headers[0]);

	while (i < n && !str_eq(headers[i].name, name))
		i++;
	return i < n ? i : SIZE_MAX;
}

void asked_init(struct asked *a)
{
	*a = (struct asked){ .timeout_us = -1, .per_try_us = -1, .attempts = -1 };
}

bool asked_is_one(struct str name)
{
	return index_of(name) != SIZE_MAX;
}

void asked_read(struct asked *a, struct str name, struct str value)
{
	size_t i = index_of(name);

	if (i != SIZE_MAX)
		headers[i].read(a, value);
}

/* ---- applying ----------------------------------------------------------------------------------
 */

static void add_codes(struct snap_retry *r, const struct asked *a, struct arena *arena)
{
	int64_t *v = arena_alloc(arena, sizeof(*v) * (r->codes.n + a->n_codes));

	if (r->codes.n > 0)
		memcpy(v, r->codes.v, sizeof(*v) * r->codes.n);
	memcpy(v + r->codes.n, a->codes, sizeof(*v) * a->n_codes);
	r->codes.v = v;
	r->codes.n += a->n_codes;
}

const struct snap_retry *asked_retry(const struct asked *a, const struct snap_retry *of_route,
				     struct arena *arena)
{
	if (a->attempts < 0 && a->on == 0 && a->n_codes == 0)
		return of_route;
	if (!of_route && a->on == 0)
		return NULL;
	struct snap_retry *r = arena_new(arena, struct snap_retry);

	if (of_route)
		*r = *of_route;
	else
		*r = (struct snap_retry){ .attempts = ATTEMPTS,
					  .backoff_us = BACKOFF_US,
					  .ignore_previous_hosts = true };
	r->on |= a->on;
	if (a->attempts >= 0)
		r->attempts = a->attempts;
	if (a->n_codes > 0)
		add_codes(r, a, arena);
	return r;
}
