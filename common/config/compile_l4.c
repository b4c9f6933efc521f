/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_l4: opaque TCP, and TLS by its server name, for one kind of caller
 * (2.14.5–2.14.7, 2.15.2). Layer config. Rows of services with addresses come first, then those
 * told by SNI (the more specific name first), then those that take any address on their port. The
 * rows of one service keep the order of its VirtualService.
 */
#include "config/compile_parts.h"

struct l4_group {
	const struct compile_service *s;
	const struct names_port *p;
	int rank;
	size_t order;
};

struct l4 {
	struct compile *c;
	struct compile_client *client;
	struct snap_view *view;
	size_t cap;
	const struct l4_group *g;
	const struct str_list *addresses;       /* of the service */
};

/* ---- order ---------------------------------------------------------------------------------- */
static const struct str_list *addresses_of(const struct compile_service *s)
{
	static const struct str_list none;
	return s->first->res->kind == MODEL_KIND_SERVICE_ENTRY
		       ? &model_as_se(s->first->res)->addresses
		       : &none;
}

static int rank_of(const struct compile_service *s, const struct names_port *p)
{
	if (addresses_of(s)->n > 0)
		return 0;
	return p->protocol == SNAP_PROTOCOL_TLS ? 1 : 2;
}

static int by_rank(const void *x, const void *y)
{
	const struct l4_group *a = x, *b = y;
	if (a->rank != b->rank)
		return a->rank - b->rank;
	int r = a->rank == 1 ? names_specificity_cmp(a->s->host, b->s->host) : 0;
	return r != 0 ? r : (a->order > b->order) - (a->order < b->order);
}

/* ---- rows ----------------------------------------------------------------------------------- */
static struct snap_l4 *add_row(struct l4 *l, struct compile_weighted w,
			       const struct str_list *addresses, const struct str_list *sni)
{
	if (w.n == 0)
		return NULL;
	struct snap_l4 *row = compile_push(l->c, l->view->l4, l->cap);
	*row = (struct snap_l4){ .service = l->g->s->host,
				 .port = l->g->p->number,
				 .total_weight = w.total };
	row->name = arena_printf(l->c->a, "%.*s:%d", STR_ARG(l->g->s->host), (int)l->g->p->number);
	row->destinations.v = w.v;
	row->destinations.n = w.n;
	if (addresses)
		row->addresses = *addresses;
	if (sni)
		row->sni = *sni;
	return row;
}

struct compile_weighted compile_l4_weighted(struct compile *c, struct compile_client *client,
					    const struct model_route_destination *v, size_t n,
					    int64_t port)
{
	struct compile_targets t = { .n = n };
	t.v = arena_new_n(c->a, const struct model_destination *, n);
	t.weights = arena_new_n(c->a, int64_t, n);
	for (size_t i = 0; i < n; i++) {
		t.v[i] = v[i].destination;
		t.weights[i] = v[i].weight;
	}
	return compile_weighted(c, client, &t, port);
}

static struct compile_weighted destinations(struct l4 *l, const struct model_route_destination *v,
					    size_t n)
{
	return compile_l4_weighted(l->c, l->client, v, n, l->g->p->number);
}

static bool all_hosts(struct str_list l)
{
	for (size_t i = 0; i < l.n; i++) {
		if (str_eq(l.v[i], STR("*")))
			return true;
	}
	return false;
}

/* VirtualService.tls, first match first; true: one row takes every name. */
static bool add_tls_routes(struct l4 *l, const struct model_virtual_service *vs, bool *ret_any)
{
	for (size_t i = 0; i < vs->tls.n; i++) {
		const struct model_tls_route *r = &vs->tls.v[i];
		for (size_t k = 0; k < r->match.n; k++) {
			const struct model_tls_match *m = &r->match.v[k];
			if ((m->port != 0 && m->port != l->g->p->number) ||
			    !compile_is_source(l->c, l->client, &m->gateways, &m->sourceLabels,
					       m->sourceNamespace))
				continue;
			const struct str_list *subnets =
				m->destinationSubnets.n > 0 ? &m->destinationSubnets : NULL;
			*ret_any = add_row(l, destinations(l, r->route.v, r->route.n), subnets,
					   &m->sniHosts) ||
				   *ret_any;
			if (!subnets && all_hosts(m->sniHosts))
				return true;
		}
	}
	return false;
}

/* Names below a wildcard service for which a VirtualService has routes of its own. */
static void add_narrower(struct l4 *l)
{
	struct compile *c = l->c;
	struct str host = l->g->s->host;
	bool any = false;
	model_for_each(c->m, MODEL_KIND_VIRTUAL_SERVICE, r) {
		const struct model_virtual_service *vs = model_as_vs(r);
		for (size_t i = 0; i < vs->fqdns.n && vs->tls.n > 0; i++) {
			struct str name = vs->fqdns.v[i];
			if (str_eq(name, host) || !names_subset_of(name, host) ||
			    map_has(&c->service_by_host, name) ||
			    compile_virtual_service(c, l->client, name, l->g->p->number, NULL) != vs)
				continue;
			add_tls_routes(l, vs, &any);
			break;
		}
	}
}

/* VirtualService.tcp: without destinationSubnets nothing behind is reached (2.14.6). */
static bool add_tcp_routes(struct l4 *l, const struct model_virtual_service *vs)
{
	bool any = false;
	for (size_t i = 0; i < vs->tcp.n; i++) {
		const struct model_tcp_route *r = &vs->tcp.v[i];
		static const struct model_l4_match everything;
		for (size_t k = 0; k < (r->match.n > 0 ? r->match.n : 1); k++) {
			const struct model_l4_match *m =
				r->match.n > 0 ? &r->match.v[k] : &everything;
			if ((m->port != 0 && m->port != l->g->p->number) ||
			    !compile_is_source(l->c, l->client, &m->gateways, &m->sourceLabels,
					       m->sourceNamespace))
				continue;
			bool subnets = m->destinationSubnets.n > 0;
			any = add_row(l, destinations(l, r->route.v, r->route.n),
				      subnets ? &m->destinationSubnets : l->addresses, NULL) || any;
			if (!subnets)
				return true;
		}
	}
	return any;
}

static bool has_cidr(const struct str_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		if (str_find(l->v[i], '/') >= 0)
			return true;
	}
	return false;
}

/* Told by its own name, unless it has addresses of its own to be told by (2.14.5). */
static void add_default(struct l4 *l)
{
	struct compile *c = l->c;
	struct str_list sni = { .v = arena_new(c->a, struct str), .n = 1 };
	sni.v[0] = l->g->s->host;
	bool by_name = l->g->p->protocol == SNAP_PROTOCOL_TLS &&
		       (l->addresses->n == 0 || has_cidr(l->addresses));
	int64_t cluster = compile_cluster(c, l->client, l->g->s, l->g->p, STR(""));
	add_row(l, compile_sole(c, cluster), l->addresses, by_name ? &sni : NULL);
}

static void add_group(struct l4 *l, const struct l4_group *g)
{
	bool any = false;
	l->g = g;
	l->addresses = addresses_of(g->s);
	if (names_is_wildcard(g->s->host) && g->p->protocol != SNAP_PROTOCOL_TCP)
		add_narrower(l);
	const struct model_virtual_service *vs =
		compile_virtual_service(l->c, l->client, g->s->host, g->p->number, NULL);
	if (vs && vs->tls.n > 0 && g->p->protocol != SNAP_PROTOCOL_TCP &&
	    add_tls_routes(l, vs, &any))
		return;
	if (vs && vs->tcp.n > 0 && g->p->protocol != SNAP_PROTOCOL_TLS && add_tcp_routes(l, vs))
		return;
	if (!any || g->p->protocol != SNAP_PROTOCOL_TLS)
		add_default(l);
}

void compile_l4(struct compile *c, struct compile_client *client, struct snap_view *view)
{
	struct l4_group *v = NULL;
	size_t n = 0, cap = 0;
	for (size_t i = 0; i < c->n_services; i++) {
		const struct compile_service *s = &c->services[i];
		for (size_t k = 0; k < s->ports.n; k++) {
			const struct names_port *p = &s->ports.v[k];
			if ((compile_port_is_opaque(p) || p->listen.n > 0) &&
			    compile_sees(c, client, s, p->number))
				*vec_push_arena(c->a, v, n, cap) = (struct l4_group){
					.s = s, .p = p, .rank = rank_of(s, p), .order = n
				};
		}
	}
	if (n > 1)
		qsort(v, n, sizeof(*v), by_rank);
	struct l4 l = { .c = c, .client = client, .view = view };
	for (size_t i = 0; i < n; i++)
		add_group(&l, &v[i]);
}

void compile_l4_rest(struct compile *c, struct snap_view *view, int64_t cluster)
{
	struct compile_weighted w = compile_sole(c, cluster);
	size_t cap = view->l4.n;        /* grown by one */
	struct snap_l4 *row = compile_push(c, view->l4, cap);
	*row = (struct snap_l4){ .name = STR("allow_any"), .total_weight = w.total };
	row->destinations.v = w.v;
	row->destinations.n = w.n;
}
