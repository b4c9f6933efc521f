/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind_canon: the one form that all ways of writing the same values share. Layer doc. What cannot
 * be read as its field wants it stays as it is: telling so is bind_read's business.
 */
#include "base/map.h"
#include "doc/bind_scalar.h"
#include "doc/doc_build.h"
#include "doc/doc_plain.h"

struct canon {
	struct arena *a;
	bool hide; /* secrets */
};

static struct doc *canon_members(const struct canon *c, const struct bind_table *t,
				 const struct doc *d, const char *skip);

/* A copy without its members. */
static struct doc *copy_empty(const struct canon *c, const struct doc *d, enum doc_kind kind)
{
	struct doc *e = arena_new(c->a, struct doc);

	*e = *d;
	e->kind = kind;
	e->plain = false;
	e->v = NULL;
	e->n = 0;
	if (d->key.p)
		e->key = arena_str(c->a, d->key);
	return e;
}

static struct doc *canon_scalar(const struct canon *c, enum field_type type, const struct doc *d)
{
	struct doc *s = doc_copy(c->a, d);

	if (type == FIELD_BOOL && bind_to_bool(d, &s->b))
		s->kind = DOC_BOOL;
	else if (type == FIELD_INT && bind_to_int(d, &s->i))
		s->kind = DOC_INT;
	else if (type == FIELD_REAL && bind_to_real(d, &s->r))
		s->kind = DOC_REAL;
	s->plain = false;
	return s;
}

static struct doc *canon_any(const struct canon *c, const struct doc *d)
{
	if (d->kind != DOC_MAP && d->kind != DOC_LIST)
		return d->plain ? doc_plain_guess(c->a, d) : doc_copy(c->a, d);
	struct doc *e = copy_empty(c, d, d->kind);

	for (size_t i = 0; i < d->n; i++)
		doc_append(c->a, e, canon_any(c, d->v[i]));
	return e;
}

static struct doc *canon_scalars(const struct canon *c, enum field_type type, const struct doc *d)
{
	struct doc *e = copy_empty(c, d, DOC_LIST);

	for (size_t i = 0; i < d->n; i++)
		doc_add(c->a, e, canon_scalar(c, type, d->v[i]));
	return e;
}

static struct doc *canon_list(const struct canon *c, const struct field *f, const struct doc *d)
{
	struct doc *e = copy_empty(c, d, DOC_LIST);

	for (size_t i = 0; i < d->n; i++)
		doc_add(c->a, e, canon_members(c, f->sub, d->v[i], NULL));
	return e;
}

/* Every entry has a key of its own and a value: only then a map says the same. */
static bool entries_are_whole(const struct canon *c, const struct field *f, const struct doc *d)
{
	struct map seen;
	bool whole = true;

	map_init(&seen);
	for (size_t i = 0; i < d->n && whole; i++) {
		struct bind_entry e = bind_entry_at(f, d, i, c->a);
		whole = e.key.p && (e.val || e.owner) && !map_put(&seen, e.key, &seen);
	}
	map_done(&seen);
	return whole;
}

static struct doc *canon_entry(const struct canon *c, const struct field *f,
			       const struct bind_entry *e)
{
	if (f->type == FIELD_LABELS)
		return canon_scalar(c, FIELD_STR, e->val);
	return e->owner ? canon_members(c, f->sub, e->owner, e->key_name)
			: canon_members(c, f->sub, e->val, NULL);
}

static struct doc *canon_map(const struct canon *c, const struct field *f, const struct doc *d)
{
	if ((d->kind != DOC_LIST && d->kind != DOC_MAP) || !entries_are_whole(c, f, d))
		return doc_copy(c->a, d);
	struct doc *m = copy_empty(c, d, DOC_MAP);

	for (size_t i = 0; i < d->n; i++) {
		struct bind_entry e = bind_entry_at(f, d, i, c->a);
		struct doc *v = canon_entry(c, f, &e);
		v->key = arena_str(c->a, e.key);
		v->key_at = d->kind == DOC_MAP ? e.key_doc->key_at : e.key_doc->at;
		doc_append(c->a, m, v);
	}
	return m;
}

static struct doc *canon_value(const struct canon *c, const struct field *f, const struct doc *d)
{
	switch (f->type) {
	case FIELD_BOOL:
	case FIELD_INT:
	case FIELD_REAL:
	case FIELD_STR:
	case FIELD_ENUM:
	case FIELD_DURATION:
		return canon_scalar(c, f->type, d);
	case FIELD_STRUCT:
	case FIELD_PTR:
		return canon_members(c, f->sub, d, NULL);
	case FIELD_LABELS:
	case FIELD_MAP:
		return canon_map(c, f, d);
	case FIELD_STR_LIST:
	case FIELD_INT_LIST:
	case FIELD_LIST:
	case FIELD_ANY:
		break;
	}
	if (f->type == FIELD_ANY)
		return canon_any(c, d);
	if (d->kind != DOC_LIST)
		return doc_copy(c->a, d);
	if (f->type == FIELD_LIST)
		return canon_list(c, f, d);
	return canon_scalars(c, f->type == FIELD_INT_LIST ? FIELD_INT : FIELD_STR, d);
}

static struct doc *canon_member(const struct canon *c, const struct field *f, const struct doc *d)
{
	struct doc *v = canon_value(c, f, d);

	if (c->hide && (f->flags & FIELD_SECRET) != 0) {
		v = copy_empty(c, d, DOC_STR);
		v->s = STR("(hidden)");
	}
	return v;
}

static struct doc *canon_members(const struct canon *c, const struct bind_table *t,
				 const struct doc *d, const char *skip)
{
	if (d->kind != DOC_MAP)
		return doc_copy(c->a, d);
	struct doc *m = copy_empty(c, d, DOC_MAP);

	for (size_t i = 0; i < d->n; i++) {
		const struct doc *e = d->v[i];
		const struct field *f = bind_field_of(t, e->key);
		if (skip && str_eq(e->key, str_c(skip)))
			continue;
		if (!f)
			doc_append(c->a, m, doc_copy(c->a, e));
		else if (e->kind != DOC_NULL && !doc_get(m, str_c(f->name)))
			doc_set(c->a, m, f->name, canon_member(c, f, e));
	}
	return m;
}

struct doc *bind_canon(const struct bind_table *t, const struct doc *d, struct arena *a)
{
	struct canon c = { .a = a };

	return canon_members(&c, t, d, NULL);
}

struct doc *bind_redact(const struct bind_table *t, const struct doc *d, struct arena *a)
{
	struct canon c = { .a = a, .hide = true };

	return canon_members(&c, t, d, NULL);
}
