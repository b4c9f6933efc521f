/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_match: the predicates of a match block that a request decides (2.3.1–2.3.10). Layer
 * config.
 */
#include "config/compile_parts.h"

/* A matcher that holds nothing matches everything: none is made. */
static struct snap_string *text(struct compile *c, const struct model_string_match *m, bool icase)
{
	if (!m || (!m->exact.p && !m->prefix.p && !m->regex.p))
		return NULL;
	struct snap_string *s = arena_new(c->a, struct snap_string);
	if (m->regex.p)
		*s = (struct snap_string){ .kind = SNAP_MATCH_REGEX, .value = m->regex };
	else if (m->prefix.p)
		*s = (struct snap_string){ .kind = SNAP_MATCH_PREFIX,
					   .value = m->prefix,
					   .icase = icase };
	else
		*s = (struct snap_string){ .kind = SNAP_MATCH_EXACT,
					   .value = m->exact,
					   .icase = icase };
	return s;
}

static void field(const struct model_string_match *m, struct snap_field_match *ret)
{
	ret->kind = SNAP_MATCH_PRESENT;
	if (m->regex.p && !str_eq(m->regex, STR("*"))) {
		ret->kind = SNAP_MATCH_REGEX;
		ret->value = m->regex;
	} else if (m->prefix.n > 0) {
		ret->kind = SNAP_MATCH_PREFIX;
		ret->value = m->prefix;
	} else if (m->exact.n > 0) {
		ret->kind = SNAP_MATCH_EXACT;
		ret->value = m->exact;
	}
}

/* Istio ignores these keys in headers. */
static bool is_no_header(struct str key)
{
	static const char *const words[] = { "uri", "scheme", "method", "authority" };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (str_eq(key, str_c(words[i])))
			return true;
	}
	return false;
}

/* "@request.auth.claims.a.b" and "@request.auth.claims[a][b]" are "@a][b". */
static struct str name_of(struct compile *c, struct str key)
{
	static const struct str prefix = STR("@request.auth.claims");

	if (!str_has_prefix(key, prefix))
		return compile_lower(c, key);
	struct str rest = str_skip(key, prefix.n + 1), piece;

	if (str_has_suffix(key, STR("]")))
		return arena_printf(c->a, "%c%.*s", SNAP_CLAIM, (int)rest.n - 1, rest.p);
	struct str name = STR("@");

	for (bool first = true; str_split(&rest, '.', &piece); first = false)
		name = arena_printf(c->a, "%.*s%s%.*s", STR_ARG(name), first ? "" : "][",
				    STR_ARG(piece));
	return name;
}

static void headers(struct compile *c, const struct model_named_match *v, size_t n, bool invert,
		    struct snap_match *ret, size_t *cap)
{
	for (size_t i = 0; i < n; i++) {
		if (is_no_header(v[i].key))
			continue;
		struct snap_field_match *f = compile_push(c, ret->headers, *cap);
		*f = (struct snap_field_match){ .name = name_of(c, v[i].key),
						.invert = invert };
		field(&v[i].match, f);
	}
}

void compile_match(struct compile *c, const struct model_http_match *m, struct snap_match *ret)
{
	size_t cap = 0, cap_query = 0;
	*ret = (struct snap_match){ .name = m->name };
	ret->uri = text(c, m->uri, m->ignoreUriCase);
	ret->scheme = text(c, m->scheme, false);
	ret->method = text(c, m->method, false);
	ret->authority = text(c, m->authority, false);
	headers(c, m->headers.v, m->headers.n, false, ret, &cap);
	headers(c, m->withoutHeaders.v, m->withoutHeaders.n, true, ret, &cap);
	for (size_t i = 0; i < m->queryParams.n; i++) {
		struct snap_field_match *f = compile_push(c, ret->query, cap_query);
		*f = (struct snap_field_match){ .name = m->queryParams.v[i].key };
		field(&m->queryParams.v[i].match, f);
	}
}

bool compile_is_catch_all(const struct snap_match *m)
{
	const struct snap_string *u = m->uri;
	if (m->scheme || m->method || m->authority || m->headers.n > 0 || m->query.n > 0)
		return false;
	if (!u)
		return true;
	return u->kind == SNAP_MATCH_PREFIX
		       ? str_eq(u->value, STR("/"))
		       : u->kind == SNAP_MATCH_REGEX && str_eq(u->value, STR(".*"));
}
