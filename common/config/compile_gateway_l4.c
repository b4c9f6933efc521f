/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_gateway_l4: where bytes lead that come to an opaque server of a gateway: TLS that is passed
 * on by its server name (2.14.3), TCP by the first route (2.14.6). Layer config. Names that several
 * routes cover are the most specific one's, as at any server; among equals the first route decides.
 */
#include "config/compile_parts.h"

struct row {
	struct snap_l4 l4;
	size_t order;
};
struct l4 {
	struct compile *c;
	struct compile_client *client;
	const struct model_gateway *g;
	const struct model_server *s;
	struct row *v;
	size_t n, cap;
};

/* ---- rows ----------------------------------------------------------------------------------- */
static struct snap_l4 *add_row(struct l4 *l, struct str name, struct compile_weighted w)
{
	struct row *r = vec_push_arena(l->c->a, l->v, l->n, l->cap);
	int64_t port = l->client->gateway->port;
	*r = (struct row){ .order = l->n };
	r->l4 = (struct snap_l4){ .port = port, .total_weight = w.total };
	r->l4.name = arena_printf(l->c->a, "%.*s:%d", STR_ARG(name), (int)port);
	r->l4.destinations.v = w.v;
	r->l4.destinations.n = w.n;
	return &r->l4;
}

static void add_named(struct l4 *l, struct str sni, struct compile_weighted w)
{
	struct snap_l4 *row = add_row(l, sni, w);
	row->sni.v = arena_new(l->c->a, struct str);
	row->sni.v[row->sni.n++] = compile_lower(l->c, sni);
}

static int by_name(const void *x, const void *y)
{
	const struct row *a = x, *b = y;
	int r = 0;
	if (a->l4.sni.n > 0 && b->l4.sni.n > 0)
		r = names_specificity_cmp(a->l4.sni.v[0], b->l4.sni.v[0]);
	return r != 0 ? r : (a->order > b->order) - (a->order < b->order);
}

/* ---- VirtualServices ------------------------------------------------------------------------ */
static bool is_source(struct l4 *l, const struct str_list *gateways, int64_t port)
{
	static const struct labels none;
	return (port == 0 || port == l->client->gateway->port) &&
	       compile_is_source(l->c, l->client, gateways, &none, STR_NULL);
}

/* A name of a match, as far as the server serves it. */
static void add_sni(struct l4 *l, const struct model_virtual_service *vs, struct str sni,
		    const struct model_tls_route *r)
{
	for (size_t i = 0; i < l->s->hosts.n; i++) {
		struct str served;
		if (!names_server_host(l->c->m, l->g, l->s->hosts.v[i], vs->r.ns, &served))
			continue;
		served = names_narrower(served, sni);
		struct compile_weighted w = { 0 };
		if (served.n > 0)
			w = compile_l4_weighted(l->c, l->client, r->route.v, r->route.n,
						l->client->gateway->port);
		if (w.n > 0)
			add_named(l, served, w);
	}
}

static void add_tls_routes(struct l4 *l, const struct model_virtual_service *vs)
{
	for (size_t i = 0; i < vs->tls.n; i++) {
		const struct model_tls_route *r = &vs->tls.v[i];
		for (size_t k = 0; k < r->match.n; k++) {
			const struct model_tls_match *m = &r->match.v[k];
			if (!is_source(l, &m->gateways, m->port))
				continue;
			for (size_t j = 0; j < m->sniHosts.n; j++)
				add_sni(l, vs, m->sniHosts.v[j], r);
		}
	}
}

static bool is_served(struct l4 *l, const struct model_virtual_service *vs)
{
	for (size_t i = 0; i < l->s->hosts.n; i++) {
		struct str served;
		if (!names_server_host(l->c->m, l->g, l->s->hosts.v[i], vs->r.ns, &served))
			continue;
		for (size_t k = 0; k < vs->fqdns.n; k++) {
			if (names_match(served, vs->fqdns.v[k]) || names_match(served, vs->hosts.v[k]))
				return true;
		}
	}
	return false;
}

static void add_tcp_route(struct l4 *l, const struct model_virtual_service *vs,
			  const struct model_tcp_route *r, const struct str_list *subnets)
{
	struct compile_weighted w = compile_l4_weighted(l->c, l->client, r->route.v, r->route.n,
							l->client->gateway->port);
	if (w.n > 0)
		add_row(l, vs->r.name, w)->addresses = *subnets;
}

static void add_tcp_routes(struct l4 *l, const struct model_virtual_service *vs)
{
	static const struct str_list anywhere;
	for (size_t i = 0; i < vs->tcp.n; i++) {
		const struct model_tcp_route *r = &vs->tcp.v[i];
		if (r->match.n == 0)
			add_tcp_route(l, vs, r, &anywhere);
		for (size_t k = 0; k < r->match.n; k++) {
			const struct model_l4_match *m = &r->match.v[k];
			if (is_source(l, &m->gateways, m->port))
				add_tcp_route(l, vs, r, &m->destinationSubnets);
		}
	}
}

static void add_virtual_services(struct l4 *l)
{
	bool by_sni = names_server_passes_tls(l->s);
	model_for_each(l->c->m, MODEL_KIND_VIRTUAL_SERVICE, r) {
		const struct model_virtual_service *vs = model_as_vs(r);
		l->client->bound_ns = r->ns;
		if (!compile_is_bound(l->c, l->client, vs))
			continue;
		if (by_sni)
			add_tls_routes(l, vs);
		else if (is_served(l, vs))
			add_tcp_routes(l, vs);
	}
}

/* ---- AUTO_PASSTHROUGH: the name says which service, port and subset --------------------------- */
static void add_sealed(struct l4 *l, const struct compile_service *s, const struct names_port *p,
		       struct str subset)
{
	int64_t cluster = compile_sealed_cluster(l->c, l->client, s, p, subset);
	if (cluster >= 0)
		add_named(l, compile_sni_outbound(l->c, p->number, subset, s->host),
			  compile_sole(l->c, cluster));
}

static void add_service(struct l4 *l, const struct compile_service *s)
{
	const struct names_rules *rules = compile_rules(l->c, l->client, s);
	for (size_t i = 0; i < s->ports.n; i++) {
		add_sealed(l, s, &s->ports.v[i], STR(""));
		for (size_t k = 0; k < rules->n; k++) {
			for (size_t j = 0; j < rules->v[k]->subsets.n; j++)
				add_sealed(l, s, &s->ports.v[i], rules->v[k]->subsets.v[j].name);
		}
	}
}

static bool is_outside(const struct compile_service *s)
{
	return s->first->res->kind == MODEL_KIND_SERVICE_ENTRY &&
	       model_as_se(s->first->res)->location == MODEL_SE_MESH_EXTERNAL;
}

/* The server's hosts are those of services of the mesh. */
static void add_services(struct l4 *l)
{
	for (size_t i = 0; i < l->c->n_services; i++) {
		const struct compile_service *s = &l->c->services[i];
		bool served = false;
		for (size_t k = 0; k < l->s->hosts.n && !served; k++) {
			struct str name;
			served = names_server_host(l->c->m, l->g, l->s->hosts.v[k], s->ns, &name) &&
				 names_match(name, s->host);
		}
		if (served && !names_is_wildcard(s->host) && !is_outside(s) &&
		    compile_is_visible(l->c, l->client, s))
			add_service(l, s);
	}
}

void compile_gateway_auto_hosts(struct compile *c, struct str_list *hosts)
{
	for (size_t i = 0; i < hosts->n; i++) {
		if (!names_is_wildcard(hosts->v[i]))
			hosts->v[i] = arena_printf(c->a, "*.%.*s", STR_ARG(hosts->v[i]));
	}
}

/* ---- the whole ------------------------------------------------------------------------------ */
void compile_gateway_l4(struct compile *c, struct compile_client *client, struct snap_view *view)
{
	struct l4 l = { .c = c, .client = client };
	l.g = client->gateway->v[0].gateway;
	l.s = client->gateway->v[0].server;
	client->bound_gateway =
		arena_printf(c->a, "%.*s/%.*s", STR_ARG(l.g->r.ns), STR_ARG(l.g->r.name));
	if (l.s->tls && l.s->tls->mode == MODEL_SERVER_TLS_AUTO_PASSTHROUGH &&
	    names_server_passes_tls(l.s))
		add_services(&l);
	else
		add_virtual_services(&l);
	if (l.n > 1)
		qsort(l.v, l.n, sizeof(*l.v), by_name);
	view->l4.v = arena_new_n(c->a, struct snap_l4, l.n);
	for (size_t i = 0; i < l.n; i++)
		view->l4.v[view->l4.n++] = l.v[i].l4;
}
