/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert: see convert.h. A file is split as for loading, each resource is brought into canonical
 * form and written in the other syntax. Layer config.
 */
#include "config/convert.h"

#include "base/vec.h"
#include "config/load_split.h"

/* ---- text that grows in an arena ----------------------------------------------------------- */

struct text {
	struct arena *a;
	char *p;
	size_t n, cap;
};

static void put(struct text *t, struct str s)
{
	if (t->n + s.n + 1 > t->cap) {
		size_t cap = t->cap > 0 ? t->cap : 1024;

		while (cap < t->n + s.n + 1)
			cap *= 2;
		t->p = arena_grow(t->a, t->p, t->n, cap);
		t->cap = cap;
	}
	if (s.n > 0)
		memcpy(t->p + t->n, s.p, s.n);
	t->n += s.n;
	t->p[t->n] = '\0';
}

static void put_mark(struct text *t, struct origin at, const char *indent)
{
	if (at.file != NULL && at.line > 0)
		put(t, arena_printf(t->a, "%s# from %s:%u\n", indent, at.file, at.line));
}

/* Every line of s with two blanks before it; the last newline is left out. */
static void put_indented(struct text *t, struct str s)
{
	struct str line;
	bool first = true;

	while (str_split(&s, '\n', &line)) {
		if (!first)
			put(t, STR("\n"));
		first = false;
		if (line.n > 0)
			put(t, STR("  "));
		put(t, line);
	}
}

/* ---- one resource -------------------------------------------------------------------------- */

/* Unknown fields, wrong types: what load would say. */
static int validate(const struct load_raw *raw, struct arena *a, struct err_list *errs)
{
	struct model_metadata md = { 0 };
	char *obj = arena_zalloc(a, raw->kind->size);
	int rm, rs;

	rm = bind_read(&model_metadata_table, raw->metadata,
		       arena_printf(a, "%s.metadata", raw->kind->name).p, a, &md, errs);
	rs = bind_read(raw->kind->table, raw->spec, raw->kind->name, a,
		       obj + raw->kind->spec_offset, errs);
	return rm < 0 ? rm : rs;
}

static bool is_flat_metadata(const struct load_raw *raw)
{
	static const char *const names[] = { "name", "namespace", "labels", "annotations",
					     "creationTimestamp" };

	for (size_t i = 0; i < raw->metadata->n; i++) {
		struct str key = raw->metadata->v[i]->key;
		bool known = false;

		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
			known = known || str_eq(key, str_c(names[k]));
		if (!known || bind_find(raw->kind->table, key) != NULL)
			return false;
	}
	return true;
}

static void set(struct doc *map, struct doc *child)
{
	map->v[map->n++] = child;
}

static struct doc *map_of(size_t n, struct origin at, struct arena *a)
{
	struct doc *d = doc_new_map(a);

	d->v = arena_new_n(a, struct doc *, n + 1);
	d->at = at;
	return d;
}

static struct doc *named(const struct doc *d, const char *key, struct arena *a)
{
	struct doc *copy = doc_copy(a, d);

	copy->key = str_c(key);
	return copy;
}

/* { name, namespace, …, spec's fields }, or { metadata, spec } where names would collide. */
static struct doc *native_of(const struct load_raw *raw, struct arena *a)
{
	struct doc *d = map_of(raw->metadata->n + raw->spec->n + 2, raw->at, a);

	if (!is_flat_metadata(raw)) {
		set(d, named(raw->metadata, "metadata", a));
		set(d, named(raw->spec, "spec", a));
		return d;
	}
	for (size_t i = 0; i < raw->metadata->n; i++)
		set(d, raw->metadata->v[i]);
	for (size_t i = 0; i < raw->spec->n; i++)
		set(d, raw->spec->v[i]);
	return d;
}

static struct doc *envelope_of(const struct load_raw *raw, struct arena *a)
{
	struct str versions = str_c(raw->kind->versions), version = STR("v1");
	const char *group = raw->kind->group;
	struct doc *d = map_of(4, raw->at, a);

	str_split(&versions, ' ', &version);
	doc_set_str(
		a, d, "apiVersion",
		arena_printf(a, "%s%s%.*s", group, group[0] != '\0' ? "/" : "", STR_ARG(version)));
	doc_set_str(a, d, "kind", str_c(raw->kind->name));
	set(d, named(raw->metadata, "metadata", a));
	set(d, named(raw->spec, "spec", a));
	return d;
}

/* ---- a file -------------------------------------------------------------------------------- */

/* "{ … }" of one resource as native text. */
static struct str native_body(const struct load_raw *raw, struct arena *a)
{
	struct doc *top = map_of(1, raw->at, a), *d = native_of(raw, a);
	struct str text;
	ptrdiff_t brace;

	d->key = str_c(raw->kind->name);
	set(top, d);
	text = doc_to_native(top, a, false);
	brace = str_find(text, '{');
	if (brace < 0)
		return text;
	text = str_skip(text, (size_t)brace);
	while (text.n > 0 && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == ';'))
		text.n--;
	return text;
}

static void write_native_kind(struct text *t, const struct load_found *f,
			      const struct model_kind_info *k, bool marks)
{
	size_t n = 0, done = 0;

	for (size_t i = 0; i < f->n_raws; i++)
		n += f->raws[i].kind == k;
	if (t->n > 0)
		put(t, STR("\n"));
	for (size_t i = 0; i < f->n_raws; i++) {
		const struct load_raw *raw = &f->raws[i];

		if (raw->kind != k)
			continue;
		if (n > 1 && done == 0)
			put(t, arena_printf(t->a, "%s = (\n", k->name));
		if (marks)
			put_mark(t, raw->at, n > 1 ? "  " : "");
		if (n == 1)
			put(t, arena_printf(t->a, "%s = ", k->name));
		if (n == 1)
			put(t, native_body(raw, t->a));
		else
			put_indented(t, native_body(raw, t->a));
		done++;
		put(t, n == 1 ? STR(";\n") : done < n ? STR(",\n") : STR("\n);\n"));
	}
}

static void write_native(struct text *t, const struct load_found *f, bool marks)
{
	for (size_t i = 0; i < f->n_settings; i++)
		put(t, doc_to_native(f->settings[i], t->a, marks));
	for (size_t i = 0; i < f->n_raws; i++) {
		bool before = false;

		for (size_t k = 0; k < i && !before; k++)
			before = f->raws[k].kind == f->raws[i].kind;
		if (!before)
			write_native_kind(t, f, f->raws[i].kind, marks);
	}
}

static void write_yaml(struct text *t, const struct load_found *f, bool marks)
{
	for (size_t i = 0; i < f->n_raws; i++) {
		if (i > 0)
			put(t, STR("---\n"));
		if (marks)
			put_mark(t, f->raws[i].at, "");
		put(t, doc_to_yaml(envelope_of(&f->raws[i], t->a), t->a));
		if (t->p[t->n - 1] != '\n')
			put(t, STR("\n"));
	}
}

/* One resource is itself; several are a List, as kubectl has it. */
static void write_json(struct text *t, const struct load_found *f, bool pretty)
{
	struct doc *list = map_of(3, (struct origin){ 0 }, t->a), *items;

	if (f->n_raws == 1) {
		put(t, doc_to_json(envelope_of(&f->raws[0], t->a), t->a, pretty));
		return;
	}
	doc_set_str(t->a, list, "apiVersion", STR("v1"));
	doc_set_str(t->a, list, "kind", STR("List"));
	items = map_of(f->n_raws, (struct origin){ 0 }, t->a);
	items->kind = DOC_LIST;
	for (size_t i = 0; i < f->n_raws; i++)
		set(items, envelope_of(&f->raws[i], t->a));
	doc_set(t->a, list, "items", items);
	put(t, doc_to_json(list, t->a, pretty));
}

/* Split, canonical, valid. */
static int gather(const struct doc_file *f, struct arena *a, struct load_found *ret,
		  struct err_list *errs)
{
	int r = load_split(f, a, ret, errs);

	for (size_t i = 0; i < ret->n_raws; i++) {
		int rc = load_canon(&ret->raws[i], a, errs);
		int rv = validate(&ret->raws[i], a, errs);

		r = r < 0 ? r : rc < 0 ? rc : rv;
	}
	for (size_t i = 0; i < ret->n_settings; i++) {
		struct model_mesh scratch = { 0 };
		int rv;

		ret->settings[i] = bind_canon(&model_mesh_table, ret->settings[i], a);
		rv = bind_read(&model_mesh_table, ret->settings[i], "", a, &scratch, errs);
		r = r < 0 ? r : rv;
	}
	return r;
}

static int write_all(const struct load_found *f, const struct convert_opts *opts, struct arena *a,
		     struct str *ret, struct err_list *errs)
{
	struct text t = { .a = a };

	if (opts->to != DOC_SYNTAX_NATIVE && f->n_settings > 0)
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0007",
				    f->settings[0]->at,
				    "settings of kvmesh.conf have no form in YAML or JSON");
	put(&t, STR(""));
	if (opts->to == DOC_SYNTAX_NATIVE)
		write_native(&t, f, opts->marks);
	else if (opts->to == DOC_SYNTAX_YAML)
		write_yaml(&t, f, opts->marks);
	else
		write_json(&t, f, opts->pretty);
	*ret = str_from(t.p, t.n);
	return 0;
}

int convert_file(const struct doc_file *f, const struct convert_opts *opts, struct arena *a,
		 struct str *ret, struct err_list *errs)
{
	struct load_found found = { 0 };
	int r = gather(f, a, &found, errs);

	return r < 0 ? r : write_all(&found, opts, a, ret, errs);
}

/* ---- there and back ------------------------------------------------------------------------ */

/* Path of the first difference, p == NULL: none. */
static struct str difference(const struct doc *x, const struct doc *y, struct str path,
			     struct arena *a)
{
	if (x == NULL || y == NULL || x->kind != y->kind ||
	    ((x->kind == DOC_MAP || x->kind == DOC_LIST) && x->n != y->n))
		return path;
	if (x->kind != DOC_MAP && x->kind != DOC_LIST)
		return doc_eq(x, y) ? STR_NULL : path;
	for (size_t i = 0; i < x->n; i++) {
		bool map = x->kind == DOC_MAP;
		struct str below =
			map ? arena_printf(a, "%.*s.%.*s", STR_ARG(path), STR_ARG(x->v[i]->key))
			    : arena_printf(a, "%.*s[%zu]", STR_ARG(path), i);
		struct str found =
			difference(x->v[i], map ? doc_get(y, x->v[i]->key) : y->v[i], below, a);

		if (found.p != NULL)
			return found;
	}
	return STR_NULL;
}

/* The n-th resource of its kind, as it is counted in f. */
static const struct load_raw *nth_of_kind(const struct load_found *f,
					  const struct model_kind_info *k, size_t n)
{
	for (size_t i = 0; i < f->n_raws; i++)
		if (f->raws[i].kind == k && n-- == 0)
			return &f->raws[i];
	return NULL;
}

static int compare(const struct load_found *f, const struct load_found *back, struct arena *a,
		   struct err_list *errs)
{
	size_t seen[MODEL_KIND__N] = { 0 };
	int r = 0;

	for (size_t i = 0; i < f->n_raws; i++) {
		const struct load_raw *x = &f->raws[i];
		const struct load_raw *y = nth_of_kind(back, x->kind, seen[x->kind->kind]++);
		struct str path;

		path = y == NULL ? STR("")
				 : difference(x->metadata, y->metadata, STR("metadata"), a);
		if (y != NULL && path.p == NULL)
			path = difference(x->spec, y->spec, STR("spec"), a);
		if (path.p != NULL)
			r = err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_CHECK, NULL, x->at,
					 "%s is not the same after the way there and back: %.*s",
					 x->kind->name, STR_ARG(path));
	}
	if (r == 0 && f->n_raws != back->n_raws)
		r = err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_CHECK, NULL, (struct origin){ 0 },
				 "%zu resources became %zu", f->n_raws, back->n_raws);
	return r;
}

static int compare_settings(const struct load_found *f, const struct load_found *back,
			    struct arena *a, struct err_list *errs)
{
	struct str path = STR_NULL;

	if (f->n_settings == 1)
		path = difference(f->settings[0], back->n_settings == 1 ? back->settings[0] : NULL,
				  STR("settings"), a);
	if (path.p == NULL)
		return 0;
	return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_CHECK, NULL, f->settings[0]->at,
			    "not the same after the way there and back: %.*s", STR_ARG(path));
}

int convert_check(const struct doc_file *f, const struct convert_opts *opts, struct arena *a,
		  struct err_list *errs)
{
	struct load_found found = { 0 }, back = { 0 };
	struct doc_file again = { 0 };
	struct str text;
	int r = gather(f, a, &found, errs);

	if (r == 0)
		r = write_all(&found, opts, a, &text, errs);
	if (r == 0)
		/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): r is 0 only when write_all has set text */
		r = doc_read_text(text, "(converted)", opts->to, a, &again, errs);
	if (r == 0)
		r = gather(&again, a, &back, errs);
	if (r == 0)
		r = compare(&found, &back, a, errs);
	return r < 0 ? r : compare_settings(&found, &back, a, errs);
}
