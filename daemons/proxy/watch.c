/* SPDX-License-Identifier: Apache-2.0 */
/* watch: pings to the workers' loops, see watch.h. Layer proxy. */
#include "config.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "proxy/watch.h"

struct ping {
	atomic_bool asked;              /* set here, cleared by the worker */
	unsigned missed;
};

struct watch {
	struct worker_set *workers;
	struct loop_timer tick;
	struct ping *v;
	size_t n;
};

static void answer(void *arg)
{
	struct ping *p = arg;

	atomic_store(&p->asked, false);
}

static void look_at(struct watch *w, size_t i)
{
	struct ping *p = &w->v[i];

	if (!atomic_load(&p->asked)) {
		p->missed = 0;
		atomic_store(&p->asked, true);
		loop_post(worker_at(w->workers, i)->loop, answer, p);
		return;
	}
	if (++p->missed < WATCH_MISSED)
		return;
	log_err("worker %zu has not turned its loop for %u ticks: giving up", i, p->missed);
	abort();
}

static void on_tick(void *arg)
{
	struct watch *w = arg;

	for (size_t i = 0; i < w->n; i++)
		look_at(w, i);
	loop_timer_set(&w->tick, WATCH_TICK_US);
}

struct watch *watch_new(struct loop *l, struct worker_set *ws)
{
	struct watch *w = kv_zalloc(sizeof(*w));

	w->workers = ws;
	w->n = worker_count(ws);
	w->v = kv_zalloc(sizeof(*w->v) * w->n);
	loop_timer_init(&w->tick, l, on_tick, w);
	loop_timer_set(&w->tick, WATCH_TICK_US);
	return w;
}

void watch_free(struct watch *w)
{
	loop_timer_done(&w->tick);
	free(w->v);
	free(w);
}
