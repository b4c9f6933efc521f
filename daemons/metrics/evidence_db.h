/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evidence_db: the tables behind evidence, and the chain of seals over finished days. Layer metrics.
 * Functions return 0 or a negative code with err filled.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "io/tls_digest.h"

enum evidence_number { EVIDENCE_CONNECTIONS, EVIDENCE_REQUESTS, EVIDENCE_RECEIVED, EVIDENCE_SENT,
		       EVIDENCE__N };

/* reporter, source principal, workload, namespace; service, workload, principal; TLS version, cipher */
#define EVIDENCE_TEXTS 9
struct evidence_edge {
	struct str text[EVIDENCE_TEXTS];
	int64_t port;
	bool mutual;
};

struct evidence_db;
int evidence_db_open(const char *path, struct evidence_db **ret, struct err *err);
void evidence_db_close(struct evidence_db *d);

int evidence_db_begin(struct evidence_db *d, struct err *err);
int evidence_db_end(struct evidence_db *d, int result, struct err *err);
/* more is added to that hour (since 1970); read is what that process's counters stood at. */
int evidence_db_add(struct evidence_db *d, int64_t hour, struct str proxy, int64_t pid,
		    const struct evidence_edge *e, const int64_t more[EVIDENCE__N],
		    const int64_t read[EVIDENCE__N], struct err *err);
/* The proxy's process was read again and again from since to until. */
int evidence_db_watch(struct evidence_db *d, struct str proxy, int64_t since_us, int64_t until_us,
		      struct err *err);
/* Edges that were not kept, found now. */
int evidence_db_omitted(struct evidence_db *d, int64_t hour, int64_t n, struct err *err);

typedef void (*evidence_counter_fn)(void *arg, struct str proxy, int64_t pid,
				    const struct evidence_edge *e, const int64_t read[EVIDENCE__N]);
int evidence_db_counters(struct evidence_db *d, evidence_counter_fn fn, void *arg, struct err *err);

/* Sums over hours [since, until), by edge, in a fixed order. */
typedef void (*evidence_sum_fn)(void *arg, const struct evidence_edge *e,
				const int64_t v[EVIDENCE__N]);
int evidence_db_sums(struct evidence_db *d, int64_t since, int64_t until, evidence_sum_fn fn,
		     void *arg, struct err *err);
/* Microseconds of [since, until) in which each proxy was watched. */
int evidence_db_watched(struct evidence_db *d, int64_t since_us, int64_t until_us,
			void (*fn)(void *arg, struct str proxy, int64_t watched_us), void *arg,
			struct err *err);
int evidence_db_omissions(struct evidence_db *d, int64_t since_hour, int64_t *ret, struct err *err);

/* Plain bytes that the witness saw. */
struct evidence_plain {
	struct str kind, workload;      /* "mesh", "application", "captured"; NAME.NAMESPACE */
	int64_t port, packets, bytes;
};
int evidence_db_witness(struct evidence_db *d, int64_t hour, const struct evidence_plain *p,
			struct err *err);
typedef void (*evidence_plain_fn)(void *arg, const struct evidence_plain *p);
int evidence_db_witnessed(struct evidence_db *d, int64_t since, int64_t until, evidence_plain_fn fn,
			  void *arg, struct err *err);

/* Seals the days before that hour's that are not sealed yet, and drops what is older than 400 days. */
int evidence_db_seal(struct evidence_db *d, int64_t hour, struct err *err);

struct evidence_seals {
	int64_t n;
	char last[TLS_DIGEST_HEX_MAX];  /* the newest seal; "" none */
	int64_t broken_day;             /* first day (since 1970) whose rows are not what was sealed; -1 */
};
/* each (may be NULL) is told every seal in order. */
typedef void (*evidence_seal_fn)(void *arg, int64_t day, struct str seal);
int evidence_db_verify(struct evidence_db *d, evidence_seal_fn each, void *arg,
		       struct evidence_seals *ret, struct err *err);
