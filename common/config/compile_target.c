/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_target: destinations of a route with their weights and clusters
 * (2.3.2, 2.3.15, 2.4.1–2.4.3). Layer config.
 */
#include "config/compile_parts.h"

/* The gateway that a block or "mesh" asks for. */
static bool is_bound(struct compile *c, const struct compile_client *client, struct str gateway)
{
	if (!client->gateway)
		return str_eq(gateway, STR("mesh"));
	return str_eq(names_gateway(c->m, gateway, client->bound_ns, c->a), client->bound_gateway);
}

bool compile_is_source(struct compile *c, const struct compile_client *client,
		       const struct str_list *gateways, const struct labels *labels,
		       struct str ns)
{
	if (ns.n > 0 && !str_eq(ns, client->ns))
		return false;
	/* A block that lists gateways asks for those, and not for labels. */
	for (size_t i = 0; i < gateways->n; i++) {
		if (is_bound(c, client, gateways->v[i]))
			return true;
	}
	return gateways->n == 0 && labels_is_subset(labels, &client->labels);
}

void compile_destination(struct compile *c, struct compile_client *client,
			 const struct model_destination *d, int64_t listener_port,
			 struct snap_weighted *ret)
{
	int64_t number = d->port ? d->port->number : 0;
	const struct compile_service *s = compile_service_find(c, client, d->fqdn);
	const struct names_port *p = NULL;
	if (s && number > 0)
		p = compile_port(s, number);
	else if (s)
		p = s->ports.n == 1 ? &s->ports.v[0] : compile_port(s, listener_port);
	ret->cluster = p ? compile_cluster(c, client, s, p, d->subset) : -1;
	if (ret->cluster >= 0)
		ret->cluster_name = c->s->clusters.v[ret->cluster].name;
	else
		ret->cluster_name = compile_cluster_name(c,
							 p            ? p->number
							 : number > 0 ? number
								      : listener_port,
							 d->subset, d->fqdn);
}

struct compile_weighted compile_weighted(struct compile *c, struct compile_client *client,
					 const struct compile_targets *t, int64_t listener_port)
{
	struct compile_weighted ret = { .v = arena_new_n(c->a, struct snap_weighted, t->n) };
	for (size_t i = 0; i < t->n; i++) {
		int64_t weight = t->n == 1 ? 1 : t->weights[i];
		if (weight <= 0)
			continue;
		struct snap_weighted *w = &ret.v[ret.n++];
		w->weight = weight;
		ret.total += weight;
		compile_destination(c, client, t->v[i], listener_port, w);
		if (t->headers)
			compile_headers(c, t->headers[i], &w->headers);
	}
	return ret;
}

struct compile_weighted compile_sole(struct compile *c, int64_t cluster)
{
	struct compile_weighted ret = { .v = arena_new(c->a, struct snap_weighted),
					.n = 1,
					.total = 1 };
	ret.v->cluster = cluster;
	ret.v->cluster_name = c->s->clusters.v[cluster].name;
	ret.v->weight = 1;
	return ret;
}
