/* SPDX-License-Identifier: Apache-2.0 */
/*
 * canary: weights wanted beside shares observed, and their change in the file. Layer daemons/ctl.
 *     canary                          every service that is split
 *     canary my-app                   one
 *     canary my-app v1=90 v2=10       change the weights
 *     canary promote my-app v2        all to v2
 *     canary abort my-app             nothing to the smallest any more
 */
#include "config.h"

#include <string.h>

#include "ctl/canary.h"
#include "ctl/findings.h"
#include "ctl/observed.h"
#include "ctl/print.h"

/* ---- what was observed ----------------------------------------------------------------------- */

struct seen {
	int64_t requests, failed;       /* 5xx, and without an answer */
};

/* Labels of the workload or entry of that name; NULL: unknown. */
static const struct labels *labels_of(const struct model *m, struct str name, struct str ns)
{
	static const enum model_kind kinds[] = { MODEL_KIND_WORKLOAD, MODEL_KIND_WORKLOAD_ENTRY };

	for (size_t k = 0; k < 2; k++)
		model_for_each(m, kinds[k], r)
			if (str_eq(r->name, name) && str_eq(r->ns, ns))
				return &r->labels;
	return NULL;
}

static const struct model_subset *subset_of(const struct canary *k, struct str name)
{
	model_for_each(k->m, MODEL_KIND_DESTINATION_RULE, r) {
		const struct model_destination_rule *dr = model_as_dr(r);

		for (size_t i = 0; str_eq(dr->fqdn, k->fqdn) && i < dr->subsets.n; i++)
			if (str_eq(dr->subsets.v[i].name, name))
				return &dr->subsets.v[i];
	}
	return NULL;
}

static size_t which(const struct canary *k, struct str workload, struct str ns)
{
	const struct labels *l = labels_of(k->m, workload, ns);

	for (size_t i = 0; l && i < k->n; i++) {
		const struct model_subset *s = subset_of(k, k->v[i].name);

		if (s && labels_is_subset(&s->labels, l))
			return i;
	}
	return SIZE_MAX;
}

static void observe(struct ctl *c, const struct canary *k, struct seen *seen)
{
	struct observed_list all;

	observed_gather(c, &all);
	for (size_t n = 0; n < all.n; n++) {
		const struct observed *o = &all.v[n];
		size_t i = str_eq(o->service, k->fqdn) ? which(k, o->workload, o->ns) : SIZE_MAX;

		if (i == SIZE_MAX)
			continue;
		seen[i].requests += o->requests;
		seen[i].failed += o->failed;
	}
}

/* ---- showing --------------------------------------------------------------------------------- */

static const struct print_column columns[] = {
	{ .head = "SERVICE", .key = "service" },
	{ .head = "SUBSET", .key = "subset" },
	{ .head = "WEIGHT", .key = "weight", .right = true },
	{ .head = "OBSERVED%", .key = "observed", .right = true },
	{ .head = "REQUESTS", .key = "requests", .right = true },
	{ .head = "SUCCESS%", .key = "success", .right = true },
	{ .head = "FILE", .key = "file", .wide = true },
	{ NULL },
};

static struct str percent(struct arena *a, int64_t part, int64_t all)
{
	return all > 0 ? arena_printf(a, "%.1f", 100.0 * (double)part / (double)all) : STR("-");
}

static void add_rows(struct ctl *c, const struct canary *k, struct doc *rows)
{
	struct seen seen[CANARY_SUBSETS_MAX] = { 0 };
	struct arena *a = &c->arena;
	int64_t all = 0;

	observe(c, k, seen);
	for (size_t i = 0; i < k->n; i++)
		all += seen[i].requests;
	for (size_t i = 0; i < k->n; i++) {
		struct doc *d = doc_add(a, rows, doc_new_map(a));

		doc_set_str(a, d, "service", k->fqdn);
		doc_set_str(a, d, "subset", k->v[i].name.n > 0 ? k->v[i].name : STR("-"));
		doc_set_int(a, d, "weight", k->v[i].weight);
		doc_set_str(a, d, "observed", percent(a, seen[i].requests, all));
		doc_set_int(a, d, "requests", seen[i].requests);
		doc_set_str(a, d, "success", percent(a, seen[i].requests - seen[i].failed,
						     seen[i].requests));
		doc_set_str(a, d, "file", arena_printf(a, "%s:%u", k->vs->r.at.file,
						       k->vs->http.v[k->route].at.line));
	}
}

static int status(struct ctl *c, const struct model *m, const char *service)
{
	struct doc *rows = doc_new_list(&c->arena);
	struct canary *v, one;
	size_t n;

	if (service) {
		int code = canary_find(c, m, service, &one);

		if (code != 0)
			return code;
		v = &one;
		n = 1;
	} else {
		n = canary_all(c, m, &v);
	}
	for (size_t i = 0; i < n; i++)
		add_rows(c, &v[i], rows);
	print_list(c, rows, columns, "subsets");
	return CTL_EXIT_OK;
}

/* ---- changing -------------------------------------------------------------------------------- */

static size_t subset_index(const struct canary *k, struct str name)
{
	for (size_t i = 0; i < k->n; i++)
		if (str_eq(k->v[i].name, name))
			return i;
	return SIZE_MAX;
}

static int no_such(const struct canary *k, struct str name)
{
	return ctl_fail(CTL_EXIT_NOT_FOUND,
			"the route at %s:%u has no destination for subset '%.*s'",
			k->vs->r.at.file, k->vs->http.v[k->route].at.line, STR_ARG(name));
}

/* "v1=90". */
static int read_weight(const struct canary *k, const char *word, int64_t *want)
{
	struct str text = str_c(word);
	ptrdiff_t eq = str_find(text, '=');
	uint64_t weight;

	if (eq < 0 || !str_to_u64(str_skip(text, (size_t)eq + 1), &weight) || weight > 100)
		return ctl_fail(CTL_EXIT_USAGE, "'%s': SUBSET=WEIGHT with 0 to 100 is needed", word);
	size_t i = subset_index(k, str_take(text, (size_t)eq));

	if (i == SIZE_MAX)
		return no_such(k, str_take(text, (size_t)eq));
	want[i] = (int64_t)weight;
	return 0;
}

static int set_weights(struct ctl *c, const struct model *m)
{
	int64_t want[CANARY_SUBSETS_MAX], sum = 0;
	struct canary k;
	int code = canary_find(c, m, c->words[0], &k);

	for (size_t i = 0; code == 0 && i < k.n; i++)
		want[i] = k.v[i].weight;
	for (unsigned i = 1; code == 0 && i < c->n_words; i++)
		code = read_weight(&k, c->words[i], want);
	for (size_t i = 0; code == 0 && i < k.n; i++)
		sum += want[i];
	if (code == 0 && sum != 100)
		code = ctl_fail(CTL_EXIT_USAGE, "the weights are %lld together, not 100",
				(long long)sum);
	return code != 0 ? code : canary_write(c, &k, want);
}

static size_t lightest(const struct canary *k)
{
	size_t best = 0;

	for (size_t i = 1; i < k->n; i++)
		if (k->v[i].weight <= k->v[best].weight)
			best = i;
	return best;
}

static size_t heaviest_but(const struct canary *k, size_t but)
{
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < k->n; i++)
		if (i != but && (best == SIZE_MAX || k->v[i].weight > k->v[best].weight))
			best = i;
	return best;
}

/* All to the canary, or what it had to the others' first; by default the canary is the lightest. */
static int finish(struct ctl *c, const struct model *m, bool promote)
{
	int64_t want[CANARY_SUBSETS_MAX] = { 0 };
	struct canary k;
	int code = canary_find(c, m, c->words[1], &k);

	if (code != 0)
		return code;
	size_t canary = c->n_words > 2 ? subset_index(&k, str_c(c->words[2])) : lightest(&k);

	if (canary == SIZE_MAX)
		return no_such(&k, str_c(c->words[2]));
	if (promote) {
		want[canary] = 100;
		return canary_write(c, &k, want);
	}
	for (size_t i = 0; i < k.n; i++)
		want[i] = i == canary ? 0 : k.v[i].weight;
	want[heaviest_but(&k, canary)] += k.v[canary].weight;
	return canary_write(c, &k, want);
}

int cmd_canary(struct ctl *c)
{
	struct model *m;
	int code = findings_load_or_fail(c, &m);
	const char *word = c->n_words > 0 ? c->words[0] : NULL;
	bool promote = word && strcmp(word, "promote") == 0;

	if (code != 0)
		return code;
	if (word && strcmp(word, "status") == 0)
		return status(c, m, c->n_words > 1 ? c->words[1] : NULL);
	if (promote || (word && strcmp(word, "abort") == 0))
		return c->n_words > 1 ? finish(c, m, promote) :
					ctl_fail(CTL_EXIT_USAGE, "canary %s needs a service", word);
	return c->n_words > 1 ? set_weights(c, m) : status(c, m, word);
}
