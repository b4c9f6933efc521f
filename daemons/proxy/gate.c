/* SPDX-License-Identifier: Apache-2.0 */
/* gate: connections and handshakes of all workers, see gate.h. Layer proxy. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/hash.h"
#include "core/limit.h"
#include "proxy/gate.h"

void gate_init(struct gate *g)
{
	struct rng rng;

	rng_init_random(&rng);
	g->key[0] = rng_next(&rng);
	g->key[1] = rng_next(&rng);
	atomic_init(&g->max_conns, UINT32_MAX);
	atomic_init(&g->max_handshakes, GATE_HANDSHAKES);
	atomic_init(&g->max_per_source, GATE_HANDSHAKES_PER_SOURCE);
}

static unsigned limit_of(const atomic_uint *max)
{
	return atomic_load_explicit(max, memory_order_relaxed);
}

const char *gate_take_conn(struct gate *g)
{
	return limit_take(&g->conns, limit_of(&g->max_conns)) ? NULL : "connections_total";
}

void gate_give_conn(struct gate *g)
{
	limit_give(&g->conns);
}

/* ---- sources --------------------------------------------------------------------------------- */

/* The address without the port; of IPv6 what one customer is given. */
static struct str source_bytes(const struct conn_addr *a)
{
	if (a->in.sin_family == AF_INET)
		return str_from((const char *)&a->in.sin_addr, 4);
	if (IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
		return str_from((const char *)&a->in6.sin6_addr.s6_addr[12], 4);
	return str_from((const char *)&a->in6.sin6_addr, 8);
}

static void slots_of(struct gate *g, const struct conn *c, atomic_uint *ret[2])
{
	struct str s = source_bytes(&c->remote);
	uint64_t h = hash_keyed(s.p, s.n, g->key);

	for (size_t i = 0; i < 2; i++)
		ret[i] = &g->sources[i][(h >> (32 * i)) % GATE_SLOTS];
}

/* A client of a Unix socket has no address. */
static bool is_on_host(const struct conn *c)
{
	return c->remote.len == 0 || (c->remote.in.sin_family == c->local.in.sin_family &&
				      str_eq(source_bytes(&c->remote), source_bytes(&c->local)));
}

/* ---- handshakes ------------------------------------------------------------------------------ */

/* From a tenth of all on, as likely as the rest is used up. */
static bool is_unlucky(unsigned now, unsigned max, struct rng *rng)
{
	unsigned from = max / 10;

	return now > from && max > from && rng_below(rng, max - from) < now - from;
}

static void give_slots(atomic_uint *slots[2])
{
	limit_give(slots[0]);
	limit_give(slots[1]);
}

/* The smaller of both counts is nearer to the truth. False: over the limit, nothing is counted. */
static bool take_slots(atomic_uint *slots[2], unsigned max)
{
	unsigned a = atomic_fetch_add_explicit(slots[0], 1, memory_order_relaxed);
	unsigned b = atomic_fetch_add_explicit(slots[1], 1, memory_order_relaxed);

	if ((a < b ? a : b) < max)
		return true;
	give_slots(slots);
	return false;
}

const char *gate_take_handshake(struct gate *g, struct rng *rng, const struct conn *c)
{
	unsigned max = limit_of(&g->max_handshakes);
	bool on_host = is_on_host(c);
	atomic_uint *slots[2];

	slots_of(g, c, slots);
	if (!take_slots(slots, on_host ? max / 2 : limit_of(&g->max_per_source)))
		return "handshakes_source";
	const char *why = NULL;

	if (!on_host && is_unlucky(atomic_load_explicit(&g->handshakes, memory_order_relaxed), max, rng))
		why = "handshakes_early";
	else if (!limit_take(&g->handshakes, max))
		why = "handshakes_total";
	if (why)
		give_slots(slots);
	return why;
}

void gate_give_handshake(struct gate *g, const struct conn *c)
{
	atomic_uint *slots[2];

	slots_of(g, c, slots);
	give_slots(slots);
	limit_give(&g->handshakes);
}

/* ---- doors ----------------------------------------------------------------------------------- */

struct gate_door *gate_door_new(void)
{
	struct gate_door *d = kv_zalloc(sizeof(*d));

	atomic_init(&d->refs, 1);
	return d;
}

struct gate_door *gate_door_ref(struct gate_door *d)
{
	atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
	return d;
}

void gate_door_unref(struct gate_door *d)
{
	if (atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) == 1)
		free(d);
}
