/* SPDX-License-Identifier: Apache-2.0 */
/* get: the resources that are in force. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "config/model.h"
#include "ctl/print.h"
#include "ctl/resources.h"

/* ---- which of them --------------------------------------------------------------------------- */

static bool has_labels(const struct ctl *c, const struct doc *row)
{
	const struct doc *labels = doc_get(doc_get(row, STR("metadata")), STR("labels"));

	for (size_t i = 0; c->selector && i < c->selector->n; i++) {
		const struct doc *v = doc_get(labels, c->selector->v[i].key);

		if (!v || v->kind != DOC_STR || !str_eq(v->s, c->selector->v[i].val))
			return false;
	}
	return true;
}

static struct doc *choose(struct ctl *c, const struct doc *rows, const struct model_kind_info *kind)
{
	const char *name = c->n_words > 1 ? c->words[1] : NULL;
	struct doc *ret = doc_new_list(&c->arena);

	for (size_t i = 0; i < rows->n; i++) {
		const struct doc *r = rows->v[i];

		if (kind && !str_eq(doc_get_str(r, "kind", STR("")), str_c(kind->name)))
			continue;
		if (name && !str_eq(doc_get_str(r, "name", STR("")), str_c(name)))
			continue;
		if (c->ns && !str_eq(doc_get_str(r, "namespace", STR("")), str_c(c->ns)))
			continue;
		if (has_labels(c, r))
			doc_add(&c->arena, ret, doc_copy(&c->arena, r));
	}
	return ret;
}

/* ---- how they look --------------------------------------------------------------------------- */

static struct str labels_text(struct arena *a, const struct doc *labels)
{
	struct str s = STR("");

	for (size_t i = 0; labels && labels->kind == DOC_MAP && i < labels->n; i++)
		s = arena_printf(a, "%.*s%s%.*s=%.*s", STR_ARG(s), i > 0 ? "," : "",
				 STR_ARG(labels->v[i]->key), STR_ARG(print_value(a, labels->v[i])));
	return s;
}

/* What a reader asks first of each kind: hosts, the selected workloads, the unit. */
static struct str applies_cell(struct arena *a, const struct doc *row)
{
	static const char *const values[] = { "hosts", "host", "unit", "user", "address" };
	static const char *const selectors[] = { "selector", "workloadSelector" };
	const struct doc *spec = doc_get(row, STR("spec"));

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		const struct doc *v = doc_get(spec, str_c(values[i]));

		if (v)
			return print_value(a, v);
	}
	for (size_t i = 0; i < sizeof(selectors) / sizeof(selectors[0]); i++) {
		const struct doc *v = doc_get(spec, str_c(selectors[i]));
		const struct doc *inner = doc_get(v, STR("matchLabels"));

		if (!inner)
			inner = doc_get(v, STR("labels"));
		if (v)
			return labels_text(a, inner ? inner : v);
	}
	return doc_get_str(row, "scope", STR("-"));
}

static struct str age_cell(struct arena *a, const struct doc *row)
{
	int64_t then;

	if (!ctl_time_parse(doc_get_str(row, "firstSeen", STR("")), &then))
		return STR("-");
	return print_age(a, (clock_real_us() - then) / 1000000);
}

static const struct print_column columns_all[] = {
	{ .head = "KIND", .key = "kind" },
	{ .head = "NAMESPACE", .key = "namespace" },
	{ .head = "NAME", .key = "name" },
	{ .head = "APPLIES TO", .cell = applies_cell },
	{ .head = "SOURCE", .key = "source" },
	{ .head = "AGE", .cell = age_cell, .right = true },
	{ NULL },
};

/* As Istio prints a resource, with what only the mesh knows as an annotation. */
static struct doc *as_resource(struct arena *a, const struct doc *row)
{
	const struct model_kind_info *k = model_kind_find(doc_get_str(row, "kind", STR("")));
	const struct doc *given = doc_get(row, STR("metadata"));
	struct doc *d = doc_new_map(a), *meta = given ? doc_copy(a, given) : doc_new_map(a);

	if (k) {
		struct str versions = str_c(k->versions), version = STR("v1");

		str_split(&versions, ' ', &version);
		doc_set_str(a, d, "apiVersion",
			    k->group[0] ? arena_printf(a, "%s/%.*s", k->group, STR_ARG(version))
					: version);
	}
	doc_set_str(a, d, "kind", doc_get_str(row, "kind", STR("")));
	doc_set_str(a, meta, "name", doc_get_str(row, "name", STR("")));
	doc_set_str(a, meta, "namespace", doc_get_str(row, "namespace", STR("")));
	doc_set(a, d, "metadata", meta);
	if (doc_get(row, STR("spec")))
		doc_set(a, d, "spec", doc_copy(a, doc_get(row, STR("spec"))));
	return d;
}

static void print_resources(struct ctl *c, const struct doc *rows, bool one)
{
	struct doc *list = doc_new_list(&c->arena);

	for (size_t i = 0; i < rows->n; i++) {
		struct doc *d = as_resource(&c->arena, rows->v[i]);

		if (c->output == CTL_OUTPUT_YAML) {
			fputs(i > 0 ? "---\n" : "", c->out);
			print_doc(c, d);
		}
		doc_add(&c->arena, list, d);
	}
	if (c->output == CTL_OUTPUT_JSON)
		print_doc(c, one && list->n == 1 ? list->v[0] : list);
}

static int unknown_kind(const char *word)
{
	const char *best = NULL;
	unsigned best_d = 4;

	for (int k = 0; k < MODEL_KIND__N; k++) {
		const char *name = model_kind_info((enum model_kind)k)->plural;
		unsigned d = str_distance(str_c(name), str_c(word), 4);

		if (d < best_d) {
			best = name;
			best_d = d;
		}
	}
	if (best)
		return ctl_fail(CTL_EXIT_USAGE, "unknown kind '%s' (did you mean '%s'?)", word,
				best);
	return ctl_fail(CTL_EXIT_USAGE, "unknown kind '%s'; 'kvmeshctl explain' lists them", word);
}

int cmd_get(struct ctl *c)
{
	struct doc *rows;
	bool all = strcmp(c->words[0], "all") == 0;
	const struct model_kind_info *kind = all ? NULL : model_kind_find(str_c(c->words[0]));
	int code;

	if (!all && !kind)
		return unknown_kind(c->words[0]);
	if ((code = resources_gather(c, &rows)) != CTL_EXIT_OK)
		return code;
	rows = choose(c, rows, kind);
	if (rows->n == 0 && c->n_words > 1)
		return ctl_fail(CTL_EXIT_NOT_FOUND, "there is no %s %s%s%s", c->words[0],
				c->words[1], c->ns ? " in namespace " : "", c->ns ? c->ns : "");
	if (print_wants_doc(c))
		print_resources(c, rows, c->n_words > 1);
	else
		print_rows(c, rows, all ? columns_all : columns_all + 1, "resources");
	return CTL_EXIT_OK;
}
