/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_route: VirtualService.http → routes of one virtual host for one kind of caller (2.3–2.6).
 * Layer config.
 */
#include "config/compile_parts.h"
#include "config/delegate.h"

/* ---- what a route does ---------------------------------------------------------------------- */
static struct snap_redirect *redirect(struct compile *c, const struct model_http_redirect *r)
{
	struct snap_redirect *to = arena_new(c->a, struct snap_redirect);
	*to = (struct snap_redirect){ .uri = r->uri, .authority = r->authority, .scheme = r->scheme,
				      .prefix_rewrite = r->prefixRewrite, .port = r->port };
	to->code = r->redirectCode > 0 ? r->redirectCode : 301;
	if (r->has_derivePort)
		to->derive_port = r->derivePort == MODEL_REDIRECT_FROM_REQUEST_PORT
					  ? SNAP_DERIVE_PORT_REQUEST
					  : SNAP_DERIVE_PORT_PROTOCOL;
	return to;
}

/* Snapshots travel as JSON. */
static bool is_text(struct str s)
{
	uint32_t code = 1;
	for (size_t n; s.n > 0 && code != 0; s = str_skip(s, n)) {
		n = str_utf8(s, &code);
		if (n == 0)
			return false;
	}
	return code != 0;
}

static struct snap_direct *direct(struct compile *c, const struct model_http_direct_response *d)
{
	struct snap_direct *to = arena_new(c->a, struct snap_direct);
	to->status = d->status;
	if (!d->body)
		return to;
	if (d->body->bytes.p && !is_text(d->body->text))
		to->base64 = d->body->bytes;
	else
		to->body = d->body->text;
	return to;
}

static struct snap_rewrite *rewrite(struct compile *c, const struct model_http_rewrite *r)
{
	if (!r)
		return NULL;
	struct snap_rewrite *to = arena_new(c->a, struct snap_rewrite);
	*to = (struct snap_rewrite){ .uri = r->uri, .authority = r->authority };
	if (r->uriRegexRewrite) {
		to->regex = r->uriRegexRewrite->match;
		to->substitution = r->uriRegexRewrite->rewrite;
	}
	return to;
}

static void put_destinations(struct compile *c, struct compile_client *client,
			     const struct model_http_route *r, int64_t port, struct snap_route *to)
{
	struct compile_targets t = { .n = r->route.n };
	t.v = arena_new_n(c->a, const struct model_destination *, t.n);
	t.weights = arena_new_n(c->a, int64_t, t.n);
	t.headers = arena_new_n(c->a, const struct model_headers *, t.n);
	for (size_t i = 0; i < t.n; i++) {
		t.v[i] = r->route.v[i].destination;
		t.weights[i] = r->route.v[i].weight;
		t.headers[i] = r->route.v[i].headers;
	}
	struct compile_weighted w = compile_weighted(c, client, &t, port);
	to->destinations.v = w.v;
	to->destinations.n = w.n;
	to->total_weight = w.total;
	if (t.n == 1) {
		compile_headers_merge(c, &to->headers, &w.v[0].headers);
		w.v[0].headers = (struct snap_headers){ 0 };
	}
}

/* Before a fault no time runs out, and what it answers is not tried again (2.4.8). */
static void put_patience(struct compile *c, const struct model_http_route *r,
			 struct snap_route *to)
{
	to->fault = compile_fault(c, r->fault);
	if (to->fault)
		return;
	to->timeout_us = r->timeout;
	to->retry = compile_retry(c, r->retries);
}

/* The route without its matches; false: it does nothing. */
static bool put_action(struct compile *c, struct compile_client *client,
		       const struct model_http_route *r, int64_t port, struct snap_route *to)
{
	compile_headers(c, r->headers, &to->headers);
	to->cors = compile_cors(c, r->corsPolicy);
	if (r->redirect) {
		to->action = SNAP_ACTION_REDIRECT;
		to->redirect = redirect(c, r->redirect);
		return true;
	}
	if (r->directResponse) {
		to->action = SNAP_ACTION_DIRECT;
		to->direct = direct(c, r->directResponse);
		return true;
	}
	if (r->route.n == 0)
		return false;
	to->rewrite = rewrite(c, r->rewrite);
	put_patience(c, r, to);
	put_destinations(c, client, r, port, to);
	compile_mirrors(c, client, r, port, to);
	return to->destinations.n > 0;
}

/* ---- when it applies ------------------------------------------------------------------------ */
/* Matches that the caller and the port leave; false: the route is not for them. */
static bool put_matches(struct compile *c, const struct compile_client *client,
			const struct model_http_route *r, int64_t port, struct snap_route *to)
{
	if (r->match.n > 0)
		to->matches.v = arena_new_n(c->a, struct snap_match, r->match.n);
	for (size_t i = 0; i < r->match.n; i++) {
		const struct model_http_match *m = &r->match.v[i];
		if (m->port != 0 && m->port != port)
			continue;
		if (!compile_is_source(c, client, &m->gateways, &m->sourceLabels,
				       m->sourceNamespace))
			continue;
		compile_match(c, m, &to->matches.v[to->matches.n++]);
	}
	return r->match.n == 0 || to->matches.n > 0;
}

static bool is_named(const struct snap_route *r)
{
	for (size_t i = 0; i < r->matches.n; i++) {
		if (r->matches.v[i].name.n > 0)
			return true;
	}
	return false;
}

static struct str join_name(struct compile *c, struct str route, struct str match)
{
	if (match.n == 0 || route.n == 0)
		return match.n > 0 ? match : route;
	return arena_printf(c->a, "%.*s.%.*s", STR_ARG(route), STR_ARG(match));
}

struct routes {
	struct snap_vhost *vhost;
	size_t cap;
	bool closed; /* a catch-all has been added: nothing behind it is reached (2.3.4) */
};

static void add_route(struct compile *c, struct routes *to, const struct snap_route *r)
{
	*compile_push(c, to->vhost->routes, to->cap) = *r;
	to->closed = r->matches.n == 0;
	for (size_t i = 0; i < r->matches.n && !to->closed; i++)
		to->closed = compile_is_catch_all(&r->matches.v[i]);
}

/* Matches with names are routes of their own: the name of what fitted is "ROUTE.MATCH" in logs. */
static void add_named(struct compile *c, struct routes *to, const struct snap_route *r)
{
	for (size_t i = 0; i < r->matches.n && !to->closed; i++) {
		struct snap_route one = *r;
		one.name = join_name(c, r->name, r->matches.v[i].name);
		one.matches.v = &r->matches.v[i];
		one.matches.n = 1;
		add_route(c, to, &one);
	}
}

bool compile_routes(struct compile *c, struct compile_client *client,
		    const struct model_virtual_service *vs, struct snap_vhost *vhost)
{
	struct routes to = { .vhost = vhost };
	struct delegate_routes l = delegate_expand(c->m, vs, c->a);
	for (size_t i = 0; i < l.n && !to.closed; i++) {
		const struct model_http_route *r = l.v[i].route;
		struct snap_route one = { .name = r->name,
					  .source = model_label(&l.v[i].by->r, c->a),
					  .file = str_c(r->at.file),
					  .line = r->at.line };
		if (!put_matches(c, client, r, vhost->port, &one) ||
		    !put_action(c, client, r, vhost->port, &one))
			continue;
		if (is_named(&one))
			add_named(c, &to, &one);
		else
			add_route(c, &to, &one);
	}
	return vhost->routes.n > 0;
}

void compile_sole_route(struct compile *c, const char *name, int64_t cluster,
			struct snap_retry *retry, struct snap_vhost *vhost)
{
	struct compile_weighted w = compile_sole(c, cluster);
	struct snap_route *r = arena_new(c->a, struct snap_route);
	*r = (struct snap_route){ .name = str_c(name), .total_weight = w.total, .retry = retry };
	r->destinations.v = w.v;
	r->destinations.n = w.n;
	vhost->routes.v = r;
	vhost->routes.n = 1;
}
