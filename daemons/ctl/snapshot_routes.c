/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_routes: routes of a snapshot as rows to print. Layer daemons/ctl. */
#include "config.h"

#include "ctl/snapshot.h"

/* "/cart*", "/cart", "regex /v[0-9]+" */
static struct str string_text(struct arena *a, const struct snap_string *m)
{
	switch (m->kind) {
	case SNAP_MATCH_PREFIX:
		return arena_printf(a, "%.*s*", STR_ARG(m->value));
	case SNAP_MATCH_REGEX:
		return arena_printf(a, "regex %.*s", STR_ARG(m->value));
	case SNAP_MATCH_PRESENT:
		return STR("*");
	default:
		return m->value;
	}
}

static struct str with(struct arena *a, struct str so_far, const char *what, struct str value)
{
	return arena_printf(a, "%.*s%s%s%.*s", STR_ARG(so_far), so_far.n > 0 ? " " : "", what,
			    STR_ARG(value));
}

static struct str fields_text(struct arena *a, struct str s, const char *what,
			      const struct snap_field_match *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct snap_string m = { .kind = v[i].kind, .value = v[i].value };

		s = arena_printf(a, "%.*s%s%s%.*s%s%.*s", STR_ARG(s), s.n > 0 ? " " : "", what,
				 STR_ARG(v[i].name), v[i].invert ? "!=" : "=",
				 STR_ARG(string_text(a, &m)));
	}
	return s;
}

struct str snapshot_match_text(struct arena *a, const struct snap_match *m)
{
	struct str s = STR("");

	if (m->method)
		s = with(a, s, "", string_text(a, m->method));
	if (m->scheme)
		s = with(a, s, "scheme=", string_text(a, m->scheme));
	if (m->authority)
		s = with(a, s, "authority=", string_text(a, m->authority));
	s = with(a, s, "", m->uri ? string_text(a, m->uri) : STR("/*"));
	s = fields_text(a, s, "", m->headers.v, m->headers.n);
	return fields_text(a, s, "?", m->query.v, m->query.n);
}

static struct str matches_text(struct arena *a, const struct snap_route *r)
{
	struct str s = STR("");

	if (r->matches.n == 0)
		return STR("/*");
	for (size_t i = 0; i < r->matches.n; i++)
		s = with(a, s, i > 0 ? "| " : "", snapshot_match_text(a, &r->matches.v[i]));
	return s;
}

static struct str percent(struct arena *a, int64_t weight, int64_t total)
{
	if (total <= 0)
		return STR("0%");
	return arena_printf(a, "%.4g%%", 100.0 * (double)weight / (double)total);
}

static struct str weighted_text(struct arena *a, const struct snap_weighted *v, size_t n,
				int64_t total)
{
	struct str s = STR("");

	for (size_t i = 0; i < n; i++)
		s = with(a, s, i > 0 ? "| " : "",
			 n == 1 ? v[i].cluster_name
				: arena_printf(a, "%.*s %.*s", STR_ARG(v[i].cluster_name),
					       STR_ARG(percent(a, v[i].weight, total))));
	return s;
}

static struct str action_text(struct arena *a, const struct snap_route *r)
{
	if (r->action == SNAP_ACTION_REDIRECT && r->redirect)
		return arena_printf(a, "redirect %lld", (long long)r->redirect->code);
	if (r->action == SNAP_ACTION_DIRECT && r->direct)
		return arena_printf(a, "answer %lld", (long long)r->direct->status);
	return weighted_text(a, r->destinations.v, r->destinations.n, r->total_weight);
}

static struct doc *weighted_docs(struct arena *a, const struct snap_weighted *v, size_t n)
{
	struct doc *list = doc_new_list(a);

	for (size_t i = 0; i < n; i++) {
		struct doc *d = doc_add(a, list, doc_new_map(a));

		doc_set_str(a, d, "cluster", v[i].cluster_name);
		doc_set_int(a, d, "weight", v[i].weight);
		doc_set_bool(a, d, "known", v[i].cluster >= 0);
	}
	return list;
}

static struct doc *str_docs(struct arena *a, const struct str_list *l)
{
	struct doc *list = doc_new_list(a);

	for (size_t i = 0; i < l->n; i++)
		doc_add(a, list, doc_new_str(a, l->v[i]));
	return list;
}

static struct str port_text(struct arena *a, int64_t port)
{
	return port > 0 ? arena_printf(a, "%lld", (long long)port) : STR("*");
}

static struct doc *http_row(struct arena *a, const struct snap_view *view,
			    const struct snap_vhost *h, const struct snap_route *r)
{
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "name", port_text(a, h->port));
	doc_set_str(a, d, "vhost", h->name);
	doc_set_str(a, d, "service", h->service);
	doc_set(a, d, "domains", str_docs(a, &h->domains));
	doc_set_str(a, d, "match", matches_text(a, r));
	/* "VirtualService my-app.default" */
	doc_set_str(a, d, "virtual_service", str_has_prefix(r->source, STR("VirtualService ")) ?
		    str_skip(r->source, 15) : r->source);
	doc_set_str(a, d, "destination", action_text(a, r));
	doc_set(a, d, "destinations", weighted_docs(a, r->destinations.v, r->destinations.n));
	doc_set_str(a, d, "route", r->name);
	doc_set_str(a, d, "view", view->name);
	if (r->file.n > 0)
		doc_set_str(a, d, "source",
			    arena_printf(a, "%.*s:%lld", STR_ARG(r->file), (long long)r->line));
	return d;
}

static struct doc *l4_row(struct arena *a, const struct snap_view *view, const struct snap_l4 *l)
{
	struct doc *d = doc_new_map(a);
	struct str match = STR("");

	for (size_t i = 0; i < l->sni.n; i++)
		match = with(a, match, "sni=", l->sni.v[i]);
	for (size_t i = 0; i < l->addresses.n; i++)
		match = with(a, match, "to=", l->addresses.v[i]);
	doc_set_str(a, d, "name", port_text(a, l->port));
	doc_set_str(a, d, "vhost", l->name);
	doc_set_str(a, d, "service", l->service);
	doc_set(a, d, "domains", str_docs(a, &l->sni));
	doc_set_str(a, d, "match", match.n > 0 ? match : STR("TCP"));
	doc_set_str(a, d, "destination", weighted_text(a, l->destinations.v, l->destinations.n,
						       l->total_weight));
	doc_set(a, d, "destinations", weighted_docs(a, l->destinations.v, l->destinations.n));
	doc_set_str(a, d, "view", view->name);
	return d;
}

struct doc *snapshot_routes(const struct snapshot *s)
{
	struct arena *a = &s->c->arena;
	struct doc *rows = doc_new_list(a);

	for (size_t v = 0; v < s->snap->views.n; v++) {
		const struct snap_view *view = &s->snap->views.v[v];

		for (size_t h = 0; h < view->vhosts.n; h++)
			for (size_t r = 0; r < view->vhosts.v[h].routes.n; r++)
				doc_add(a, rows, http_row(a, view, &view->vhosts.v[h],
							  &view->vhosts.v[h].routes.v[r]));
		for (size_t i = 0; i < view->l4.n; i++)
			doc_add(a, rows, l4_row(a, view, &view->l4.v[i]));
	}
	return rows;
}
