/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_refs: what resources name must exist: hosts, subsets, ports, gateways, providers; and no
 * two of them may claim one host. Layer config.
 */
#include "base/vec.h"
#include "config/check_parts.h"
#include "config/delegate.h"

/* ---- destinations -------------------------------------------------------------------------- */

static bool has_subset(const struct check *c, const struct model_destination *d)
{
	model_for_each(c->m, MODEL_KIND_DESTINATION_RULE, r) {
		const struct model_destination_rule *dr = model_as_dr(r);

		if (!names_subset_of(d->fqdn, dr->fqdn))
			continue;
		for (size_t i = 0; i < dr->subsets.n; i++)
			if (str_eq(dr->subsets.v[i].name, d->subset))
				return true;
	}
	return false;
}

static void refer_port(struct check *c, const struct model_destination *d,
		       const struct names_service *s)
{
	int64_t number = d->port != NULL ? d->port->number : 0;

	if (number > 0 && names_port_find(s, number) == NULL)
		check_add(c, "KVM0101", d->at, "host '%.*s' has no port %lld", STR_ARG(d->host),
			  (long long)number);
	else if (number == 0 && s->ports.n > 1)
		check_add(c, "KVM0112", d->at,
			  "host '%.*s' has several ports: name one with destination.port",
			  STR_ARG(d->host));
}

static void refer_destination(struct check *c, const struct model_destination *d, const char *what)
{
	const struct names_service *s;

	if (d == NULL || names_is_wildcard(d->host))
		return;
	s = names_service_find(&c->reg, d->fqdn, c->r->ns);
	if (s == NULL)
		check_add(c, "KVM0101", d->at,
			  "%s '%.*s' is unknown: no Service or ServiceEntry has the host '%.*s'",
			  what, STR_ARG(d->host), STR_ARG(d->fqdn));
	else
		refer_port(c, d, s);
	if (d->subset.n > 0 && !has_subset(c, d))
		check_add(c, "KVM0101", d->at,
			  "subset '%.*s' of host '%.*s' is in no DestinationRule",
			  STR_ARG(d->subset), STR_ARG(d->host));
}

/* Routes of a delegate that never come into force. */
static void refer_delegated(struct check *c, const struct model_http_route *h,
			    const struct model_virtual_service *to)
{
	for (size_t i = 0; i < to->http.n; i++) {
		if (to->http.v[i].delegate != NULL)
			check_add(c, "KVM0133", h->at,
				  "http[%zu] of delegate '%.*s.%.*s' delegates again and is left "
				  "out: there is one level",
				  i, STR_ARG(to->r.name), STR_ARG(to->r.ns));
		else if (delegate_join(h, &to->http.v[i], &c->arena) == NULL)
			check_add(c, "KVM0130", h->at,
				  "http[%zu] of delegate '%.*s.%.*s' is never taken: it matches "
				  "what this route does not",
				  i, STR_ARG(to->r.name), STR_ARG(to->r.ns));
	}
}

static void refer_delegate(struct check *c, const struct model_http_route *h)
{
	struct str ns = h->delegate->namespace.n > 0 ? model_ns(c->m, h->delegate->namespace) :
						       c->r->ns;
	const struct model_virtual_service *to = delegate_find(c->m, model_as_vs(c->r), h);

	if (to != NULL)
		refer_delegated(c, h, to);
	else if (model_find(c->m, MODEL_KIND_VIRTUAL_SERVICE, ns, h->delegate->name) == NULL)
		check_add(c, "KVM0101", h->at, "delegate '%.*s.%.*s' is unknown",
			  STR_ARG(h->delegate->name), STR_ARG(ns));
	else
		check_add(c, "KVM0133", h->at,
			  "'%.*s.%.*s' has hosts or is not exported to this namespace: it is no "
			  "delegate, and the route is left out",
			  STR_ARG(h->delegate->name), STR_ARG(ns));
}

static void refer_http(struct check *c, const struct model_http_route *h)
{
	for (size_t i = 0; i < h->route.n; i++)
		refer_destination(c, h->route.v[i].destination, "destination");
	refer_destination(c, h->mirror, "mirror");
	for (size_t i = 0; i < h->mirrors.n; i++)
		refer_destination(c, h->mirrors.v[i].destination, "mirror");
	if (h->delegate != NULL)
		refer_delegate(c, h);
}

/* ---- gateways ------------------------------------------------------------------------------ */

static const struct model_gateway *gateway_find(struct check *c, struct str name)
{
	struct str key = names_gateway(c->m, name, c->r->ns, &c->arena);
	ptrdiff_t slash = str_find(key, '/');
	const struct model_resource *r;

	if (slash < 0)
		return NULL;
	r = model_find(c->m, MODEL_KIND_GATEWAY, str_take(key, (size_t)slash),
		       str_skip(key, (size_t)slash + 1));
	return r != NULL ? model_as_gateway(r) : NULL;
}

/* The server's host "[ns/]name" serves host for a VirtualService of namespace ns. */
static bool serves(const struct check *c, const struct model_gateway *g, struct str served,
		   struct str host, struct str ns)
{
	ptrdiff_t slash = str_find(served, '/');

	if (slash >= 0) {
		struct str want = str_take(served, (size_t)slash);

		served = str_skip(served, (size_t)slash + 1);
		if (str_eq(want, STR("."))
			    ? !str_eq(g->r.ns, ns)
			    : !str_eq(want, STR("*")) && !str_eq(model_ns(c->m, want), ns))
			return false;
	}
	return names_match(served, host);
}

static bool gateway_serves(const struct check *c, const struct model_gateway *g,
			   const struct model_virtual_service *vs)
{
	for (size_t i = 0; i < g->servers.n; i++)
		for (size_t k = 0; k < g->servers.v[i].hosts.n; k++)
			for (size_t h = 0; h < vs->fqdns.n; h++)
				if (serves(c, g, g->servers.v[i].hosts.v[k], vs->fqdns.v[h],
					   vs->r.ns) ||
				    serves(c, g, g->servers.v[i].hosts.v[k], vs->hosts.v[h],
					   vs->r.ns))
					return true;
	return false;
}

static void refer_gateways(struct check *c, const struct model_virtual_service *vs)
{
	for (size_t i = 0; i < vs->gateways.n; i++) {
		const struct model_gateway *g;

		if (str_eq(vs->gateways.v[i], STR("mesh")))
			continue;
		g = gateway_find(c, vs->gateways.v[i]);
		if (g == NULL)
			check_add(c, "KVM0101", vs->r.at, "gateway '%.*s' is unknown",
				  STR_ARG(vs->gateways.v[i]));
		else if (!gateway_serves(c, g, vs))
			check_add(c, "KVM0132", vs->r.at, "no host is served by gateway '%.*s'",
				  STR_ARG(vs->gateways.v[i]));
	}
}

static void refer_virtual_service(struct check *c, const struct model_virtual_service *vs)
{
	for (size_t i = 0; i < vs->http.n; i++)
		refer_http(c, &vs->http.v[i]);
	for (size_t i = 0; i < vs->tcp.n; i++)
		for (size_t k = 0; k < vs->tcp.v[i].route.n; k++)
			refer_destination(c, vs->tcp.v[i].route.v[k].destination, "destination");
	for (size_t i = 0; i < vs->tls.n; i++)
		for (size_t k = 0; k < vs->tls.v[i].route.n; k++)
			refer_destination(c, vs->tls.v[i].route.v[k].destination, "destination");
	refer_gateways(c, vs);
}

/* ---- two VirtualServices for one host (IST0109) -------------------------------------------- */

static const struct str_list *scope_of(const struct check *c,
				       const struct model_virtual_service *vs)
{
	return vs->exportTo.n > 0 ? &vs->exportTo : &c->m->mesh.mesh.defaultVirtualServiceExportTo;
}

/* Is there a client namespace that sees both? */
static bool scopes_meet(const struct check *c, const struct model_virtual_service *a,
			const struct model_virtual_service *b)
{
	const struct str_list *sa = scope_of(c, a);

	if (sa->n == 0 || scope_of(c, b)->n == 0)
		return true;
	for (size_t i = 0; i < sa->n; i++) {
		struct str ns = str_eq(sa->v[i], STR(".")) ? a->r.ns : model_ns(c->m, sa->v[i]);

		if (str_eq(ns, STR("*")) ||
		    names_exported(c->m, &b->exportTo, scope_of(c, b), b->r.ns, ns))
			return true;
	}
	return false;
}

static bool is_for_mesh(const struct model_virtual_service *vs)
{
	for (size_t i = 0; i < vs->gateways.n; i++)
		if (str_eq(vs->gateways.v[i], STR("mesh")))
			return true;
	return vs->gateways.n == 0;
}

struct claim {                          /* of one host, in a chain */
	const struct model_virtual_service *vs;
	struct claim *next;
};

static void claim_host(struct check *c, struct map *claims, const struct model_virtual_service *vs,
		       struct str host)
{
	struct claim *mine = arena_new(&c->arena, struct claim), *first = map_get(claims, host);

	for (struct claim *o = first; o != NULL; o = o->next)
		if (o->vs != vs && scopes_meet(c, vs, o->vs)) {
			check_add(c, "KVM0109", vs->r.at,
				  "host '%.*s' is already routed by %s at %s:%u", STR_ARG(host),
				  model_label(&o->vs->r, &c->arena).p,
				  o->vs->r.at.file != NULL ? o->vs->r.at.file : "-",
				  o->vs->r.at.line);
			break;
		}
	*mine = (struct claim){ .vs = vs, .next = first };
	map_put(claims, host, mine);
}

static void check_claims(struct check *c)
{
	struct map claims;

	map_init(&claims);
	model_for_each(c->m, MODEL_KIND_VIRTUAL_SERVICE, r) {
		const struct model_virtual_service *vs = model_as_vs(r);

		check_begin(c, r);
		for (size_t i = 0; is_for_mesh(vs) && i < vs->fqdns.n; i++)
			claim_host(c, &claims, vs, vs->fqdns.v[i]);
	}
	map_done(&claims);
}

/* ---- DestinationRules ---------------------------------------------------------------------- */

static bool host_exists(const struct check *c, const struct model_destination_rule *dr)
{
	if (!names_is_wildcard(dr->fqdn))
		return names_service_find(&c->reg, dr->fqdn, dr->r.ns) != NULL;
	for (size_t i = 0; i < c->reg.services.n; i++)
		if (names_match(c->reg.services.v[i].host, dr->fqdn))
			return true;
	return false;
}

/* Are the service's endpoints known from the configuration at all? */
static bool has_listed_endpoints(const struct names_service *s)
{
	const struct model_service_entry *se;

	if (s->res->kind == MODEL_KIND_SERVICE)
		return true;
	se = model_as_se(s->res);
	return se->resolution != MODEL_SE_NONE &&
	       (se->endpoints.n > 0 || se->workloadSelector != NULL);
}

static void refer_subsets(struct check *c, const struct model_destination_rule *dr)
{
	const struct names_service *s = names_service_find(&c->reg, dr->fqdn, dr->r.ns);
	struct names_endpoints e;

	if (names_is_wildcard(dr->fqdn) || s == NULL || !has_listed_endpoints(s))
		return;
	e = names_endpoints(c->m, s, &c->arena);
	for (size_t i = 0; i < dr->subsets.n; i++) {
		bool found = false;

		for (size_t k = 0; k < e.n && !found; k++)
			found = labels_is_subset(&dr->subsets.v[i].labels, &e.v[k].labels);
		if (!found)
			check_add(c, "KVM0173", dr->subsets.v[i].at,
				  "no endpoint of '%.*s' has the labels of subset '%.*s'",
				  STR_ARG(dr->host), STR_ARG(dr->subsets.v[i].name));
	}
}

static void refer_destination_rule(struct check *c, const struct model_destination_rule *dr)
{
	if (!host_exists(c, dr))
		check_add(c, "KVM0174", dr->r.at, "no Service or ServiceEntry has the host '%.*s'",
			  STR_ARG(dr->fqdn));
	refer_subsets(c, dr);
	model_for_each(c->m, MODEL_KIND_DESTINATION_RULE, o) {
		const struct model_destination_rule *other = model_as_dr(o);

		if (o == &dr->r)
			break;
		if (str_eq(o->ns, dr->r.ns) && str_eq(other->fqdn, dr->fqdn) &&
		    (other->workloadSelector == NULL) == (dr->workloadSelector == NULL)) {
			check_add(c, "KVM0201", dr->r.at,
				  "%s at %s:%u is for host '%.*s' as well: both are merged",
				  model_label(o, &c->arena).p,
				  o->at.file != NULL ? o->at.file : "-", o->at.line,
				  STR_ARG(dr->host));
			break;
		}
	}
}

/* ---- ServiceEntries, providers ------------------------------------------------------------- */

static bool same_protocol(struct str a, struct str b)
{
	return str_ieq(a, b);
}

static void refer_service_entry(struct check *c, const struct model_service_entry *se)
{
	for (size_t i = 0; i < se->hosts.n; i++) {
		const struct names_service *first = map_get(&c->reg.by_host, se->hosts.v[i]);

		if (first == NULL || first->res == &se->r ||
		    first->res->kind != MODEL_KIND_SERVICE_ENTRY)
			continue;
		const struct model_service_entry *other = model_as_se(first->res);

		for (size_t k = 0; k < se->ports.n; k++)
			for (size_t j = 0; j < other->ports.n; j++)
				if (se->ports.v[k].number == other->ports.v[j].number &&
				    !same_protocol(se->ports.v[k].protocol,
						   other->ports.v[j].protocol))
					check_add(c, "KVM0177", se->ports.v[k].at,
						  "port %lld of host '%.*s' has another protocol "
						  "in %s",
						  (long long)se->ports.v[k].number,
						  STR_ARG(se->hosts.v[i]),
						  model_label(first->res, &c->arena).p);
	}
}

static void refer_provider(struct check *c, struct origin at, struct str name)
{
	static const char *const built_in[] = { "prometheus", "stackdriver", "envoy", "journald" };
	const struct model_mesh_config *mesh = &c->m->mesh.mesh;

	for (size_t i = 0; i < sizeof(built_in) / sizeof(built_in[0]); i++)
		if (str_eq(name, str_c(built_in[i])))
			return;
	for (size_t i = 0; i < mesh->extensionProviders.n; i++)
		if (str_eq(name, mesh->extensionProviders.v[i].name))
			return;
	check_add(c, "KVM0101", at, "provider '%.*s' is none of mesh.extensionProviders",
		  STR_ARG(name));
}

/* Whoever is to decide must be somebody that can be asked. */
static void refer_authorizer(struct check *c, const struct model_authorization_policy *ap)
{
	const struct model_mesh_config *mesh = &c->m->mesh.mesh;
	const struct model_ext_authz *p = NULL;

	for (size_t i = 0; i < mesh->extensionProviders.n; i++)
		if (str_eq(ap->provider->name, mesh->extensionProviders.v[i].name))
			p = model_ext_authz_of(&mesh->extensionProviders.v[i]);
	if (!p)
		return;
	ptrdiff_t slash = str_find(p->service, '/');
	struct str ns = slash < 0 ? ap->r.ns : str_take(p->service, (size_t)slash);
	struct str host = slash < 0 ? p->service : str_skip(p->service, (size_t)slash + 1);
	const struct names_service *s =
		names_service_find(&c->reg, names_fqdn(c->m, host, ns, &c->arena), ns);

	if (!s || !names_port_find(s, p->port))
		check_add(c, "KVM0101", ap->r.at, "provider '%.*s': no Service or ServiceEntry has "
			  "the host '%.*s' with port %lld", STR_ARG(ap->provider->name),
			  STR_ARG(p->service), (long long)p->port);
}

static void refer_telemetry(struct check *c, const struct model_telemetry *t)
{
	for (size_t i = 0; i < t->tracing.n; i++)
		for (size_t k = 0; k < t->tracing.v[i].providers.n; k++)
			refer_provider(c, t->tracing.v[i].at, t->tracing.v[i].providers.v[k].name);
	for (size_t i = 0; i < t->metrics.n; i++)
		for (size_t k = 0; k < t->metrics.v[i].providers.n; k++)
			refer_provider(c, t->metrics.v[i].at, t->metrics.v[i].providers.v[k].name);
	for (size_t i = 0; i < t->accessLogging.n; i++)
		for (size_t k = 0; k < t->accessLogging.v[i].providers.n; k++)
			refer_provider(c, t->accessLogging.v[i].at,
				       t->accessLogging.v[i].providers.v[k].name);
}

void check_references(struct check *c)
{
	model_for_each(c->m, MODEL_KIND_VIRTUAL_SERVICE, r) {
		check_begin(c, r);
		refer_virtual_service(c, model_as_vs(r));
	}
	model_for_each(c->m, MODEL_KIND_DESTINATION_RULE, r) {
		check_begin(c, r);
		refer_destination_rule(c, model_as_dr(r));
	}
	model_for_each(c->m, MODEL_KIND_SERVICE_ENTRY, r) {
		check_begin(c, r);
		refer_service_entry(c, model_as_se(r));
	}
	model_for_each(c->m, MODEL_KIND_TELEMETRY, r) {
		check_begin(c, r);
		refer_telemetry(c, model_as_telemetry(r));
	}
	model_for_each(c->m, MODEL_KIND_AUTHORIZATION_POLICY, r) {
		const struct model_authorization_policy *ap = model_as_ap(r);

		check_begin(c, r);
		if (ap->provider != NULL)
			refer_provider(c, r->at, ap->provider->name);
		if (ap->provider != NULL)
			refer_authorizer(c, ap);
	}
	check_claims(c);
}
