/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map: string → pointer. Layer base. Entries stand in order of insertion in one array; slots is an
 * open-addressing index (linear probing, at most half full) of positions in it. Deleting shifts
 * the entries behind, hence costs O(entries behind it).
 */
#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/vec.h"

#define SLOTS_MIN 16u

static uint64_t map_key[2];

static void draw_key(void)
{
	rng_secure(map_key, sizeof(map_key));
}

static uint64_t key_hash(struct str key)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, draw_key);
	return hash_keyed(key.p, key.n, map_key);
}

void map_init(struct map *m)
{
	*m = (struct map){ 0 };
}

void map_done(struct map *m)
{
	free(m->entries);
	free(m->slots);
	map_init(m);
}

void map_clear(struct map *m)
{
	m->n = 0;
	if (m->n_slots > 0)
		memset(m->slots, 0, m->n_slots * sizeof(*m->slots));
}

/* The slot that holds key, or the free one where it belongs. There is always a free slot. */
static size_t slot_of(const struct map *m, struct str key, uint64_t hash)
{
	size_t i = hash & (m->n_slots - 1);

	while (m->slots[i] != 0) {
		const struct map_entry *e = &m->entries[m->slots[i] - 1];
		if (e->hash == hash && str_eq(e->key, key))
			break;
		i = (i + 1) & (m->n_slots - 1);
	}
	return i;
}

static struct map_entry *find(const struct map *m, struct str key)
{
	if (m->n == 0)
		return NULL;
	uint32_t at = m->slots[slot_of(m, key, key_hash(key))];
	return at != 0 ? &m->entries[at - 1] : NULL;
}

void *map_get(const struct map *m, struct str key)
{
	struct map_entry *e = find(m, key);

	return e ? e->val : NULL;
}

bool map_has(const struct map *m, struct str key)
{
	return find(m, key) != NULL;
}

static void rebuild_slots(struct map *m, size_t n_slots)
{
	kv_assert(n_slots <= UINT32_MAX);
	free(m->slots);
	m->slots = kv_zalloc(n_slots * sizeof(*m->slots));
	m->n_slots = n_slots;
	for (size_t k = 0; k < m->n; k++) {
		size_t i = m->entries[k].hash & (n_slots - 1);
		while (m->slots[i] != 0)
			i = (i + 1) & (n_slots - 1);
		m->slots[i] = (uint32_t)(k + 1);
	}
}

void *map_put(struct map *m, struct str key, void *val)
{
	if ((m->n + 1) * 2 > m->n_slots)
		rebuild_slots(m, m->n_slots > 0 ? m->n_slots * 2 : SLOTS_MIN);
	uint64_t hash = key_hash(key);
	size_t i = slot_of(m, key, hash);

	if (m->slots[i] != 0) {
		struct map_entry *e = &m->entries[m->slots[i] - 1];
		void *old = e->val;
		*e = (struct map_entry){ .key = key, .val = val, .hash = hash };
		return old;
	}
	*vec_push(m->entries, m->n, m->cap) =
		(struct map_entry){ .key = key, .val = val, .hash = hash };
	m->slots[i] = (uint32_t)m->n;
	return NULL;
}

/* Close the gap at slot i: an entry further on moves in unless its home lies behind the gap. */
static void slot_free(struct map *m, size_t i)
{
	size_t mask = m->n_slots - 1;

	for (size_t j = (i + 1) & mask; m->slots[j] != 0; j = (j + 1) & mask) {
		size_t home = m->entries[m->slots[j] - 1].hash & mask;
		if (((j - home) & mask) >= ((j - i) & mask)) {
			m->slots[i] = m->slots[j];
			i = j;
		}
	}
	m->slots[i] = 0;
}

/* The slot that holds position k. */
static size_t slot_of_position(const struct map *m, size_t k)
{
	size_t i = m->entries[k].hash & (m->n_slots - 1);

	while (m->slots[i] != k + 1)
		i = (i + 1) & (m->n_slots - 1);
	return i;
}

void *map_del(struct map *m, struct str key)
{
	struct map_entry *e = find(m, key);

	if (!e)
		return NULL;
	void *val = e->val;
	size_t at = (size_t)(e - m->entries);
	slot_free(m, slot_of_position(m, at));
	for (size_t k = at + 1; k < m->n; k++)
		m->slots[slot_of_position(m, k)] = (uint32_t)k;
	memmove(e, e + 1, (m->n - at - 1) * sizeof(*e));
	m->n--;
	return val;
}
