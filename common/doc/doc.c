/* SPDX-License-Identifier: Apache-2.0 */
/* doc: the tree: making it, looking into it, comparing. Layer doc. */
#include "doc/doc_build.h"

#include <string.h>

#include "base/vec.h"

/* ---- looking ---------------------------------------------------------------------------- */

struct doc *doc_get(const struct doc *map, struct str key)
{
	if (!map || map->kind != DOC_MAP)
		return NULL;
	for (size_t i = 0; i < map->n; i++) {
		if (str_eq(map->v[i]->key, key))
			return map->v[i];
	}
	return NULL;
}

static const struct doc *get_kind(const struct doc *map, const char *key, enum doc_kind kind)
{
	const struct doc *d = doc_get(map, str_c(key));

	return d && d->kind == kind ? d : NULL;
}

struct str doc_get_str(const struct doc *map, const char *key, struct str dflt)
{
	const struct doc *d = get_kind(map, key, DOC_STR);

	return d ? d->s : dflt;
}

int64_t doc_get_int(const struct doc *map, const char *key, int64_t dflt)
{
	const struct doc *d = get_kind(map, key, DOC_INT);

	return d ? d->i : dflt;
}

bool doc_get_bool(const struct doc *map, const char *key, bool dflt)
{
	const struct doc *d = get_kind(map, key, DOC_BOOL);

	return d ? d->b : dflt;
}

double doc_get_real(const struct doc *map, const char *key, double dflt)
{
	const struct doc *d = doc_get(map, str_c(key));

	if (d && d->kind == DOC_INT)
		return (double)d->i;
	return d && d->kind == DOC_REAL ? d->r : dflt;
}

const char *doc_kind_name(enum doc_kind kind)
{
	static const char *const names[] = {
		[DOC_NULL] = "null",   [DOC_BOOL] = "boolean", [DOC_INT] = "integer",
		[DOC_REAL] = "number", [DOC_STR] = "string",   [DOC_LIST] = "list",
		[DOC_MAP] = "map",
	};

	return names[kind];
}

/* ---- building --------------------------------------------------------------------------- */

static struct doc *new_kind(struct arena *a, enum doc_kind kind)
{
	struct doc *d = arena_new(a, struct doc);

	d->kind = kind;
	return d;
}

struct doc *doc_new_map(struct arena *a)
{
	return new_kind(a, DOC_MAP);
}

struct doc *doc_new_list(struct arena *a)
{
	return new_kind(a, DOC_LIST);
}

struct doc *doc_new_str(struct arena *a, struct str s)
{
	struct doc *d = new_kind(a, DOC_STR);

	d->s = arena_str(a, s);
	return d;
}

struct doc *doc_new_int(struct arena *a, int64_t i)
{
	struct doc *d = new_kind(a, DOC_INT);

	d->i = i;
	return d;
}

struct doc *doc_new_real(struct arena *a, double r)
{
	struct doc *d = new_kind(a, DOC_REAL);

	d->r = r;
	return d;
}

struct doc *doc_new_bool(struct arena *a, bool b)
{
	struct doc *d = new_kind(a, DOC_BOOL);

	d->b = b;
	return d;
}

struct doc *doc_new_null(struct arena *a)
{
	return new_kind(a, DOC_NULL);
}

/* Arrays hold a power of two, at least 4, so the capacity is known from n. */
struct doc *doc_append(struct arena *a, struct doc *box, struct doc *child)
{
	size_t n = box->n;

	if (n == 0 || (n >= 4 && (n & (n - 1)) == 0)) {
		size_t cap = n == 0 ? 4 : n * 2;
		box->v = arena_grow(a, box->v, n * sizeof(*box->v), cap * sizeof(*box->v));
	}
	box->v[box->n++] = child;
	return child;
}

struct doc *doc_add(struct arena *a, struct doc *list, struct doc *child)
{
	kv_assert(list->kind == DOC_LIST);
	return doc_append(a, list, child);
}

struct doc *doc_set(struct arena *a, struct doc *map, const char *key, struct doc *child)
{
	kv_assert(map->kind == DOC_MAP);
	child->key = arena_str(a, str_c(key));
	for (size_t i = 0; i < map->n; i++) {
		if (str_eq(map->v[i]->key, child->key)) {
			map->v[i] = child;
			return child;
		}
	}
	return doc_append(a, map, child);
}

struct doc *doc_set_str(struct arena *a, struct doc *map, const char *key, struct str s)
{
	return doc_set(a, map, key, doc_new_str(a, s));
}

struct doc *doc_set_int(struct arena *a, struct doc *map, const char *key, int64_t i)
{
	return doc_set(a, map, key, doc_new_int(a, i));
}

struct doc *doc_set_bool(struct arena *a, struct doc *map, const char *key, bool b)
{
	return doc_set(a, map, key, doc_new_bool(a, b));
}

struct doc *doc_set_real(struct arena *a, struct doc *map, const char *key, double r)
{
	return doc_set(a, map, key, doc_new_real(a, r));
}

struct doc *doc_copy(struct arena *a, const struct doc *d)
{
	struct doc *c = arena_new(a, struct doc);

	*c = *d;
	if (d->key.p)
		c->key = arena_str(a, d->key);
	if (d->kind == DOC_STR)
		c->s = arena_str(a, d->s);
	if (d->kind == DOC_LIST || d->kind == DOC_MAP) {
		c->v = NULL;
		c->n = 0;
		for (size_t i = 0; i < d->n; i++)
			doc_append(a, c, doc_copy(a, d->v[i]));
	}
	return c;
}

/* ---- comparing -------------------------------------------------------------------------- */

static bool members_eq(const struct doc *x, const struct doc *y)
{
	if (x->n != y->n)
		return false;
	for (size_t i = 0; i < x->n; i++) {
		const struct doc *m = x->v[i], *other = y->v[i];
		/* Maps are equal in any order; the same order is the usual case and cheap. */
		if (x->kind == DOC_MAP && !str_eq(m->key, other->key))
			other = doc_get(y, m->key);
		if (!other || !doc_eq(m, other))
			return false;
	}
	return true;
}

bool doc_eq(const struct doc *x, const struct doc *y)
{
	if (x->kind != y->kind)
		return false;
	switch (x->kind) {
	case DOC_NULL:
		return true;
	case DOC_BOOL:
		return x->b == y->b;
	case DOC_INT:
		return x->i == y->i;
	case DOC_REAL:
		/* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c): bit for bit is meant: 0 is not -0, NaN is itself */
		return memcmp(&x->r, &y->r, sizeof(x->r)) == 0;
	case DOC_STR:
		return str_eq(x->s, y->s);
	case DOC_LIST:
	case DOC_MAP:
		return members_eq(x, y);
	}
	return false;
}
