/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names: the registry of services, their ports and the endpoints behind them (semantics 2.4.3,
 * 2.15, 2.16). Layer config.
 */
#include "config/names.h"

#include "base/vec.h"

/* ---- protocols ----------------------------------------------------------------------------- */

static const struct {
	const char *word;
	enum snap_protocol protocol;
} protocol_words[] = {
	{ "http", SNAP_PROTOCOL_HTTP },
	{ "http_proxy", SNAP_PROTOCOL_HTTP },
	{ "kubernetes.io/ws", SNAP_PROTOCOL_HTTP },
	{ "http2", SNAP_PROTOCOL_HTTP2 },
	{ "kubernetes.io/h2c", SNAP_PROTOCOL_HTTP2 },
	{ "grpc", SNAP_PROTOCOL_GRPC },
	{ "grpc-web", SNAP_PROTOCOL_GRPC },
	{ "https", SNAP_PROTOCOL_TLS },
	{ "tls", SNAP_PROTOCOL_TLS },
	{ "kubernetes.io/wss", SNAP_PROTOCOL_TLS },
	{ "tcp", SNAP_PROTOCOL_TCP },
	{ "mongo", SNAP_PROTOCOL_TCP },
	{ "mysql", SNAP_PROTOCOL_TCP },
	{ "redis", SNAP_PROTOCOL_TCP },
};

static bool protocol_of_word(struct str word, enum snap_protocol *ret)
{
	for (size_t i = 0; i < sizeof(protocol_words) / sizeof(protocol_words[0]); i++) {
		if (!str_ieq(word, str_c(protocol_words[i].word)))
			continue;
		*ret = protocol_words[i].protocol;
		return true;
	}
	return false;
}

/* "http-api" → "http"; "grpc-web" has a dash of its own. */
static struct str name_prefix(struct str name)
{
	ptrdiff_t dash = str_find(name, '-');

	if (str_has_iprefix(name, STR("grpc-web")))
		return str_take(name, 8);
	return dash < 0 ? name : str_take(name, (size_t)dash);
}

enum snap_protocol names_protocol(struct str name, struct str app_protocol, struct str protocol)
{
	enum snap_protocol p;

	if (app_protocol.n > 0)
		return protocol_of_word(app_protocol, &p) ? p : SNAP_PROTOCOL_AUTO;
	/*
	 * "TCP" is Kubernetes' word for the transport and says nothing about what is spoken over
	 * it.
	 */
	if (protocol.n > 0 && !str_ieq(protocol, STR("TCP")) && protocol_of_word(protocol, &p))
		return p;
	return protocol_of_word(name_prefix(name), &p) ? p : SNAP_PROTOCOL_AUTO;
}

/* ---- registry ------------------------------------------------------------------------------ */

struct adding {
	struct names_registry *reg;
	size_t cap;
	struct arena *a;
};

static struct str or_empty(struct str s)
{
	return s.p != NULL ? s : STR("");
}

static struct names_service *add_service(struct adding *add, const struct model_resource *res,
					 struct str host, struct str name, size_t n_ports)
{
	struct names_registry *reg = add->reg;
	struct names_service *s =
		vec_push_arena(add->a, reg->services.v, reg->services.n, add->cap);

	*s = (struct names_service){ .host = host, .name = name, .ns = res->ns, .res = res };
	s->ports.v = arena_new_n(add->a, struct names_port, n_ports + 1);
	return s;
}

static void add_kubernetes_service(struct adding *add, const struct model_service *svc)
{
	struct names_service *s = add_service(
		add, &svc->r, names_service_fqdn(add->reg->model, svc->r.name, svc->r.ns, add->a),
		svc->r.name, svc->ports.n);

	for (size_t i = 0; i < svc->ports.n; i++) {
		const struct model_service_port *p = &svc->ports.v[i];

		s->ports.v[s->ports.n++] = (struct names_port){
			.number = p->port,
			.name = or_empty(p->name),
			.protocol = names_protocol(p->name, p->appProtocol, p->protocol),
			.target = p->targetNumber,
			.target_name = p->targetName,
			.listen = or_empty(p->listen),
			.at = p->at,
		};
	}
}

static void add_service_entry(struct adding *add, const struct model_service_entry *se,
			      struct str host)
{
	struct str fqdn = names_fqdn(add->reg->model, host, se->r.ns, add->a);
	struct names_service *s;

	/* A ServiceEntry's host is a name as it is written, also without a dot. */
	if (str_find(host, '.') < 0)
		fqdn = arena_str(add->a, host);
	s = add_service(add, &se->r, fqdn, fqdn, se->ports.n);
	for (size_t i = 0; i < se->ports.n; i++) {
		const struct model_se_port *p = &se->ports.v[i];

		s->ports.v[s->ports.n++] = (struct names_port){
			.number = p->number,
			.name = or_empty(p->name),
			.protocol = names_protocol(STR(""), p->protocol, STR("")),
			.target = p->targetPort > 0 ? p->targetPort : p->number,
			.listen = STR(""),
			.at = p->at,
		};
	}
}

void names_registry_init(struct names_registry *reg, const struct model *m, struct arena *a)
{
	struct adding add = { .reg = reg, .a = a };

	*reg = (struct names_registry){ .model = m };
	map_init(&reg->by_host);
	model_for_each(m, MODEL_KIND_SERVICE, r)
		add_kubernetes_service(&add, model_as_service(r));
	model_for_each(m, MODEL_KIND_SERVICE_ENTRY, r) {
		const struct model_service_entry *se = model_as_se(r);

		for (size_t i = 0; i < se->hosts.n; i++)
			add_service_entry(&add, se, se->hosts.v[i]);
	}
	for (size_t i = reg->services.n; i-- > 0;)
		map_put(&reg->by_host, reg->services.v[i].host, &reg->services.v[i]);
}

void names_registry_done(struct names_registry *reg)
{
	map_done(&reg->by_host);
}

bool names_service_is_visible(const struct model *m, const struct names_service *s,
			      struct str client_ns)
{
	if (s->res->kind != MODEL_KIND_SERVICE_ENTRY)
		return true;
	return names_exported(m, &model_as_se(s->res)->exportTo,
			      &m->mesh.mesh.defaultServiceExportTo, s->ns, client_ns);
}

const struct names_service *names_service_find(const struct names_registry *reg, struct str host,
					       struct str client_ns)
{
	const struct names_service *best = map_get(&reg->by_host, host);

	if (best != NULL && names_service_is_visible(reg->model, best, client_ns))
		return best;
	best = NULL;
	for (size_t i = 0; i < reg->services.n; i++) {
		const struct names_service *s = &reg->services.v[i];

		if (!names_subset_of(host, s->host) || !names_service_is_visible(reg->model, s, client_ns))
			continue;
		if (best == NULL || names_specificity_cmp(s->host, best->host) < 0)
			best = s;
	}
	return best;
}

const struct names_port *names_port_find(const struct names_service *s, int64_t number)
{
	for (size_t i = 0; i < s->ports.n; i++)
		if (s->ports.v[i].number == number)
			return &s->ports.v[i];
	return NULL;
}

const struct names_port *names_destination_port(const struct names_service *s, int64_t number,
						int64_t listener_port)
{
	if (number > 0)
		return names_port_find(s, number);
	if (s->ports.n == 1)
		return &s->ports.v[0];
	return names_port_find(s, listener_port);
}

/* ---- endpoints ----------------------------------------------------------------------------- */

struct labels names_labels(const struct model_resource *r, struct arena *a)
{
	const struct labels *spec;
	struct labels all;

	if (r->kind != MODEL_KIND_WORKLOAD_ENTRY)
		return r->labels;
	spec = &model_as_we(r)->e.labels;
	all.v = arena_new_n(a, struct label, spec->n + r->labels.n + 1);
	all.n = spec->n;
	if (spec->n > 0)
		memcpy(all.v, spec->v, spec->n * sizeof(*spec->v));
	for (size_t i = 0; i < r->labels.n; i++)
		if (labels_get(spec, r->labels.v[i].key).p == NULL)
			all.v[all.n++] = r->labels.v[i];
	return all;
}

struct gathering {
	const struct model *m;
	struct names_endpoints *ret;
	size_t cap;
	struct arena *a;
};

static void add_endpoint(struct gathering *g, const struct names_endpoint *e)
{
	struct names_endpoint *to = vec_push_arena(g->a, g->ret->v, g->ret->n, g->cap);

	*to = *e;
	to->service_account = or_empty(e->service_account);
	to->locality = e->locality.n > 0 ? e->locality : g->m->mesh.node.locality;
	to->network = or_empty(e->network);
	to->weight = e->weight > 0 ? e->weight : 1;
}

static void add_workload(struct gathering *g, const struct model_workload *w)
{
	add_endpoint(g, &(struct names_endpoint){ .workload = w,
						  .ns = w->r.ns,
						  .name = w->r.name,
						  .labels = w->r.labels,
						  .address = w->address,
						  .service_account = w->serviceAccount,
						  .locality = w->locality,
						  .weight = w->weight });
}

static void add_listed(struct gathering *g, const struct model_resource *owner,
		       const struct model_endpoint *e, struct labels labels)
{
	add_endpoint(g, &(struct names_endpoint){ .entry = owner->kind == MODEL_KIND_WORKLOAD_ENTRY
								   ? model_as_we(owner)
								   : NULL,
						  .inlined = e,
						  .ns = owner->ns,
						  .name = owner->name,
						  .labels = labels,
						  .address = or_empty(e->address),
						  .service_account = e->serviceAccount,
						  .locality = e->locality,
						  .network = e->network,
						  .weight = e->weight });
}

/* As names_labels has them, without making them. */
static bool carries(const struct model_resource *r, const struct labels *want)
{
	const struct labels *spec = &model_as_we(r)->e.labels;

	for (size_t i = 0; i < want->n; i++) {
		struct str v = labels_get(spec, want->v[i].key);

		if (v.p == NULL)
			v = labels_get(&r->labels, want->v[i].key);
		if (v.p == NULL || !str_eq(v, want->v[i].val))
			return false;
	}
	return true;
}

/* Workloads and WorkloadEntries of a namespace that carry every label of want. */
static void add_selected(struct gathering *g, struct str ns, const struct labels *want)
{
	if (want->n == 0)
		return;
	model_for_each(g->m, MODEL_KIND_WORKLOAD, r)
		if (str_eq(r->ns, ns) && labels_is_subset(want, &r->labels))
			add_workload(g, model_as_workload(r));
	model_for_each(g->m, MODEL_KIND_WORKLOAD_ENTRY, r)
		if (str_eq(r->ns, ns) && carries(r, want))
			add_listed(g, r, &model_as_we(r)->e, names_labels(r, g->a));
}

struct names_endpoints names_endpoints(const struct model *m, const struct names_service *s,
				       struct arena *a)
{
	struct names_endpoints ret = { 0 };
	struct gathering g = { .m = m, .ret = &ret, .a = a };

	if (s->res->kind == MODEL_KIND_SERVICE) {
		add_selected(&g, s->ns, &model_as_service(s->res)->selector);
	} else {
		const struct model_service_entry *se = model_as_se(s->res);

		for (size_t i = 0; i < se->endpoints.n; i++)
			add_listed(&g, &se->r, &se->endpoints.v[i], se->endpoints.v[i].labels);
		if (se->workloadSelector != NULL)
			add_selected(&g, s->ns, &se->workloadSelector->labels);
	}
	return ret;
}

static int64_t number_of(const struct model_int_map *map, struct str name)
{
	for (size_t i = 0; i < map->n; i++)
		if (str_eq(map->v[i].key, name))
			return map->v[i].value;
	return 0;
}

int64_t names_endpoint_port(const struct names_endpoint *e, const struct names_port *p)
{
	int64_t port = 0;

	if (str_has_prefix(e->address, STR("unix:")))
		return p->target > 0 ? p->target : p->number;
	if (e->inlined != NULL) {
		port = number_of(&e->inlined->portNumbers, p->name);
		if (port == 0 && p->target_name.p != NULL)
			port = number_of(&e->inlined->portNumbers, p->target_name);
	} else if (p->target_name.p != NULL) {
		for (size_t i = 0; i < e->workload->ports.n && port == 0; i++)
			if (str_eq(e->workload->ports.v[i].name, p->target_name))
				port = e->workload->ports.v[i].number;
	}
	return port > 0 ? port : p->target;
}
