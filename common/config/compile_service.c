/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_service: the hosts of the registry as the compiler uses them: endpoints gathered once,
 * parts of one host together (2.15.5), DestinationRules remembered by client. Layer config.
 */
#include "config/compile_parts.h"

#define MESH_LABEL "security.istio.io/tlsMode"

/* ---- endpoints ------------------------------------------------------------------------------ */
static bool is_meshed(const struct compile *c, const struct names_service *s,
		      const struct names_endpoint *e)
{
	if (c->m->mesh.node.meshPort == 0)
		return false;
	if (s->res->kind == MODEL_KIND_SERVICE_ENTRY &&
	    model_as_se(s->res)->location == MODEL_SE_MESH_EXTERNAL)
		return false;
	if (e->workload)
		return compile_is_served(e->workload);
	return !str_has_prefix(e->address, STR("unix:")) &&
	       str_eq(labels_get(&e->labels, STR(MESH_LABEL)), STR("istio"));
}

static struct labels copy_labels(struct compile *c, const struct labels *l)
{
	struct labels copy = { .n = l->n };
	copy.v = arena_new_n(c->a, struct label, l->n);
	if (l->n > 0)
		memcpy(copy.v, l->v, l->n * sizeof(*l->v));
	return copy;
}

static struct compile_endpoints gather(struct compile *c, const struct names_service *s,
				       struct arena *scratch)
{
	struct names_endpoints all = names_endpoints(c->m, s, scratch);
	struct compile_endpoints ret = { .v = arena_new_n(c->a, struct compile_endpoint, all.n),
					 .n = all.n };
	for (size_t i = 0; i < all.n; i++) {
		struct compile_endpoint *to = &ret.v[i];
		to->e = all.v[i];
		to->e.labels = copy_labels(c, &all.v[i].labels);
		to->meshed = is_meshed(c, s, &to->e);
		to->peer = compile_endpoint_peer(c, s, &to->e);
		const struct model_resource *r = to->e.workload ? &to->e.workload->r :
						 to->e.entry    ? &to->e.entry->r :
								  NULL;
		to->inactive = r && (r->unhealthy || (c->env->is_inactive &&
						      c->env->is_inactive(c->env->arg, r)));
	}
	return ret;
}

/* ---- services ------------------------------------------------------------------------------- */
static void add_ports(struct compile *c, struct compile_service *to,
		      const struct names_service *part)
{
	struct names_port *v = arena_new_n(c->a, struct names_port, to->ports.n + part->ports.n);
	if (to->ports.n > 0)
		memcpy(v, to->ports.v, to->ports.n * sizeof(*v));
	to->ports.v = v;
	for (size_t i = 0; i < part->ports.n; i++) {
		if (!compile_port(to, part->ports.v[i].number))
			to->ports.v[to->ports.n++] = part->ports.v[i];
	}
}

static void add_part(struct compile *c, const struct names_service *s, size_t n_same,
		     struct arena *scratch)
{
	struct compile_service *to = map_get(&c->service_by_host, s->host);
	if (!to) {
		to = &c->services[c->n_services++];
		*to = (struct compile_service){
			.host = s->host, .name = s->name, .ns = s->ns, .first = s
		};
		to->parts = arena_new_n(c->a, const struct names_service *, n_same);
		to->endpoints = arena_new_n(c->a, struct compile_endpoints, n_same);
		map_put(&c->service_by_host, s->host, to);
	}
	add_ports(c, to, s);
	to->endpoints[to->n_parts] = gather(c, s, scratch);
	to->parts[to->n_parts++] = s;
	arena_clear(scratch);
}

static size_t parts_of(const struct compile *c, struct str host)
{
	size_t n = 0;
	const struct names_service *first = map_get(&c->reg.by_host, host);
	const struct names_service *end = c->reg.services.v + c->reg.services.n;
	for (const struct names_service *s = first; s < end; s++)
		n += str_eq(s->host, host);
	return n;
}

void compile_services(struct compile *c)
{
	struct arena scratch;
	arena_init(&scratch, 0);
	c->services = arena_new_n(c->a, struct compile_service, c->reg.services.n);
	for (size_t i = 0; i < c->reg.services.n; i++) {
		const struct names_service *s = &c->reg.services.v[i];
		bool known = map_has(&c->service_by_host, s->host);
		add_part(c, s, known ? 0 : parts_of(c, s->host), &scratch);
	}
	arena_done(&scratch);
	for (size_t i = 0; i < c->n_services; i++) {
		struct compile_service *s = &c->services[i];
		struct names_client own = { .ns = s->ns };
		names_rules(c->m, &own, s->host, s->ns, c->a, &s->neutral);
	}
}

struct compile_service *compile_service_of(const struct compile *c, const struct names_service *s)
{
	return s ? map_get(&c->service_by_host, s->host) : NULL;
}

struct compile_service *compile_service_find(const struct compile *c,
					     const struct compile_client *client, struct str host)
{
	return compile_service_of(c, names_service_find(&c->reg, host, client->ns));
}

bool compile_is_visible(const struct compile *c, const struct compile_client *client,
			const struct compile_service *s)
{
	return compile_service_find(c, client, s->host) == s;
}

const struct names_port *compile_port(const struct compile_service *s, int64_t number)
{
	for (size_t i = 0; i < s->ports.n; i++) {
		if (s->ports.v[i].number == number)
			return &s->ports.v[i];
	}
	return NULL;
}

const struct names_rules *compile_rules(struct compile *c, struct compile_client *client,
					const struct compile_service *s)
{
	size_t i = (size_t)(s - c->services);
	if (!client->has_rules[i]) {
		struct names_client who = { .ns = client->ns, .labels = &client->labels };
		names_rules(c->m, &who, s->host, s->ns, c->a, &client->rules[i]);
		client->has_rules[i] = true;
	}
	return &client->rules[i];
}

/* ---- names and kinds ------------------------------------------------------------------------ */
struct str compile_sni_inbound(struct compile *c, int64_t port, struct str workload,
			       struct str host)
{
	return compile_lower(c, arena_printf(c->a, "inbound_.%d_.%.*s_.%.*s", (int)port,
					     STR_ARG(workload), STR_ARG(host)));
}

struct str compile_sni_outbound(struct compile *c, int64_t port, struct str subset, struct str host)
{
	return compile_lower(c, arena_printf(c->a, "outbound_.%d_.%.*s_.%.*s", (int)port,
					     STR_ARG(subset), STR_ARG(host)));
}

bool compile_port_is_http(const struct names_port *p)
{
	return p->protocol == SNAP_PROTOCOL_HTTP || p->protocol == SNAP_PROTOCOL_HTTP2 ||
	       p->protocol == SNAP_PROTOCOL_GRPC || p->protocol == SNAP_PROTOCOL_AUTO;
}

bool compile_port_is_opaque(const struct names_port *p)
{
	return p->protocol == SNAP_PROTOCOL_TCP || p->protocol == SNAP_PROTOCOL_TLS ||
	       p->protocol == SNAP_PROTOCOL_AUTO;
}
