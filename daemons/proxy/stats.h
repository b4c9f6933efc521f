/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats: per-worker counters. The owner writes with relaxed atomics, the control thread reads and sums;
 * nothing is ever reset. Fixed counters are a row of stats.def; series with free labels live in an append-only
 * table with a cap and an overflow row. Layer proxy.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/str.h"
#include "doc/doc.h"

/* STATS(id, "name", kind, "help") in stats.def: enum, exposition and the manual come from it. */
#define STATS_COUNTER 0
#define STATS_GAUGE 1
enum stats_id {
#define STATS(id, name, kind, help) STATS_##id,
#include "proxy/stats.def"
#undef STATS
	STATS__N
};

struct stats;                   /* one worker's */
struct stats *stats_new(void);
void stats_free(struct stats *s);
void stats_add(struct stats *s, enum stats_id id, int64_t n);           /* owner */
/* Events with a word: kvmesh_tls_refused_total{reason}, kvmesh_bad_input_total{layer,reason},
 * kvmesh_plaintext_refused_total{workload}; the words must be from a fixed set. Owner. */
void stats_add_reason(struct stats *s, const char *family, const char *layer, const char *reason);

struct record;
void stats_record(struct stats *s, const struct record *r, int phase);  /* by record_emit */

/* Control thread: the replies of docs/IPC.md "Stats" and "Edges" over all workers. */
struct doc *stats_families(struct stats *const *v, size_t n, struct arena *a);
struct doc *stats_edges(struct stats *const *v, size_t n, struct arena *a);
