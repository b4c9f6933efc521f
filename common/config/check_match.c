/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_match: conditions of HTTP routes, and routes that are never taken (rules 2.3.4, IST0130,
 * IST0131). Layer config.
 */
#include "base/vec.h"
#include "config/check_parts.h"

#define COMPARED_MAX 500                /* matches of one list that are compared with each other */

/* ---- one match ----------------------------------------------------------------------------- */

static void check_string(struct check *c, struct origin at, const char *field,
			 const struct model_string_match *m)
{
	if (m == NULL)
		return;
	if (m->exact.p == NULL && m->prefix.p == NULL && m->regex.p == NULL)
		check_add(c, "KVM0312", at, "%s needs exact, prefix or regex", field);
	if ((m->prefix.p != NULL && m->prefix.n == 0) || (m->regex.p != NULL && m->regex.n == 0))
		check_add(c, "KVM0312", at, "%s: an empty prefix or regex matches everything",
			  field);
}

static void check_named(struct check *c, struct origin at, const char *field,
			const struct model_named_match *m)
{
	if ((m->match.prefix.p != NULL && m->match.prefix.n == 0) ||
	    (m->match.regex.p != NULL && m->match.regex.n == 0))
		check_add(c, "KVM0312", at,
			  "%s '%.*s': an empty prefix or regex matches everything; {} asks for "
			  "presence",
			  field, STR_ARG(m->key));
}

static bool is_claim(struct str name)
{
	return str_has_prefix(name, STR("@request.auth.claims"));
}

static bool is_for_gateways_only(const struct model_virtual_service *vs)
{
	for (size_t i = 0; i < vs->gateways.n; i++)
		if (str_eq(vs->gateways.v[i], STR("mesh")))
			return false;
	return vs->gateways.n > 0;
}

static void check_header_match(struct check *c, const struct model_virtual_service *vs,
			       struct origin at, const char *field,
			       const struct model_named_match *m)
{
	static const char *const pseudo[] = { ":authority", ":method", ":path", ":scheme" };

	check_named(c, at, field, m);
	if (is_claim(m->key)) {
		if (!is_for_gateways_only(vs))
			check_add(c, "KVM0312", at,
				  "%s '%.*s': claims of a token are known at gateways only", field,
				  STR_ARG(m->key));
		return;
	}
	for (size_t i = 0; i < sizeof(pseudo) / sizeof(pseudo[0]); i++)
		if (str_eq(m->key, str_c(pseudo[i])))
			return;
	if (!check_is_token(m->key))
		check_add(c, "KVM0312", at, "%s: '%.*s' is no header name", field, STR_ARG(m->key));
}

void check_http_match(struct check *c, const struct model_virtual_service *vs,
		      const struct model_http_match *m)
{
	if (m->uri != NULL && m->uri->exact.p == NULL && m->uri->prefix.p == NULL &&
	    m->uri->regex.p == NULL)
		check_add(c, "KVM0312", m->at, "uri needs exact, prefix or regex");
	check_string(c, m->at, "scheme", m->scheme);
	check_string(c, m->at, "method", m->method);
	check_string(c, m->at, "authority", m->authority);
	for (size_t i = 0; i < m->headers.n; i++)
		check_header_match(c, vs, m->at, "headers", &m->headers.v[i]);
	for (size_t i = 0; i < m->withoutHeaders.n; i++)
		check_header_match(c, vs, m->at, "withoutHeaders", &m->withoutHeaders.v[i]);
	for (size_t i = 0; i < m->queryParams.n; i++)
		check_named(c, m->at, "queryParams", &m->queryParams.v[i]);
}

/* ---- what covers what ---------------------------------------------------------------------- */

static struct str text_of(const struct doc *d, const char *name)
{
	const struct doc *m = d != NULL ? doc_get(d, str_c(name)) : NULL;

	return m != NULL && m->kind == DOC_STR ? m->s : STR_NULL;
}

/* The path of a match, taken out once: routes are compared with all before them. */
struct path {
	const struct doc *uri;
	struct str exact, prefix;
	bool any;                       /* every request has it */
};

static struct path path_of(const struct doc *match)
{
	const struct doc *uri = match != NULL ? doc_get(match, STR("uri")) : NULL;
	struct path p = { .uri = uri, .exact = text_of(uri, "exact"), .prefix = text_of(uri, "prefix") };

	p.any = uri == NULL || str_eq(p.prefix, STR("/")) || str_eq(text_of(uri, "regex"), STR(".*"));
	return p;
}

static bool is_true(const struct doc *map, const char *name)
{
	const struct doc *d = doc_get(map, str_c(name));

	return d != NULL && d->kind == DOC_BOOL && d->b;
}

static bool is_longer(struct str prefix, struct str s)
{
	return s.p != NULL && str_has_prefix(s, prefix);
}

/* By the paths alone, letter for letter. */
static bool covers_path(const struct path *f, const struct path *l)
{
	if (f->any || l->uri == NULL)
		return f->any;
	if (f->prefix.p != NULL && (is_longer(f->prefix, l->prefix) || is_longer(f->prefix, l->exact)))
		return true;
	if (f->exact.p != NULL && l->exact.p != NULL && !str_eq(f->exact, l->exact))
		return false;
	return doc_eq(f->uri, l->uri);
}

/* A condition besides the path. */
static bool is_condition(struct str name, const struct doc *d)
{
	static const char *const others[] = { "name", "statPrefix", "uri", "ignoreUriCase" };

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (str_eq(name, str_c(others[i])))
			return false;
	return !((d->kind == DOC_LIST || d->kind == DOC_MAP) && d->n == 0);
}

struct seen {
	const struct doc *match;        /* NULL: a route without match */
	struct path path;
	size_t route;
};

/*
 * Whatever later matches, first matches too (match NULL: a route without one, which takes
 * everything).
 */
static bool covers(const struct seen *first, const struct seen *later)
{
	static const struct doc none = { .kind = DOC_MAP };
	const struct doc *match = later->match != NULL ? later->match : &none;

	if (first->match == NULL)
		return true;
	if (!covers_path(&first->path, &later->path))
		return false;
	if (!first->path.any && is_true(first->match, "ignoreUriCase") != is_true(match, "ignoreUriCase"))
		return false;
	for (size_t i = 0; i < first->match->n; i++) {
		const struct doc *f = first->match->v[i], *l = doc_get(match, f->key);

		if (is_condition(f->key, f) && (l == NULL || !doc_eq(f, l)))
			return false;
	}
	return true;
}

struct sight {
	struct check *c;
	const char *list;
	struct seen *v;
	size_t n, cap;
};

/* The earlier match that covers this one, or NULL. */
static const struct seen *covered_by(const struct sight *s, const struct doc *match, size_t route)
{
	const struct seen later = { .match = match, .path = path_of(match), .route = route };

	for (size_t i = 0; i < s->n && s->v[i].route < route; i++)
		if (covers(&s->v[i], &later))
			return &s->v[i];
	return NULL;
}

static void note(struct sight *s, const struct doc *match, size_t route)
{
	if (s->n < COMPARED_MAX)
		*vec_push_arena(&s->c->arena, s->v, s->n, s->cap) =
			(struct seen){ match, path_of(match), route };
}

/* All matches of a route are covered: it is never taken. Some: those are told. */
static void look_at_route(struct sight *s, const struct doc *route, size_t i)
{
	const struct doc *matches = doc_get(route, STR("match"));
	size_t n = matches != NULL && matches->kind == DOC_LIST ? matches->n : 0, n_covered = 0;
	const struct seen *by = n == 0 ? covered_by(s, NULL, i) : NULL;

	for (size_t k = 0; k < n; k++) {
		const struct seen *b = covered_by(s, matches->v[k], i);

		n_covered += b != NULL;
		by = b != NULL ? b : by;
	}
	if (by != NULL && n_covered == n)
		check_add(s->c, "KVM0130", route->at,
			  "%s[%zu] is never taken: %s[%zu] takes all its requests", s->list, i,
			  s->list, by->route);
	for (size_t k = 0; k < n; k++) {
		const struct seen *b = n_covered < n ? covered_by(s, matches->v[k], i) : NULL;

		if (b != NULL)
			check_add(s->c, "KVM0131", matches->v[k]->at,
				  "%s[%zu].match[%zu] never decides: %s[%zu] comes before it",
				  s->list, i, k, s->list, b->route);
	}
	if (n == 0)
		note(s, NULL, i);
	for (size_t k = 0; k < n; k++)
		note(s, matches->v[k], i);
}

void check_unreachable(struct check *c, const struct model_virtual_service *vs)
{
	static const char *const lists[] = { "http", "tls", "tcp" };

	for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++) {
		const struct doc *routes = doc_get(vs->r.doc, str_c(lists[l]));
		struct sight s = { .c = c, .list = lists[l] };

		for (size_t i = 0; routes != NULL && routes->kind == DOC_LIST && i < routes->n; i++)
			look_at_route(&s, routes->v[i], i);
	}
}
