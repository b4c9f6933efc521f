/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_practice: what is taken and still misses its aim: annotations nobody reads, subsets that
 * a gateway passes by, applications open beside the mesh, policies about nobody or for nobody.
 * Layer config.
 */
#include "base/cidr.h"
#include "base/vec.h"
#include "config/check_parts.h"

/* ---- annotations (IST0108) ----------------------------------------------------------------- */

static const char *const known_annotations[] = {
	"galley.istio.io/analyze-suppress",
	"istio.io/dry-run",
	"istio.io/rev",
	"kvmesh.io/analyze-suppress",
	"kvmesh.io/country",
	"kvmesh.io/force-inject",
	"kvmesh.io/operator",
	"networking.istio.io/exportTo",
	"proxy.istio.io/config",
	"proxy.istio.io/overrides",
	"sidecar.istio.io/agentLogLevel",
	"sidecar.istio.io/bootstrapOverride",
	"sidecar.istio.io/componentLogLevel",
	"sidecar.istio.io/discoveryAddress",
	"sidecar.istio.io/extraStatTags",
	"sidecar.istio.io/inject",
	"sidecar.istio.io/interceptionMode",
	"sidecar.istio.io/logLevel",
	"sidecar.istio.io/nativeSidecar",
	"sidecar.istio.io/proxyCPU",
	"sidecar.istio.io/proxyCPULimit",
	"sidecar.istio.io/proxyImage",
	"sidecar.istio.io/proxyImageType",
	"sidecar.istio.io/proxyMemory",
	"sidecar.istio.io/proxyMemoryLimit",
	"sidecar.istio.io/rewriteAppHTTPProbers",
	"sidecar.istio.io/statsCompression",
	"sidecar.istio.io/statsHistogramBuckets",
	"sidecar.istio.io/statsInclusionPrefixes",
	"sidecar.istio.io/statsInclusionRegexps",
	"sidecar.istio.io/statsInclusionSuffixes",
	"sidecar.istio.io/status",
	"sidecar.istio.io/userVolume",
	"sidecar.istio.io/userVolumeMount",
	"traffic.sidecar.istio.io/excludeInboundPorts",
	"traffic.sidecar.istio.io/excludeInterfaces",
	"traffic.sidecar.istio.io/excludeOutboundIPRanges",
	"traffic.sidecar.istio.io/excludeOutboundPorts",
	"traffic.sidecar.istio.io/includeInboundPorts",
	"traffic.sidecar.istio.io/includeOutboundIPRanges",
	"traffic.sidecar.istio.io/includeOutboundPorts",
};

/* Other groups of Istio's annotations are for what is not here: revisions, installers, ambient. */
static bool is_read_here(struct str key)
{
	static const char *const groups[] = { "istio.io/",
					      "galley.istio.io/",
					      "kvmesh.io/",
					      "networking.istio.io/",
					      "proxy.istio.io/",
					      "sidecar.istio.io/",
					      "traffic.sidecar.istio.io/" };

	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (str_has_prefix(key, str_c(groups[i])))
			return true;
	return false;
}

static void check_annotation(struct check *c, struct str key)
{
	const char *best = NULL;
	unsigned best_d = 5;

	if (!is_read_here(key))
		return;
	for (size_t i = 0; i < sizeof(known_annotations) / sizeof(known_annotations[0]); i++) {
		unsigned d = str_distance(str_c(known_annotations[i]), key, 5);

		if (d == 0)
			return;
		if (d < best_d) {
			best = known_annotations[i];
			best_d = d;
		}
	}
	check_add(c, "KVM0108", c->r->at, "annotation '%.*s' is unknown%s%s%s", STR_ARG(key),
		  best != NULL ? " (did you mean '" : "", best != NULL ? best : "",
		  best != NULL ? "'?)" : "");
}

/* ---- subsets that a gateway passes by (IST0140) --------------------------------------------- */

static bool is_for_mesh(const struct model_virtual_service *vs)
{
	return vs->gateways.n == 0 || str_list_has(&vs->gateways, STR("mesh"));
}

/* Does the subset leave out an endpoint of its service? Else nobody sees a difference. */
static bool leaves_out(struct check *c, const struct model_subset *sub, struct str fqdn)
{
	const struct names_service *s = names_service_find(&c->reg, fqdn, c->r->ns);
	struct names_endpoints all;

	if (s == NULL)
		return false;
	all = names_endpoints(c->m, s, &c->arena);
	for (size_t i = 0; i < all.n; i++)
		if (!labels_is_subset(&sub->labels, &all.v[i].labels))
			return true;
	return false;
}

static bool narrows(struct check *c, const struct model_destination *d)
{
	model_for_each (c->m, MODEL_KIND_DESTINATION_RULE, r) {
		const struct model_destination_rule *dr = model_as_dr(r);

		for (size_t i = 0; str_eq(dr->fqdn, d->fqdn) && i < dr->subsets.n; i++)
			if (str_eq(dr->subsets.v[i].name, d->subset))
				return leaves_out(c, &dr->subsets.v[i], d->fqdn);
	}
	return false;
}

static void check_passed_by(struct check *c, const struct model_destination *d,
			    const struct map *inside)
{
	const struct model_virtual_service *vs = map_get(inside, d->fqdn);

	if (vs != NULL)
		check_add(c, "KVM0140", d->at,
			  "what comes through the gateway goes to all of '%.*s': the subsets of "
			  "VirtualService %.*s.%.*s are for callers inside the mesh",
			  STR_ARG(d->host), STR_ARG(vs->r.name), STR_ARG(vs->r.ns));
}

struct inside {
	struct map by_host; /* → the VirtualService that narrows it inside the mesh */
	struct map judged;  /* "host/subset" */
};

static void put_inside(struct check *c, struct inside *in, const struct model_virtual_service *vs,
		       const struct model_destination *d)
{
	struct str key = arena_printf(&c->arena, "%.*s/%.*s", STR_ARG(d->fqdn), STR_ARG(d->subset));

	if (map_has(&in->by_host, d->fqdn) || map_put(&in->judged, key, in) != NULL)
		return;
	if (str_list_has(&vs->fqdns, d->fqdn) && narrows(c, d))
		map_put(&in->by_host, d->fqdn, (void *)(uintptr_t)vs);
}

static void find_inside(struct check *c, struct inside *in)
{
	model_for_each (c->m, MODEL_KIND_VIRTUAL_SERVICE, r) {
		const struct model_virtual_service *vs = model_as_vs(r);

		check_begin(c, r);
		for (size_t i = 0; i < vs->http.n && is_for_mesh(vs); i++)
			for (size_t k = 0; k < vs->http.v[i].route.n; k++) {
				const struct model_destination *d =
					vs->http.v[i].route.v[k].destination;

				if (d != NULL && d->subset.n > 0)
					put_inside(c, in, vs, d);
			}
	}
}

static void check_gateway_route(struct check *c, const struct model_http_route *h,
				const struct map *inside)
{
	for (size_t i = 0; i < h->route.n; i++) {
		const struct model_destination *d = h->route.v[i].destination;

		if (d != NULL && d->subset.n == 0)
			check_passed_by(c, d, inside);
	}
}

static void check_gateway_routes(struct check *c)
{
	struct inside in;

	map_init(&in.by_host);
	map_init(&in.judged);
	if (c->m->of[MODEL_KIND_GATEWAY].n > 0)
		find_inside(c, &in);
	model_for_each (c->m, MODEL_KIND_VIRTUAL_SERVICE, r) {
		const struct model_virtual_service *vs = model_as_vs(r);

		check_begin(c, r);
		for (size_t i = 0; i < vs->http.n && in.by_host.n > 0 && !is_for_mesh(vs); i++)
			check_gateway_route(c, &vs->http.v[i], &in.by_host);
	}
	map_done(&in.by_host);
	map_done(&in.judged);
}

/* ---- workloads (IST0143 the other way round, IST0144) ---------------------------------------- */

static bool is_loopback(struct str address)
{
	struct cidr v4, v6, at;

	if (!cidr_parse(address, &at))
		return true; /* unix: */
	return (cidr_parse(STR("127.0.0.0/8"), &v4) && cidr_has(&v4, at.addr)) ||
	       (cidr_parse(STR("::1"), &v6) && cidr_has(&v6, at.addr));
}

static void check_open_port(struct check *c, const struct model_workload *w)
{
	for (size_t i = 0; i < w->ports.n && !is_loopback(w->address); i++) {
		struct names_mtls mtls =
			names_mtls(c->m, w->r.ns, &w->r.labels, w->ports.v[i].number);

		if (mtls.mode != MODEL_MTLS_STRICT)
			continue;
		check_add(
			c, "KVM0143", w->r.at,
			"port %lld is STRICT, and the application listens on %.*s: whoever "
			"reaches it there gets past mTLS and policies; have it listen on 127.0.0.1",
			(long long)w->ports.v[i].number, STR_ARG(w->address));
		return;
	}
}

static void check_user(struct check *c, const struct model_workload *w)
{
	static const char *const ours[] = { "kvmesh-proxy", "kvmesh-router", "kvmesh-ca",
					    "kvmesh-metrics" };

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (str_eq(w->user, str_c(ours[i])))
			check_add(c, "KVM0144", w->r.at,
				  "user '%.*s' is one of kvmesh's own: its traffic is not the "
				  "workload's",
				  STR_ARG(w->user));
}

/* ---- policies about nobody ------------------------------------------------------------------ */

static bool has_wildcard(struct str s)
{
	return s.n == 0 || str_find(s, '*') >= 0;
}

static bool is_own_domain(const struct check *c, struct str domain)
{
	const struct model_mesh *g = &c->m->mesh;

	return str_eq(domain, g->mesh.trustDomain) || str_eq(domain, STR("cluster.local")) ||
	       str_list_has(&g->mesh.trustDomainAliases, domain);
}

/* Who has an identity here: "NS" and "NS/ACCOUNT". */
struct known {
	struct check *c;
	struct map names;
};

static void know(struct known *k, struct str ns, struct str account)
{
	map_put(&k->names, ns, k);
	map_put(&k->names, arena_printf(&k->c->arena, "%.*s/%.*s", STR_ARG(ns), STR_ARG(account)),
		k);
}

static void know_all(struct known *k)
{
	const struct model *m = k->c->m;

	know(k, m->mesh.mesh.rootNamespace, m->mesh.node.name);
	model_for_each (m, MODEL_KIND_WORKLOAD, r)
		know(k, r->ns, model_as_workload(r)->serviceAccount);
	model_for_each (m, MODEL_KIND_WORKLOAD_ENTRY, r)
		know(k, r->ns, model_as_we(r)->e.serviceAccount);
}

static bool is_somebody(const struct known *k, struct str ns, struct str account)
{
	ns = model_ns(k->c->m, ns);
	return map_has(&k->names,
		       arena_printf(&k->c->arena, "%.*s/%.*s", STR_ARG(ns), STR_ARG(account)));
}

static void check_principals(const struct known *k, struct origin at, const struct str_list *l)
{
	struct check *c = k->c;

	for (size_t i = 0; i < l->n; i++) {
		struct str rest = l->v[i], part[5] = { 0 }, one;
		size_t n = 0;

		if (has_wildcard(rest))
			continue;
		for (; str_split(&rest, '/', &one); n++)
			if (n < 5)
				part[n] = one;
		if (n != 5 || !str_eq(part[1], STR("ns")) || !str_eq(part[3], STR("sa")))
			check_add(c, "KVM0220", at,
				  "principal '%.*s' is nobody's: it has the form "
				  "TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT",
				  STR_ARG(l->v[i]));
		else if (is_own_domain(c, part[0]) && !is_somebody(k, part[2], part[4]))
			check_add(c, "KVM0220", at,
				  "principal '%.*s': no workload of namespace '%.*s' has the "
				  "serviceAccount '%.*s'",
				  STR_ARG(l->v[i]), STR_ARG(part[2]), STR_ARG(part[4]));
	}
}

static void check_namespaces(const struct known *k, struct origin at, const struct str_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (!has_wildcard(l->v[i]) && !map_has(&k->names, model_ns(k->c->m, l->v[i])))
			check_add(k->c, "KVM0220", at, "namespace '%.*s' has no workload",
				  STR_ARG(l->v[i]));
}

static void check_sources(const struct known *k, const struct model_authz_rule *r)
{
	for (size_t i = 0; i < r->from.n; i++) {
		const struct model_authz_source *s = r->from.v[i].source;

		if (s == NULL)
			continue;
		check_principals(k, s->at, &s->principals);
		check_principals(k, s->at, &s->notPrincipals);
		check_namespaces(k, s->at, &s->namespaces);
		check_namespaces(k, s->at, &s->notNamespaces);
	}
	for (size_t i = 0; i < r->when.n; i++) {
		const struct model_authz_condition *w = &r->when.v[i];
		bool principal = str_eq(w->key, STR("source.principal"));

		if (!principal && !str_eq(w->key, STR("source.namespace")))
			continue;
		(principal ? check_principals : check_namespaces)(k, w->at, &w->values);
		(principal ? check_principals : check_namespaces)(k, w->at, &w->notValues);
	}
}

/* ---- policies where nobody has an identity --------------------------------------------------- */

static bool source_is_of_identity(const struct model_authz_source *s)
{
	return s != NULL && s->principals.n + s->notPrincipals.n + s->namespaces.n +
					    s->notNamespaces.n + s->serviceAccounts.n +
					    s->notServiceAccounts.n + s->trustDomains.n +
					    s->notTrustDomains.n >
				    0;
}

static bool rule_is_of_identity(const struct model_authz_rule *r)
{
	static const char *const keys[] = { "source.principal", "source.namespace",
					    "source.serviceAccount", "source.trustDomain" };

	for (size_t i = 0; i < r->from.n; i++)
		if (source_is_of_identity(r->from.v[i].source))
			return true;
	for (size_t i = 0; i < r->when.n; i++)
		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			if (str_eq(r->when.v[i].key, str_c(keys[k])))
				return true;
	return false;
}

/* 2.11.1 */
static bool policy_is_for(const struct check *c, const struct model_authorization_policy *ap,
			  const struct model_workload *w)
{
	return (str_eq(ap->r.ns, w->r.ns) || model_is_root_ns(c->m, ap->r.ns)) &&
	       (ap->selector == NULL || labels_is_subset(&ap->selector->matchLabels, &w->r.labels));
}

/* A port of a workload that takes no mTLS; found once, for they are few. */
struct plain_port {
	const struct model_workload *w;
	int64_t port;
};
struct plain_ports {
	struct plain_port *v;
	size_t n, cap;
};

static struct plain_ports find_plain_ports(struct check *c)
{
	struct plain_ports l = { 0 };

	if (c->m->of[MODEL_KIND_AUTHORIZATION_POLICY].n == 0)
		return l;
	model_for_each (c->m, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);

		for (size_t i = 0; i < w->ports.n; i++)
			if (names_mtls(c->m, r->ns, &r->labels, w->ports.v[i].number).mode ==
			    MODEL_MTLS_DISABLE)
				*vec_push_arena(&c->arena, l.v, l.n, l.cap) =
					(struct plain_port){ w, w->ports.v[i].number };
	}
	return l;
}

static void check_plain_ports(struct check *c, const struct model_authorization_policy *ap,
			      const struct model_authz_rule *rule, const struct plain_ports *l)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct model_workload *w = l->v[i].w;

		if (!policy_is_for(c, ap, w))
			continue;
		check_add(c, "KVM0221", rule->at,
			  "the rule asks who calls, and port %lld of %.*s.%.*s takes no mTLS: "
			  "nobody has an identity there",
			  (long long)l->v[i].port, STR_ARG(w->r.name), STR_ARG(w->r.ns));
		return;
	}
}

/* The first of a policy's rules is told. */
static void check_identities(struct check *c, const struct model_authorization_policy *ap,
			     const struct plain_ports *l)
{
	for (size_t i = 0; i < ap->rules.n && l->n > 0; i++)
		if (rule_is_of_identity(&ap->rules.v[i])) {
			check_plain_ports(c, ap, &ap->rules.v[i], l);
			return;
		}
}

static void check_policies(struct check *c)
{
	const struct plain_ports plain = find_plain_ports(c);
	struct known k = { .c = c };

	map_init(&k.names);
	know_all(&k);
	model_for_each (c->m, MODEL_KIND_AUTHORIZATION_POLICY, r) {
		const struct model_authorization_policy *ap = model_as_ap(r);

		check_begin(c, r);
		for (size_t i = 0; i < ap->rules.n; i++)
			check_sources(&k, &ap->rules.v[i]);
		check_identities(c, ap, &plain);
	}
	map_done(&k.names);
}

/* ---- workloads that no policy is for ----------------------------------------------------------
 */

static void check_unguarded(struct check *c, const struct model_workload *w)
{
	if (w->gateway || w->ports.n == 0 || c->m->of[MODEL_KIND_AUTHORIZATION_POLICY].n == 0)
		return;
	model_for_each (c->m, MODEL_KIND_AUTHORIZATION_POLICY, r)
		if (policy_is_for(c, model_as_ap(r), w))
			return;
	check_add(c, "KVM0222", w->r.at,
		  "there are AuthorizationPolicies, and none is for this workload: everybody may "
		  "call it");
}

void check_practice(struct check *c)
{
	for (int k = 0; k < MODEL_KIND__N; k++)
		model_for_each (c->m, (enum model_kind)k, r) {
			check_begin(c, r);
			for (size_t i = 0; i < r->annotations.n; i++)
				check_annotation(c, r->annotations.v[i].key);
		}
	check_gateway_routes(c);
	model_for_each (c->m, MODEL_KIND_WORKLOAD, r) {
		check_begin(c, r);
		check_user(c, model_as_workload(r));
		if (!model_as_workload(r)->gateway)
			check_open_port(c, model_as_workload(r));
		check_unguarded(c, model_as_workload(r));
	}
	check_policies(c);
}
