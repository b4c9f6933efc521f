/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_workloads: selectors that select nothing, ports that do not fit, workloads that cannot be
 * told apart. Layer config.
 */
#include "config/check_parts.h"

/* ---- selectors ----------------------------------------------------------------------------- */

/* Does a Workload or WorkloadEntry of ns (p == NULL: of any namespace) carry these labels? */
static bool selects_any(struct check *c, struct str ns, const struct labels *want)
{
	static const enum model_kind kinds[] = { MODEL_KIND_WORKLOAD, MODEL_KIND_WORKLOAD_ENTRY };

	for (size_t i = 0; i < 2; i++)
		model_for_each(c->m, kinds[i], r) {
			struct labels have = names_labels(r, &c->arena);

			if ((ns.p == NULL || str_eq(r->ns, ns)) && labels_is_subset(want, &have))
				return true;
		}
	return false;
}

static void select_one(struct check *c, const struct labels *want, bool mesh_wide)
{
	struct str ns = mesh_wide && model_is_root_ns(c->m, c->r->ns) ? STR_NULL : c->r->ns;

	if (want != NULL && want->n > 0 && !selects_any(c, ns, want))
		check_add(c, "KVM0127", c->r->at, "the selector matches no workload%s",
			  ns.p != NULL ? " of the namespace" : "");
}

/* Of a gateway workload, in whatever namespace. */
static void select_gateway(struct check *c, const struct model_gateway *g)
{
	model_for_each(c->m, MODEL_KIND_WORKLOAD, r)
		if (model_as_workload(r)->gateway && labels_is_subset(&g->selector, &r->labels))
			return;
	check_add(c, "KVM0127", g->r.at,
		  "the selector matches no Workload with gateway = true: its servers are opened nowhere");
}

static const struct labels *labels_of(const struct model_match_labels *s)
{
	return s != NULL ? &s->matchLabels : NULL;
}

static void check_selectors(struct check *c, enum model_kind kind)
{
	model_for_each(c->m, kind, r) {
		check_begin(c, r);
		if (kind == MODEL_KIND_PEER_AUTHENTICATION)
			select_one(c, labels_of(model_as_pa(r)->selector), false);
		else if (kind == MODEL_KIND_REQUEST_AUTHENTICATION)
			select_one(c, labels_of(model_as_ra(r)->selector), true);
		else if (kind == MODEL_KIND_AUTHORIZATION_POLICY)
			select_one(c, labels_of(model_as_ap(r)->selector), true);
		else if (kind == MODEL_KIND_TELEMETRY)
			select_one(c, labels_of(model_as_telemetry(r)->selector), true);
		else if (kind == MODEL_KIND_GATEWAY)
			select_gateway(c, model_as_gateway(r));
		else if (kind == MODEL_KIND_SERVICE)
			select_one(c, &model_as_service(r)->selector, false);
		else if (kind == MODEL_KIND_SIDECAR &&
			 model_as_sidecar(r)->workloadSelector != NULL)
			select_one(c, &model_as_sidecar(r)->workloadSelector->labels, false);
		else if (kind == MODEL_KIND_SERVICE_ENTRY &&
			 model_as_se(r)->workloadSelector != NULL)
			select_one(c, &model_as_se(r)->workloadSelector->labels, false);
	}
}

/* ---- PeerAuthentication's ports (IST0114) -------------------------------------------------- */

static bool has_port(const struct model_workload *w, int64_t port)
{
	for (size_t i = 0; i < w->ports.n; i++)
		if (w->ports.v[i].number == port)
			return true;
	return false;
}

static void check_pa_port(struct check *c, const struct model_peer_authentication *pa,
			  const struct model_port_mtls *p)
{
	bool any = false, found = false;

	model_for_each(c->m, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);

		if (!str_eq(r->ns, pa->r.ns) || w->ports.n == 0 ||
		    labels_of(pa->selector) == NULL ||
		    !labels_is_subset(labels_of(pa->selector), &r->labels))
			continue;
		any = true;
		found = found || has_port(w, p->port);
	}
	if (any && !found)
		check_add(c, "KVM0114", p->at.line > 0 ? p->at : pa->r.at,
			  "portLevelMtls: none of the selected workloads has port %lld (it takes "
			  "workload ports)",
			  (long long)p->port);
}

/* ---- services and the workloads behind them ------------------------------------------------ */

struct use {                            /* the first service that reaches a workload's port */
	const struct names_service *s;
	const struct names_port *p;
};
struct uses {
	struct check *c;
	struct map ports;               /* "ns/name:port" → struct use * */
	struct map selected;            /* id of a workload → itself */
};

static void use_port(struct uses *u, const struct names_service *s, const struct names_port *p,
		     const struct model_workload *w, int64_t port)
{
	struct check *c = u->c;
	struct str key = arena_printf(&c->arena, "%.*s/%.*s:%lld", STR_ARG(w->r.ns),
				      STR_ARG(w->r.name), (long long)port);
	struct use *first = map_get(&u->ports, key);

	if (first == NULL) {
		first = arena_new(&c->arena, struct use);
		*first = (struct use){ s, p };
		map_put(&u->ports, key, first);
		return;
	}
	if (first->s->res == s->res)
		return;
	if (first->p->protocol != p->protocol)
		check_add(c, "KVM0116", p->at,
			  "port %lld of %s is reached with another protocol through %s",
			  (long long)port, model_label(&w->r, &c->arena).p,
			  model_label(first->s->res, &c->arena).p);
	else if (first->p->number != p->number)
		check_add(c, "KVM0137", p->at,
			  "port %lld of %s is port %lld of %s and port %lld here", (long long)port,
			  model_label(&w->r, &c->arena).p, (long long)first->p->number,
			  model_label(first->s->res, &c->arena).p, (long long)p->number);
}

static void use_service(struct uses *u, const struct names_service *s)
{
	struct names_endpoints e = names_endpoints(u->c->m, s, &u->c->arena);

	for (size_t i = 0; i < e.n; i++) {
		const struct model_workload *w = e.v[i].workload;

		if (w == NULL)
			continue;
		map_put(&u->selected, w->r.id, u);
		for (size_t k = 0; k < s->ports.n; k++) {
			const struct names_port *p = &s->ports.v[k];
			int64_t port = names_endpoint_port(&e.v[i], p);

			if (port == 0)
				check_add(u->c, "KVM0206", p->at,
					  "targetPort '%.*s': %s has no port of that name",
					  STR_ARG(p->target_name),
					  model_label(&w->r, &u->c->arena).p);
			else
				use_port(u, s, p, w, port);
		}
	}
}

static void check_uses(struct check *c)
{
	struct uses u = { .c = c };

	map_init(&u.ports);
	map_init(&u.selected);
	for (size_t i = 0; i < c->reg.services.n; i++) {
		check_begin(c, c->reg.services.v[i].res);
		use_service(&u, &c->reg.services.v[i]);
	}
	model_for_each(c->m, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);

		check_begin(c, r);
		if (w->ports.n > 0 && !w->gateway && !map_has(&u.selected, r->id))
			check_add(c, "KVM0117", r->at,
				  "no service selects it: it cannot be called by name");
	}
	map_done(&u.ports);
	map_done(&u.selected);
}

/* ---- workloads against each other ---------------------------------------------------------- */

/* First holder of a key; the second one hears about it. */
static const struct model_workload *claim(struct map *m, struct str key,
					  const struct model_workload *w)
{
	const struct model_workload *first = map_get(m, key);

	if (first == NULL)
		map_put(m, key, (void *)(uintptr_t)w);
	return first;
}

static void check_identity(struct check *c, struct map *proofs, const struct model_workload *w)
{
	const struct model_workload *first;
	struct str key = w->unit.n > 0 ? arena_printf(&c->arena, "unit '%.*s'", STR_ARG(w->unit)) :
					 arena_printf(&c->arena, "user '%.*s'", STR_ARG(w->user));

	if (w->unit.n == 0 && w->user.n == 0)
		return;
	first = claim(proofs, key, w);
	if (first != NULL)
		check_add(c, "KVM0203", w->r.at, "%s at %s:%u is proved by %.*s as well",
			  model_label(&first->r, &c->arena).p,
			  first->r.at.file != NULL ? first->r.at.file : "-", first->r.at.line,
			  STR_ARG(key));
}

static void check_addresses(struct check *c, struct map *ports, const struct model_workload *w)
{
	for (size_t i = 0; i < w->ports.n; i++) {
		struct str key = arena_printf(&c->arena, "%.*s:%lld", STR_ARG(w->address),
					      (long long)w->ports.v[i].number);
		const struct model_workload *first = claim(ports, key, w);

		if (first != NULL && first != w)
			check_add(c, "KVM0205", w->ports.v[i].at, "%.*s belongs to %s as well",
				  STR_ARG(key), model_label(&first->r, &c->arena).p);
	}
}

void check_workloads(struct check *c)
{
	struct map proofs, ports;

	for (int k = 0; k < MODEL_KIND__N; k++)
		check_selectors(c, (enum model_kind)k);
	model_for_each(c->m, MODEL_KIND_PEER_AUTHENTICATION, r) {
		const struct model_peer_authentication *pa = model_as_pa(r);

		check_begin(c, r);
		for (size_t i = 0; i < pa->portLevelMtls.n; i++)
			check_pa_port(c, pa, &pa->portLevelMtls.v[i]);
	}
	check_uses(c);
	map_init(&proofs);
	map_init(&ports);
	model_for_each(c->m, MODEL_KIND_WORKLOAD, r) {
		check_begin(c, r);
		check_identity(c, &proofs, model_as_workload(r));
		check_addresses(c, &ports, model_as_workload(r));
	}
	map_done(&proofs);
	map_done(&ports);
}
