/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind_read: doc → struct by field tables. Layer doc. Every finding is reported with the path and
 * the place of what it is about; a value that is wrong leaves its member as it was.
 */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "base/map.h"
#include "doc/bind_path.h"
#include "doc/bind_scalar.h"

#define ONEOF_MAX 16
#define FIELDS_MAX 256
#define SHOWN 40 /* bytes of a wrong value in a message */

struct reader {
	struct arena *a;
	struct err_list *errs;
	struct bind_path path;
	int rc; /* code of the first error */
};

static void read_members(struct reader *r, const struct bind_table *t, const struct doc *d,
			 const char *skip, void *obj);

/* ---- findings ------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void fail(struct reader *r, struct origin at,
						       const char *fmt, ...)
{
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.text, sizeof(e.text), fmt, ap);
	va_end(ap);
	err_list_add(r->errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, NULL, at, "%s", e.text);
	if (r->rc == 0)
		r->rc = KV_ERR_SCHEMA;
}

/* What d is, in words, into buf. */
static const char *describe(const struct doc *d, bool secret, char *buf, size_t size)
{
	if (d->kind == DOC_STR && !secret)
		snprintf(buf, size, "%s\"%.*s\"%s", d->plain ? "" : "the string ",
			 (int)str_take(d->s, SHOWN).n, d->s.p, d->s.n > SHOWN ? "..." : "");
	else if (d->kind == DOC_INT && !secret)
		snprintf(buf, size, "%" PRId64, d->i);
	else if (d->kind == DOC_REAL && !secret)
		snprintf(buf, size, fabs(d->r) < 1e9 && (double)(int)d->r == d->r ? "%.1f" : "%g",
			 d->r);
	else if (d->kind == DOC_BOOL)
		snprintf(buf, size, "%s", d->b ? "true" : "false");
	else
		snprintf(buf, size, "%s%s",
			 d->kind == DOC_NULL  ? ""
			 : d->kind == DOC_INT ? "an "
					      : "a ",
			 doc_kind_name(d->kind));
	return buf;
}

/* "PATH must be WANT, is WHAT HINT". */
static void wrong(struct reader *r, const struct field *f, const struct doc *d, const char *want,
		  const char *hint)
{
	char is[SHOWN + 40];

	describe(d, (f->flags & FIELD_SECRET) != 0, is, sizeof(is));
	fail(r, d->at, "%s must be %s, is %s%s", r->path.buf, want, is, hint);
}

/* ---- scalars -------------------------------------------------------------------------------- */

static void *member(void *obj, const struct field *f)
{
	return (char *)obj + f->offset;
}

static bool has_range(const struct field *f)
{
	return f->min != 0 || f->max != 0;
}

/* Quotes around a number or boolean: the usual reason. */
static const char *quotes_hint(const struct doc *d)
{
	struct doc bare = *d;
	double r;
	bool b;

	bare.plain = true;
	return d->kind == DOC_STR && !d->plain &&
			       (bind_to_real(&bare, &r) || bind_to_bool(&bare, &b))
		       ? " (remove the quotes)"
		       : "";
}

static void read_bool(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	bool v;

	if (bind_to_bool(d, &v))
		memcpy(p, &v, sizeof(v));
	else
		wrong(r, f, d, "true or false", quotes_hint(d));
}

static bool int_fits(struct reader *r, const struct field *f, const struct doc *d, int64_t *ret)
{
	if (!bind_to_int(d, ret)) {
		wrong(r, f, d, "an integer", quotes_hint(d));
		return false;
	}
	if (!has_range(f) || (*ret >= f->min && *ret <= f->max))
		return true;
	if (f->max == INT64_MAX)
		fail(r, d->at, "%s must be at least %" PRId64 ", is %" PRId64, r->path.buf, f->min,
		     *ret);
	else
		fail(r, d->at, "%s must be between %" PRId64 " and %" PRId64 ", is %" PRId64,
		     r->path.buf, f->min, f->max, *ret);
	return false;
}

static void read_int(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	int64_t v;

	if (int_fits(r, f, d, &v))
		memcpy(p, &v, sizeof(v));
}

static void read_real(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	double v;

	if (!bind_to_real(d, &v))
		wrong(r, f, d, "a number", quotes_hint(d));
	else if (has_range(f) && (v < (double)f->min || v > (double)f->max))
		fail(r, d->at, "%s must be between %" PRId64 " and %" PRId64 ", is %g", r->path.buf,
		     f->min, f->max, v);
	else
		memcpy(p, &v, sizeof(v));
}

/* A string, or a finding and false. */
static bool str_fits(struct reader *r, const struct field *f, const struct doc *d, struct str *ret)
{
	bool scalar = d->kind == DOC_INT || d->kind == DOC_REAL || d->kind == DOC_BOOL;

	if (d->kind != DOC_STR) {
		wrong(r, f, d, "a string", scalar ? " (put it in quotes)" : "");
		return false;
	}
	if ((f->flags & FIELD_NONEMPTY) != 0 && d->s.n == 0) {
		fail(r, d->at, "%s must not be empty", r->path.buf);
		return false;
	}
	*ret = arena_str(r->a, d->s);
	return true;
}

static void read_str(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	struct str s;

	if (str_fits(r, f, d, &s))
		memcpy(p, &s, sizeof(s));
}

/* "one of A, B, C", cut when there are very many. */
static void list_words(const char *const *words, char *buf, size_t size)
{
	size_t n = (size_t)snprintf(buf, size, "one of ");

	for (size_t i = 0; words[i] && n + strlen(words[i]) + 8 < size; i++) {
		const char *sep = i == 0 ? "" : words[i + 1] ? ", " : " or ";
		n += (size_t)snprintf(buf + n, size - n, "%s%s", sep, words[i]);
	}
}

static void read_enum(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	char want[240], hint[80] = "";

	for (int i = 0; d->kind == DOC_STR && f->names[i]; i++) {
		if (str_eq(d->s, str_c(f->names[i]))) {
			memcpy(p, &i, sizeof(i));
			return;
		}
	}
	const char *near = d->kind == DOC_STR ? bind_nearest_word(f->names, d->s) : NULL;
	if (near)
		snprintf(hint, sizeof(hint), " (did you mean %.60s?)", near);
	list_words(f->names, want, sizeof(want));
	wrong(r, f, d, want, hint);
}

static double seconds(int64_t us)
{
	return (double)us / 1e6;
}

static void read_duration(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	int64_t us;

	if (!bind_to_duration(d, &us)) {
		bool number = d->kind == DOC_INT || d->kind == DOC_REAL;
		wrong(r, f, d, "a duration like \"1.5s\" or \"300ms\"",
		      number ? " (put it in quotes, with its unit)" : "");
	} else if (us < 0 && f->min >= 0) {
		fail(r, d->at, "%s must not be negative", r->path.buf);
	} else if (has_range(f) && (us < f->min || us > f->max)) {
		fail(r, d->at, "%s must be between %gs and %gs, is %gs", r->path.buf,
		     seconds(f->min), seconds(f->max), seconds(us));
	} else {
		memcpy(p, &us, sizeof(us));
	}
}

/* ---- lists ---------------------------------------------------------------------------------- */

static bool is_list(struct reader *r, const struct field *f, const struct doc *d)
{
	if (d->kind != DOC_LIST) {
		wrong(r, f, d, "a list", d->kind == DOC_MAP ? " (put it in a list)" : "");
		return false;
	}
	if ((f->flags & FIELD_NONEMPTY) != 0 && d->n == 0) {
		fail(r, d->at, "%s must not be empty", r->path.buf);
		return false;
	}
	return true;
}

static void read_str_list(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	if (!is_list(r, f, d))
		return;
	struct str_list list = { .v = arena_new_n(r->a, struct str, d->n) };

	for (size_t i = 0; i < d->n; i++) {
		size_t cut = bind_path_index(&r->path, i);
		if (str_fits(r, f, d->v[i], &list.v[list.n]))
			list.n++;
		bind_path_cut(&r->path, cut);
	}
	memcpy(p, &list, sizeof(list));
}

static void read_int_list(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	if (!is_list(r, f, d))
		return;
	struct int_list list = { .v = arena_new_n(r->a, int64_t, d->n) };

	for (size_t i = 0; i < d->n; i++) {
		size_t cut = bind_path_index(&r->path, i);
		if (int_fits(r, f, d->v[i], &list.v[list.n]))
			list.n++;
		bind_path_cut(&r->path, cut);
	}
	memcpy(p, &list, sizeof(list));
}

/* A map, else a finding and false. */
static bool is_map(struct reader *r, const struct field *f, const struct doc *d)
{
	if (d->kind == DOC_MAP)
		return true;
	wrong(r, f, d, "a map", d->kind == DOC_LIST ? " (only one is allowed here)" : "");
	return false;
}

static void read_list(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	if (!is_list(r, f, d))
		return;
	struct bind_list list = { .v = arena_zalloc_n(r->a, d->n, f->sub->size), .n = d->n };

	for (size_t i = 0; i < d->n; i++) {
		size_t cut = bind_path_index(&r->path, i);
		if (is_map(r, f, d->v[i]))
			read_members(r, f->sub, d->v[i], NULL, (char *)list.v + i * f->sub->size);
		bind_path_cut(&r->path, cut);
	}
	memcpy(p, &list, sizeof(list));
}

/* ---- maps ----------------------------------------------------------------------------------- */

/* An entry with a key that no earlier entry has; else a finding and false. */
static bool entry_fits(struct reader *r, const struct field *f, const struct bind_entry *e,
		       const struct doc *d, struct map *seen)
{
	const char *name = f->key_name ? f->key_name : "key";

	if (!e->key.p) {
		if (f->type == FIELD_LABELS)
			fail(r, d->at,
			     "%s: an entry must be \"key=value\" or { key = \"...\"; value = "
			     "\"...\"; }",
			     r->path.buf);
		else
			fail(r, d->at, "%s: an entry must be a map with the member '%s'",
			     r->path.buf, name);
		return false;
	}
	if (e->key.n == 0) {
		fail(r, d->at, "%s: a key must not be empty", r->path.buf);
		return false;
	}
	if (map_put(seen, e->key, seen)) {
		fail(r, d->at, "%s: the key '%.*s' is given twice", r->path.buf, STR_ARG(e->key));
		return false;
	}
	return true;
}

/* A list or map that holds entries; else a finding and false. */
static bool has_entries(struct reader *r, const struct field *f, const struct doc *d)
{
	if (d->kind != DOC_LIST && d->kind != DOC_MAP) {
		wrong(r, f, d, "a map", "");
		return false;
	}
	if ((f->flags & FIELD_NONEMPTY) != 0 && d->n == 0) {
		fail(r, d->at, "%s must not be empty", r->path.buf);
		return false;
	}
	return true;
}

static void read_labels(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	if (!has_entries(r, f, d))
		return;
	struct labels out = { .v = arena_new_n(r->a, struct label, d->n) };
	struct map seen;

	map_init(&seen);
	for (size_t i = 0; i < d->n; i++) {
		struct bind_entry e = bind_entry_at(f, d, i, r->a);
		if (!entry_fits(r, f, &e, d->v[i], &seen))
			continue;
		struct label *l = &out.v[out.n];
		size_t cut = bind_path_key(&r->path, e.key);
		if (!e.val)
			fail(r, d->v[i]->at, "%s has no value", r->path.buf);
		else if (str_fits(r, f, e.val, &l->val))
			out.n++;
		l->key = arena_str(r->a, e.key);
		bind_path_cut(&r->path, cut);
	}
	map_done(&seen);
	memcpy(p, &out, sizeof(out));
}

static void read_map(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	if (!has_entries(r, f, d))
		return;
	struct bind_list list = { .v = arena_zalloc_n(r->a, d->n, f->sub->size) };
	struct map seen;

	map_init(&seen);
	for (size_t i = 0; i < d->n; i++) {
		struct bind_entry e = bind_entry_at(f, d, i, r->a);
		if (!entry_fits(r, f, &e, d->v[i], &seen))
			continue;
		char *obj = (char *)list.v + list.n++ * f->sub->size;
		struct str key = arena_str(r->a, e.key);
		memcpy(obj, &key, sizeof(key));
		size_t cut = bind_path_key(&r->path, e.key);
		if (e.owner)
			read_members(r, f->sub, e.owner, e.key_name, obj);
		else if (is_map(r, f, e.val))
			read_members(r, f->sub, e.val, NULL, obj);
		bind_path_cut(&r->path, cut);
	}
	map_done(&seen);
	memcpy(p, &list, sizeof(list));
}

/* ---- structs -------------------------------------------------------------------------------- */

static void read_ptr(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	if (!is_map(r, f, d))
		return;
	void *obj = arena_zalloc(r->a, f->sub->size);
	read_members(r, f->sub, d, NULL, obj);
	memcpy(p, &obj, sizeof(obj));
}

static void read_value(struct reader *r, const struct field *f, const struct doc *d, void *p)
{
	switch (f->type) {
	case FIELD_BOOL:
		read_bool(r, f, d, p);
		break;
	case FIELD_INT:
		read_int(r, f, d, p);
		break;
	case FIELD_REAL:
		read_real(r, f, d, p);
		break;
	case FIELD_STR:
		read_str(r, f, d, p);
		break;
	case FIELD_ENUM:
		read_enum(r, f, d, p);
		break;
	case FIELD_DURATION:
		read_duration(r, f, d, p);
		break;
	case FIELD_STR_LIST:
		read_str_list(r, f, d, p);
		break;
	case FIELD_INT_LIST:
		read_int_list(r, f, d, p);
		break;
	case FIELD_LABELS:
		read_labels(r, f, d, p);
		break;
	case FIELD_STRUCT:
		if (is_map(r, f, d))
			read_members(r, f->sub, d, NULL, p);
		break;
	case FIELD_PTR:
		read_ptr(r, f, d, p);
		break;
	case FIELD_LIST:
		read_list(r, f, d, p);
		break;
	case FIELD_MAP:
		read_map(r, f, d, p);
		break;
	case FIELD_ANY:
		memcpy(p, &d, sizeof(d));
		break;
	}
}

/* What the members of one map have used up. */
struct used {
	uint64_t seen[FIELDS_MAX / 64];
	const struct field *oneof[ONEOF_MAX];
};

static void unknown(struct reader *r, const struct bind_table *t, const struct doc *d)
{
	/* Beyond the cap of the list nobody sees the hint. */
	const char *near = r->errs->n < ERR_LIST_MAX ? bind_nearest_field(t, d->key) : NULL;
	struct str key = str_take(d->key, 2 * SHOWN);

	fail(r, d->key_at, "unknown field '%.*s' in %s%s%s%s", STR_ARG(key), r->path.buf,
	     near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

/* Not refused, not given twice, not excluded by another; else a finding and false. */
static bool may_use(struct reader *r, const struct bind_table *t, const struct field *f,
		    const struct doc *d, struct used *used)
{
	size_t i = (size_t)(f - t->fields);

	kv_assert(i < FIELDS_MAX && f->oneof < ONEOF_MAX);
	if ((used->seen[i / 64] >> (i % 64) & 1) != 0) {
		fail(r, d->key_at, "'%s' is given twice in %s", f->name, r->path.buf);
		return false;
	}
	used->seen[i / 64] |= UINT64_C(1) << (i % 64);
	if (f->status == FIELD_REFUSED) {
		fail(r, d->key_at, "'%s' in %s is not supported: %s", f->name, r->path.buf,
		     f->note ? f->note : "it has no meaning here");
		return false;
	}
	const struct field **other = &used->oneof[f->oneof];
	if (f->oneof > 0 && *other)
		fail(r, d->key_at, "'%s' and '%s' in %s exclude each other", (*other)->name,
		     f->name, r->path.buf);
	*other = f;
	return true;
}

static void check_required(struct reader *r, const struct bind_table *t, const struct doc *d,
			   const struct used *used)
{
	for (size_t i = 0; t->fields[i].name; i++) {
		if ((t->fields[i].flags & FIELD_REQUIRED) != 0 &&
		    (used->seen[i / 64] >> (i % 64) & 1) == 0)
			fail(r, d->at, "'%s' is missing in %s", t->fields[i].name, r->path.buf);
	}
}

/* d is a map. skip: a member that is not the table's (key of a flattened entry), or NULL. */
static void read_members(struct reader *r, const struct bind_table *t, const struct doc *d,
			 const char *skip, void *obj)
{
	struct used used = { 0 };

	if (t->origin_offset >= 0)
		memcpy((char *)obj + t->origin_offset, &d->at, sizeof(d->at));
	for (size_t i = 0; i < d->n; i++) {
		const struct doc *m = d->v[i];
		if (skip && str_eq(m->key, str_c(skip)))
			continue;
		const struct field *f = bind_field_of(t, m->key);
		if (!f)
			unknown(r, t, m);
		if (!f || m->kind == DOC_NULL || !may_use(r, t, f, m, &used))
			continue;
		if (f->has_offset >= 0)
			memcpy((char *)obj + f->has_offset, &(bool){ true }, sizeof(bool));
		size_t cut = bind_path_name(&r->path, str_c(f->name));
		read_value(r, f, m, member(obj, f));
		bind_path_cut(&r->path, cut);
	}
	check_required(r, t, d, &used);
}

int bind_read(const struct bind_table *t, const struct doc *d, const char *path, struct arena *a,
	      void *obj, struct err_list *errs)
{
	struct reader r = { .a = a, .errs = errs };
	char is[SHOWN + 40];

	bind_path_init(&r.path, path);
	if (d->kind == DOC_MAP)
		read_members(&r, t, d, NULL, obj);
	else
		fail(&r, d->at, "%s must be a map, is %s", r.path.buf,
		     describe(d, false, is, sizeof(is)));
	return r.rc;
}
