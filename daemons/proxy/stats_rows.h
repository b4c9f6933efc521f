/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats_rows: series of all workers collected and summed; shared by stats_export.c (Istio's
 * metrics) and stats_own.c (our own, edges). Layer proxy, control thread.
 */
#pragma once

#include "base/arena.h"
#include "base/map.h"
#include "proxy/families.h"
#include "proxy/stats_table.h"
#include "proxy/text.h"

static inline uint64_t stats_get(const _Atomic uint64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

/* All nodes of one kind over all workers, each worker's oldest first. The owner frees v. */
struct nodes {
	struct stats_node **v;
	size_t n, cap;
};
void nodes_collect(struct nodes *ns, const struct stats_table *t);

/* Rows of a family being summed, by their label values as they stand in the reply. */
struct row {
	struct str key;
	uint64_t v[5];
	uint64_t hist[STATS_BOUNDS + 1];        /* only in rows of histograms */
};
struct rows {
	struct arena arena;
	struct map map;                 /* key → struct row */
	struct text key;                /* rendered by the caller, then rows_get */
	size_t row_bytes;
};
void rows_init(struct rows *rs, bool histogram);
void rows_done(struct rows *rs);
struct row *rows_get(struct rows *rs);          /* of rs->key; zeroed when it is new */
void row_add_hist(struct row *r, const struct stats_hist *h);   /* v[0]: its sum */
/* By key. The map is not asked any more afterwards, only walked. */
void rows_sort(struct map *m);
/* A counter's whole family from v[0] of the rows. */
void rows_write_counter(struct rows *rs, struct families *f, const char *name, const char *help,
			struct families_labels labels);

/* stats_own.c */
void stats_write_own(struct stats *const *v, size_t n, struct str proxy, const struct nodes *series,
		     struct families *f);
