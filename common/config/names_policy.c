/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_policy: which PeerAuthentication, DestinationRule and VirtualService decide (semantics
 * 2.2, 2.7, 2.10). Lists of the model are oldest first, so the first that fits is the one. Layer
 * config.
 */
#include "config/names.h"

#include "base/vec.h"

/* ---- PeerAuthentication -------------------------------------------------------------------- */

static bool has_selector(const struct model_peer_authentication *pa)
{
	return pa->selector != NULL && pa->selector->matchLabels.n > 0;
}

/* labels == NULL: the policy of the whole namespace. */
static const struct model_peer_authentication *oldest_pa(const struct model *m, struct str ns,
							 const struct labels *labels)
{
	model_for_each(m, MODEL_KIND_PEER_AUTHENTICATION, r) {
		const struct model_peer_authentication *pa = model_as_pa(r);

		if (!str_eq(r->ns, ns) || has_selector(pa) != (labels != NULL))
			continue;
		if (labels == NULL || labels_is_subset(&pa->selector->matchLabels, labels))
			return pa;
	}
	return NULL;
}

static enum model_mtls_mode mode_of(const struct model_peer_authentication *pa)
{
	return pa != NULL && pa->mtls != NULL ? (enum model_mtls_mode)pa->mtls->mode
					      : MODEL_MTLS_UNSET;
}

static enum model_mtls_mode port_mode_of(const struct model_peer_authentication *pa, int64_t port)
{
	for (size_t i = 0; pa != NULL && i < pa->portLevelMtls.n; i++)
		if (pa->portLevelMtls.v[i].port == port)
			return (enum model_mtls_mode)pa->portLevelMtls.v[i].mode;
	return MODEL_MTLS_UNSET;
}

struct names_mtls names_mtls(const struct model *m, struct str ns, const struct labels *labels,
			     int64_t port)
{
	static const struct labels none;
	const struct model_peer_authentication *workload =
		oldest_pa(m, ns, labels != NULL ? labels : &none);
	const struct model_peer_authentication *by[] = {
		workload, oldest_pa(m, ns, NULL), oldest_pa(m, m->mesh.mesh.rootNamespace, NULL)
	};
	enum model_mtls_mode mode = port_mode_of(workload, port);

	if (mode != MODEL_MTLS_UNSET)
		return (struct names_mtls){ .mode = mode, .by = workload };
	for (size_t i = 0; i < sizeof(by) / sizeof(by[0]); i++) {
		mode = mode_of(by[i]);
		if (mode != MODEL_MTLS_UNSET)
			return (struct names_mtls){ .mode = mode, .by = by[i] };
	}
	return (struct names_mtls){ .mode = MODEL_MTLS_PERMISSIVE };
}

/* ---- DestinationRule ----------------------------------------------------------------------- */

static bool is_private(const struct model_destination_rule *dr, const struct model *m)
{
	const struct str_list *l = dr->exportTo.n > 0 ? &dr->exportTo :
						       &m->mesh.mesh.defaultDestinationRuleExportTo;

	return l->n == 1 && str_eq(l->v[0], STR("."));
}

/* A rule with a selector is for clients of its own namespace that carry the labels (2.7.3). */
static bool selects_client(const struct model_destination_rule *dr, const struct names_client *c)
{
	static const struct labels none;

	if (dr->workloadSelector == NULL)
		return true;
	return str_eq(dr->r.ns, c->ns) && labels_is_subset(&dr->workloadSelector->matchLabels,
							   c->labels != NULL ? c->labels : &none);
}

struct lookup {
	const struct model *m;
	const struct names_client *c;
	struct str host;
	struct str ns;                  /* level: rules of this namespace */
	bool private_only;
};

static bool is_candidate(const struct lookup *l, const struct model_destination_rule *dr)
{
	if (!str_eq(dr->r.ns, l->ns) || !names_subset_of(l->host, dr->fqdn))
		return false;
	if (l->private_only && !is_private(dr, l->m))
		return false;
	return names_exported(l->m, &dr->exportTo, &l->m->mesh.mesh.defaultDestinationRuleExportTo,
			      dr->r.ns, l->c->ns) &&
	       selects_client(dr, l->c);
}

/* a is a better choice than b: more specific host, then the one with a selector, then the older. */
static bool is_better(const struct model_destination_rule *a,
		      const struct model_destination_rule *b)
{
	int c = names_specificity_cmp(a->fqdn, b->fqdn);

	if (c != 0)
		return c < 0;
	return a->workloadSelector != NULL && b->workloadSelector == NULL;
}

/* Same host, exportTo and selector: one rule in several pieces (2.7.2). */
static bool is_mergeable(const struct model_destination_rule *a,
			 const struct model_destination_rule *b)
{
	if (!str_eq(a->fqdn, b->fqdn) || !str_list_eq(&a->exportTo, &b->exportTo) ||
	    (a->workloadSelector == NULL) != (b->workloadSelector == NULL))
		return false;
	return a->workloadSelector == NULL ||
	       labels_eq(&a->workloadSelector->matchLabels, &b->workloadSelector->matchLabels);
}

static bool find_level(const struct lookup *l, struct arena *a, struct names_rules *ret)
{
	const struct model_destination_rule *best = NULL;
	size_t cap = 0;

	model_for_each(l->m, MODEL_KIND_DESTINATION_RULE, r) {
		const struct model_destination_rule *dr = model_as_dr(r);

		if (is_candidate(l, dr) && (best == NULL || is_better(dr, best)))
			best = dr;
	}
	if (best == NULL)
		return false;
	model_for_each(l->m, MODEL_KIND_DESTINATION_RULE, r) {
		const struct model_destination_rule *dr = model_as_dr(r);

		if (!is_candidate(l, dr) || !is_mergeable(best, dr))
			continue;
		*vec_push_arena(a, ret->v, ret->n, cap) = dr;
		if (ret->policy == NULL && dr->trafficPolicy != NULL) {
			ret->policy = dr->trafficPolicy;
			ret->policy_by = dr;
		}
	}
	return true;
}

void names_rules(const struct model *m, const struct names_client *c, struct str host,
		 struct str service_ns, struct arena *a, struct names_rules *ret)
{
	struct str root = m->mesh.mesh.rootNamespace;
	struct lookup l = {
		.m = m, .c = c, .host = host, .ns = c->ns, .private_only = str_eq(c->ns, root)
	};

	*ret = (struct names_rules){ 0 };
	if (find_level(&l, a, ret))
		return;
	l.private_only = false;
	l.ns = service_ns;
	if (find_level(&l, a, ret))
		return;
	l.ns = root;
	find_level(&l, a, ret);
}

const struct model_subset *names_subset(const struct names_rules *rules, struct str subset,
					const struct model_destination_rule **ret_by)
{
	for (size_t i = 0; i < rules->n; i++)
		for (size_t j = 0; j < rules->v[i]->subsets.n; j++) {
			if (!str_eq(rules->v[i]->subsets.v[j].name, subset))
				continue;
			if (ret_by != NULL)
				*ret_by = rules->v[i];
			return &rules->v[i]->subsets.v[j];
		}
	return NULL;
}

static const struct model_port_traffic_policy *port_entry(const struct model_traffic_policy *p,
							  int64_t port)
{
	for (size_t i = 0; p != NULL && i < p->portLevelSettings.n; i++)
		if (p->portLevelSettings.v[i].port != NULL &&
		    p->portLevelSettings.v[i].port->number == port)
			return &p->portLevelSettings.v[i];
	return NULL;
}

static void take_port(const struct model_port_traffic_policy *e,
		      const struct model_destination_rule *by, struct names_policy *ret)
{
	ret->loadBalancer = e->loadBalancer;
	ret->connectionPool = e->connectionPool;
	ret->outlierDetection = e->outlierDetection;
	ret->tls = e->tls;
	ret->tls_by = e->tls != NULL ? by : NULL;
}

/* Every block that p has replaces the one before. */
static void take_present(const struct model_traffic_policy *p,
			 const struct model_destination_rule *by, struct names_policy *ret)
{
	if (p->loadBalancer != NULL)
		ret->loadBalancer = p->loadBalancer;
	if (p->connectionPool != NULL)
		ret->connectionPool = p->connectionPool;
	if (p->outlierDetection != NULL)
		ret->outlierDetection = p->outlierDetection;
	if (p->tls != NULL) {
		ret->tls = p->tls;
		ret->tls_by = by;
	}
	if (p->tunnel != NULL)
		ret->tunnel = p->tunnel;
	if (p->proxyProtocol != NULL)
		ret->proxyProtocol = p->proxyProtocol;
	if (p->retryBudget != NULL)
		ret->retryBudget = p->retryBudget;
}

static void take_policy(const struct model_traffic_policy *p, int64_t port,
			const struct model_destination_rule *by, struct names_policy *ret)
{
	const struct model_port_traffic_policy *e = port_entry(p, port);

	if (e != NULL)
		take_port(e, by, ret);
	else if (p != NULL)
		take_present(p, by, ret);
}

void names_policy(const struct names_rules *rules, struct str subset, int64_t port,
		  struct names_policy *ret)
{
	const struct model_destination_rule *by = NULL;
	const struct model_subset *s = subset.n > 0 ? names_subset(rules, subset, &by) : NULL;

	*ret = (struct names_policy){ 0 };
	take_policy(rules->policy, port, rules->policy_by, ret);
	if (s != NULL)
		take_policy(s->trafficPolicy, port, by, ret);
}

/* ---- VirtualService ------------------------------------------------------------------------ */

static bool is_for_mesh(const struct model_virtual_service *vs)
{
	for (size_t i = 0; i < vs->gateways.n; i++)
		if (str_eq(vs->gateways.v[i], STR("mesh")))
			return true;
	return vs->gateways.n == 0;
}

const struct model_virtual_service *names_virtual_service_of(const struct model *m,
							     const struct names_caller *c,
							     struct str host, struct str *ret_host)
{
	const struct model_virtual_service *best = NULL;
	struct str best_host = STR_NULL;

	model_for_each(m, MODEL_KIND_VIRTUAL_SERVICE, r) {
		const struct model_virtual_service *vs = model_as_vs(r);

		for (size_t i = 0; i < vs->fqdns.n; i++) {
			if (!names_subset_of(host, vs->fqdns.v[i]) ||
			    (best != NULL && names_specificity_cmp(vs->fqdns.v[i], best_host) >= 0))
				continue;
			if (!is_for_mesh(vs) || !names_sees_virtual_service(m, c, vs))
				break;
			best = vs;
			best_host = vs->fqdns.v[i];
		}
	}
	if (ret_host != NULL)
		*ret_host = best_host;
	return best;
}

const struct model_virtual_service *names_virtual_service(const struct model *m,
							  struct str client_ns, struct str host,
							  struct str *ret_host)
{
	struct names_caller c = { .ns = client_ns };

	return names_virtual_service_of(m, &c, host, ret_host);
}
