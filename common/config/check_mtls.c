/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_mtls: what DestinationRules make clients send against what PeerAuthentications let servers
 * take (IST0113, IST0115). Layer config.
 */
#include "base/vec.h"
#include "config/check_parts.h"

#define CLIENTS_MAX 20 /* namespaces that are looked at as callers besides the service's own */

struct mtls {
	struct check *c;
	struct str_list clients;
	size_t cap;
	struct map told;                /* one finding for a place and a pair of policies */
};

static const char *mode_name(int mode)
{
	static const char *const names[] = { "DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL" };

	return names[mode];
}

static void add_client(struct mtls *x, struct str ns)
{
	for (size_t i = 0; i < x->clients.n; i++)
		if (str_eq(x->clients.v[i], ns))
			return;
	if (x->clients.n < CLIENTS_MAX)
		*vec_push_arena(&x->c->arena, x->clients.v, x->clients.n, x->cap) = ns;
}

static bool is_in_mesh(const struct names_service *s, const struct names_endpoint *e)
{
	if (e->workload != NULL)
		return e->workload->inject;
	if (s->res->kind == MODEL_KIND_SERVICE_ENTRY)
		return model_as_se(s->res)->location == MODEL_SE_MESH_INTERNAL &&
		       e->service_account.n > 0;
	return e->service_account.n > 0;
}

static void tell(struct mtls *x, const struct names_policy *p, const char *code, struct str text)
{
	struct str key =
		arena_printf(&x->c->arena, "%s %p %.*s", code, (const void *)p->tls, STR_ARG(text));

	if (map_put(&x->told, key, x) != NULL)
		return;
	check_begin(x->c, &p->tls_by->r);
	check_add(x->c, code, p->tls->at, "%.*s", STR_ARG(text));
}

static void compare(struct mtls *x, const struct names_service *s, const struct names_port *port,
		    const struct names_endpoint *e, const struct names_policy *p)
{
	struct arena *a = &x->c->arena;
	struct names_mtls server =
		names_mtls(x->c->m, e->ns, &e->labels, names_endpoint_port(e, port));
	bool mutual = p->tls->mode == MODEL_CLIENT_TLS_ISTIO_MUTUAL;

	if (!is_in_mesh(s, e)) {
		if (mutual)
			tell(x, p, "KVM0115",
			     arena_printf(a,
					  "ISTIO_MUTUAL to '%.*s', whose endpoint %.*s.%.*s is "
					  "outside the mesh",
					  STR_ARG(s->host), STR_ARG(e->name), STR_ARG(e->ns)));
		return;
	}
	if (server.mode == MODEL_MTLS_STRICT && !mutual)
		tell(x, p, "KVM0113",
		     arena_printf(
			     a, "tls mode %s to '%.*s' port %lld, which %s makes STRICT",
			     mode_name(p->tls->mode), STR_ARG(s->host), (long long)port->number,
			     server.by != NULL ? model_label(&server.by->r, a).p : "the mesh"));
	else if (server.mode == MODEL_MTLS_DISABLE && mutual)
		tell(x, p, "KVM0113",
		     arena_printf(a,
				  "tls mode ISTIO_MUTUAL to '%.*s' port %lld, for which %s turns "
				  "mTLS off",
				  STR_ARG(s->host), (long long)port->number,
				  server.by != NULL ? model_label(&server.by->r, a).p
						    : "the mesh"));
}

/* Endpoints of one subset ("" all) under the policy that a client would apply. */
static void compare_subset(struct mtls *x, const struct names_service *s,
			   const struct names_endpoints *ends, const struct names_rules *rules,
			   const struct model_subset *subset)
{
	for (size_t i = 0; i < s->ports.n; i++) {
		struct names_policy p;

		names_policy(rules, subset != NULL ? subset->name : STR(""), s->ports.v[i].number,
			     &p);
		for (size_t k = 0; p.tls != NULL && k < ends->n; k++)
			if (subset == NULL || labels_is_subset(&subset->labels, &ends->v[k].labels))
				compare(x, s, &s->ports.v[i], &ends->v[k], &p);
	}
}

static void compare_service(struct mtls *x, const struct names_service *s, struct str client_ns)
{
	struct names_endpoints ends = names_endpoints(x->c->m, s, &x->c->arena);
	struct names_client client = { .ns = client_ns };
	struct names_rules rules;

	names_rules(x->c->m, &client, s->host, s->ns, &x->c->arena, &rules);
	if (rules.n == 0)
		return;
	compare_subset(x, s, &ends, &rules, NULL);
	for (size_t i = 0; i < rules.n; i++)
		for (size_t k = 0; k < rules.v[i]->subsets.n; k++)
			compare_subset(x, s, &ends, &rules, &rules.v[i]->subsets.v[k]);
}

void check_mtls(struct check *c)
{
	struct mtls x = { .c = c };

	if (c->m->of[MODEL_KIND_DESTINATION_RULE].n == 0)
		return;
	map_init(&x.told);
	/* A caller's namespace matters only where it has rules of its own (2.7.1). */
	model_for_each(c->m, MODEL_KIND_DESTINATION_RULE, r)
		add_client(&x, r->ns);
	for (size_t i = 0; i < c->reg.services.n; i++) {
		compare_service(&x, &c->reg.services.v[i], c->reg.services.v[i].ns);
		for (size_t k = 0; k < x.clients.n; k++)
			compare_service(&x, &c->reg.services.v[i], x.clients.v[k]);
	}
	map_done(&x.told);
}
