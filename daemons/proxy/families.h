/* SPDX-License-Identifier: Apache-2.0 */
/*
 * families: the reply of docs/IPC.md "Stats", written as it goes: one family after the other, each
 * with its rows. Layer proxy. Text instead of a doc: ten thousand series times twenty-five labels
 * are not built twice.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "proxy/text.h"

enum families_kind { FAMILIES_COUNTER, FAMILIES_GAUGE, FAMILIES_HISTOGRAM };

struct families {
	struct text text;
	size_t n_labels;
	bool any_family, any_row;
};

void families_init(struct families *f);         /* then any number of families … */
/* … then more members, each begun with ",", written by hand, before … */
struct text *families_close(struct families *f);
struct str families_finish(struct families *f); /* … the whole JSON object, borrowed from f */
void families_done(struct families *f);

struct families_labels {
	const char *const *v;
	size_t n;
};
#define FAMILIES_LABELS(...) ((struct families_labels){ (const char *const[]){ __VA_ARGS__ }, \
	sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *) })

void families_begin(struct families *f, const char *name, enum families_kind kind, const char *help,
		    struct families_labels labels);
/* The same for a histogram; bounds in the unit of the family, ascending, +Inf left out. */
void families_begin_histogram(struct families *f, const char *name, const char *help,
			      struct families_labels labels, const double *bounds, size_t n_bounds);
/* One row: as many values as the family has labels. */
void families_row_int(struct families *f, const struct str *values, int64_t v);
void families_row_real(struct families *f, const struct str *values, double v);
/* counts: n_counts of them, not cumulative, the last one for +Inf. */
void families_row_histogram(struct families *f, const struct str *values, const uint64_t *counts,
			    size_t n_counts, double sum);
void families_end(struct families *f);

/* The values of a row as they stand in the reply: a key to merge rows by, written with
 * families_raw_*. */
void families_render(struct text *t, const struct str *values, size_t n);
void families_raw_int(struct families *f, struct str rendered, int64_t v);
void families_raw_histogram(struct families *f, struct str rendered, const uint64_t *counts,
			    size_t n_counts, double sum);
