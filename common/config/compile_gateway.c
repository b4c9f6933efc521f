/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_gateway: what an edge proxy listens on, and where each host of its HTTP servers leads
 * (2.2.4, 2.2.5, 2.14.1, 2.14.2); opaque ones: compile_gateway_l4.c. Layer config.
 *
 * Plain servers of one address and port share a view. A TLS server has a view of its own: what a
 * client has proved to one server gives it nothing of another.
 */
#include "config/compile_parts.h"

/* ---- views ---------------------------------------------------------------------------------- */
struct host {                           /* a virtual host while it grows */
	struct str domain;
	MODEL_LIST(struct snap_route) first, last;      /* last: catch-alls */
	size_t cap_first, cap_last;
	bool closed;                    /* it redirects: nothing else is added */
};
struct building {
	struct compile *c;
	struct compile_client *client;
	struct host *v;
	size_t n, cap;
};

static struct host *host_of(struct building *b, struct str domain)
{
	domain = compile_lower(b->c, domain);
	for (size_t i = 0; i < b->n; i++) {
		if (str_eq(b->v[i].domain, domain))
			return &b->v[i];
	}
	struct host *h = vec_push_arena(b->c->a, b->v, b->n, b->cap);
	*h = (struct host){ .domain = domain };
	return h;
}

static bool is_catch_all(const struct snap_route *r)
{
	for (size_t i = 0; i < r->matches.n; i++) {
		if (compile_is_catch_all(&r->matches.v[i]))
			return true;
	}
	return r->matches.n == 0;
}

static void add_routes(struct building *b, struct host *h, const struct snap_vhost *from)
{
	for (size_t i = 0; i < from->routes.n && !h->closed; i++) {
		if (is_catch_all(&from->routes.v[i]))
			*compile_push(b->c, h->last, h->cap_last) = from->routes.v[i];
		else
			*compile_push(b->c, h->first, h->cap_first) = from->routes.v[i];
	}
}

static void add_redirect(struct building *b, struct str domain)
{
	struct compile *c = b->c;
	struct host *h = host_of(b, domain);
	if (h->closed || h->first.n + h->last.n > 0)
		return;                 /* an older server has the host */
	struct snap_redirect *to = arena_new(c->a, struct snap_redirect);
	*to = (struct snap_redirect){ .scheme = STR("https"), .code = 301 };
	*compile_push(c, h->last, h->cap_last) = (struct snap_route){
		.name = STR("https-redirect"), .action = SNAP_ACTION_REDIRECT, .redirect = to
	};
	h->closed = true;
}

bool compile_is_bound(struct compile *c, const struct compile_client *client,
		      const struct model_virtual_service *vs)
{
	const struct model *m = c->m;
	if (!names_exported(m, &vs->exportTo, &m->mesh.mesh.defaultVirtualServiceExportTo,
			    vs->r.ns, client->ns))
		return false;
	for (size_t i = 0; i < vs->gateways.n; i++) {
		if (!str_eq(vs->gateways.v[i], STR("mesh")) &&
		    str_eq(names_gateway(m, vs->gateways.v[i], vs->r.ns, c->a),
			   client->bound_gateway))
			return true;
	}
	return false;
}

static void add_virtual_service(struct building *b, const struct model_gateway *g,
				const struct model_virtual_service *vs, struct str served)
{
	struct str name;
	if (!names_server_host(b->c->m, g, served, vs->r.ns, &name))
		return;
	for (size_t i = 0; i < vs->fqdns.n; i++) {
		struct str domain = names_narrower(name, vs->fqdns.v[i]);
		if (domain.n == 0)
			domain = names_narrower(name, vs->hosts.v[i]);
		struct snap_vhost routes = { .port = b->client->gateway->port };
		if (domain.n > 0 && compile_routes(b->c, b->client, vs, &routes))
			add_routes(b, host_of(b, domain), &routes);
	}
}

static void add_server(struct building *b, const struct model_gateway *g,
		       const struct model_server *s)
{
	b->client->bound_gateway =
		arena_printf(b->c->a, "%.*s/%.*s", STR_ARG(g->r.ns), STR_ARG(g->r.name));
	for (size_t i = 0; i < s->hosts.n; i++) {
		struct str name;
		(void)names_server_host(b->c->m, g, s->hosts.v[i], g->r.ns, &name);
		if (s->tls && s->tls->httpsRedirect &&
		    names_server_family(s) == NAMES_FAMILY_HTTP) {
			add_redirect(b, name);
			continue;
		}
		model_for_each(b->c->m, MODEL_KIND_VIRTUAL_SERVICE, r) {
			b->client->bound_ns = r->ns;
			if (compile_is_bound(b->c, b->client, model_as_vs(r)))
				add_virtual_service(b, g, model_as_vs(r), s->hosts.v[i]);
		}
	}
}

static void put_vhost(struct building *b, const struct host *h, struct snap_vhost *to)
{
	struct compile *c = b->c;
	int64_t port = b->client->gateway->port;
	*to = (struct snap_vhost){ .port = port };
	to->name = arena_printf(c->a, "%.*s:%d", STR_ARG(h->domain), (int)port);
	to->domains.v = arena_new(c->a, struct str);
	to->domains.v[to->domains.n++] = h->domain;
	to->routes.v = arena_new_n(c->a, struct snap_route, h->first.n + h->last.n);
	for (size_t i = 0; i < h->first.n; i++)
		to->routes.v[to->routes.n++] = h->first.v[i];
	for (size_t i = 0; i < h->last.n; i++)
		to->routes.v[to->routes.n++] = h->last.v[i];
}

void compile_gateway_view(struct compile *c, struct compile_client *client, struct snap_view *view)
{
	struct building b = { .c = c, .client = client };
	const struct compile_gateway *g = client->gateway;
	view->name = arena_printf(c->a, "gateway %d/%d", (int)g->port, (int)client->view);
	view->outbound = SNAP_OUTBOUND_REGISTRY_ONLY;
	if (g->n > 0 && names_server_is_opaque(g->v[0].server)) {
		compile_gateway_l4(c, client, view);
		return;
	}
	for (size_t i = 0; i < g->n; i++)
		add_server(&b, g->v[i].gateway, g->v[i].server);
	view->vhosts.v = arena_new_n(c->a, struct snap_vhost, b.n);
	for (size_t i = 0; i < b.n; i++)
		put_vhost(&b, &b.v[i], &view->vhosts.v[view->vhosts.n++]);
}

/* ---- listeners ------------------------------------------------------------------------------ */
static int64_t new_view(struct compile *c, const struct model_workload *w, int64_t port)
{
	struct labels labels = c->clients[0].labels;
	struct compile_client *client = compile_client_new(c, w->r.ns, labels);
	client->gateway = arena_new(c->a, struct compile_gateway);
	client->gateway->port = port;
	return client->view;
}

static void see(struct compile *c, int64_t view, const struct model_gateway *g,
		const struct model_server *s)
{
	struct compile_gateway *to = c->clients[view].gateway;
	size_t i = to->n;
	(void)vec_push_arena(c->a, to->v, to->n, to->cap);
	to->v[i].server = s;
	to->v[i].gateway = g;
}

/* Those that are not known are left out, as the check has said (2.18). */
static struct str known_ciphers(struct compile *c, const struct str_list *names)
{
	struct str list = STR_NULL;
	for (size_t i = 0; i < names->n; i++) {
		if (names_is_cipher(names->v[i]))
			list = arena_printf(c->a, "%.*s%s%.*s", STR_ARG(list), list.n > 0 ? ":" : "",
					    STR_ARG(names->v[i]));
	}
	return list;
}

static struct str_list digests(struct compile *c, const struct str_list *from,
			       struct str (*read)(struct str s, struct arena *a))
{
	struct str_list l = { 0 };
	size_t cap = 0;
	for (size_t i = 0; i < from->n; i++)
		*compile_push(c, l, cap) = read(from->v[i], c->a);
	return l;
}

static void put_files(struct compile *c, const struct model_server_tls *t, struct snap_server *to)
{
	bool mutual = t->mode != MODEL_SERVER_TLS_SIMPLE;
	struct names_server_files f = names_server_files(t, c->env->etc_dir, c->a);
	to->tls.mode = mutual ? SNAP_TLS_MUTUAL : SNAP_TLS_SIMPLE;
	to->tls.cert = f.cert[0];
	to->tls.key = f.key[0];
	if (f.n > 1) {
		to->tls.more.v = arena_new(c->a, struct snap_certificate);
		to->tls.more.v[to->tls.more.n++] =
			(struct snap_certificate){ .cert = f.cert[1], .key = f.key[1] };
	}
	if (mutual) {
		to->tls.ca = f.ca;
		to->tls.crl = t->caCrl;
		to->spki = digests(c, &t->verifyCertificateSpki, names_digest_of_base64);
		to->hashes = digests(c, &t->verifyCertificateHash, names_digest_of_hex);
	}
	to->optional_client = t->mode == MODEL_SERVER_TLS_OPTIONAL_MUTUAL;
	to->tls13 = t->minProtocolVersion == MODEL_TLS_V1_3;
	to->tls12 = t->maxProtocolVersion != MODEL_TLS_AUTO &&
		    t->maxProtocolVersion < MODEL_TLS_V1_3;
	to->ciphers = known_ciphers(c, &t->cipherSuites);
}

static void put_tls(struct compile *c, const struct model_server *s, struct snap_server *to)
{
	const struct model_server_tls *t = s->tls;
	to->opaque = names_server_is_opaque(s);
	to->at = arena_printf(c->a, "%s:%u:%u", t->at.file, t->at.line, t->at.col);
	if (names_server_passes_tls(s)) {
		to->tls.mode = SNAP_TLS_DISABLE;
		return;
	}
	to->tls.sans = t->subjectAltNames;
	if (t->mode == MODEL_SERVER_TLS_ISTIO_MUTUAL)
		to->tls.mode = SNAP_TLS_ISTIO_MUTUAL;
	else
		put_files(c, t, to);
}

static void put_hosts(struct compile *c, const struct model_gateway *g,
		      const struct model_server *s, struct snap_server *to)
{
	to->hosts.v = arena_new_n(c->a, struct str, s->hosts.n);
	for (size_t i = 0; i < s->hosts.n; i++) {
		(void)names_server_host(c->m, g, s->hosts.v[i], g->r.ns, &to->hosts.v[i]);
		to->hosts.v[i] = compile_lower(c, to->hosts.v[i]);
	}
	to->hosts.n = s->hosts.n;
	if (s->tls->mode == MODEL_SERVER_TLS_AUTO_PASSTHROUGH)
		compile_gateway_auto_hosts(c, &to->hosts);
}

struct doors {
	struct compile *c;
	const struct model_workload *w;
};

static struct snap_listener *listener_of(struct doors *d, const struct model_server *s)
{
	struct compile *c = d->c;
	struct str address = s->bind.n > 0 ? s->bind : STR("0.0.0.0");
	int64_t port = names_gateway_port(c->m, d->w, s->port->number);
	for (size_t i = 0; i < c->s->listeners.n; i++) {
		struct snap_listener *l = &c->s->listeners.v[i];
		if (l->port == port && str_eq(l->address, address))
			return l;
	}
	struct snap_listener *l = compile_push(c, c->s->listeners, c->cap_listeners);
	*l = (struct snap_listener){ .kind = SNAP_LISTENER_GATEWAY,
				     .address = address,
				     .port = port };
	if (port != s->port->number)
		l->service_port = s->port->number;
	l->view = new_view(c, d->w, s->port->number);
	return l;
}

static void open_server(struct doors *d, const struct model_gateway *g,
			const struct model_server *s)
{
	struct compile *c = d->c;
	enum names_family family = names_server_family(s);
	struct snap_listener *l = listener_of(d, s);
	const struct compile_gateway *first = c->clients[l->view].gateway;
	bool is_new = first->n == 0;
	if (!is_new && (names_server_family(first->v[0].server) != family || l->opaque ||
			first->port != s->port->number))
		return;                 /* the oldest decides what the port speaks (2.14.1) */
	if (family != NAMES_FAMILY_TLS) {
		l->opaque = family == NAMES_FAMILY_TCP;
		see(c, l->view, g, s);
		return;
	}
	size_t cap = l->servers.n;      /* grown one by one: servers of a port are few */
	struct snap_server *to = compile_push(c, l->servers, cap);
	*to = (struct snap_server){ .view = is_new ? l->view : new_view(c, d->w, l->port) };
	put_tls(c, s, to);
	put_hosts(c, g, s, to);
	see(c, to->view, g, s);
}

void compile_gateways(struct compile *c, const struct model_workload *w)
{
	struct doors d = { .c = c, .w = w };
	const char *why;
	/* It calls nobody of its own accord: it needs what its servers lead to, and no more. */
	c->clients[0].gateway = arena_new(c->a, struct compile_gateway);
	model_for_each(c->m, MODEL_KIND_GATEWAY, r) {
		const struct model_gateway *g = model_as_gateway(r);
		if (!labels_is_subset(&g->selector, &w->r.labels))
			continue;
		for (size_t i = 0; i < g->servers.n; i++) {
			if (g->servers.v[i].port && names_is_servable(&g->servers.v[i], &why))
				open_server(&d, g, &g->servers.v[i]);
		}
	}
}
