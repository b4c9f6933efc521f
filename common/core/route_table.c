/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_table: every (route, match block) is a rule with a number; the lowest number whose
 * predicates all fit wins. With many rules, an index (route_index.h) gives the numbers that can fit
 * a path at all; every predicate of those is evaluated in full. Layer core.
 */
#include "core/route_table.h"

#include "base/vec.h"
#include "core/cors.h"
#include "core/jwt.h"
#include "core/route_index.h"
#include "http/url.h"

#define INDEX_FROM 12                   /* fewer rules are tried one by one */
#define SLOTS_MAX 32                    /* header names looked up once per request */

struct text_pred {
	const struct snap_string *s;    /* NULL: any */
	const struct regex *re;
};
struct field_pred {
	const struct snap_field_match *f;
	const struct regex *re;
	unsigned slot;                  /* SLOTS_MAX: not kept */
};
struct rule {
	const struct snap_route *route;
	const struct snap_match *block; /* NULL: fits everything */
	const struct regex *rewrite;
	const struct cors *cors;
	struct text_pred uri, scheme, method, authority;
	struct regex_literals literals; /* of a pattern for the path */
	struct field_pred *headers, *query;
};

struct route_table {
	struct rule *rules;
	size_t n_rules;
	struct str names[SLOTS_MAX];    /* header names by slot */
	unsigned n_names;
	const struct route_index *index;        /* NULL: few rules */
};

/* ---- patterns ------------------------------------------------------------------------------- */
void regex_cache_init(struct regex_cache *c)
{
	map_init(&c->whole);
	map_init(&c->search);
}

static void free_patterns(struct map *m)
{
	for (struct map_entry *e = map_first(m); e; e = map_next(m, e))
		regex_free(e->val);
	map_done(m);
}

void regex_cache_done(struct regex_cache *c)
{
	free_patterns(&c->whole);
	free_patterns(&c->search);
}

static int cached_regex(struct map *m, struct str pattern,
			int (*make)(struct str, struct regex **, struct err *),
			const struct regex **ret, struct err *err)
{
	struct regex *re = map_get(m, pattern);
	if (!re) {
		int r = make(pattern, &re, err);
		if (r < 0)
			return r;
		map_put(m, pattern, re);
	}
	*ret = re;
	return 0;
}

int regex_cache_whole(struct regex_cache *c, struct str pattern, const struct regex **ret,
		      struct err *err)
{
	return cached_regex(&c->whole, pattern, regex_new, ret, err);
}

/* ---- preparing rules ------------------------------------------------------------------------ */
static int prepare_text(const struct snap_string *s, struct regex_cache *c, struct text_pred *p,
			struct err *err)
{
	p->s = s;
	if (!s || s->kind != SNAP_MATCH_REGEX)
		return 0;
	return regex_cache_whole(c, s->value, &p->re, err);
}

static unsigned slot_of_name(struct route_table *t, struct str name)
{
	for (unsigned i = 0; i < t->n_names; i++) {
		if (str_eq(t->names[i], name))
			return i;
	}
	if (t->n_names == SLOTS_MAX)
		return SLOTS_MAX;
	t->names[t->n_names] = name;
	return t->n_names++;
}

static int prepare_fields(struct route_table *t, const struct snap_field_match *v, size_t n,
			  struct regex_cache *c, struct field_pred *ret, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		ret[i].f = &v[i];
		ret[i].slot = t ? slot_of_name(t, v[i].name) : SLOTS_MAX;
		if (v[i].kind != SNAP_MATCH_REGEX)
			continue;
		int r = regex_cache_whole(c, v[i].value, &ret[i].re, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int prepare_block(struct route_table *t, struct rule *rule, const struct snap_match *b,
			 struct regex_cache *c, struct arena *a, struct err *err)
{
	rule->block = b;
	int r = prepare_text(b->uri, c, &rule->uri, err);
	if (r == 0 && rule->uri.re)
		rule->literals = regex_literals(b->uri->value, a);
	if (r == 0)
		r = prepare_text(b->scheme, c, &rule->scheme, err);
	if (r == 0)
		r = prepare_text(b->method, c, &rule->method, err);
	if (r == 0)
		r = prepare_text(b->authority, c, &rule->authority, err);
	rule->headers = arena_new_n(a, struct field_pred, b->headers.n);
	rule->query = arena_new_n(a, struct field_pred, b->query.n);
	if (r == 0)
		r = prepare_fields(t, b->headers.v, b->headers.n, c, rule->headers, err);
	if (r == 0)
		r = prepare_fields(NULL, b->query.v, b->query.n, c, rule->query, err);
	return r;
}

static int prepare_route(struct route_table *t, const struct snap_route *route,
			 struct regex_cache *c, struct arena *a, struct err *err)
{
	struct rule common = { .route = route };
	int r = 0;
	if (route->rewrite && route->rewrite->regex.p)
		r = cached_regex(&c->search, route->rewrite->regex, regex_new_search,
				 &common.rewrite, err);
	if (route->cors && r == 0)
		r = cors_new(route->cors, c, a, &common.cors, err);
	for (size_t i = 0; i < route->matches.n && r == 0; i++) {
		struct rule *rule = &t->rules[t->n_rules++];
		*rule = common;
		r = prepare_block(t, rule, &route->matches.v[i], c, a, err);
	}
	if (route->matches.n == 0)
		t->rules[t->n_rules++] = common;
	return r;
}

/* ---- the index over paths ------------------------------------------------------------------- */
static const struct route_index *index_new(const struct route_table *t, struct arena *a)
{
	struct route_key *keys = kv_malloc(t->n_rules * sizeof(*keys));
	for (size_t i = 0; i < t->n_rules; i++)
		keys[i] = (struct route_key){ .uri = t->rules[i].uri.s,
					      .literals = t->rules[i].literals };
	const struct route_index *x = route_index_new(keys, t->n_rules, a);
	free(keys);
	return x;
}

int route_table_new(const struct snap_vhost *vhost, struct regex_cache *cache, struct arena *a,
		    const struct route_table **ret, struct err *err)
{
	struct route_table *t = arena_new(a, struct route_table);
	size_t n = 0;
	for (size_t i = 0; i < vhost->routes.n; i++)
		n += vhost->routes.v[i].matches.n + (vhost->routes.v[i].matches.n == 0);
	t->rules = arena_new_n(a, struct rule, n);
	for (size_t i = 0; i < vhost->routes.n; i++) {
		int r = prepare_route(t, &vhost->routes.v[i], cache, a, err);
		if (r < 0)
			return r;
	}
	if (t->n_rules >= INDEX_FROM)
		t->index = index_new(t, a);
	*ret = t;
	return 0;
}

/* ---- judging one request -------------------------------------------------------------------- */
struct judge {
	const struct route_table *t;
	const struct match_facts *f;
	uint32_t known;                 /* bits of slots whose value is there */
	struct str values[SLOTS_MAX];
	unsigned limits;
};

static bool regex_fits(struct judge *j, const struct regex *re, struct str s)
{
	enum regex_result r = regex_match(re, s, j->f->scratch);
	j->limits += r == REGEX_LIMIT;
	return r == REGEX_YES;
}

static bool text_fits(struct judge *j, const struct text_pred *p, struct str s)
{
	const struct snap_string *want = p->s;
	if (!want)
		return true;
	switch ((enum snap_match_kind)want->kind) {
	case SNAP_MATCH_EXACT:
		return want->icase ? str_ieq(s, want->value) : str_eq(s, want->value);
	case SNAP_MATCH_PREFIX:
		return want->icase ? str_has_iprefix(s, want->value)
				   : str_has_prefix(s, want->value);
	case SNAP_MATCH_REGEX:
		return regex_fits(j, p->re, s);
	case SNAP_MATCH_PRESENT:
	case SNAP_MATCH_KIND__N:
	default:
		return s.n > 0;
	}
}

static struct str look_up(const struct match_facts *f, struct str name)
{
	if (name.n == 0 || name.p[0] != ':')
		return head_joined(f->head, name);
	if (str_eq(name, STR(":authority")))
		return f->authority;
	if (str_eq(name, STR(":method")))
		return f->method;
	if (str_eq(name, STR(":scheme")))
		return f->scheme;
	return str_eq(name, STR(":path")) ? f->path : STR_NULL;
}

static struct str header_value(struct judge *j, const struct field_pred *p)
{
	if (p->slot == SLOTS_MAX)
		return look_up(j->f, p->f->name);
	if ((j->known & 1u << p->slot) == 0) {
		j->values[p->slot] = look_up(j->f, p->f->name);
		j->known |= 1u << p->slot;
	}
	return j->values[p->slot];
}

/*
 * Header or query value against its predicate; p == NULL: the field is missing (Istio 2.3.7–2.3.9).
 */
static bool field_fits(struct judge *j, const struct field_pred *p, struct str value)
{
	if (p->f->kind == SNAP_MATCH_PRESENT)
		return (value.p != NULL) != p->f->invert;
	if (!value.p && !p->f->invert)
		return false;
	unsigned limits = j->limits;
	struct snap_string want = { .kind = p->f->kind, .value = p->f->value };
	bool fits = text_fits(j, &(struct text_pred){ .s = &want, .re = p->re }, value);
	return j->limits == limits && fits != p->f->invert;
}

/* A claim of the caller's token (2.3.16): text, or a list in which one fits. */
static bool claim_fits(struct judge *j, const struct field_pred *p)
{
	const struct doc *d = jwt_claim_at(j->f->claims, str_skip(p->f->name, 1));

	if (!d)
		return field_fits(j, p, STR_NULL);
	if (d->kind != DOC_LIST)
		return field_fits(j, p, d->kind == DOC_STR ? d->s : STR(""));
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i]->kind == DOC_STR && field_fits(j, p, d->v[i]->s) != p->f->invert)
			return !p->f->invert;
	return p->f->invert;
}

static bool query_fits(struct judge *j, const struct field_pred *p)
{
	struct str value;
	if (!url_query_get(j->f->query, p->f->name, &value))
		value = STR_NULL;
	else if (!value.p)
		value = STR("");
	return field_fits(j, p, value);
}

static bool holds(struct str s, struct str run)
{
	while (s.n >= run.n) {
		const char *p = memchr(s.p, run.p[0], s.n - run.n + 1);
		if (!p)
			return false;
		if (memcmp(p, run.p, run.n) == 0)
			return true;
		s = str_skip(s, (size_t)(p - s.p) + 1);
	}
	return false;
}

/* What a pattern must have is found sooner than the pattern. */
static bool path_fits(struct judge *j, const struct rule *r)
{
	if (r->literals.inner.n > 0 && !holds(j->f->path, r->literals.inner))
		return false;
	return text_fits(j, &r->uri, j->f->path);
}

static bool rule_fits(struct judge *j, const struct rule *r)
{
	if (!r->block)
		return true;
	if (!path_fits(j, r) || !text_fits(j, &r->method, j->f->method) ||
	    !text_fits(j, &r->scheme, j->f->scheme) ||
	    !text_fits(j, &r->authority, j->f->authority))
		return false;
	for (size_t i = 0; i < r->block->headers.n; i++) {
		const struct field_pred *p = &r->headers[i];

		if (p->f->name.p[0] == SNAP_CLAIM ? !claim_fits(j, p) :
						    !field_fits(j, p, header_value(j, p)))
			return false;
	}
	for (size_t i = 0; i < r->block->query.n; i++) {
		if (!query_fits(j, &r->query[i]))
			return false;
	}
	return true;
}

/* ---- the first that fits --------------------------------------------------------------------- */
static const struct rule *first_of_all(struct judge *j)
{
	for (size_t i = 0; i < j->t->n_rules; i++) {
		if (rule_fits(j, &j->t->rules[i]))
			return &j->t->rules[i];
	}
	return NULL;
}

static const struct rule *first_of_candidates(struct judge *j)
{
	_scratch_ struct route_candidates c;
	if (!route_index_find(j->t->index, j->f->path, &c))
		return first_of_all(j);
	for (size_t i; (i = route_candidates_next(&c)) != SIZE_MAX;) {
		if (rule_fits(j, &j->t->rules[i]))
			return &j->t->rules[i];
	}
	return NULL;
}

bool match_route(const struct match_vhost *vh, const struct match_facts *f, struct match_hit *ret,
		 unsigned *ret_limits)
{
	_scratch_ struct judge j;
	j.t = vh->table;
	j.f = f;
	j.known = 0;
	j.limits = 0;
	const struct rule *r = j.t->index ? first_of_candidates(&j) : first_of_all(&j);
	if (ret_limits)
		*ret_limits += j.limits;
	if (!r)
		return false;
	*ret = (struct match_hit){
		.route = r->route, .match = r->block, .rewrite = r->rewrite, .cors = r->cors
	};
	return true;
}
