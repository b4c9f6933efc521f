/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map: string → pointer, open addressing, seeded per process against collision attacks. Layer base.
 * Keys are borrowed: the caller keeps their bytes alive as long as the entry. Iteration is in order
 * of insertion (map_del keeps the order of the rest), so output made from a map is stable.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct map_entry {
	struct str key;
	void *val;
	uint64_t hash;
};

struct map {
	struct map_entry *entries; /* in order of insertion */
	size_t n, cap;
	uint32_t *slots; /* index + 1 into entries, 0 free */
	size_t n_slots;
};

void map_init(struct map *m);
void map_done(struct map *m); /* values are the caller's */
void map_clear(struct map *m);
void *map_get(const struct map *m, struct str key); /* NULL when absent */
bool map_has(const struct map *m, struct str key);
/* Insert or replace; returns the value that was there, or NULL. */
void *map_put(struct map *m, struct str key, void *val);
void *map_del(struct map *m, struct str key); /* returns the value, or NULL */
/* for (struct map_entry *e = map_first(m); e; e = map_next(m, e)) */
static inline struct map_entry *map_first(const struct map *m)
{
	return m->n > 0 ? m->entries : NULL;
}
static inline struct map_entry *map_next(const struct map *m, struct map_entry *e)
{
	return e + 1 < m->entries + m->n ? e + 1 : NULL;
}
