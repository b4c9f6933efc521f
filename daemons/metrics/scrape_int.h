/* SPDX-License-Identifier: Apache-2.0 */
/* scrape_int: what scrape.c and own.c share. Layer metrics. */
#pragma once

#include "ipc/ipc.h"
#include "metrics/scrape.h"

enum target_kind { TARGET_PROXY, TARGET_ROUTER, TARGET_CA };

struct target {
	struct list node;
	struct scrape *scrape;
	enum target_kind kind;
	char *name;                     /* instance; "router", "ca" */
	char *path;
	struct ipc_client *client;
	uint64_t dialled_us;            /* when client was made */
	uint64_t asked_us;              /* 0: no call is open */
	bool in_cycle;                  /* the present cycle waits for it */
	bool seen;                      /* mark of the directory walk */
	bool ok;
	int64_t last_real_us;           /* of the last good answer; 0 never */
	uint64_t took_us;
};

struct scrape {
	struct loop *loop;
	char *run_dir;
	struct list targets;
	size_t n_targets;
	void (*generation)(void *arg, int64_t g);
	void *arg;
	void (*stats)(void *arg, struct str proxy, const struct doc *d);        /* or NULL */
	void *stats_arg;
	void (*own)(void *arg, struct prom *p);         /* or NULL */
	void *own_arg;
	struct arena arena;             /* of what is asked */
	struct doc *with_edges;
	int64_t last_generation;
	/* the present cycle */
	struct prom *prom;              /* NULL: none */
	size_t n_waiting;
	struct loop_timer settle, deadline, background;
	struct list waits;              /* struct scrape_wait */
	/* the last one */
	struct prom *last;
	uint64_t last_us, interval_us;
	uint64_t n_scrapes, n_failures;
	int64_t started_real_us;
};

/* own.c: families of our own, from what the targets said and from the host. */
void own_add_status(struct prom *p, const struct target *t, const struct doc *status);
void own_add(const struct scrape *s, struct prom *p);
