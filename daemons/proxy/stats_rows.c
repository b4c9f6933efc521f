/* SPDX-License-Identifier: Apache-2.0 */
/* stats_rows: collecting and summing series, see stats_rows.h. Layer proxy, control thread. */
#include "config.h"

#include <stdlib.h>

#include "base/vec.h"
#include "proxy/stats_rows.h"

void nodes_collect(struct nodes *ns, const struct stats_table *t)
{
	size_t first = ns->n;

	for (struct stats_node *e = atomic_load_explicit(&t->head, memory_order_acquire); e;
	     e = e->next)
		*vec_push(ns->v, ns->n, ns->cap) = e;
	for (size_t i = first, k = ns->n; i + 1 < k; i++) {
		struct stats_node *e = ns->v[i];

		ns->v[i] = ns->v[--k];
		ns->v[k] = e;
	}
}

void rows_init(struct rows *rs, bool histogram)
{
	arena_init(&rs->arena, 64u << 10);
	map_init(&rs->map);
	rs->key = (struct text){ 0 };
	rs->row_bytes = histogram ? sizeof(struct row) : offsetof(struct row, hist);
}

void rows_done(struct rows *rs)
{
	text_done(&rs->key);
	map_done(&rs->map);
	arena_done(&rs->arena);
}

struct row *rows_get(struct rows *rs)
{
	struct str key = str_from(rs->key.p, rs->key.n);
	struct row *r = map_get(&rs->map, key);

	if (!r) {
		r = arena_zalloc(&rs->arena, rs->row_bytes);
		r->key = arena_str(&rs->arena, key);
		map_put(&rs->map, r->key, r);
	}
	return r;
}

static int by_key(const void *a, const void *b)
{
	const struct map_entry *x = a, *y = b;

	return str_cmp(x->key, y->key);
}

void rows_sort(struct map *m)
{
	if (m->n > 1)
		qsort(m->entries, m->n, sizeof(m->entries[0]), by_key);
}

void row_add_hist(struct row *r, const struct stats_hist *h)
{
	for (size_t i = 0; i <= STATS_BOUNDS; i++)
		r->hist[i] += stats_get(&h->bucket[i]);
	r->v[0] += stats_get(&h->sum);
}

void rows_write_counter(struct rows *rs, struct families *f, const char *name, const char *help,
			struct families_labels labels)
{
	rows_sort(&rs->map);
	families_begin(f, name, FAMILIES_COUNTER, help, labels);
	for (size_t i = 0; i < rs->map.n; i++)
		families_raw_int(f, rs->map.entries[i].key,
				 (int64_t)((struct row *)rs->map.entries[i].val)->v[0]);
	families_end(f);
}
