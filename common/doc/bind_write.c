/* SPDX-License-Identifier: Apache-2.0 */
/* bind_write: struct → doc by field tables. Layer doc. */
#include <inttypes.h>
#include <string.h>

#include "doc/bind.h"
#include "doc/doc_build.h"

static struct doc *write_table(const struct bind_table *t, const void *obj, struct arena *a);

/* Seconds with as many decimals as needed: the one form that Istio, protobuf and Go all read. */
static struct doc *write_duration(struct arena *a, int64_t us)
{
	uint64_t abs = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
	struct str s = arena_printf(a, "%s%" PRIu64 ".%06" PRIu64, us < 0 ? "-" : "", abs / 1000000,
				    abs % 1000000);
	struct doc *d = doc_new_str(a, STR_NULL);

	while (s.p[s.n - 1] == '0')
		s.n--;
	if (s.p[s.n - 1] == '.')
		s.n--;
	d->s = arena_printf(a, "%.*ss", STR_ARG(s));
	return d;
}

static struct doc *write_str_list(const struct str_list *l, struct arena *a)
{
	struct doc *d = doc_new_list(a);

	for (size_t i = 0; i < l->n; i++)
		doc_add(a, d, doc_new_str(a, l->v[i]));
	return d;
}

static struct doc *write_int_list(const struct int_list *l, struct arena *a)
{
	struct doc *d = doc_new_list(a);

	for (size_t i = 0; i < l->n; i++)
		doc_add(a, d, doc_new_int(a, l->v[i]));
	return d;
}

static struct doc *write_labels(const struct labels *l, struct arena *a)
{
	struct doc *d = doc_new_map(a);

	for (size_t i = 0; i < l->n; i++) {
		struct doc *v = doc_append(a, d, doc_new_str(a, l->v[i].val));
		v->key = arena_str(a, l->v[i].key);
	}
	return d;
}

static struct doc *write_list(const struct field *f, const struct bind_list *l, struct arena *a)
{
	bool map = f->type == FIELD_MAP;
	struct doc *d = map ? doc_new_map(a) : doc_new_list(a);

	for (size_t i = 0; i < l->n; i++) {
		const char *obj = (const char *)l->v + i * f->sub->size;
		struct doc *e = doc_append(a, d, write_table(f->sub, obj, a));
		struct str key;
		if (!map)
			continue;
		memcpy(&key, obj, sizeof(key));
		e->key = arena_str(a, key);
	}
	return d;
}

/* An embedded struct has no presence of its own: without members it is left out. */
static struct doc *write_struct(const struct field *f, const void *p, bool has, struct arena *a)
{
	struct doc *d = write_table(f->sub, p, a);

	return d->n > 0 || has ? d : NULL;
}

/* Scalars: left out when zero, unless a bool member says that it was given. */
static struct doc *write_scalar(const struct field *f, const void *p, bool has, struct arena *a)
{
	bool b = false;
	int64_t i = 0;
	double r = 0;
	int e = 0;

	if (f->type == FIELD_BOOL) {
		memcpy(&b, p, sizeof(b));
		return b || has ? doc_new_bool(a, b) : NULL;
	}
	if (f->type == FIELD_REAL) {
		memcpy(&r, p, sizeof(r));
		return r < 0 || r > 0 || has ? doc_new_real(a, r) : NULL;
	}
	if (f->type == FIELD_ENUM) {
		memcpy(&e, p, sizeof(e));
		return e != 0 || has ? doc_new_str(a, str_c(f->names[e])) : NULL;
	}
	memcpy(&i, p, sizeof(i));
	if (i == 0 && !has)
		return NULL;
	return f->type == FIELD_DURATION ? write_duration(a, i) : doc_new_int(a, i);
}

/* What begins with a pointer: absent when that is NULL. */
static struct doc *write_pointed(const struct field *f, const void *p, struct arena *a)
{
	const void *q;

	memcpy(&q, p, sizeof(q));
	if (!q)
		return NULL;
	if (f->type == FIELD_STR)
		return doc_new_str(a, *(const struct str *)p);
	if (f->type == FIELD_STR_LIST)
		return write_str_list(p, a);
	if (f->type == FIELD_INT_LIST)
		return write_int_list(p, a);
	if (f->type == FIELD_LABELS)
		return write_labels(p, a);
	if (f->type == FIELD_PTR)
		return write_table(f->sub, q, a);
	if (f->type == FIELD_ANY)
		return f->status == FIELD_IGNORED ? NULL : doc_copy(a, q);
	return write_list(f, p, a);
}

static struct doc *write_field(const struct field *f, const char *obj, struct arena *a)
{
	const char *p = obj + f->offset;
	bool has = false;

	if (f->has_offset >= 0) {
		memcpy(&has, obj + f->has_offset, sizeof(has));
		if (!has)
			return NULL;
	}
	switch (f->type) {
	case FIELD_BOOL:
	case FIELD_INT:
	case FIELD_REAL:
	case FIELD_ENUM:
	case FIELD_DURATION:
		return write_scalar(f, p, has, a);
	case FIELD_STRUCT:
		return write_struct(f, p, has, a);
	case FIELD_STR:
	case FIELD_STR_LIST:
	case FIELD_INT_LIST:
	case FIELD_LABELS:
	case FIELD_PTR:
	case FIELD_LIST:
	case FIELD_MAP:
	case FIELD_ANY:
		break;
	}
	return write_pointed(f, p, a);
}

static struct doc *write_table(const struct bind_table *t, const void *obj, struct arena *a)
{
	struct doc *d = doc_new_map(a);

	for (const struct field *f = t->fields; f->name; f++) {
		struct doc *v = write_field(f, obj, a);
		if (v)
			doc_set(a, d, f->name, v);
	}
	return d;
}

struct doc *bind_write(const struct bind_table *t, const void *obj, struct arena *a)
{
	return write_table(t, obj, a);
}
