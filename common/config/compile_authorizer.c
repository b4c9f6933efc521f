/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_authorizer: whom a workload's CUSTOM policies ask (2.11.15): the one provider that all of
 * them name. With none that can be asked, or with two, a workload has no authorizer, and what its
 * rules are about is refused. Layer config.
 */
#include "config/compile_parts.h"

#define TIMEOUT_US (INT64_C(600) * 1000000)
#define STATUS_ON_ERROR 403

static const struct model_extension_provider *provider_named(const struct compile *c,
							     struct str name)
{
	const struct model_mesh_config *m = &c->m->mesh.mesh;

	for (size_t i = 0; i < m->extensionProviders.n; i++)
		if (str_eq(m->extensionProviders.v[i].name, name))
			return &m->extensionProviders.v[i];
	return NULL;
}

/* NULL: no CUSTOM policy, or several providers. */
static const struct model_extension_provider *provider_of(const struct compile *c,
							  const struct snap_workload *w)
{
	struct str name = STR_NULL;

	for (size_t i = 0; i < w->policies.n; i++) {
		const struct snap_policy *p = &c->s->policies.v[w->policies.v[i]];

		if (p->action != SNAP_AUTHZ_CUSTOM || p->dry_run)
			continue;
		if (name.n > 0 && !str_eq(name, p->provider))
			return NULL;
		name = p->provider;
	}
	return name.n > 0 ? provider_named(c, name) : NULL;
}

/* "[NS/]HOST" and port: the cluster as this workload reaches it; -1: there is none to name. */
static int64_t find_cluster(struct compile *c, const struct model_workload *w,
			    const struct model_ext_authz *p)
{
	ptrdiff_t slash = str_find(p->service, '/');
	struct str ns = slash < 0 ? w->r.ns : str_take(p->service, (size_t)slash);
	struct str host = slash < 0 ? p->service : str_skip(p->service, (size_t)slash + 1);
	struct compile_client *client = compile_client(c, w->r.ns, &w->r.labels);
	const struct compile_service *s = compile_service_of(
		c, names_service_find(&c->reg, names_fqdn(c->m, host, ns, c->a), ns));
	const struct names_port *port = s ? compile_port(s, p->port) : NULL;
	int64_t i = port ? compile_cluster(c, client, s, port, STR("")) : -1;
	int kind = i < 0 ? SNAP_CLUSTER_KIND__N : c->s->clusters.v[i].kind;

	return kind == SNAP_CLUSTER_STATIC || kind == SNAP_CLUSTER_DNS ? i : -1;
}

static struct str_list lowered(struct compile *c, const struct str_list *l)
{
	struct str_list to = { .v = arena_new_n(c->a, struct str, l->n) };

	for (size_t i = 0; i < l->n; i++)
		to.v[to.n++] = compile_lower(c, l->v[i]);
	return to;
}

static void put_headers(struct compile *c, const struct model_ext_authz *p,
			struct snap_authorizer *to)
{
	const struct labels *add = &p->includeAdditionalHeadersInCheck;

	to->send = lowered(c, p->includeRequestHeadersInCheck.n > 0 ?
				      &p->includeRequestHeadersInCheck :
				      &p->includeHeadersInCheck);
	to->to_service = lowered(c, &p->headersToUpstreamOnAllow);
	to->to_client = lowered(c, &p->headersToDownstreamOnAllow);
	to->to_client_denied = lowered(c, &p->headersToDownstreamOnDeny);
	to->add.v = arena_new_n(c->a, struct snap_authorizer_header, add->n);
	for (size_t i = 0; i < add->n; i++)
		to->add.v[to->add.n++] = (struct snap_authorizer_header){
			.name = compile_lower(c, add->v[i].key), .value = add->v[i].val,
		};
}

static int64_t add_authorizer(struct compile *c, const struct model_extension_provider *provider,
			      int64_t cluster)
{
	const struct model_ext_authz *p = model_ext_authz_of(provider);
	uint64_t status = STATUS_ON_ERROR;

	for (size_t i = 0; i < c->s->authorizers.n; i++)
		if (c->s->authorizers.v[i].cluster == cluster &&
		    str_eq(c->s->authorizers.v[i].name, provider->name))
			return (int64_t)i;
	(void)str_to_u64(p->statusOnError, &status);
	struct snap_authorizer *to = compile_push(c, c->s->authorizers, c->cap_authorizers);

	*to = (struct snap_authorizer){
		.name = provider->name,
		.cluster = cluster,
		.grpc = provider->envoyExtAuthzGrpc != NULL,
		.path_prefix = p->pathPrefix.n > 0 ? p->pathPrefix : STR_NULL,
		.timeout_us = p->timeout > 0 ? p->timeout : TIMEOUT_US,
		.fail_open = p->failOpen,
		.status_on_error = (int64_t)status,
	};
	put_headers(c, p, to);
	if (p->includeRequestBodyInCheck) {
		to->body_bytes = p->includeRequestBodyInCheck->maxRequestBytes;
		to->partial_body = p->includeRequestBodyInCheck->allowPartialMessage;
		to->raw_body = p->includeRequestBodyInCheck->packAsBytes;
	}
	return (int64_t)c->s->authorizers.n - 1;
}

void compile_authorizers(struct compile *c)
{
	for (size_t i = 0; i < c->s->workloads.n; i++) {
		const struct model_extension_provider *p =
			provider_of(c, &c->s->workloads.v[i]);
		const struct model_ext_authz *to = p ? model_ext_authz_of(p) : NULL;
		int64_t cluster = to && c->locals[i] ? find_cluster(c, c->locals[i], to) : -1;

		if (cluster >= 0)
			c->s->workloads.v[i].authorizer = add_authorizer(c, p, cluster) + 1;
	}
}
