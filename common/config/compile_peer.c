/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_peer: workloads as metrics, logs and certificates name them (semantics 2.9.8, 4.2). Layer
 * config.
 */
#include "config/compile_parts.h"

struct str compile_principal(struct compile *c, struct str ns, struct str sa)
{
	return arena_printf(c->a, "spiffe://%.*s/ns/%.*s/sa/%.*s",
			    STR_ARG(c->m->mesh.mesh.trustDomain), STR_ARG(ns), STR_ARG(sa));
}

int64_t compile_identity(struct compile *c, struct str spiffe)
{
	uintptr_t i = (uintptr_t)map_get(&c->identities, spiffe);
	if (i > 0)
		return (int64_t)i - 1;
	*compile_push(c, c->s->identities, c->cap_identities) = spiffe;
	map_put(&c->identities, spiffe, (void *)(uintptr_t)c->s->identities.n);
	return (int64_t)c->s->identities.n - 1;
}

/* The first of these labels that is there, else dflt. */
static struct str first_label(const struct labels *l, const char *const *keys, struct str dflt)
{
	for (size_t i = 0; keys[i]; i++) {
		struct str v = labels_get(l, str_c(keys[i]));
		if (v.n > 0)
			return v;
	}
	return dflt;
}

static int64_t add_peer(struct compile *c, struct str key, struct snap_peer *p)
{
	static const char *const names[] = { "service.istio.io/canonical-name",
					     "app.kubernetes.io/name", "app", NULL };
	static const char *const revisions[] = { "service.istio.io/canonical-revision",
						 "app.kubernetes.io/version", "version", NULL };
	p->app = labels_get(&p->labels, STR("app"));
	p->version = labels_get(&p->labels, STR("version"));
	p->canonical_name = first_label(&p->labels, names, p->name);
	p->canonical_revision = first_label(&p->labels, revisions, STR("latest"));
	p->cluster = c->m->mesh.mesh.clusterName;
	*compile_push(c, c->s->peers, c->cap_peers) = *p;
	map_put(&c->peers, key, (void *)(uintptr_t)c->s->peers.n);
	return (int64_t)c->s->peers.n - 1;
}

static int64_t known_peer(const struct compile *c, struct str key)
{
	return (int64_t)(uintptr_t)map_get(&c->peers, key) - 1;
}

int64_t compile_node_peer(struct compile *c)
{
	struct str name = c->m->mesh.node.name, ns = c->m->mesh.mesh.rootNamespace;
	struct snap_peer p = {
		.name = name, .ns = ns, .sa = name, .principal = compile_principal(c, ns, name)
	};
	return add_peer(c, STR("node"), &p);
}

bool compile_is_served(const struct model_workload *w)
{
	return w->inject && !w->gateway;
}

int64_t compile_workload_peer(struct compile *c, const struct model_workload *w)
{
	int64_t i = known_peer(c, w->r.id);
	if (i >= 0)
		return i;
	struct snap_peer p = {
		.name = w->r.name, .ns = w->r.ns, .sa = w->serviceAccount, .labels = w->r.labels,
		.gateway = w->gateway
	};
	if (w->inject)
		p.principal = compile_principal(c, p.ns, p.sa);
	return add_peer(c, w->r.id, &p);
}

int64_t compile_endpoint_peer(struct compile *c, const struct names_service *s,
			      const struct names_endpoint *e)
{
	if (e->workload)
		return compile_workload_peer(c, e->workload);
	bool outside = s->res->kind == MODEL_KIND_SERVICE_ENTRY &&
		       model_as_se(s->res)->location == MODEL_SE_MESH_EXTERNAL;
	if (!e->entry && outside)
		return -1;
	/* Endpoints written inside a ServiceEntry have no name of their own. */
	struct str key = e->entry ? e->entry->r.id
				  : arena_printf(c->a, "%.*s/%.*s", STR_ARG(s->res->id),
						 STR_ARG(e->address));
	int64_t i = known_peer(c, key);
	if (i >= 0)
		return i;
	struct snap_peer p = {
		.name = e->name, .ns = e->ns, .sa = e->service_account, .labels = e->labels
	};
	if (p.sa.n > 0)
		p.principal = compile_principal(c, p.ns, p.sa);
	return add_peer(c, key, &p);
}
