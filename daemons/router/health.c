/* SPDX-License-Identifier: Apache-2.0 */
/* health: see health.h. Layer daemons/router. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/vec.h"
#include "ipc/kept.h"
#include "router/health.h"
#include "router/probe_spec.h"
#include "router/units.h"

#define KEPT_MAX (4u << 20)
#define WHY_MAX 160

enum probe_state { PROBE_UNKNOWN, PROBE_UP, PROBE_DOWN };

struct entry {
	char *id;                       /* "NS/NAME" */
	char *unit;                     /* NULL: none */
	struct probe_spec probe;        /* json NULL: none */
	int64_t round;
	enum probe_state state;
	bool decided;                   /* by a result of this run and this round */
	bool fresh;                     /* its unit began anew: out while nothing is known */
	int64_t good, bad;              /* in a row */
	bool unit_down;
	char unit_state[UNITS_STATE_MAX];
	int64_t since_us;               /* it is in or out; 0 unknown */
	char why[WHY_MAX];
	bool followed;                  /* found in the model, while health_follow looks */
};

struct health {
	char *kept_path;
	struct entry **v;
	size_t n, cap;
	struct map by_id;
	struct loop *loop;
	struct units *units;            /* NULL: not watched */
	struct health_watch watch;
	char *list;                     /* NULL: to be made */
	uint64_t kept_hash;
};

static bool is_out(const struct entry *e)
{
	if (e->unit && e->unit_down)
		return true;
	if (!e->probe.json)
		return false;
	return e->state == PROBE_DOWN || (e->state == PROBE_UNKNOWN && e->fresh);
}

static struct str id_of(const struct model_resource *r, struct arena *a)
{
	return arena_printf(a, "%.*s/%.*s", STR_ARG(r->ns), STR_ARG(r->name));
}

static struct entry *find(const struct health *h, const struct model_resource *r)
{
	struct arena a;

	arena_init(&a, 0);
	struct entry *e = map_get(&h->by_id, id_of(r, &a));

	arena_done(&a);
	return e;
}

/* What the model in hand does not ask for does not count, though the one in force did. */
bool health_is_inactive(void *arg, const struct model_resource *r)
{
	const struct health *h = arg;

	if (!h || r->kind != MODEL_KIND_WORKLOAD)
		return false;
	const struct model_workload *w = model_as_workload(r);
	const struct entry *e = find(h, r);

	if (!e)
		return false;
	if (e->unit && e->unit_down && str_eq(w->unit, str_c(e->unit)))
		return true;
	return w->probe && (e->state == PROBE_DOWN || (e->state == PROBE_UNKNOWN && e->fresh));
}

/* ---- telling ------------------------------------------------------------------------------- */

static void tell_listed(struct health *h)
{
	free(take(&h->list));
	if (h->watch.listed)
		h->watch.listed(h->watch.arg);
}

/* Something about e changed; was: it was out before. */
static void settle(struct health *h, struct entry *e, bool was)
{
	bool out = is_out(e);

	if (out == was)
		return;
	e->since_us = clock_real_us();
	if (!out)
		log_info("workload_healthy: %s is given work again", e->id);
	else if (e->unit && e->unit_down)
		log_warn("workload_inactive: %s is given no work: its unit %s is %s", e->id,
			 e->unit, e->unit_state);
	else if (e->state == PROBE_UNKNOWN)
		log_info("workload_starting: %s is given work once its probe succeeds", e->id);
	else
		log_warn("workload_unhealthy: %s is given no work: %s", e->id, e->why);
	if (h->watch.changed)
		h->watch.changed(h->watch.arg);
}

/* ---- units --------------------------------------------------------------------------------- */

static void restart_probe(struct entry *e, bool fresh)
{
	e->round++;
	e->decided = false;
	e->good = e->bad = 0;
	if (!fresh)
		return;
	e->fresh = true;
	e->state = PROBE_UNKNOWN;
	snprintf(e->why, sizeof(e->why), "it was not probed yet");
}

static void take_unit_state(struct health *h, struct entry *e, const char *state)
{
	bool was = is_out(e), was_down = e->unit_down;

	snprintf(e->unit_state, sizeof(e->unit_state), "%s", state);
	e->unit_down = !units_is_active(str_c(state));
	if (was_down && !e->unit_down)
		restart_probe(e, true);
	settle(h, e, was);
	if (was_down != e->unit_down && e->probe.json)
		tell_listed(h);
}

static void on_unit(void *arg, const char *unit, const char *state)
{
	struct health *h = arg;

	for (size_t i = 0; i < h->n; i++) {
		struct entry *e = h->v[i];

		if (e->unit && str_eq(str_c(e->unit), str_c(unit)))
			take_unit_state(h, e, state);
	}
}

static void want_units(struct health *h)
{
	struct str *names = kv_malloc((h->n + 1) * sizeof(*names));
	size_t n = 0;

	for (size_t i = 0; i < h->n; i++)
		if (h->v[i]->unit)
			names[n++] = str_c(h->v[i]->unit);
	units_want(h->units, names, n);
	free(names);
}

/* ---- results ------------------------------------------------------------------------------- */

static void set_state(struct entry *e, bool ok, struct str why)
{
	e->state = ok ? PROBE_UP : PROBE_DOWN;
	snprintf(e->why, sizeof(e->why), "%.*s", STR_ARG(str_take(why, WHY_MAX - 1)));
}

/* The first result decides alone, then it takes as many in a row as the thresholds say. */
static void count_result(struct entry *e, const struct health_result *r)
{
	int64_t *row = r->ok ? &e->good : &e->bad;

	*(r->ok ? &e->bad : &e->good) = 0;
	*row += *row < INT32_MAX;
	if (!e->decided)
		set_state(e, r->ok, r->why);
	else if (r->ok && e->state == PROBE_DOWN && e->good >= e->probe.success_threshold)
		set_state(e, true, STR(""));
	else if (!r->ok && e->state == PROBE_UP && e->bad >= e->probe.failure_threshold)
		set_state(e, false, r->why);
	e->decided = true;
	e->fresh = false;
}

void health_take(struct health *h, const struct health_result *r)
{
	struct entry *e = map_get(&h->by_id, r->id);

	if (!e || !e->probe.json || e->round != r->round || (e->unit && e->unit_down))
		return;
	bool was = is_out(e);

	count_result(e, r);
	settle(h, e, was);
}

bool health_has_probes(const struct health *h)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->v[i]->probe.json)
			return true;
	return false;
}

/* The delay counts from a start; what was at work before is probed at once. */
static struct doc *list_entry_doc(const struct entry *e, struct arena *a)
{
	struct doc *d, *row = doc_new_map(a);
	struct err err;

	doc_set_str(a, row, "id", str_c(e->id));
	doc_set_int(a, row, "round", e->round);
	doc_set_int(a, row, "afterUs", e->fresh ? e->probe.delay_us : 0);
	doc_set_int(a, row, "periodUs", e->probe.period_us);
	doc_set_int(a, row, "timeoutUs", e->probe.timeout_us);
	if (doc_read_json(str_c(e->probe.json), a, &d, &err) == 0)
		doc_set(a, row, "probe", d);
	return row;
}

struct str health_list(struct health *h)
{
	struct arena a;

	if (h->list)
		return str_c(h->list);
	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a), *list = doc_new_list(&a);

	doc_set_bool(&a, d, "wanted", health_has_probes(h));
	for (size_t i = 0; i < h->n; i++)
		if (h->v[i]->probe.json && !(h->v[i]->unit && h->v[i]->unit_down))
			doc_add(&a, list, list_entry_doc(h->v[i], &a));
	doc_set(&a, d, "probes", list);
	h->list = kv_asprintf("%.*s", STR_ARG(doc_to_json(d, &a, false)));
	arena_done(&a);
	return str_c(h->list);
}

/* ---- the model ----------------------------------------------------------------------------- */

static void entry_free(struct entry *e)
{
	probe_spec_done(&e->probe);
	free(e->id);
	free(e->unit);
	free(e);
}

static struct entry *entry_new(struct health *h, struct str id)
{
	struct entry *e = kv_zalloc(sizeof(*e));

	e->id = kv_asprintf("%.*s", STR_ARG(id));
	e->round = 1;
	*vec_push(h->v, h->n, h->cap) = e;
	map_put(&h->by_id, str_c(e->id), e);
	return e;
}

static bool same_text(const char *x, const char *y)
{
	return x && y ? str_eq(str_c(x), str_c(y)) : x == y;
}

/* True: the list of probes says something else now. */
static bool follow_workload(struct entry *e, const struct model_workload *w)
{
	struct probe_spec spec;
	bool had = e->probe.json != NULL;

	if (!str_eq(w->unit, str_c(e->unit))) {
		free(e->unit);
		e->unit = w->unit.n > 0 ? kv_asprintf("%.*s", STR_ARG(w->unit)) : NULL;
		e->unit_down = false;
		e->unit_state[0] = '\0';
	}
	probe_spec_make(w, &spec);
	bool same = same_text(spec.json, e->probe.json) && probe_spec_same_times(&spec, &e->probe);

	if (!same && had)
		restart_probe(e, false);
	if (!spec.json) {
		e->state = PROBE_UNKNOWN;
		e->fresh = false;
		e->why[0] = '\0';
	}
	probe_spec_done(&e->probe);
	e->probe = spec;
	return !same;
}

static void forget_gone(struct health *h)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n; i++) {
		struct entry *e = h->v[i];

		if (e->followed) {
			h->v[n++] = e;
			continue;
		}
		map_del(&h->by_id, str_c(e->id));
		entry_free(e);
	}
	h->n = n;
}

void health_follow(struct health *h, const struct model *m)
{
	struct arena a;
	bool listed = false;
	size_t was = h->n;

	arena_init(&a, 0);
	for (size_t i = 0; i < h->n; i++)
		h->v[i]->followed = false;
	model_for_each(m, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);
		struct str id = id_of(r, &a);
		struct entry *e = map_get(&h->by_id, id);

		if (!w->probe && w->unit.n == 0)
			continue;
		if (!e)
			e = entry_new(h, id);
		e->followed = true;
		listed = follow_workload(e, w) || listed;
	}
	arena_done(&a);
	size_t with_new = h->n;

	forget_gone(h);
	if (h->units)
		want_units(h);
	if (listed || with_new != h->n || with_new != was)
		tell_listed(h);
}

/* ---- over restarts ------------------------------------------------------------------------- */

static struct str kept_text(const struct health *h, struct arena *a)
{
	struct doc *d = doc_new_map(a), *list = doc_set(a, d, "workloads", doc_new_list(a));

	for (size_t i = 0; i < h->n; i++) {
		const struct entry *e = h->v[i];
		struct doc *row = doc_add(a, list, doc_new_map(a));

		doc_set_str(a, row, "id", str_c(e->id));
		doc_set_int(a, row, "state", (int)e->state);
		doc_set_bool(a, row, "fresh", e->fresh);
		doc_set_str(a, row, "why", str_c(e->why));
		doc_set_int(a, row, "sinceUs", e->since_us);
		if (e->unit) {
			doc_set_str(a, row, "unit", str_c(e->unit));
			doc_set_bool(a, row, "unitDown", e->unit_down);
			doc_set_str(a, row, "unitState", str_c(e->unit_state));
		}
	}
	return doc_to_json(d, a, false);
}

void health_keep(struct health *h)
{
	struct arena a;
	struct err err = { 0 };

	arena_init(&a, 0);
	struct str text = kept_text(h, &a);
	uint64_t hash = hash_bytes(text.p, text.n, 0);

	if (hash != h->kept_hash && kept_save(h->kept_path, text, &err) < 0)
		log_warn("the health of workloads could not be kept for the next start: %s",
			 err.text);
	else
		h->kept_hash = hash;
	arena_done(&a);
}

static void take_kept(struct health *h, const struct doc *d)
{
	struct str id = doc_get_str(d, "id", STR("")), unit = doc_get_str(d, "unit", STR(""));
	int64_t state = doc_get_int(d, "state", 0);

	if (id.n == 0 || map_has(&h->by_id, id) || state < PROBE_UNKNOWN || state > PROBE_DOWN)
		return;
	struct entry *e = entry_new(h, id);

	e->state = (enum probe_state)state;
	e->fresh = doc_get_bool(d, "fresh", false);
	e->since_us = doc_get_int(d, "sinceUs", 0);
	snprintf(e->why, sizeof(e->why), "%.*s", STR_ARG(doc_get_str(d, "why", STR(""))));
	if (unit.n == 0)
		return;
	e->unit = kv_asprintf("%.*s", STR_ARG(unit));
	e->unit_down = doc_get_bool(d, "unitDown", false);
	snprintf(e->unit_state, sizeof(e->unit_state), "%.*s",
		 STR_ARG(doc_get_str(d, "unitState", STR(""))));
}

static void load_kept(struct health *h)
{
	_cleanup_free_ char *text = NULL;
	struct arena a;
	struct doc *d;
	struct err err = { 0 };
	size_t n;
	int r = kept_load(h->kept_path, KEPT_MAX, &text, &n, &err);

	if (r == -ENOENT)
		return;
	arena_init(&a, 0);
	if (r == 0)
		r = doc_read_json(str_from(text, n), &a, &d, &err);
	const struct doc *list = r == 0 ? doc_get(d, STR("workloads")) : NULL;

	if (r < 0)
		log_warn("what was known of the workloads' health is not usable: %s", err.text);
	for (size_t i = 0; list && list->kind == DOC_LIST && i < list->n; i++)
		take_kept(h, list->v[i]);
	arena_done(&a);
}

struct health *health_new(const char *kept_path)
{
	struct health *h = kv_zalloc(sizeof(*h));

	h->kept_path = kv_strdup(kept_path);
	map_init(&h->by_id);
	load_kept(h);
	return h;
}

void health_start(struct health *h, struct loop *l, bool units, const struct health_watch *w)
{
	h->loop = l;
	h->watch = *w;
	if (!units)
		return;
	h->units = units_new(l, on_unit, h);
	want_units(h);
}

void health_stop(struct health *h)
{
	units_free(take(&h->units));
	h->watch = (struct health_watch){ 0 };
}

void health_free(struct health *h)
{
	if (!h)
		return;
	health_stop(h);
	for (size_t i = 0; i < h->n; i++)
		entry_free(h->v[i]);
	free(h->v);
	map_done(&h->by_id);
	free(h->list);
	free(h->kept_path);
	free(h);
}

/* ---- status -------------------------------------------------------------------------------- */

static const char *word(const struct entry *e)
{
	if (e->unit && e->unit_down)
		return "inactive";
	if (!e->probe.json)
		return e->unit_state[0] ? "active" : "unknown";
	switch (e->state) {
	case PROBE_UP:
		return "healthy";
	case PROBE_DOWN:
		return "unhealthy";
	case PROBE_UNKNOWN:
		break;
	}
	return e->fresh ? "starting" : "unknown";
}

struct doc *health_status(const struct health *h, struct arena *a)
{
	struct doc *list = doc_new_list(a);

	for (size_t i = 0; i < h->n; i++) {
		const struct entry *e = h->v[i];
		struct doc *d = doc_add(a, list, doc_new_map(a));
		struct str rest = str_c(e->id), ns;
		char at[CLOCK_RFC3339_MAX];

		(void)str_split(&rest, '/', &ns);
		doc_set_str(a, d, "workload", rest);
		doc_set_str(a, d, "namespace", ns);
		doc_set_str(a, d, "state", str_c(word(e)));
		doc_set_bool(a, d, "out", is_out(e));
		if (e->unit)
			doc_set_str(a, d, "unit", str_c(e->unit));
		if (e->unit && e->unit_state[0])
			doc_set_str(a, d, "unitState", str_c(e->unit_state));
		if (e->probe.json)
			doc_set_str(a, d, "probe", str_c(e->probe.kind));
		if (e->since_us > 0)
			doc_set_str(a, d, "since", str_c(clock_rfc3339(e->since_us, at)));
		if (is_out(e) && e->why[0] && !(e->unit && e->unit_down))
			doc_set_str(a, d, "why", str_c(e->why));
	}
	return list;
}
