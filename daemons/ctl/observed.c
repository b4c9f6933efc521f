/* SPDX-License-Identifier: Apache-2.0 */
/* observed: see observed.h. Layer daemons/ctl. */
#include "config.h"

#include "base/vec.h"
#include "ctl/observed.h"

/* ---- families of the Stats call -------------------------------------------------------------- */

static size_t label_index(const struct doc *family, const char *name)
{
	const struct doc *labels = doc_get(family, STR("labels"));

	for (size_t i = 0; labels && labels->kind == DOC_LIST && i < labels->n; i++)
		if (labels->v[i]->kind == DOC_STR && str_eq(labels->v[i]->s, str_c(name)))
			return i;
	return SIZE_MAX;
}

static struct str label(const struct doc *family, const struct doc *series, const char *name)
{
	size_t i = label_index(family, name);

	return series->kind == DOC_LIST && i < series->n && series->v[i]->kind == DOC_STR
		       ? series->v[i]->s
		       : STR("");
}

static struct observed *find(struct observed_list *l, struct str service, struct str workload,
			     struct str ns)
{
	for (size_t i = 0; i < l->n; i++)
		if (str_eq(l->v[i].workload, workload) && str_eq(l->v[i].ns, ns) &&
		    str_eq(l->v[i].service, service))
			return &l->v[i];
	return NULL;
}

static struct observed *row_of(struct ctl *c, struct observed_list *l, const struct doc *family,
			       const struct doc *series)
{
	struct str service = label(family, series, "destination_service");
	struct str workload = label(family, series, "destination_workload");
	struct str ns = label(family, series, "destination_workload_namespace");
	struct observed *o = find(l, service, workload, ns);

	if (!o) {
		o = vec_push_arena(&c->arena, l->v, l->n, l->cap);
		*o = (struct observed){ .service = service, .workload = workload, .ns = ns };
	}
	return o;
}

static void add_count(struct observed *o, const struct doc *family, const struct doc *series)
{
	const struct doc *n = series->v[series->n - 1];
	struct str code = label(family, series, "response_code");

	if (n->kind != DOC_INT)
		return;
	o->requests += n->i;
	if (code.n == 0 || code.p[0] == '5' || code.p[0] == '0')
		o->failed += n->i;
}

static void add_times(struct observed *o, const struct doc *family, const struct doc *series)
{
	const struct doc *buckets = doc_get(series->v[series->n - 1], STR("buckets"));
	const struct doc *bounds = doc_get(family, STR("bounds"));

	if (!buckets || buckets->kind != DOC_LIST || !bounds || bounds->kind != DOC_LIST ||
	    buckets->n > OBSERVED_BUCKETS_MAX || bounds->n + 1 != buckets->n)
		return;
	o->n_buckets = buckets->n;
	for (size_t i = 0; i < buckets->n; i++)
		o->buckets[i] += buckets->v[i]->kind == DOC_INT ? buckets->v[i]->i : 0;
	for (size_t i = 0; i < bounds->n; i++)
		o->bounds[i] =
			bounds->v[i]->kind == DOC_INT ? (double)bounds->v[i]->i : bounds->v[i]->r;
}

static void add_family(struct ctl *c, struct observed_list *l, const struct doc *f)
{
	const struct doc *series = doc_get(f, STR("series"));
	struct str name = doc_get_str(f, "name", STR(""));
	bool counts = str_eq(name, STR("istio_requests_total"));

	if (!counts && !str_eq(name, STR("istio_request_duration_milliseconds")))
		return;
	for (size_t i = 0; series && series->kind == DOC_LIST && i < series->n; i++) {
		const struct doc *s = series->v[i];

		if (s->kind != DOC_LIST || s->n == 0 ||
		    !str_eq(label(f, s, "reporter"), STR("source")))
			continue;
		if (counts)
			add_count(row_of(c, l, f, s), f, s);
		else
			add_times(row_of(c, l, f, s), f, s);
	}
}

void observed_gather(struct ctl *c, struct observed_list *ret)
{
	const char **names;
	size_t n;

	*ret = (struct observed_list){ 0 };
	ctl_proxies(c, &names, &n);
	for (size_t i = 0; i < n; i++) {
		const char *path = ctl_sock(c, "proxy", names[i]);
		struct doc *stats, *status;
		struct err err;

		if (ctl_call(c, path, "Stats", NULL, &stats, &err) < 0 ||
		    ctl_call(c, path, "Status", NULL, &status, &err) < 0)
			continue;
		double up = (double)doc_get_int(status, "uptimeSeconds", 0);
		const struct doc *families = doc_get(stats, STR("families"));

		ret->seconds = up > ret->seconds ? up : ret->seconds;
		for (size_t k = 0; families && families->kind == DOC_LIST && k < families->n; k++)
			add_family(c, ret, families->v[k]);
	}
}

/* ---- figures --------------------------------------------------------------------------------- */

void observed_subtract(struct observed_list *later, const struct observed_list *earlier)
{
	for (size_t i = 0; i < later->n; i++) {
		struct observed *o = &later->v[i];
		const struct observed *e = find((struct observed_list *)(uintptr_t)earlier,
						o->service, o->workload, o->ns);

		if (!e || e->requests > o->requests)
			continue; /* a proxy has started anew */
		o->requests -= e->requests;
		o->failed -= e->failed;
		for (size_t k = 0; k < o->n_buckets && e->n_buckets == o->n_buckets; k++)
			o->buckets[k] -= e->buckets[k];
	}
}

void observed_add(struct observed *to, const struct observed *o)
{
	to->requests += o->requests;
	to->failed += o->failed;
	if (o->n_buckets == 0 || (to->n_buckets > 0 && to->n_buckets != o->n_buckets))
		return;
	to->n_buckets = o->n_buckets;
	for (size_t i = 0; i < o->n_buckets; i++) {
		to->buckets[i] += o->buckets[i];
		to->bounds[i] = o->bounds[i];
	}
}

double observed_quantile(const struct observed *o, double share)
{
	size_t last = o->n_buckets > 0 ? o->n_buckets - 1 : 0;
	double rank = share * (double)o->buckets[last], below = 0, from = 0;

	if (o->n_buckets < 2 || o->buckets[last] == 0)
		return -1;
	for (size_t i = 0; i < last; i++) {
		double here = (double)o->buckets[i];

		if (here >= rank)
			return here > below ? from + (o->bounds[i] - from) * (rank - below) /
							      (here - below)
					    : o->bounds[i];
		below = here;
		from = o->bounds[i];
	}
	return o->bounds[last - 1];
}
