/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_view: what callers of one kind see: virtual hosts for every visible host and port
 * (2.1.2, 2.2, 2.3.13). Layer config.
 */
#include "config/compile_parts.h"

/* ---- kinds of callers ----------------------------------------------------------------------- */
static int by_key(const void *x, const void *y)
{
	const struct label *a = x, *b = y;
	int r = str_cmp(a->key, b->key);
	return r != 0 ? r : str_cmp(a->val, b->val);
}

static void add_pairs(struct compile *c, const struct labels *l, size_t *cap)
{
	for (size_t i = 0; i < l->n; i++) {
		bool known = false;
		for (size_t k = 0; k < c->asked.n && !known; k++)
			known = by_key(&c->asked.v[k], &l->v[i]) == 0;
		if (!known)
			*compile_push(c, c->asked, *cap) = l->v[i];
	}
}

static void add_vs_pairs(struct compile *c, const struct model_virtual_service *vs, size_t *cap)
{
	for (size_t i = 0; i < vs->http.n; i++) {
		for (size_t k = 0; k < vs->http.v[i].match.n; k++)
			add_pairs(c, &vs->http.v[i].match.v[k].sourceLabels, cap);
	}
	for (size_t i = 0; i < vs->tls.n; i++) {
		for (size_t k = 0; k < vs->tls.v[i].match.n; k++)
			add_pairs(c, &vs->tls.v[i].match.v[k].sourceLabels, cap);
	}
	for (size_t i = 0; i < vs->tcp.n; i++) {
		for (size_t k = 0; k < vs->tcp.v[i].match.n; k++)
			add_pairs(c, &vs->tcp.v[i].match.v[k].sourceLabels, cap);
	}
}

void compile_asked(struct compile *c)
{
	size_t cap = 0;
	model_for_each(c->m, MODEL_KIND_VIRTUAL_SERVICE, r)
		add_vs_pairs(c, model_as_vs(r), &cap);
	model_for_each(c->m, MODEL_KIND_DESTINATION_RULE, r) {
		if (model_as_dr(r)->workloadSelector)
			add_pairs(c, &model_as_dr(r)->workloadSelector->matchLabels, &cap);
	}
	if (c->asked.n > 1)
		qsort(c->asked.v, c->asked.n, sizeof(*c->asked.v), by_key);
}

/* Callers that differ in other labels see the same. */
static struct labels relevant(struct compile *c, const struct labels *all)
{
	struct labels ret = { .v = arena_new_n(c->a, struct label, c->asked.n) };
	for (size_t i = 0; i < c->asked.n && all; i++) {
		if (labels_is_subset(&(struct labels){ &c->asked.v[i], 1 }, all))
			ret.v[ret.n++] = c->asked.v[i];
	}
	return ret;
}

static struct str client_key(struct compile *c, struct str ns, const struct labels *l,
			     const struct model_sidecar *sidecar)
{
	struct str key = ns;
	if (sidecar)
		key = arena_printf(c->a, "%.*s by %.*s.%.*s", STR_ARG(ns),
				   STR_ARG(sidecar->r.name), STR_ARG(sidecar->r.ns));
	for (size_t i = 0; i < l->n; i++)
		key = arena_printf(c->a, "%.*s %.*s=%.*s", STR_ARG(key), STR_ARG(l->v[i].key),
				   STR_ARG(l->v[i].val));
	return key;
}

struct compile_client *compile_client(struct compile *c, struct str ns, const struct labels *labels)
{
	struct labels l = relevant(c, labels);
	const struct names_client who = { .ns = ns, .labels = labels };
	const struct model_sidecar *sidecar = names_sidecar(c->m, &who);
	struct str key = client_key(c, ns, &l, sidecar);
	uintptr_t known = (uintptr_t)map_get(&c->clients_by_key, key);
	if (known > 0)
		return &c->clients[known - 1];
	map_put(&c->clients_by_key, key, (void *)(uintptr_t)(c->n_clients + 1));
	struct compile_client *to = compile_client_new(c, ns, l);
	to->sidecar = sidecar;
	return to;
}

struct compile_client *compile_client_new(struct compile *c, struct str ns, struct labels labels)
{
	struct compile_client *to = vec_push_arena(c->a, c->clients, c->n_clients, c->cap_clients);
	*to = (struct compile_client){ .ns = ns, .labels = labels, .view = (int64_t)c->n_clients - 1 };
	to->rules = arena_new_n(c->a, struct names_rules, c->n_services);
	to->has_rules = arena_new_n(c->a, bool, c->n_services);
	return to;
}

/* ---- virtual hosts -------------------------------------------------------------------------- */
struct building {
	struct compile *c;
	struct compile_client *client;
	struct snap_view *view;
	size_t cap_vhosts;
};

static struct snap_vhost *add_vhost(struct building *b, struct str host, int64_t port)
{
	struct snap_vhost *v = compile_push(b->c, b->view->vhosts, b->cap_vhosts);
	*v = (struct snap_vhost){ .port = port };
	v->name = arena_printf(b->c->a, "%.*s:%d", STR_ARG(host), (int)port);
	return v;
}

static struct str_list one_domain(struct compile *c, struct str host)
{
	struct str_list l = { .v = arena_new(c->a, struct str), .n = 1 };
	l.v[0] = host;
	return l;
}

static void add_service_port(struct building *b, const struct compile_service *s,
			     const struct names_port *p)
{
	struct compile *c = b->c;
	int64_t cluster = compile_cluster(c, b->client, s, p, STR(""));
	struct snap_vhost *v = add_vhost(b, s->host, p->number);
	v->service = s->host;
	v->domains = s->first->res->kind == MODEL_KIND_SERVICE ?
			     names_aliases(c->m, s->name, s->ns, b->client->ns, c->a) :
			     one_domain(c, s->host);
	const struct model_virtual_service *vs =
		compile_virtual_service(c, b->client, s->host, p->number, NULL);
	if (!vs || !compile_routes(c, b->client, vs, v))
		compile_sole_route(c, "default", cluster, compile_retry(c, NULL), v);
}

/*
 * Clusters that no route of this view leads to are there to be seen, and for callers of the other
 * forms.
 */
static void add_subsets(struct building *b, const struct compile_service *s,
			const struct names_port *p)
{
	const struct names_rules *rules = compile_rules(b->c, b->client, s);
	for (size_t i = 0; i < rules->n; i++) {
		for (size_t k = 0; k < rules->v[i]->subsets.n; k++)
			compile_cluster(b->c, b->client, s, p, rules->v[i]->subsets.v[k].name);
	}
}

static void add_services(struct building *b)
{
	for (size_t i = 0; i < b->c->n_services; i++) {
		const struct compile_service *s = &b->c->services[i];
		for (size_t k = 0; k < s->ports.n; k++) {
			if (!compile_sees(b->c, b->client, s, s->ports.v[k].number))
				continue;
			compile_cluster(b->c, b->client, s, &s->ports.v[k], STR(""));
			add_subsets(b, s, &s->ports.v[k]);
			if (compile_port_is_http(&s->ports.v[k]))
				add_service_port(b, s, &s->ports.v[k]);
		}
	}
}

/* ---- hosts that only a VirtualService names ------------------------------------------------- */
/* Is there a visible service that this host of a VirtualService means or covers? */
static bool covers_service(const struct building *b, struct str host)
{
	const struct compile *c = b->c;
	if (!names_is_wildcard(host)) {
		const struct compile_service *s = map_get(&c->service_by_host, host);
		return s && compile_sees_some(c, b->client, s);
	}
	for (size_t i = 0; i < c->n_services; i++) {
		if (names_subset_of(c->services[i].host, host) &&
		    compile_sees_some(c, b->client, &c->services[i]))
			return true;
	}
	return false;
}

/* Ports of the services among the hosts of vs; 80 when there is none (Istio's choice). */
static size_t ports_of(const struct building *b, const struct model_virtual_service *vs,
		       int64_t **ret)
{
	size_t n = 0, cap = 0;
	int64_t *v = NULL;
	for (size_t i = 0; i < vs->fqdns.n; i++) {
		const struct compile_service *s = map_get(&b->c->service_by_host, vs->fqdns.v[i]);
		for (size_t k = 0; s && k < s->ports.n; k++) {
			bool known = !compile_port_is_http(&s->ports.v[k]) ||
				     !compile_sees(b->c, b->client, s, s->ports.v[k].number);
			for (size_t j = 0; j < n && !known; j++)
				known = v[j] == s->ports.v[k].number;
			if (!known)
				*vec_push_arena(b->c->a, v, n, cap) = s->ports.v[k].number;
		}
	}
	if (n == 0)
		*vec_push_arena(b->c->a, v, n, cap) = 80;
	*ret = v;
	return n;
}

/* The oldest VirtualService keeps a host (2.2.2), among those that the caller sees. */
static bool is_routed_by(const struct building *b, const struct model_virtual_service *vs,
			 struct str host, int64_t port)
{
	struct str by = STR_NULL;
	return compile_virtual_service(b->c, b->client, host, port, &by) == vs && str_eq(by, host);
}

static void add_foreign_host(struct building *b, const struct model_virtual_service *vs,
			     struct str host)
{
	int64_t *ports;
	size_t n = ports_of(b, vs, &ports);
	for (size_t i = 0; i < n; i++) {
		struct snap_vhost v = { .port = ports[i] };
		if (!is_routed_by(b, vs, host, ports[i]) ||
		    !compile_routes(b->c, b->client, vs, &v))
			continue;
		v.name = add_vhost(b, host, ports[i])->name;
		v.domains = one_domain(b->c, host);
		b->view->vhosts.v[b->view->vhosts.n - 1] = v;
	}
}

static void add_foreign_hosts(struct building *b)
{
	model_for_each(b->c->m, MODEL_KIND_VIRTUAL_SERVICE, r) {
		const struct model_virtual_service *vs = model_as_vs(r);
		for (size_t i = 0; i < vs->fqdns.n && vs->http.n > 0; i++) {
			struct str host = vs->fqdns.v[i];
			if (!str_eq(host, STR("*")) && !covers_service(b, host))
				add_foreign_host(b, vs, host);
		}
	}
}

/* ---- everything else (2.3.13, 2.15.6) ------------------------------------------------------- */
/* Where a Sidecar sends what nobody declared, instead of straight on. */
static int64_t egress_proxy(struct building *b)
{
	const struct model_sidecar *sidecar = b->client->sidecar;
	const struct model_outbound_policy *p = sidecar ? sidecar->outboundTrafficPolicy : NULL;
	struct snap_weighted to = { .cluster = -1 };
	if (p && p->egressProxy)
		compile_destination(b->c, b->client, p->egressProxy, 0, &to);
	return to.cluster;
}

static void add_rest(struct building *b)
{
	struct compile *c = b->c;
	bool any = b->view->outbound == SNAP_OUTBOUND_ALLOW_ANY;
	int64_t cluster = any ? egress_proxy(b) : -1;
	const char *name = any ? "allow_any" : "block_all";
	if (cluster >= 0)
		compile_l4_rest(c, b->view, cluster);
	else if (any)
		cluster = compile_special_cluster(c, "PassthroughCluster",
						  SNAP_CLUSTER_ORIGINAL_DST);
	else
		cluster = compile_special_cluster(c, "BlackHoleCluster", SNAP_CLUSTER_BLACKHOLE);
	struct snap_vhost *v = compile_push(c, b->view->vhosts, b->cap_vhosts);
	*v = (struct snap_vhost){ .name = str_c(name), .domains = one_domain(c, STR("*")) };
	compile_sole_route(c, name, cluster, NULL, v);
}

static void build_view(struct compile *c, struct compile_client *client, struct snap_view *view)
{
	struct building b = { .c = c, .client = client, .view = view };
	if (client->gateway) {
		compile_gateway_view(c, client, view);
		return;
	}
	if (client->nobody) {
		view->name = STR("nobody");
		view->outbound = SNAP_OUTBOUND_REGISTRY_ONLY;
		return;
	}
	view->name = client_key(c, client->ns, &client->labels, client->sidecar);
	view->outbound = names_allows_any(c->m, client->sidecar) ? SNAP_OUTBOUND_ALLOW_ANY
								 : SNAP_OUTBOUND_REGISTRY_ONLY;
	add_services(&b);
	add_foreign_hosts(&b);
	compile_l4(c, client, view);
	add_rest(&b);
}

void compile_views(struct compile *c)
{
	c->s->views.v = arena_new_n(c->a, struct snap_view, c->n_clients);
	for (; c->s->views.n < c->n_clients; c->s->views.n++)
		build_view(c, &c->clients[c->s->views.n], &c->s->views.v[c->s->views.n]);
}
