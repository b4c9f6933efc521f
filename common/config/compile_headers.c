/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_headers: header operations, in the order in which they are applied (2.4.4, 2.4.5). Layer
 * config.
 */
#include "config/compile_parts.h"

struct str compile_lower(struct compile *c, struct str s)
{
	char *p = arena_alloc(c->a, s.n + 1);
	for (size_t i = 0; i < s.n; i++)
		p[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 0x20) : s.p[i];
	p[s.n] = '\0';
	return str_from(p, s.n);
}

static int by_name(const void *x, const void *y)
{
	const struct snap_pair *a = x, *b = y;
	return str_cmp(a->name, b->name);
}

static struct snap_pair *pairs(struct compile *c, const struct labels *l)
{
	struct snap_pair *v = l->n > 0 ? arena_new_n(c->a, struct snap_pair, l->n) : NULL;
	for (size_t i = 0; i < l->n; i++)
		v[i] = (struct snap_pair){ .name = compile_lower(c, l->v[i].key),
					   .value = l->v[i].val };
	if (l->n > 1)
		qsort(v, l->n, sizeof(*v), by_name);
	return v;
}

static struct snap_header_ops *operations(struct compile *c,
					  const struct model_header_operations *o)
{
	if (!o || o->remove.n + o->set.n + o->add.n == 0)
		return NULL;
	struct snap_header_ops *r = arena_new(c->a, struct snap_header_ops);
	r->set.v = pairs(c, &o->set);
	r->set.n = o->set.n;
	r->add.v = pairs(c, &o->add);
	r->add.n = o->add.n;
	if (o->remove.n > 0)
		r->remove.v = arena_new_n(c->a, struct str, o->remove.n);
	for (; r->remove.n < o->remove.n; r->remove.n++)
		r->remove.v[r->remove.n] = compile_lower(c, o->remove.v[r->remove.n]);
	return r;
}

void compile_headers(struct compile *c, const struct model_headers *h, struct snap_headers *ret)
{
	if (!h)
		return;
	ret->request = operations(c, h->request);
	ret->response = operations(c, h->response);
}

/* ---- one destination ------------------------------------------------------------------------ */
static bool has_name(const struct snap_pair *v, size_t n, struct str name)
{
	for (size_t i = 0; i < n; i++) {
		if (str_eq(v[i].name, name))
			return true;
	}
	return false;
}

/* The authority is the one header where the route wins (2.4.5). */
static bool is_authority(struct str name)
{
	return str_eq(name, STR("host")) || str_eq(name, STR(":authority"));
}

static bool sets_authority(const struct snap_header_ops *o)
{
	return has_name(o->set.v, o->set.n, STR("host")) ||
	       has_name(o->set.v, o->set.n, STR(":authority"));
}

/*
 * One list "route, then destination" in the order remove, set, add: what the destination sets
 * replaces what the route has set or added under that name.
 */
static struct snap_header_ops *merge(struct compile *c, const struct snap_header_ops *r,
				     const struct snap_header_ops *d)
{
	struct snap_header_ops *out = arena_new(c->a, struct snap_header_ops);
	size_t cap_remove = 0, cap_set = 0, cap_add = 0;
	for (size_t i = 0; i < r->remove.n + d->remove.n; i++)
		*compile_push(c, out->remove, cap_remove) =
			i < r->remove.n ? r->remove.v[i] : d->remove.v[i - r->remove.n];
	for (size_t i = 0; i < r->set.n; i++) {
		if (is_authority(r->set.v[i].name) ||
		    !has_name(d->set.v, d->set.n, r->set.v[i].name))
			*compile_push(c, out->set, cap_set) = r->set.v[i];
	}
	for (size_t i = 0; i < d->set.n; i++) {
		if (!is_authority(d->set.v[i].name) || !sets_authority(r))
			*compile_push(c, out->set, cap_set) = d->set.v[i];
	}
	for (size_t i = 0; i < r->add.n; i++) {
		if (!has_name(d->set.v, d->set.n, r->add.v[i].name))
			*compile_push(c, out->add, cap_add) = r->add.v[i];
	}
	for (size_t i = 0; i < d->add.n; i++)
		*compile_push(c, out->add, cap_add) = d->add.v[i];
	return out;
}

static void merge_into(struct compile *c, struct snap_header_ops **route,
		       struct snap_header_ops *dest)
{
	if (!dest)
		return;
	*route = *route ? merge(c, *route, dest) : dest;
}

void compile_headers_merge(struct compile *c, struct snap_headers *route,
			   const struct snap_headers *dest)
{
	merge_into(c, &route->request, dest->request);
	merge_into(c, &route->response, dest->response);
}
