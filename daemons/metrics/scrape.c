/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrape: one cycle at a time, see scrape.h. Layer metrics.
 * A cycle asks every target that is connected; one whose connection is just being made has a moment
 * to come. It ends when all have answered or at the deadline. A late answer is dropped; a target
 * that does not answer at all is dialled anew.
 */
#include "config.h"

#include <dirent.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "metrics/scrape_int.h"

#define FRESH_US (250u * 1000)             /* an answer that is given again */
#define SETTLE_US (200u * 1000)                 /* for a connection to be made */
#define REDIAL_US (2u * 1000 * 1000)            /* sooner than the connection itself would */
#define DEADLINE_US (1u * 1000 * 1000)
#define HUNG_US (5u * 1000 * 1000)              /* an open call: another connection */
#define TARGETS_MAX 64

/* ---- targets ------------------------------------------------------------------------------- */

static void on_reply(void *arg, const char *error_name, const struct doc *p, bool continues);
static void finish(struct scrape *s);

static void leave_cycle(struct target *t)
{
	if (!t->in_cycle)
		return;
	t->in_cycle = false;
	t->scrape->n_waiting--;
}

static void ask(struct target *t)
{
	bool proxy = t->kind == TARGET_PROXY;

	t->asked_us = clock_mono_us();
	ipc_client_call(t->client, proxy ? "Stats" : "Status",
			proxy ? t->scrape->with_edges : NULL, false, on_reply, t);
}

static void on_connect(void *arg, bool connected)
{
	struct target *t = arg;

	if (connected && t->in_cycle && t->asked_us == 0)
		ask(t);
}

static void dial(struct target *t)
{
	t->client = ipc_client_new(t->scrape->loop, t->path);
	t->dialled_us = clock_mono_us();
	t->asked_us = 0;
	ipc_client_on_connect(t->client, on_connect, t);
}

static void failed(struct target *t)
{
	t->ok = false;
	t->scrape->n_failures++;
	leave_cycle(t);
}

static struct target *target_new(struct scrape *s, enum target_kind kind, struct str name,
				 const char *dir)
{
	struct target *t = kv_zalloc(sizeof(*t));

	t->scrape = s;
	t->kind = kind;
	t->name = kv_asprintf("%.*s", STR_ARG(name));
	t->path = kv_asprintf("%s/%s/%s.sock", s->run_dir, dir, t->name);
	list_push_back(&s->targets, &t->node);
	s->n_targets++;
	dial(t);
	return t;
}

static void target_free(struct target *t)
{
	leave_cycle(t);
	list_del(&t->node);
	t->scrape->n_targets--;
	ipc_client_free(t->client);
	free(t->name);
	free(t->path);
	free(t);
}

static struct target *find_proxy(struct scrape *s, struct str name)
{
	list_for_each(it, &s->targets) {
		struct target *t = list_entry(it, struct target, node);

		if (t->kind == TARGET_PROXY && str_eq(str_c(t->name), name))
			return t;
	}
	return NULL;
}

/* Proxies come and go: their sockets tell. */
static void look_around(struct scrape *s)
{
	_cleanup_free_ char *path = kv_asprintf("%s/proxy", s->run_dir);
	DIR *d = opendir(path);

	for (struct dirent *e; d && (e = readdir(d)); ) {
		struct str name = str_c(e->d_name);
		struct target *t;

		if (!str_has_suffix(name, STR(".sock")) || name.n == strlen(".sock") ||
		    name.p[0] == '.')
			continue;
		name = str_take(name, name.n - strlen(".sock"));
		t = find_proxy(s, name);
		if (!t && s->n_targets < TARGETS_MAX)
			t = target_new(s, TARGET_PROXY, name, "proxy");
		if (t)
			t->seen = true;
	}
	if (d)
		closedir(d);
	list_for_each_safe(it, &s->targets) {
		struct target *t = list_entry(it, struct target, node);

		if (t->kind == TARGET_PROXY && !t->seen)
			target_free(t);
		else
			t->seen = false;
	}
}

/* ---- answers ------------------------------------------------------------------------------- */

static void note_generation(struct scrape *s, const struct doc *status)
{
	int64_t g = doc_get_int(status, "generation", 0);

	if (g == s->last_generation)
		return;
	s->last_generation = g;
	s->generation(s->arg, g);
}

static void take_answer(struct target *t, const struct doc *p)
{
	struct scrape *s = t->scrape;
	struct err err;

	if (t->kind != TARGET_PROXY) {
		own_add_status(s->prom, t, p);
		return;
	}
	if (prom_add(s->prom, doc_get(p, STR("families")), &err) > 0)
		log_warn("proxy %s: %s", t->name, err.text);
	if (s->stats)
		s->stats(s->stats_arg, str_c(t->name), p);
}

static void on_reply(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct target *t = arg;
	struct scrape *s = t->scrape;
	bool late = !t->in_cycle;

	(void)continues;
	t->took_us = clock_mono_us() - t->asked_us;
	t->asked_us = 0;
	if (error_name) {
		log_debug("%s: %s", t->path, error_name);
		if (!late)
			failed(t);
	} else {
		if (!late)
			take_answer(t, p);
		t->ok = true;
		t->last_real_us = clock_real_us();
		leave_cycle(t);
		if (t->kind == TARGET_ROUTER)
			note_generation(s, p);
	}
	if (!late && s->n_waiting == 0)
		finish(s);
}

/* ---- a cycle ------------------------------------------------------------------------------- */

static void finish(struct scrape *s)
{
	struct list waits;

	if (!s->prom)
		return;
	loop_timer_stop(&s->settle);
	loop_timer_stop(&s->deadline);
	own_add(s, s->prom);
	if (s->own)
		s->own(s->own_arg, s->prom);
	prom_seal(s->prom);
	prom_unref(s->last);
	s->last = s->prom;
	s->last_us = clock_mono_us();
	s->prom = NULL;
	s->n_scrapes++;
	/* Whoever asks from inside a callback belongs to the next cycle, or gets this answer. */
	list_init(&waits);
	while (!list_is_empty(&s->waits)) {
		struct list *w = s->waits.next;

		list_del(w);
		list_push_back(&waits, w);
	}
	struct prom *p = prom_ref(s->last);

	while (!list_is_empty(&waits)) {
		struct scrape_wait *w = list_entry(waits.next, struct scrape_wait, node);

		list_del(&w->node);
		w->fn(w->arg, p);
	}
	prom_unref(p);
}

/* Those that are still not connected are not there. */
static void on_settle(void *arg)
{
	struct scrape *s = arg;

	list_for_each_safe(it, &s->targets) {
		struct target *t = list_entry(it, struct target, node);

		if (t->in_cycle && t->asked_us == 0)
			failed(t);
	}
	if (s->n_waiting == 0)
		finish(s);
}

static void on_deadline(void *arg)
{
	struct scrape *s = arg;

	list_for_each_safe(it, &s->targets) {
		struct target *t = list_entry(it, struct target, node);

		if (!t->in_cycle)
			continue;
		log_warn("%s does not answer: its metrics are missing", t->path);
		failed(t);
	}
	finish(s);
}

static void begin_target(struct target *t, uint64_t now)
{
	struct scrape *s = t->scrape;

	bool hung = t->asked_us > 0 && now - t->asked_us > HUNG_US;
	bool away = !ipc_client_is_connected(t->client) && now - t->dialled_us > REDIAL_US;

	if (hung || away) {
		ipc_client_free(t->client);
		dial(t);
	}
	t->in_cycle = true;
	s->n_waiting++;
	if (t->asked_us > 0)
		failed(t);              /* the last call is still open */
	else if (ipc_client_is_connected(t->client))
		ask(t);
	else if (now > t->dialled_us + SETTLE_US)
		failed(t);
}

static void begin(struct scrape *s)
{
	uint64_t now = clock_mono_us();

	look_around(s);
	s->prom = prom_new();
	s->n_waiting = 0;
	list_for_each_safe(it, &s->targets)
		begin_target(list_entry(it, struct target, node), now);
	loop_timer_set(&s->settle, s->n_waiting > 0 ? SETTLE_US : 0);
	loop_timer_set(&s->deadline, DEADLINE_US);
}

void scrape_get(struct scrape *s, struct scrape_wait *w, scrape_fn fn, void *arg)
{
	*w = (struct scrape_wait){ .fn = fn, .arg = arg };
	list_init(&w->node);
	if (s->last && clock_mono_us() - s->last_us <= FRESH_US) {
		struct prom *p = prom_ref(s->last);

		fn(arg, p);
		prom_unref(p);
		return;
	}
	list_push_back(&s->waits, &w->node);
	if (!s->prom)
		begin(s);
}

void scrape_cancel(struct scrape_wait *w)
{
	list_del(&w->node);
}

static void on_background(void *arg)
{
	struct scrape *s = arg;

	if (!s->prom && (!s->last || clock_mono_us() - s->last_us > FRESH_US))
		begin(s);
	if (s->interval_us > 0)
		loop_timer_set(&s->background, s->interval_us);
}

void scrape_set_interval(struct scrape *s, uint64_t us)
{
	s->interval_us = us;
	if (us > 0)
		loop_timer_set(&s->background, 0);
	else
		loop_timer_stop(&s->background);
}

void scrape_on_stats(struct scrape *s, void (*fn)(void *arg, struct str proxy, const struct doc *d),
		     void *arg)
{
	s->stats = fn;
	s->stats_arg = arg;
	s->with_edges = doc_new_map(&s->arena);
	doc_set_bool(&s->arena, s->with_edges, "edges", true);
}

void scrape_on_own(struct scrape *s, void (*fn)(void *arg, struct prom *p), void *arg)
{
	s->own = fn;
	s->own_arg = arg;
}

/* ---- status, life -------------------------------------------------------------------------- */

void scrape_status(const struct scrape *s, struct arena *a, struct doc *to)
{
	struct doc *list;
	char when[CLOCK_RFC3339_MAX];

	doc_set_int(a, to, "scrapes", (int64_t)s->n_scrapes);
	doc_set_int(a, to, "failures", (int64_t)s->n_failures);
	list = doc_set(a, to, "proxies", doc_new_list(a));
	list_for_each(it, &s->targets) {
		const struct target *t = list_entry(it, struct target, node);
		struct doc *d;

		if (t->kind != TARGET_PROXY)
			continue;
		d = doc_add(a, list, doc_new_map(a));
		doc_set_str(a, d, "name", str_c(t->name));
		doc_set_bool(a, d, "ok", t->ok);
		if (t->last_real_us > 0)
			doc_set_str(a, d, "lastScrape",
				    str_c(clock_rfc3339(t->last_real_us, when)));
	}
	doc_set_int(a, to, "series", s->last ? (int64_t)prom_series(s->last) : 0);
}

struct scrape *scrape_new(struct loop *l, const char *run_dir,
			  void (*generation)(void *arg, int64_t g), void *arg)
{
	struct scrape *s = kv_zalloc(sizeof(*s));

	s->loop = l;
	s->run_dir = kv_strdup(run_dir);
	s->generation = generation;
	s->arg = arg;
	s->last_generation = -1;
	s->started_real_us = clock_real_us();
	arena_init(&s->arena, 0);
	list_init(&s->targets);
	list_init(&s->waits);
	loop_timer_init(&s->settle, l, on_settle, s);
	loop_timer_init(&s->deadline, l, on_deadline, s);
	loop_timer_init(&s->background, l, on_background, s);
	target_new(s, TARGET_ROUTER, STR("router"), "router");
	target_new(s, TARGET_CA, STR("ca"), "ca");
	look_around(s);
	return s;
}

void scrape_free(struct scrape *s)
{
	if (!s)
		return;
	loop_timer_done(&s->settle);
	loop_timer_done(&s->deadline);
	loop_timer_done(&s->background);
	list_for_each_safe(it, &s->targets)
		target_free(list_entry(it, struct target, node));
	while (!list_is_empty(&s->waits))
		list_del(s->waits.next);
	prom_unref(s->prom);
	prom_unref(s->last);
	arena_done(&s->arena);
	free(s->run_dir);
	free(s);
}
