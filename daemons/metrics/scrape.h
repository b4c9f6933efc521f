/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrape: asks all proxies of this node for their families, and router and CA for their state, at
 * the same time and no longer than a second: who is dead or slow is missing from that answer and
 * holds up nobody (F10). Layer metrics; owns the connections. Answers younger than a quarter
 * of a second are given again.
 */
#pragma once

#include "base/list.h"
#include "doc/doc.h"
#include "io/loop.h"
#include "metrics/prom.h"

struct scrape;
/* generation: the router's generation is another than before (also the first time). */
struct scrape *scrape_new(struct loop *l, const char *run_dir,
			  void (*generation)(void *arg, int64_t g), void *arg);
void scrape_free(struct scrape *s);             /* waiters are forgotten */
/* Each good answer of a proxy, edges included (docs/IPC.md "Stats"); borrowed. */
void scrape_on_stats(struct scrape *s, void (*fn)(void *arg, struct str proxy, const struct doc *d),
		     void *arg);
/* Families of the program itself, into each answer. */
void scrape_on_own(struct scrape *s, void (*fn)(void *arg, struct prom *p), void *arg);
/* In the background, every so often; 0: only on demand. */
void scrape_set_interval(struct scrape *s, uint64_t us);

/* p is sealed and borrowed: prom_ref it to keep it. */
typedef void (*scrape_fn)(void *arg, struct prom *p);
struct scrape_wait {
	struct list node;
	scrape_fn fn;
	void *arg;
};
/* fn is called once, now or from the loop; w is the caller's until then. */
void scrape_get(struct scrape *s, struct scrape_wait *w, scrape_fn fn, void *arg);
void scrape_cancel(struct scrape_wait *w);      /* harmless when it was called already */
/* scrapes, failures, series, proxies of docs/IPC.md "Status". */
void scrape_status(const struct scrape *s, struct arena *a, struct doc *to);
