/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats_table: how one worker keeps its series; private to stats.c (the owner, writes) and
 * stats_export.c (the control thread, reads). Layer proxy.
 *
 * A series is found by the bytes of its key: the facts and the label values of one kind of
 * exchange. Series are linked newest first and never leave: the reader loads the head with acquire
 * and walks, nothing it meets changes but the counters. Slots are the owner's alone.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/str.h"
#include "proxy/stats.h"

/* ---- nodes of any kind --------------------------------------------------------------------- */
enum stats_admit {
	STATS_ADMIT_NEW,                /* not exported yet */
	STATS_ADMIT_ALL,
	STATS_ADMIT_COUNTERS,           /* its histograms are part of "other" */
	STATS_ADMIT_FOLDED,             /* part of "other" */
};

struct stats_node {
	struct stats_node *next;        /* older */
	uint64_t hash;
	const void *key;
	uint32_t key_n;
	enum stats_admit admit; /* the reader's; decided once, so that a counter never jumps back */
};

struct stats_table {
	_Atomic(struct stats_node *) head;
	struct stats_node **slots;
	size_t n, n_slots;
};

/* ---- histograms ---------------------------------------------------------------------------- */
#define STATS_BOUNDS 19                 /* and +Inf */
struct stats_hist {
	_Atomic uint64_t bucket[STATS_BOUNDS + 1];      /* not cumulative */
	_Atomic uint64_t sum;
};
/* Upper bounds in microseconds, milliseconds at the outside; conventions: finer than Istio below 10
 * ms. */
extern const uint64_t stats_duration_bounds_us[STATS_BOUNDS];
extern const uint64_t stats_lag_bounds_us[STATS_BOUNDS];
/* Upper bounds in half bytes (the first is 0.5): Istio's own. */
extern const uint64_t stats_size_bounds_half[STATS_BOUNDS];

/* ---- exchanges ----------------------------------------------------------------------------- */
/* Label values, in the order of the key. */
enum series_value {
	SERIES_SRC_NAME, SERIES_SRC_NS, SERIES_SRC_PRINCIPAL, SERIES_SRC_APP, SERIES_SRC_VERSION,
	SERIES_SRC_CANON, SERIES_SRC_REVISION, SERIES_SRC_CLUSTER,
	SERIES_DST_NAME, SERIES_DST_NS, SERIES_DST_PRINCIPAL, SERIES_DST_APP, SERIES_DST_VERSION,
	SERIES_SERVICE, SERIES_SERVICE_NAME, SERIES_SERVICE_NS,
	SERIES_DST_CANON, SERIES_DST_REVISION, SERIES_DST_CLUSTER,
	SERIES_LABELS__N,
	/* of edges only */
	SERIES_TLS = SERIES_LABELS__N, SERIES_CIPHER,
	SERIES__N
};
enum series_policy { SERIES_POLICY_UNKNOWN, SERIES_POLICY_NONE, SERIES_POLICY_MUTUAL };

/* No padding: compared and hashed as bytes. */
struct series_facts {
	uint8_t reporter, protocol;     /* of record.h */
	uint8_t policy;                 /* enum series_policy */
	uint8_t fail, more;             /* more: of record_more */
	uint8_t overflow;               /* the row for what had no room: every value is "other" */
	uint16_t status;
	int16_t grpc_status;
	uint16_t port;
	uint16_t len[SERIES__N]; /* of the values, which follow each other behind the facts */
};

struct series {
	struct stats_node node;         /* key: facts and values, behind this struct */
	/* edges */
	_Atomic uint64_t connections, requests;
	_Atomic int64_t last_seen_us;   /* realtime; 0: never on an established connection */
	union {
		struct {
			_Atomic uint64_t ended, request_messages, response_messages;
			struct stats_hist duration, request_bytes, response_bytes;
		} http;
		struct {
			_Atomic uint64_t opened, closed, sent, received;
		} tcp;
	};
};

struct reason {
	struct stats_node node;         /* key: family NUL layer NUL reason NUL */
	_Atomic uint64_t count;
};

struct stats {
	_Atomic int64_t fixed[STATS__N];
	struct stats_hist lag;
	_Atomic uint64_t probed_us; /* when the probe that is on its way was posted; 0: none is */
	struct stats_table series, reasons;
	size_t n_unnamed;
};

static inline const struct series_facts *series_facts(const struct stats_node *n)
{
	return n->key;
}

static inline void series_values(const struct stats_node *n, struct str v[SERIES__N])
{
	const struct series_facts *f = series_facts(n);
	const char *p = (const char *)(f + 1);

	for (size_t i = 0; i < SERIES__N; i++) {
		v[i] = str_from(p, f->len[i]);
		p += f->len[i];
	}
}
