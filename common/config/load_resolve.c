/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_resolve: short host names made whole, once for everybody who reads the model (rule 2.1.1).
 * Layer config.
 */
#include "config/load_parts.h"
#include "config/names.h"

static void resolve_destination(struct model *m, struct model_destination *d, struct str ns)
{
	if (d != NULL)
		d->fqdn = names_fqdn(m, d->host, ns, &m->arena);
}

static void resolve_http(struct model *m, struct model_http_route *h, struct str ns)
{
	for (size_t i = 0; i < h->route.n; i++)
		resolve_destination(m, h->route.v[i].destination, ns);
	for (size_t i = 0; i < h->mirrors.n; i++)
		resolve_destination(m, h->mirrors.v[i].destination, ns);
	resolve_destination(m, h->mirror, ns);
}

static void resolve_virtual_service(struct model *m, struct model_virtual_service *vs)
{
	struct str ns = vs->r.ns;

	vs->fqdns.v = arena_new_n(&m->arena, struct str, vs->hosts.n + 1);
	vs->fqdns.n = vs->hosts.n;
	for (size_t i = 0; i < vs->hosts.n; i++)
		vs->fqdns.v[i] = names_fqdn(m, vs->hosts.v[i], ns, &m->arena);
	for (size_t i = 0; i < vs->http.n; i++)
		resolve_http(m, &vs->http.v[i], ns);
	for (size_t i = 0; i < vs->tcp.n; i++)
		for (size_t j = 0; j < vs->tcp.v[i].route.n; j++)
			resolve_destination(m, vs->tcp.v[i].route.v[j].destination, ns);
	for (size_t i = 0; i < vs->tls.n; i++)
		for (size_t j = 0; j < vs->tls.v[i].route.n; j++)
			resolve_destination(m, vs->tls.v[i].route.v[j].destination, ns);
}

/* What the Workload does not say itself, its namespace says (Istio's label istio-injection). */
static void resolve_inject(struct model *m, struct model_workload *w)
{
	const struct model_resource *ns = model_find(m, MODEL_KIND_NAMESPACE, w->r.ns, w->r.ns);
	struct str word = ns != NULL ? labels_get(&ns->labels, STR("istio-injection")) : STR_NULL;

	if (!w->has_inject && !w->gateway)
		w->inject = !str_eq(word, STR("disabled"));
	w->injected = w->inject && !w->gateway &&
		      (w->has_inject || str_eq(word, STR("enabled")));
}

void load_resolve(struct model *m)
{
	model_for_each(m, MODEL_KIND_WORKLOAD, r)
		resolve_inject(m, (struct model_workload *)(void *)r);
	model_for_each(m, MODEL_KIND_VIRTUAL_SERVICE, r)
		resolve_virtual_service(m, (struct model_virtual_service *)(void *)r);
	model_for_each(m, MODEL_KIND_DESTINATION_RULE, r) {
		struct model_destination_rule *dr = (struct model_destination_rule *)(void *)r;

		dr->fqdn = names_fqdn(m, dr->host, r->ns, &m->arena);
	}
	model_for_each(m, MODEL_KIND_SIDECAR, r) {
		struct model_outbound_policy *p =
			((struct model_sidecar *)(void *)r)->outboundTrafficPolicy;

		resolve_destination(m, p != NULL ? p->egressProxy : NULL, r->ns);
	}
}
