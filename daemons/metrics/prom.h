/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prom: families of several sources merged into one exposition in Prometheus' text format 0.0.4.
 * Layer metrics. Equal label sets add up: two proxies that saw the same exchange side report one
 * series. What arrives is checked: a family that breaks its own description is left out, the number
 * of series is capped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "doc/doc.h"

#define PROM_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Of one family; what is beyond counts under the label value "other". */
#define PROM_SERIES_MAX 10000
#define PROM_HISTOGRAMS_MAX 1500
#define PROM_FAMILIES_MAX 500

enum prom_kind { PROM_COUNTER, PROM_GAUGE, PROM_HISTOGRAM };

struct prom;                    /* reference counted; one thread */
struct prom *prom_new(void);
struct prom *prom_ref(struct prom *p);
void prom_unref(struct prom *p);

/*
 * Merge the "families" of a Stats reply (docs/IPC.md). Returns how many were left out; the first
 * reason is in err.
 */
size_t prom_add(struct prom *p, const struct doc *families, struct err *err);

struct prom_label {
	const char *name;
	struct str value;
};
/* One value of our own; labels ends with .name == NULL. */
void prom_set(struct prom *p, const char *name, enum prom_kind kind, const char *help,
	      const struct prom_label *labels, double value);

/* No more additions; families and series are in the order of their names. */
void prom_seal(struct prom *p);
size_t prom_series(const struct prom *p);       /* label sets */

/* The text, piece by piece: a large exposition is never in memory as a whole. */
struct prom_cursor {
	size_t family, series;
};
/* Next piece, at least a series and about room bytes; malloc'ed, NULL at the end. */
char *prom_write(const struct prom *p, struct prom_cursor *c, size_t room, size_t *ret_n);
