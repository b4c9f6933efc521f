/* SPDX-License-Identifier: Apache-2.0 */
/* bind: visiting what a doc uses, finding a field, names of types. Layer doc. */
#include "doc/bind.h"

#include <stdio.h>

#include "doc/bind_path.h"
#include "doc/bind_scalar.h"

/* ---- visiting ------------------------------------------------------------------------------- */

struct visitor {
	struct bind_path path;
	bind_visit_fn fn;
	void *arg;
	struct arena scratch; /* for the keys of entries */
};

static void visit_members(struct visitor *v, const struct bind_table *t, const struct doc *d,
			  const char *skip);

static void visit_entries(struct visitor *v, const struct field *f, const struct doc *d)
{
	for (size_t i = 0; i < d->n; i++) {
		struct bind_entry e = bind_entry_at(f, d, i, &v->scratch);
		size_t cut = bind_path_key(&v->path, e.key);
		if (e.owner)
			visit_members(v, f->sub, e.owner, e.key_name);
		else if (e.val)
			visit_members(v, f->sub, e.val, NULL);
		bind_path_cut(&v->path, cut);
	}
}

static void visit_elements(struct visitor *v, const struct field *f, const struct doc *d)
{
	for (size_t i = 0; i < d->n; i++) {
		size_t cut = bind_path_index(&v->path, i);
		visit_members(v, f->sub, d->v[i], NULL);
		bind_path_cut(&v->path, cut);
	}
}

static void visit_value(struct visitor *v, const struct field *f, const struct doc *d)
{
	v->fn(v->arg, v->path.buf, f, d);
	if (f->type == FIELD_STRUCT || f->type == FIELD_PTR)
		visit_members(v, f->sub, d, NULL);
	else if (f->type == FIELD_LIST && d->kind == DOC_LIST)
		visit_elements(v, f, d);
	else if (f->type == FIELD_MAP && (d->kind == DOC_LIST || d->kind == DOC_MAP))
		visit_entries(v, f, d);
}

static void visit_members(struct visitor *v, const struct bind_table *t, const struct doc *d,
			  const char *skip)
{
	for (size_t i = 0; d->kind == DOC_MAP && i < d->n; i++) {
		const struct doc *m = d->v[i];
		const struct field *f = bind_field_of(t, m->key);
		if (!f || m->kind == DOC_NULL || (skip && str_eq(m->key, str_c(skip))))
			continue;
		size_t cut = bind_path_name(&v->path, str_c(f->name));
		visit_value(v, f, m);
		bind_path_cut(&v->path, cut);
	}
}

void bind_visit(const struct bind_table *t, const struct doc *d, const char *path, bind_visit_fn fn,
		void *arg)
{
	struct visitor v = { .fn = fn, .arg = arg };

	bind_path_init(&v.path, path);
	arena_init(&v.scratch, 0);
	visit_members(&v, t, d, NULL);
	arena_done(&v.scratch);
}

/* ---- finding -------------------------------------------------------------------------------- */

const struct field *bind_find(const struct bind_table *t, struct str dotted)
{
	const struct field *f = NULL;
	struct str piece;

	while (str_split(&dotted, '.', &piece)) {
		ptrdiff_t bracket = str_find(piece, '[');
		if (bracket >= 0)
			piece = str_take(piece, (size_t)bracket);
		if (f)
			t = f->sub;
		f = t ? bind_field_of(t, piece) : NULL;
		if (!f)
			return NULL;
	}
	return f;
}

const char *field_type_name(const struct field *f)
{
	static const char *const names[] = {
		[FIELD_BOOL] = "boolean",
		[FIELD_INT] = "integer",
		[FIELD_REAL] = "number",
		[FIELD_STR] = "string",
		[FIELD_ENUM] = "enum",
		[FIELD_DURATION] = "duration",
		[FIELD_STR_LIST] = "string[]",
		[FIELD_INT_LIST] = "integer[]",
		[FIELD_LABELS] = "map<string, string>",
		[FIELD_ANY] = "any",
	};
	static _Thread_local char buf[128];

	if (!f->sub)
		return names[f->type];
	snprintf(buf, sizeof(buf), "%s%s%s", f->type == FIELD_MAP ? "map<string, " : "",
		 f->sub->name,
		 f->type == FIELD_MAP    ? ">"
		 : f->type == FIELD_LIST ? "[]"
					 : "");
	return buf;
}

/* ---- lists of strings ----------------------------------------------------------------------- */

bool str_list_has(const struct str_list *l, struct str s)
{
	for (size_t i = 0; i < l->n; i++)
		if (str_eq(l->v[i], s))
			return true;
	return false;
}

bool str_list_eq(const struct str_list *a, const struct str_list *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!str_eq(a->v[i], b->v[i]))
			return false;
	return true;
}
