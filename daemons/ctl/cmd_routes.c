/* SPDX-License-Identifier: Apache-2.0 */
/*
 * routes: where the requests of a service go, and how that was. Figures are of a destination:
 * routes that share one show the same. Layer daemons/ctl.
 */
#include "config.h"

#include <string.h>
#include <time.h>

#include "ctl/describe.h"
#include "ctl/observed.h"
#include "ctl/print.h"

/* ---- figures --------------------------------------------------------------------------------- */

static const struct snap_cluster *find_cluster(const struct snap *s, struct str name)
{
	for (size_t i = 0; i < s->clusters.n; i++)
		if (str_eq(s->clusters.v[i].name, name))
			return &s->clusters.v[i];
	return NULL;
}

/* Did one of the destination's endpoints answer that? */
static bool is_of(const struct snap *s, const struct snap_cluster *k, const struct observed *o)
{
	if (!str_eq(o->service, k->service))
		return false;
	for (size_t i = 0; i < k->endpoints.n; i++) {
		int64_t peer = k->endpoints.v[i].peer;

		if (peer < 0 || (str_eq(s->peers.v[peer].name, o->workload) &&
				 str_eq(s->peers.v[peer].ns, o->ns)))
			return true;
	}
	return false;
}

static void set_quantile(struct arena *a, struct doc *d, const char *key, const struct observed *o,
			 double share)
{
	double ms = observed_quantile(o, share);

	if (ms >= 0)
		doc_set_real(a, d, key, ms);
}

static void put_figures(struct describe *d, struct doc *row, const struct snap_cluster *k,
			const struct observed_list *l)
{
	struct observed sum = { 0 };

	for (size_t i = 0; k && i < l->n; i++)
		if (is_of(d->of.snap, k, &l->v[i]))
			observed_add(&sum, &l->v[i]);
	doc_set_int(d->a, row, "requests", sum.requests);
	if (sum.requests == 0)
		return;
	doc_set_real(d->a, row, "success",
		     (double)(sum.requests - sum.failed) / (double)sum.requests);
	if (l->seconds > 0)
		doc_set_real(d->a, row, "rps", (double)sum.requests / l->seconds);
	set_quantile(d->a, row, "latency_ms_p50", &sum, 0.5);
	set_quantile(d->a, row, "latency_ms_p95", &sum, 0.95);
	set_quantile(d->a, row, "latency_ms_p99", &sum, 0.99);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void copy_members(struct arena *a, struct doc *to, const struct doc *from)
{
	static const char *const keys[] = { "match", "virtual_service", "source" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const struct doc *v = doc_get(from, str_c(keys[i]));

		if (v)
			doc_set(a, to, keys[i], doc_copy(a, v));
	}
	struct str route = doc_get_str(from, "route", STR(""));

	doc_set_str(a, to, "route", route.n > 0 ? route : doc_get_str(from, "match", STR("-")));
}

static void add_row(struct describe *d, struct doc *rows, const struct doc *route,
		    const struct doc *to, double total, const struct observed_list *l)
{
	struct doc *row = doc_add(d->a, rows, doc_new_map(d->a));
	struct str name = doc_get_str(to, "cluster", STR("")), service = name;
	const struct snap_cluster *k = find_cluster(d->of.snap, name);

	copy_members(d->a, row, route);
	if (k)
		service = describe_short_name(d, k);
	if (k && k->subset.n > 0)
		service = arena_printf(d->a, "%.*s/%.*s", STR_ARG(service), STR_ARG(k->subset));
	doc_set_str(d->a, row, "service", service);
	doc_set_str(d->a, row, "cluster", name);
	doc_set_real(d->a, row, "weight",
		     total > 0 ? 100.0 * (double)doc_get_int(to, "weight", 0) / total : 100.0);
	put_figures(d, row, k, l);
}

/* A redirect and a direct response lead to no service. */
static void add_answer(struct describe *d, struct doc *rows, const struct doc *route)
{
	struct doc *row = doc_add(d->a, rows, doc_new_map(d->a));

	copy_members(d->a, row, route);
	doc_set_str(d->a, row, "service", doc_get_str(route, "destination", STR("-")));
}

static void add_route(struct describe *d, struct doc *rows, const struct doc *route,
		      const struct observed_list *l)
{
	const struct doc *to = doc_get(route, STR("destinations"));
	double total = 0;

	if (!to || to->n == 0) {
		add_answer(d, rows, route);
		return;
	}
	for (size_t i = 0; i < to->n; i++)
		total += (double)doc_get_int(to->v[i], "weight", 0);
	for (size_t i = 0; i < to->n; i++)
		add_row(d, rows, route, to->v[i], to->n > 1 ? total : 0, l);
}

static struct str number(struct arena *a, const struct doc *row, const char *key, const char *fmt)
{
	const struct doc *v = doc_get(row, str_c(key));

	if (!v)
		return STR("-");
	double x = v->kind == DOC_INT ? (double)v->i : v->r;

	return fmt[0] == '%'   ? arena_printf(a, "%.2f%%", x * 100)
	       : fmt[0] == 'm' ? arena_printf(a, "%.1fms", x)
			       : arena_printf(a, "%.1f", x);
}

static struct str success_cell(struct arena *a, const struct doc *row)
{
	return number(a, row, "success", "%");
}

static struct str rps_cell(struct arena *a, const struct doc *row)
{
	return number(a, row, "rps", "1");
}

static struct str p50_cell(struct arena *a, const struct doc *row)
{
	return number(a, row, "latency_ms_p50", "ms");
}

static struct str p95_cell(struct arena *a, const struct doc *row)
{
	return number(a, row, "latency_ms_p95", "ms");
}

static struct str p99_cell(struct arena *a, const struct doc *row)
{
	return number(a, row, "latency_ms_p99", "ms");
}

static struct str weight_cell(struct arena *a, const struct doc *row)
{
	const struct doc *v = doc_get(row, STR("weight"));

	return v ? arena_printf(a, "%.4g%%", v->r) : STR("-");
}

static const struct print_column columns[] = {
	{ .head = "ROUTE", .key = "route" },
	{ .head = "SERVICE", .key = "service" },
	{ .head = "WEIGHT", .cell = weight_cell, .right = true },
	{ .head = "SUCCESS", .cell = success_cell, .right = true },
	{ .head = "RPS", .cell = rps_cell, .right = true },
	{ .head = "LATENCY_P50", .cell = p50_cell, .right = true },
	{ .head = "LATENCY_P95", .cell = p95_cell, .right = true },
	{ .head = "LATENCY_P99", .cell = p99_cell, .right = true },
	{ .head = "MATCH", .key = "match", .wide = true },
	{ .head = "VIRTUAL SERVICE", .key = "virtual_service", .wide = true },
	{ .head = "FILE", .key = "source", .wide = true },
	{ NULL },
};

/* ---- the time that is looked at -------------------------------------------------------------- */

static int observe(struct ctl *c, struct observed_list *ret)
{
	const char *window = ctl_value(c, "time-window", NULL);
	struct observed_list before;
	int64_t us;

	if (!window) {
		observed_gather(c, ret);
		return 0;
	}
	if (!str_to_duration_us(str_c(window), &us) || us <= 0 || us > 3600 * INT64_C(1000000))
		return ctl_fail(CTL_EXIT_USAGE, "--time-window %s: a time up to 1h is needed",
				window);
	observed_gather(c, &before);
	nanosleep(&(struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 },
		  NULL);
	observed_gather(c, ret);
	observed_subtract(ret, &before);
	ret->seconds = (double)us / 1e6;
	return 0;
}

int cmd_routes(struct ctl *c)
{
	struct observed_list seen;
	struct describe d;
	struct str fqdn;
	int code = describe_open(c, &d);

	if (code == 0) {
		fqdn = describe_find_service(&d, c->words[0]);
		code = fqdn.n > 0 ? observe(c, &seen) : CTL_EXIT_NOT_FOUND;
	}
	if (code == 0) {
		struct doc *routes = describe_routes(&d, fqdn), *rows = doc_new_list(&c->arena);

		for (size_t i = 0; i < routes->n; i++)
			add_route(&d, rows, routes->v[i], &seen);
		print_list(c, rows, columns, "routes");
	}
	describe_done(&d);
	return code;
}
