/* SPDX-License-Identifier: Apache-2.0 */
/* prom: merging and writing, see prom.h. Layer metrics. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/vec.h"
#include "metrics/prom.h"

#define LABELS_MAX 40
#define BOUNDS_MAX 64
#define NAME_MAX_BYTES 200
#define HELP_MAX_BYTES 1000

struct series {
	struct str labels;              /* a="b",c="d" */
	double value;                   /* histogram: the sum */
	double *counts;                 /* histogram: cumulative, the last for +Inf */
};

struct family {
	struct str name, help;
	enum prom_kind kind;
	double *bounds;                 /* histogram */
	size_t n_bounds;
	struct map series;              /* labels → struct series */
};

struct prom {
	unsigned refs;
	struct arena arena;
	struct map families;            /* name → struct family */
	size_t n_series;
	bool sealed;
};

/* ---- life ---------------------------------------------------------------------------------- */

struct prom *prom_new(void)
{
	struct prom *p = kv_zalloc(sizeof(*p));

	p->refs = 1;
	arena_init(&p->arena, 64u << 10);
	map_init(&p->families);
	return p;
}

struct prom *prom_ref(struct prom *p)
{
	p->refs++;
	return p;
}

void prom_unref(struct prom *p)
{
	if (!p || --p->refs > 0)
		return;
	for (struct map_entry *e = map_first(&p->families); e; e = map_next(&p->families, e))
		map_done(&((struct family *)e->val)->series);
	map_done(&p->families);
	arena_done(&p->arena);
	free(p);
}

/* ---- text ---------------------------------------------------------------------------------- */

struct out {
	char *p;
	size_t n, cap;
};

static void put(struct out *o, const char *p, size_t n)
{
	vec_reserve(o->p, o->cap, o->n + n);
	memcpy(o->p + o->n, p, n);
	o->n += n;
}

static void put_str(struct out *o, struct str s)
{
	if (s.n > 0)
		put(o, s.p, s.n);
}

static void put_c(struct out *o, const char *s)
{
	put_str(o, str_c(s));
}

/* Backslash and newline, inside labels the quote as well. */
static void put_escaped(struct out *o, struct str s, bool in_quotes)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\n')
			put(o, "\\n", 2);
		else if (s.p[i] == '\\')
			put(o, "\\\\", 2);
		else if (s.p[i] == '"' && in_quotes)
			put(o, "\\\"", 2);
		else
			put(o, &s.p[i], 1);
	}
}

/* Whole numbers exactly, others with as many digits as they need. */
static void put_number(struct out *o, double v)
{
	char buf[64];

	if (v == floor(v) && fabs(v) < 9e15)
		snprintf(buf, sizeof(buf), "%.0f", v);
	else
		snprintf(buf, sizeof(buf), "%.15g", v);
	put_c(o, buf);
}

static void put_label(struct out *o, struct str name, struct str value)
{
	if (o->n > 0)
		put(o, ",", 1);
	put_str(o, name);
	put(o, "=\"", 2);
	put_escaped(o, value, true);
	put(o, "\"", 1);
}

/* ---- checking what arrives ----------------------------------------------------------------- */

static bool is_name(struct str s, bool colon)
{
	if (s.n == 0 || s.n > NAME_MAX_BYTES)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
			      (colon && c == ':');

		if (!letter && (i == 0 || c < '0' || c > '9'))
			return false;
	}
	return true;
}

static bool is_number(const struct doc *d, double *ret)
{
	if (!d || (d->kind != DOC_INT && d->kind != DOC_REAL))
		return false;
	*ret = d->kind == DOC_INT ? (double)d->i : d->r;
	return isfinite(*ret);
}

static bool is_kind(struct str s, enum prom_kind *ret)
{
	static const char *const names[] = { "counter", "gauge", "histogram" };

	for (size_t i = 0; i < 3; i++)
		if (str_eq(s, str_c(names[i]))) {
			*ret = (enum prom_kind)i;
			return true;
		}
	return false;
}

static bool is_list(const struct doc *d)
{
	return d && d->kind == DOC_LIST;
}

static bool are_labels(const struct doc *d)
{
	if (!is_list(d) || d->n > LABELS_MAX)
		return false;
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i]->kind != DOC_STR || !is_name(d->v[i]->s, false) ||
		    str_eq(d->v[i]->s, STR("le")) || str_has_prefix(d->v[i]->s, STR("__")))
			return false;
	return true;
}

static bool are_bounds(const struct doc *d, double v[BOUNDS_MAX])
{
	if (!is_list(d) || d->n > BOUNDS_MAX)
		return false;
	for (size_t i = 0; i < d->n; i++)
		if (!is_number(d->v[i], &v[i]) || (i > 0 && v[i] <= v[i - 1]))
			return false;
	return true;
}

/* ---- merging ------------------------------------------------------------------------------- */

static struct family *family_new(struct prom *p, struct str name, enum prom_kind kind,
				 struct str help)
{
	struct family *f = arena_new(&p->arena, struct family);

	f->name = arena_str(&p->arena, name);
	f->help = arena_str(&p->arena, str_take(help, HELP_MAX_BYTES));
	f->kind = kind;
	map_init(&f->series);
	map_put(&p->families, f->name, f);
	return f;
}

/* The family of that name and shape, made when it is new; NULL: it exists in another shape. */
static struct family *family_get(struct prom *p, struct str name, enum prom_kind kind,
				 struct str help, const double *bounds, size_t n_bounds)
{
	struct family *f = map_get(&p->families, name);

	if (f)
		return f->kind == kind && f->n_bounds == n_bounds &&
				       (n_bounds == 0 ||
					memcmp(f->bounds, bounds, n_bounds * sizeof(double)) == 0)
			       ? f
			       : NULL;
	if (p->families.n >= PROM_FAMILIES_MAX)
		return NULL;
	f = family_new(p, name, kind, help);
	f->bounds = arena_new_n(&p->arena, double, n_bounds);
	f->n_bounds = n_bounds;
	if (n_bounds > 0)
		memcpy(f->bounds, bounds, n_bounds * sizeof(double));
	return f;
}

static bool has_room(const struct family *f)
{
	return f->series.n < (f->kind == PROM_HISTOGRAM ? PROM_HISTOGRAMS_MAX : PROM_SERIES_MAX);
}

static struct series *series_get(struct prom *p, struct family *f, struct str labels)
{
	struct series *s = map_get(&f->series, labels);

	if (s)
		return s;
	s = arena_new(&p->arena, struct series);
	s->labels = arena_str(&p->arena, labels);
	if (f->kind == PROM_HISTOGRAM)
		s->counts = arena_new_n(&p->arena, double, f->n_bounds + 1);
	map_put(&f->series, s->labels, s);
	p->n_series++;
	return s;
}

/* What is still told about series that have no room: whose they are and whether they were
 * encrypted. */
static bool is_kept(struct str label)
{
	return str_eq(label, STR("proxy")) || str_eq(label, STR("reporter")) ||
	       str_eq(label, STR("app")) || str_eq(label, STR("request_protocol")) ||
	       str_eq(label, STR("connection_security_policy"));
}

static void render(struct out *o, const struct doc *labels, const struct doc *row, bool folded)
{
	o->n = 0;
	for (size_t i = 0; i < labels->n; i++) {
		struct str name = labels->v[i]->s;

		put_label(o, name, folded && !is_kept(name) ? STR("other") : row->v[i]->s);
	}
}

static bool is_row(const struct doc *row, size_t n_labels)
{
	if (row->kind != DOC_LIST || row->n != n_labels + 1)
		return false;
	for (size_t i = 0; i < n_labels; i++)
		if (row->v[i]->kind != DOC_STR)
			return false;
	return true;
}

/* Cumulative counts, one more than bounds; false: not a histogram of this shape. */
static bool read_histogram(const struct doc *d, size_t n_bounds, double counts[BOUNDS_MAX + 1],
			   double *ret_sum)
{
	const struct doc *buckets = doc_get(d, STR("buckets"));

	if (d->kind != DOC_MAP || !is_list(buckets) || buckets->n != n_bounds + 1 ||
	    !is_number(doc_get(d, STR("sum")), ret_sum))
		return false;
	for (size_t i = 0; i < buckets->n; i++)
		if (!is_number(buckets->v[i], &counts[i]) ||
		    counts[i] < (i > 0 ? counts[i - 1] : 0))
			return false;
	return true;
}

static bool add_row(struct prom *p, struct family *f, const struct doc *labels,
		    const struct doc *row, struct out *scratch)
{
	double counts[BOUNDS_MAX + 1], value;

	if (!is_row(row, labels->n))
		return false;
	const struct doc *last = row->v[labels->n];

	if (f->kind == PROM_HISTOGRAM ? !read_histogram(last, f->n_bounds, counts, &value)
				      : !is_number(last, &value))
		return false;
	render(scratch, labels, row, false);
	if (!map_has(&f->series, str_from(scratch->p, scratch->n)) && !has_room(f))
		render(scratch, labels, row, true);
	struct series *s = series_get(p, f, str_from(scratch->p, scratch->n));

	s->value += value;
	for (size_t i = 0; f->kind == PROM_HISTOGRAM && i <= f->n_bounds; i++)
		/* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): read_histogram has filled n_bounds + 1 of them */
		s->counts[i] += counts[i];
	return true;
}

static int add_family(struct prom *p, const struct doc *d, struct out *scratch, struct err *err)
{
	struct str name = doc_get_str(d, "name", STR(""));
	const struct doc *labels = doc_get(d, STR("labels")), *rows = doc_get(d, STR("series"));
	const struct doc *bounds = doc_get(d, STR("bounds"));
	double v[BOUNDS_MAX];
	enum prom_kind kind;

	if (!is_name(name, true))
		return err_set(err, KV_ERR_PROTOCOL, "a family has no valid name");
	if (!is_kind(doc_get_str(d, "type", STR("")), &kind) || !are_labels(labels) ||
	    !is_list(rows) || (kind == PROM_HISTOGRAM && !are_bounds(bounds, v)))
		return err_set(err, KV_ERR_PROTOCOL, "family %.*s is not described as one",
			       STR_ARG(name));
	struct family *f = family_get(p, name, kind, doc_get_str(d, "help", STR("")), v,
				      kind == PROM_HISTOGRAM ? bounds->n : 0);

	if (!f)
		return err_set(err, KV_ERR_PROTOCOL, "family %.*s has another shape elsewhere",
			       STR_ARG(name));
	int r = 0;

	for (size_t i = 0; i < rows->n; i++)
		if (!add_row(p, f, labels, rows->v[i], scratch) && r == 0)
			r = err_set(err, KV_ERR_PROTOCOL,
				    "family %.*s: row %zu does not fit its labels", STR_ARG(name),
				    i);
	return r;
}

size_t prom_add(struct prom *p, const struct doc *families, struct err *err)
{
	struct out scratch = { 0 };
	struct err e;
	size_t bad = 0;

	kv_assert(!p->sealed);
	if (!is_list(families)) {
		err_set(err, KV_ERR_PROTOCOL, "there is no list of families");
		return 1;
	}
	for (size_t i = 0; i < families->n; i++)
		if (add_family(p, families->v[i], &scratch, &e) < 0 && bad++ == 0 && err)
			*err = e;
	free(scratch.p);
	return bad;
}

void prom_set(struct prom *p, const char *name, enum prom_kind kind, const char *help,
	      const struct prom_label *labels, double value)
{
	struct family *f = family_get(p, str_c(name), kind, str_c(help), NULL, 0);
	struct out o = { 0 };

	kv_assert(!p->sealed && kind != PROM_HISTOGRAM);
	for (const struct prom_label *l = labels; l && l->name; l++)
		put_label(&o, str_c(l->name), l->value);
	if (f && (map_has(&f->series, str_from(o.p, o.n)) || has_room(f)))
		series_get(p, f, str_from(o.p, o.n))->value += value;
	free(o.p);
}

/* ---- writing ------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
	const struct map_entry *x = a, *y = b;

	return str_cmp(x->key, y->key);
}

static void sort(struct map *m)
{
	if (m->n > 1)
		qsort(m->entries, m->n, sizeof(m->entries[0]), by_key);
}

/* The maps are only walked from now on, so their order may change. */
void prom_seal(struct prom *p)
{
	p->sealed = true;
	sort(&p->families);
	for (size_t i = 0; i < p->families.n; i++)
		sort(&((struct family *)p->families.entries[i].val)->series);
}

size_t prom_series(const struct prom *p)
{
	return p->n_series;
}

static void write_head(struct out *o, const struct family *f)
{
	static const char *const names[] = { "counter", "gauge", "histogram" };

	put_c(o, "# HELP ");
	put_str(o, f->name);
	put(o, " ", 1);
	put_escaped(o, f->help.n > 0 ? f->help : f->name, false);
	put_c(o, "\n# TYPE ");
	put_str(o, f->name);
	put(o, " ", 1);
	put_c(o, names[f->kind]);
	put(o, "\n", 1);
}

/* NAME SUFFIX {labels,le="…"} value */
static void write_line(struct out *o, const struct family *f, const char *suffix, struct str labels,
		       const char *le, double value)
{
	put_str(o, f->name);
	put_c(o, suffix);
	if (labels.n > 0 || le) {
		put(o, "{", 1);
		put_str(o, labels);
		if (le) {
			put_c(o, labels.n > 0 ? ",le=\"" : "le=\"");
			put_c(o, le);
			put(o, "\"", 1);
		}
		put(o, "}", 1);
	}
	put(o, " ", 1);
	put_number(o, value);
	put(o, "\n", 1);
}

static void write_series(struct out *o, const struct family *f, const struct series *s)
{
	char le[64];

	if (f->kind != PROM_HISTOGRAM) {
		write_line(o, f, "", s->labels, NULL, s->value);
		return;
	}
	for (size_t i = 0; i < f->n_bounds; i++) {
		snprintf(le, sizeof(le), "%.15g", f->bounds[i]);
		write_line(o, f, "_bucket", s->labels, le, s->counts[i]);
	}
	write_line(o, f, "_bucket", s->labels, "+Inf", s->counts[f->n_bounds]);
	write_line(o, f, "_sum", s->labels, NULL, s->value);
	write_line(o, f, "_count", s->labels, NULL, s->counts[f->n_bounds]);
}

char *prom_write(const struct prom *p, struct prom_cursor *c, size_t room, size_t *ret_n)
{
	struct out o = { 0 };

	kv_assert(p->sealed);
	while (c->family < p->families.n && o.n < room) {
		const struct family *f = p->families.entries[c->family].val;

		if (c->series == f->series.n) {
			c->family++;
			c->series = 0;
			continue;
		}
		if (c->series == 0)
			write_head(&o, f);
		write_series(&o, f, f->series.entries[c->series++].val);
	}
	*ret_n = o.n;
	return o.p;
}
