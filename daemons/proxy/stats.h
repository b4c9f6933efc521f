/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats: per-worker counters. The owner writes with relaxed atomics, the control thread reads and
 * sums; nothing is ever reset. Fixed counters are a row of stats.def; series with free labels live
 * in an append-only table with a cap and an overflow row. Layer proxy.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/str.h"

/* STATS(id, "name", kind, "help") in stats.def: enum, exposition and the manual come from it. */
#define STATS_COUNTER 0
#define STATS_GAUGE 1
enum stats_id {
#define STATS(id, name, kind, help) STATS_##id,
#include "proxy/stats.def"
#undef STATS
	STATS__N
};

/* Caps of one worker's table; what does not fit is counted under the value "other". */
#define STATS_SERIES_MAX 10000
#define STATS_UNNAMED_MAX 1000          /* of them: services known by a Host header alone */
#define STATS_REASONS_MAX 500
#define STATS_VALUE_MAX 256             /* bytes of one label value */

struct stats;                   /* one worker's */
struct stats *stats_new(void);
void stats_free(struct stats *s);
void stats_add(struct stats *s, enum stats_id id, int64_t n);           /* owner */
/* Events with a word: kvmesh_tls_refused_total{reason}, kvmesh_bad_input_total{layer,reason},
 * kvmesh_plaintext_refused_total{workload}, kvmesh_authz_denied_total{policy},
 * kvmesh_egress_total{country,verdict}; the words must be from a fixed set. layer is the first of two
 * words, else NULL. Owner. */
void stats_add_reason(struct stats *s, const char *family, const char *layer, const char *reason);
/*
 * Measure how long work waits for the worker's loop: kvmesh_proxy_loop_lag_seconds. Control thread;
 * nothing happens while the last probe is still on its way.
 */
struct loop;
void stats_probe_loop(struct stats *s, struct loop *worker_loop);

struct record;
void stats_record(struct stats *s, const struct record *r, int phase);  /* by record_emit */

/*
 * Control thread, over all workers: the families of docs/IPC.md "Stats" that come from here, and
 * the rows of "Edges". proxy is the instance's name, a label of everything but Istio's own metrics.
 */
struct families;
struct text;
int64_t stats_sum(struct stats *const *v, size_t n, enum stats_id id);
void stats_write_families(struct stats *const *v, size_t n, struct str proxy, struct families *f);
/* A JSON list; returns how many rows found no room in it. */
size_t stats_write_edges(struct stats *const *v, size_t n, struct text *t);
