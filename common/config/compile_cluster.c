/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_cluster: (service, port, subset) → cluster with endpoints. Layer config. A cluster's name
 * is Istio's and a stable key; where a client's namespace or labels give it other DestinationRules
 * than clients of the service's own namespace have, "@NS/RULE" is appended: it is another cluster
 * with limits of its own. So it is where some ServiceEntries of the host are not exported to the
 * client: "!NS/NAME" for each.
 */
#include "config/compile_parts.h"
#include "config/inject.h"

struct str compile_cluster_name(struct compile *c, int64_t port, struct str subset, struct str host)
{
	return arena_printf(c->a, "outbound|%d|%.*s|%.*s", (int)port, STR_ARG(subset),
			    STR_ARG(host));
}

/* An empty string is no member at all: snapshots stay small. */
static struct str given(struct str s)
{
	return s.n > 0 ? s : STR_NULL;
}

int64_t compile_cluster_add(struct compile *c, const struct snap_cluster *cl)
{
	*compile_push(c, c->s->clusters, c->cap_clusters) = *cl;
	map_put(&c->clusters, cl->name, (void *)(uintptr_t)c->s->clusters.n);
	return (int64_t)c->s->clusters.n - 1;
}

static int64_t known_cluster(const struct compile *c, struct str name)
{
	return (int64_t)(uintptr_t)map_get(&c->clusters, name) - 1;
}

int64_t compile_special_cluster(struct compile *c, const char *name, enum snap_cluster_kind kind)
{
	int64_t i = known_cluster(c, str_c(name));
	if (i >= 0)
		return i;
	struct snap_cluster cl = { .name = str_c(name), .service_name = str_c(name), .kind = kind,
				   .protocol = SNAP_PROTOCOL_AUTO, .lb = SNAP_LB_PASSTHROUGH,
				   .tls = { .mode = SNAP_TLS_DISABLE } };
	cl.limits.connect_timeout_us = c->m->mesh.mesh.connectTimeout;
	return compile_cluster_add(c, &cl);
}

/* ---- endpoints ------------------------------------------------------------------------------ */
struct filling {
	struct compile *c;
	struct compile_client *client;
	const struct compile_service *s;
	const struct names_port *port;
	struct str subset;
	const struct labels *want;      /* labels of the subset, NULL: every endpoint */
	struct snap_cluster *cl;
	bool sealed;                    /* the client's own TLS goes on to the endpoint's proxy */
	size_t cap;
};

/* Where its proxy takes mTLS. */
static int64_t door_of(const struct compile *c, const struct model_workload *w)
{
	return w && inject_is_dedicated(w) && w->sidecarPorts ? w->sidecarPorts->mesh
							      : c->m->mesh.node.meshPort;
}

static void put_mesh(struct filling *f, const struct compile_endpoint *e, struct snap_endpoint *ret)
{
	struct compile *c = f->c;
	ret->mesh_address = e->e.workload ? c->m->mesh.node.address : e->e.address;
	ret->mesh_port = door_of(c, e->e.workload);
	ret->mesh_sni = compile_sni_inbound(c, ret->port, e->e.name, f->s->host);
}

/* Its proxy's door instead of its own. */
static void put_door(struct filling *f, const struct compile_endpoint *e, struct snap_endpoint *ret)
{
	put_mesh(f, e, ret);
	ret->address = ret->mesh_address;
	ret->port = ret->mesh_port;
	ret->mesh_address = ret->mesh_sni = STR_NULL;
	ret->mesh_port = 0;
}

/* How the endpoint is to be dialled under the cluster's TLS mode (2.9.1, 2.9.2, 2.9.5). */
static void put_way(struct filling *f, const struct compile_endpoint *e, struct snap_endpoint *ret)
{
	struct names_mtls mtls = { .mode = MODEL_MTLS_DISABLE };
	if (e->meshed)
		mtls = names_mtls(f->c->m, e->e.ns, &e->e.labels, ret->port);
	switch ((enum snap_tls_mode)f->cl->tls.mode) {
	case SNAP_TLS_AUTO:
		if (mtls.mode != MODEL_MTLS_DISABLE)
			put_mesh(f, e, ret);
		break;
	case SNAP_TLS_ISTIO_MUTUAL:
		if (e->meshed) {
			put_mesh(f, e, ret);
		} else if (!str_has_prefix(ret->address, STR("unix:"))) {
			ret->mesh_address = ret->address;
			ret->mesh_port = ret->port;
			ret->mesh_sni =
				compile_sni_outbound(f->c, f->port->number, f->subset, f->s->host);
		}
		break;
	case SNAP_TLS_DISABLE:
	case SNAP_TLS_SIMPLE:
	case SNAP_TLS_MUTUAL:
		/* What a STRICT port takes is no other form: its proxy must be the one that says
		 * no. */
		if (mtls.mode == MODEL_MTLS_STRICT || f->sealed)
			put_door(f, e, ret);
		break;
	case SNAP_TLS__N:
	default:
		break;
	}
}

static void add_endpoint(struct filling *f, const struct snap_endpoint *e)
{
	*compile_push(f->c, f->cl->endpoints, f->cap) = *e;
}

/* TLS of the mesh ends at a proxy that takes it, and nowhere else. */
static bool is_door(struct filling *f, const struct compile_endpoint *e, int64_t port)
{
	return e->meshed &&
	       names_mtls(f->c->m, e->e.ns, &e->e.labels, port).mode != MODEL_MTLS_DISABLE;
}

static void add_part(struct filling *f, const struct names_service *part,
		     const struct compile_endpoints *all)
{
	const struct names_port *port = names_port_find(part, f->port->number);
	for (size_t i = 0; port && i < all->n; i++) {
		const struct compile_endpoint *e = &all->v[i];
		int64_t number = names_endpoint_port(&e->e, port);
		if (number == 0 || (f->want && !labels_is_subset(f->want, &e->e.labels)) ||
		    (f->sealed && !is_door(f, e, number)))
			continue;
		struct snap_endpoint to = { .address = e->e.address,
					    .port = number,
					    .weight = e->e.weight,
					    .peer = e->peer,
					    .locality = given(e->e.locality),
					    .inactive = e->inactive };
		put_way(f, e, &to);
		add_endpoint(f, &to);
	}
}

/* A name to resolve stands for itself when nobody listed endpoints. */
static void add_host(struct filling *f)
{
	struct snap_endpoint e = { .address = f->s->host, .weight = 1, .peer = -1 };
	e.port = f->port->target > 0 ? f->port->target : f->port->number;
	if (!names_is_wildcard(f->s->host))
		add_endpoint(f, &e);
}

static int by_address(const void *x, const void *y)
{
	const struct snap_endpoint *a = x, *b = y;
	int r = str_cmp(a->address, b->address);
	if (r == 0)
		r = (a->port > b->port) - (a->port < b->port);
	return r != 0 ? r : str_cmp(a->mesh_sni, b->mesh_sni);
}

static void put_endpoints(struct filling *f)
{
	size_t listed = 0;
	if (f->cl->kind == SNAP_CLUSTER_BY_NAME && f->port->target != f->port->number)
		f->cl->dial_port = f->port->target;
	if (f->cl->kind == SNAP_CLUSTER_ORIGINAL_DST || f->cl->kind == SNAP_CLUSTER_BY_NAME)
		return;
	for (size_t i = 0; i < f->s->n_parts; i++) {
		if (!compile_sees_part(f->c, f->client, f->s->parts[i]))
			continue;
		add_part(f, f->s->parts[i], &f->s->endpoints[i]);
		listed += f->s->endpoints[i].n;
	}
	if (listed == 0 && f->cl->kind == SNAP_CLUSTER_DNS && !f->want)
		add_host(f);
	if (f->cl->endpoints.n > 1)
		qsort(f->cl->endpoints.v, f->cl->endpoints.n, sizeof(*f->cl->endpoints.v),
		      by_address);
}

/* ---- the cluster ---------------------------------------------------------------------------- */
static bool is_round_robin(const struct compile_service *s)
{
	return s->first->res->kind == MODEL_KIND_SERVICE_ENTRY &&
	       model_as_se(s->first->res)->resolution == MODEL_SE_DNS_ROUND_ROBIN;
}

static enum snap_cluster_kind kind_of(const struct compile_service *s)
{
	if (s->first->res->kind != MODEL_KIND_SERVICE_ENTRY)
		return SNAP_CLUSTER_STATIC;
	switch ((enum model_se_resolution)model_as_se(s->first->res)->resolution) {
	case MODEL_SE_NONE:
		return SNAP_CLUSTER_ORIGINAL_DST;
	case MODEL_SE_DYNAMIC_DNS:
		return SNAP_CLUSTER_BY_NAME;
	case MODEL_SE_DNS:
	case MODEL_SE_DNS_ROUND_ROBIN:
		return SNAP_CLUSTER_DNS;
	case MODEL_SE_STATIC:
	default:
		return SNAP_CLUSTER_STATIC;
	}
}

/*
 * Names that a ServiceEntry accepts count beside the endpoints' own (2.9.3), unless a rule names
 * others.
 */
static void add_entry_names(struct compile *c, const struct compile_service *s,
			    struct snap_cluster *cl)
{
	if (s->first->res->kind != MODEL_KIND_SERVICE_ENTRY || cl->tls.sans.n > 0)
		return;
	const struct str_list *names = &model_as_se(s->first->res)->subjectAltNames;
	bool mesh = cl->tls.mode == SNAP_TLS_AUTO || cl->tls.mode == SNAP_TLS_ISTIO_MUTUAL;
	size_t cap = 0;
	for (size_t i = 0; i < names->n; i++)
		*compile_push(c, cl->tls.sans, cap) = names->v[i];
	for (size_t i = 0; i < cl->endpoints.n && mesh && names->n > 0; i++) {
		int64_t peer = cl->endpoints.v[i].peer;
		if (peer >= 0 && c->s->peers.v[peer].principal.n > 0)
			*compile_push(c, cl->tls.sans, cap) = c->s->peers.v[peer].principal;
	}
}

static struct str rule_name(struct compile *c, const struct names_rules *rules)
{
	if (rules->n == 0)
		return STR_NULL;
	return arena_printf(c->a, "%.*s.%.*s", STR_ARG(rules->v[0]->r.name),
			    STR_ARG(rules->v[0]->r.ns));
}

static struct str variant_name(struct compile *c, struct str base, const struct names_rules *rules,
			       const struct names_rules *neutral)
{
	const struct model_destination_rule *mine = rules->n > 0 ? rules->v[0] : NULL;
	if (mine == (neutral->n > 0 ? neutral->v[0] : NULL))
		return base;
	if (!mine)
		return arena_printf(c->a, "%.*s@", STR_ARG(base));
	return arena_printf(c->a, "%.*s@%.*s/%.*s", STR_ARG(base), STR_ARG(mine->r.ns),
			    STR_ARG(mine->r.name));
}

static struct str name_of(struct filling *f, const struct names_rules *rules)
{
	struct str name = f->sealed ? compile_sni_outbound(f->c, f->port->number, f->subset, f->s->host) :
				      compile_cluster_name(f->c, f->port->number, f->subset, f->s->host);
	name = variant_name(f->c, name, rules, &f->s->neutral);
	for (size_t i = 0; i < f->s->n_parts; i++) {
		const struct names_service *part = f->s->parts[i];
		if (!compile_sees_part(f->c, f->client, part))
			name = arena_printf(f->c->a, "%.*s!%.*s/%.*s", STR_ARG(name),
					    STR_ARG(part->ns), STR_ARG(part->res->name));
	}
	return name;
}

static void put_cluster(struct filling *f, const struct names_rules *rules)
{
	struct names_policy policy;
	names_policy(rules, f->subset, f->port->number, &policy);
	compile_policy(f->c, f->port, &policy, f->cl);
	if (f->sealed) {
		f->cl->protocol = SNAP_PROTOCOL_TLS;
		f->cl->tls = (struct snap_tls){ .mode = SNAP_TLS_DISABLE };
	}
	put_endpoints(f);
	compile_locality(f->c, policy.loadBalancer, f->cl);
	if (!f->sealed)
		add_entry_names(f->c, f->s, f->cl);
}

static int64_t find_or_make(struct filling *f)
{
	struct compile *c = f->c;
	const struct names_rules *rules = compile_rules(c, f->client, f->s);
	const struct model_subset *sub =
		f->subset.n > 0 ? names_subset(rules, f->subset, NULL) : NULL;
	if (f->subset.n > 0 && !sub)
		return -1;
	struct str name = name_of(f, rules);
	int64_t i = known_cluster(c, name);
	if (i >= 0)
		return i;
	struct snap_cluster cl = { .name = name,
				   .kind = kind_of(f->s),
				   .one_address = is_round_robin(f->s),
				   .service = f->s->host,
				   .service_name = f->s->name,
				   .service_ns = f->s->ns,
				   .subset = given(f->subset),
				   .port = f->port->number,
				   .protocol = f->port->protocol,
				   .destination_rule = rule_name(c, rules) };
	/* cppcheck-suppress autoVariables; taken back below */
	f->cl = &cl;
	f->want = sub ? &sub->labels : NULL;
	put_cluster(f, rules);
	f->cl = NULL;
	return compile_cluster_add(c, &cl);
}

int64_t compile_cluster(struct compile *c, struct compile_client *client,
			const struct compile_service *s, const struct names_port *p,
			struct str subset)
{
	struct filling f = { .c = c, .client = client, .s = s, .port = p, .subset = subset };
	return find_or_make(&f);
}

int64_t compile_sealed_cluster(struct compile *c, struct compile_client *client,
			       const struct compile_service *s, const struct names_port *p,
			       struct str subset)
{
	struct filling f = { .c = c, .client = client, .s = s, .port = p, .subset = subset, .sealed = true };
	return find_or_make(&f);
}
