/* SPDX-License-Identifier: Apache-2.0 */
/* plan: see plan.h. Layer daemons/probe. */
#include "config.h"

#include <stdlib.h>

#include "base/list.h"
#include "base/log.h"
#include "probe/attempt.h"
#include "probe/plan.h"

#define PERIOD_MIN_US (100u * 1000)

struct entry {
	struct list node;               /* in plan.all */
	struct list turn;               /* in plan.waiting */
	struct plan *plan;
	struct arena arena;             /* of row */
	const struct doc *row;
	struct loop_timer timer;
	struct attempt *attempt;        /* NULL: none under way */
	uint64_t began_us;
	bool followed;
};

struct plan {
	struct loop *loop;
	plan_result_fn fn;
	void *arg;
	struct list all, waiting;
	size_t n, n_running;
};

static struct str id_of(const struct entry *e)
{
	return doc_get_str(e->row, "id", STR(""));
}

static uint64_t micros(const struct doc *row, const char *key, uint64_t least)
{
	int64_t v = doc_get_int(row, key, 0);

	return v > (int64_t)least ? (uint64_t)v : least;
}

/* ---- attempts ------------------------------------------------------------------------------ */

static void run_waiting(struct plan *p);

static void on_done(void *arg, bool ok, const char *why)
{
	struct entry *e = arg;
	struct plan *p = e->plan;
	uint64_t next_us = e->began_us + micros(e->row, "periodUs", PERIOD_MIN_US);
	uint64_t now_us = loop_now_us(p->loop);

	e->attempt = NULL;
	p->n_running--;
	loop_timer_set(&e->timer, next_us > now_us ? next_us - now_us : 0);
	p->fn(p->arg, &(struct plan_result){ .id = id_of(e),
					     .round = doc_get_int(e->row, "round", 0),
					     .ok = ok,
					     .why = why });
	run_waiting(p);
}

static void run(struct entry *e)
{
	struct plan *p = e->plan;

	list_del(&e->turn);
	p->n_running++;
	e->began_us = loop_now_us(p->loop);
	e->attempt = attempt_start(p->loop, doc_get(e->row, STR("probe")),
				   micros(e->row, "timeoutUs", PERIOD_MIN_US), on_done, e);
}

static void run_waiting(struct plan *p)
{
	while (p->n_running < PLAN_RUNNING_MAX && !list_is_empty(&p->waiting))
		run(list_entry(p->waiting.next, struct entry, turn));
}

static void on_time(void *arg)
{
	struct entry *e = arg;

	list_push_back(&e->plan->waiting, &e->turn);
	run_waiting(e->plan);
}

/* ---- the list ------------------------------------------------------------------------------ */

static void entry_free(struct entry *e)
{
	if (e->attempt) {
		attempt_cancel(e->attempt);
		e->plan->n_running--;
	}
	loop_timer_done(&e->timer);
	list_del(&e->turn);
	list_del(&e->node);
	e->plan->n--;
	arena_done(&e->arena);
	free(e);
}

static void entry_new(struct plan *p, const struct doc *row)
{
	struct entry *e = kv_zalloc(sizeof(*e));

	e->plan = p;
	e->followed = true;
	arena_init(&e->arena, 0);
	e->row = doc_copy(&e->arena, row);
	list_init(&e->turn);
	list_init(&e->node);
	list_push_back(&p->all, &e->node);
	p->n++;
	loop_timer_init(&e->timer, p->loop, on_time, e);
	loop_timer_set(&e->timer, micros(row, "afterUs", 0));
}

static struct entry *find(const struct plan *p, struct str id)
{
	list_for_each(it, &p->all) {
		struct entry *e = list_entry(it, struct entry, node);

		if (str_eq(id_of(e), id))
			return e;
	}
	return NULL;
}

static bool is_same_round(const struct entry *e, const struct doc *row)
{
	return doc_get_int(e->row, "round", 0) == doc_get_int(row, "round", 0) &&
	       doc_get_int(e->row, "periodUs", 0) == doc_get_int(row, "periodUs", 0) &&
	       doc_get_int(e->row, "timeoutUs", 0) == doc_get_int(row, "timeoutUs", 0) &&
	       doc_eq(doc_get(e->row, STR("probe")), doc_get(row, STR("probe")));
}

void plan_follow(struct plan *p, const struct doc *list)
{
	list_for_each(it, &p->all)
		list_entry(it, struct entry, node)->followed = false;
	for (size_t i = 0; i < list->n; i++) {
		const struct doc *row = list->v[i];
		struct entry *e = find(p, doc_get_str(row, "id", STR("")));

		if (!doc_get(row, STR("probe")))
			continue;
		if (e && is_same_round(e, row)) {
			e->followed = true;
			continue;
		}
		if (e)
			entry_free(e);
		if (p->n < PLAN_MAX)
			entry_new(p, row);
		else
			log_warn("more than %d probes: the rest is not probed", PLAN_MAX);
	}
	list_for_each_safe(it, &p->all) {
		struct entry *e = list_entry(it, struct entry, node);

		if (!e->followed)
			entry_free(e);
	}
	run_waiting(p);
}

struct plan *plan_new(struct loop *l, plan_result_fn fn, void *arg)
{
	struct plan *p = kv_zalloc(sizeof(*p));

	*p = (struct plan){ .loop = l, .fn = fn, .arg = arg };
	list_init(&p->all);
	list_init(&p->waiting);
	return p;
}

void plan_free(struct plan *p)
{
	list_for_each_safe(it, &p->all)
		entry_free(list_entry(it, struct entry, node));
	free(p);
}
