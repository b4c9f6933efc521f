/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain: what a field means, from the very tables that read it. Layer daemons/ctl.
 *     explain                         the kinds
 *     explain virtualservice          its fields
 *     explain vs.http.route.weight    one field
 *     explain mesh.trustDomain        a setting of kvmesh.conf
 *     explain request …               what happens to a request: explain_request.c
 */
#include "config.h"

#include <string.h>

#include "config/model.h"
#include "ctl/explain.h"
#include "ctl/print.h"
#include "doc/bind.h"

static const char *const status_names[] = {
	[FIELD_WORKS] = "works",
	[FIELD_NOT_YET] = "not enforced yet",
	[FIELD_REFUSED] = "refused",
	[FIELD_IGNORED] = "ignored",
};

/* ---- lists ----------------------------------------------------------------------------------- */

static const struct print_column kind_columns[] = {
	{ .head = "KIND", .key = "kind" },
	{ .head = "NAMES", .key = "names" },
	{ .head = "API", .key = "api", .wide = true },
	{ .head = "STATUS", .key = "status" },
	{ .head = "ABOUT", .key = "help" },
	{ NULL },
};

static int list_kinds(struct ctl *c)
{
	struct arena *a = &c->arena;
	struct doc *rows = doc_new_list(a);

	for (int k = 0; k < MODEL_KIND__N; k++) {
		const struct model_kind_info *i = model_kind_info((enum model_kind)k);
		struct doc *d = doc_add(a, rows, doc_new_map(a));

		doc_set_str(a, d, "kind", str_c(i->name));
		doc_set_str(a, d, "names",
			    arena_printf(a, "%s%s%s", i->plural,
					 i->shorts && i->shorts[0] ? " " : "",
					 i->shorts ? i->shorts : ""));
		doc_set_str(a, d, "api", str_c(i->group));
		doc_set_str(a, d, "status", str_c(status_names[i->status]));
		doc_set_str(a, d, "help", str_c(i->help));
	}
	print_list(c, rows, kind_columns, "kinds");
	return CTL_EXIT_OK;
}

static const struct print_column field_columns[] = {
	{ .head = "FIELD", .key = "name" },
	{ .head = "TYPE", .key = "type" },
	{ .head = "STATUS", .key = "status" },
	{ .head = "SINCE", .key = "since", .wide = true },
	{ .head = "ABOUT", .key = "help" },
	{ NULL },
};

static void set_words(struct arena *a, struct doc *d, const struct field *f)
{
	struct doc *words = doc_set(a, d, "words", doc_new_list(a));

	for (const char *const *n = f->names; *n; n++)
		if (**n)
			doc_add(a, words, doc_new_str(a, str_c(*n)));
}

#define EXPLAIN_YEAR_US ((int64_t)366 * 86400 * 1000000)

/* A longest time of years, or what fits a number, only says that there is no limit. */
static bool has_max(const struct field *f)
{
	return f->type == FIELD_DURATION ? f->max < EXPLAIN_YEAR_US : f->max < INT32_MAX;
}

/* Range of a number; times in seconds. */
static void set_range(struct arena *a, struct doc *d, const struct field *f)
{
	bool time = f->type == FIELD_DURATION;
	double unit = time ? 1e6 : 1;

	if (f->min == 0 && f->max == 0)
		return;
	doc_set_real(a, d, time ? "minSeconds" : "min", (double)f->min / unit);
	if (has_max(f))
		doc_set_real(a, d, time ? "maxSeconds" : "max", (double)f->max / unit);
}

static struct doc *field_doc(struct arena *a, const struct field *f)
{
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "name", str_c(f->name));
	doc_set_str(a, d, "type", str_c(field_type_name(f)));
	doc_set_str(a, d, "status", str_c(status_names[f->status]));
	doc_set_bool(a, d, "required", (f->flags & FIELD_REQUIRED) != 0);
	if (f->names)
		set_words(a, d, f);
	set_range(a, d, f);
	if (f->oneof)
		doc_set_int(a, d, "oneOf", f->oneof);
	if (f->since && f->since[0])
		doc_set_str(a, d, "since", str_c(f->since));
	if (f->help)
		doc_set_str(a, d, "help", str_c(f->help));
	if (f->note)
		doc_set_str(a, d, "note", str_c(f->note));
	return d;
}

static struct doc *table_docs(struct arena *a, const struct bind_table *t)
{
	struct doc *rows = doc_new_list(a);

	for (const struct field *f = t->fields; f->name; f++)
		doc_add(a, rows, field_doc(a, f));
	return rows;
}

/* ---- text ------------------------------------------------------------------------------------ */

static void print_line(struct ctl *c, const struct doc *d, const char *label, const char *key)
{
	const struct doc *v = doc_get(d, str_c(key));

	if (v)
		fprintf(c->out, "%-10s %.*s\n", label, STR_ARG(print_value(&c->arena, v)));
}

static void print_field(struct ctl *c, const char *path, const struct doc *d, const struct field *f)
{
	fprintf(c->out, "%s%s%s <%s>%s\n", print_esc(c, PRINT_BOLD), path,
		print_esc(c, PRINT_PLAIN), field_type_name(f),
		f->flags & FIELD_REQUIRED ? " required" : "");
	if (f->help)
		fprintf(c->out, "    %s\n", f->help);
	fputc('\n', c->out);
	print_line(c, d, "status", "status");
	print_line(c, d, "why", "note");
	print_line(c, d, "one of", "words");
	print_line(c, d, "from", "min");
	print_line(c, d, "to", "max");
	print_line(c, d, "from (s)", "minSeconds");
	print_line(c, d, "to (s)", "maxSeconds");
	if (f->oneof)
		fprintf(c->out, "%-10s at most one of its group may be given\n", "exclusive");
	print_line(c, d, "since", "since");
}

static int show_table(struct ctl *c, const char *title, const char *help,
		      const struct bind_table *t)
{
	struct doc *rows = table_docs(&c->arena, t);

	if (print_wants_doc(c)) {
		print_doc(c, rows);
		return CTL_EXIT_OK;
	}
	if (!c->no_legend)
		fprintf(c->out, "%s%s%s%s%s\n\n", print_esc(c, PRINT_BOLD), title,
			print_esc(c, PRINT_PLAIN), help && help[0] ? ": " : "", help ? help : "");
	print_rows(c, rows, field_columns, NULL);
	return CTL_EXIT_OK;
}

static int show_field(struct ctl *c, const char *path, const struct field *f)
{
	struct doc *d = field_doc(&c->arena, f);

	if (f->sub)
		doc_set(&c->arena, d, "fields", table_docs(&c->arena, f->sub));
	if (print_wants_doc(c)) {
		print_doc(c, d);
		return CTL_EXIT_OK;
	}
	print_field(c, path, d, f);
	if (f->sub) {
		fputc('\n', c->out);
		print_rows(c, table_docs(&c->arena, f->sub), field_columns, NULL);
	}
	return CTL_EXIT_OK;
}

/* ---- which ----------------------------------------------------------------------------------- */

/* The longest part of a path that exists tells where the unknown name begins. */
static int unknown_field(const struct bind_table *t, struct str path, const char *whole)
{
	struct str good = path;
	const struct field *f = NULL;
	ptrdiff_t dot;

	while ((dot = str_rfind(good, '.')) >= 0 && !f) {
		good = str_take(good, (size_t)dot);
		f = bind_find(t, good);
	}
	const struct bind_table *in = f ? f->sub : t;
	struct str wrong = f ? str_skip(path, good.n + 1) : path;
	const char *best = NULL;
	unsigned best_d = 4;

	dot = str_find(wrong, '.');
	if (dot >= 0)
		wrong = str_take(wrong, (size_t)dot);
	for (const struct field *g = in ? in->fields : NULL; g && g->name; g++) {
		unsigned d = str_distance(str_c(g->name), wrong, 4);

		if (d < best_d) {
			best = g->name;
			best_d = d;
		}
	}
	if (best)
		return ctl_fail(CTL_EXIT_NOT_FOUND, "%s: no field '%.*s' (did you mean '%s'?)",
				whole, STR_ARG(wrong), best);
	return ctl_fail(CTL_EXIT_NOT_FOUND, "%s: no field '%.*s'", whole, STR_ARG(wrong));
}

static int show_path(struct ctl *c, const struct bind_table *t, struct str path, const char *whole)
{
	const struct field *f;

	/* "VirtualService.spec.http" is how kubectl users write it */
	if (str_has_prefix(path, STR("spec.")))
		path = str_skip(path, 5);
	f = bind_find(t, path);
	return f ? show_field(c, whole, f) : unknown_field(t, path, whole);
}

int cmd_explain(struct ctl *c)
{
	if (c->n_words == 0)
		return list_kinds(c);
	if (strcmp(c->words[0], "request") == 0)
		return explain_request(c);
	if (c->n_words > 1)
		return ctl_fail(CTL_EXIT_USAGE, "explain: unexpected argument '%s'", c->words[1]);
	const char *whole = c->words[0];
	struct str rest = str_c(whole), first;
	bool more;

	str_split(&rest, '.', &first);
	more = rest.p != NULL;
	const struct model_kind_info *k = model_kind_find(first);

	if (k && (!more || str_eq(rest, STR("spec"))))
		return show_table(c, k->name, k->help, k->table);
	if (k && str_has_prefix(rest, STR("metadata.")))
		return show_path(c, &model_metadata_table, str_skip(rest, 9), whole);
	if (k && str_eq(rest, STR("metadata")))
		return show_table(c, "metadata", "what every resource has", &model_metadata_table);
	if (k)
		return show_path(c, k->table, rest, whole);
	if (strcmp(whole, "kvmesh.conf") == 0)
		return show_table(c, "kvmesh.conf", "settings of a node and its mesh",
				  &model_mesh_table);
	if (bind_find(&model_mesh_table, first))
		return show_path(c, &model_mesh_table, str_c(whole), whole);
	return ctl_fail(CTL_EXIT_NOT_FOUND,
			"%.*s is neither a kind nor a group of kvmesh.conf; 'kvmeshctl explain' "
			"lists the kinds",
			STR_ARG(first));
}
