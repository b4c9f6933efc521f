/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_settings: kvmesh.conf, and every address and port that the node's proxy or a daemon
 * listens on. Layer config.
 */
#include "base/vec.h"
#include "config/check_parts.h"
#include "config/inject.h"
#include "snap/snap_policy.h"

/* ---- listeners ----------------------------------------------------------------------------- */

struct listener {
	struct str address;
	int64_t port;
	struct str who;
	bool ours;                      /* kvmesh's own; else an application's */
	struct origin at;
};
struct listeners {
	struct check *c;
	struct listener *v;
	size_t n, cap;
};

static bool is_any(struct str address)
{
	return str_eq(address, STR("0.0.0.0")) || str_eq(address, STR("::"));
}

static void add(struct listeners *l, struct listener x, struct origin at)
{
	if (x.port == 0)
		return;
	x.at = at;
	for (size_t i = 0; i < l->n; i++) {
		const struct listener *o = &l->v[i];

		if (o->port != x.port || (!o->ours && !x.ours) || str_eq(o->who, x.who) ||
		    (!str_eq(o->address, x.address) && !is_any(o->address) && !is_any(x.address)))
			continue;
		check_add(l->c, "KVM0202", at.line > 0 ? at : o->at,
			  "%.*s and %.*s both want %.*s:%lld", STR_ARG(o->who), STR_ARG(x.who),
			  STR_ARG(x.address), (long long)x.port);
		break;
	}
	*vec_push_arena(&l->c->arena, l->v, l->n, l->cap) = x;
}

/* Place of a setting, when it was written. */
static struct origin place(const struct check *c, const char *group, const char *name)
{
	const struct doc *g = doc_get(c->m->mesh.doc, str_c(group)), *d;

	d = g != NULL ? doc_get(g, str_c(name)) : NULL;
	return d != NULL ? d->at : (struct origin){ 0 };
}

static void add_listen(struct listeners *l, const char *group, struct str listen)
{
	struct check *c = l->c;
	struct str host;
	int64_t port;

	if (listen.n == 0)
		return;
	if (!check_host_port(listen, &host, &port))
		check_add(c, "KVM0309", place(c, group, "listen"),
			  "%s.listen must be ADDRESS:PORT, is '%.*s'", group, STR_ARG(listen));
	else
		add(l,
		    (struct listener){ host, port, arena_printf(&c->arena, "%s.listen", group),
				       true },
		    place(c, group, "listen"));
}

static void add_node(struct listeners *l)
{
	const struct model_node *n = &l->c->m->mesh.node;
	const struct {
		const char *name;
		struct str address;
		int64_t port;
	} ports[] = {
		{ "meshPort", n->meshBind, n->meshPort },
		{ "outboundPort", n->localBind, n->outboundPort },
		{ "inboundPort", n->localBind, n->inboundPort },
		{ "dnsPort", n->localBind, n->dnsPort },
		{ "readyPort", n->localBind, n->readyPort },
	};

	add(l,
	    (struct listener){ n->localBind, l->c->m->mesh.mesh.proxyHttpPort,
			       STR("mesh.proxyHttpPort"), true },
	    place(l->c, "mesh", "proxyHttpPort"));
	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
		add(l,
		    (struct listener){ ports[i].address, ports[i].port,
				       arena_printf(&l->c->arena, "node.%s", ports[i].name), true },
		    place(l->c, "node", ports[i].name));
}

static void add_service(struct listeners *l, const struct model_service *s)
{
	for (size_t i = 0; i < s->ports.n; i++) {
		struct str host;
		int64_t port;

		if (s->ports.v[i].listen.n > 0 &&
		    check_host_port(s->ports.v[i].listen, &host, &port))
			add(l,
			    (struct listener){ host, port,
					       arena_printf(&l->c->arena, "%s",
							    model_label(&s->r, &l->c->arena).p),
					       true },
			    s->ports.v[i].at);
	}
}

/* Doors of its dedicated proxy. */
static void add_sidecar(struct listeners *l, const struct model_workload *w)
{
	const struct model_node *n = &l->c->m->mesh.node;
	struct str of = arena_printf(&l->c->arena, "the proxy of %s",
				     model_label(&w->r, &l->c->arena).p);

	if (!inject_is_dedicated(w) || !w->sidecarPorts)
		return;
	add(l, (struct listener){ n->meshBind, w->sidecarPorts->mesh, of, true },
	    w->sidecarPorts->at);
	add(l, (struct listener){ n->localBind, w->sidecarPorts->http, of, true },
	    w->sidecarPorts->at);
}

static void add_workload(struct listeners *l, const struct model_workload *w)
{
	add_sidecar(l, w);
	for (size_t i = 0; i < w->ports.n; i++)
		add(l,
		    (struct listener){ w->address, w->ports.v[i].number,
				       model_label(&w->r, &l->c->arena), false },
		    w->ports.v[i].at);
}

/* Its ports are those of the Gateways that select it; several servers share one. */
static void add_gateway(struct listeners *l, const struct model_workload *w)
{
	struct str who = model_label(&w->r, &l->c->arena);
	const char *why;

	model_for_each(l->c->m, MODEL_KIND_GATEWAY, r) {
		const struct model_gateway *g = model_as_gateway(r);

		if (!labels_is_subset(&g->selector, &w->r.labels))
			continue;
		check_begin(l->c, r);
		for (size_t i = 0; i < g->servers.n; i++) {
			const struct model_server *s = &g->servers.v[i];
			struct str address = s->bind.n > 0 ? s->bind : STR("0.0.0.0");

			if (s->port && names_is_servable(s, &why))
				add(l, (struct listener){ address,
							  names_gateway_port(l->c->m, w, s->port->number),
							  who, true },
				    s->at);
		}
	}
}

static void check_listeners(struct check *c)
{
	struct listeners l = { .c = c };

	add_node(&l);
	add_listen(&l, "metrics", c->m->mesh.metrics.listen);
	add_listen(&l, "dashboard", c->m->mesh.dashboard.listen);
	model_for_each(c->m, MODEL_KIND_SERVICE, r) {
		check_begin(c, r);
		add_service(&l, model_as_service(r));
	}
	model_for_each(c->m, MODEL_KIND_WORKLOAD, r) {
		check_begin(c, r);
		/* Only what runs on this node competes for its ports. */
		if (model_as_workload(r)->node.n == 0 ||
		    str_eq(model_as_workload(r)->node, c->m->mesh.node.name))
			add_workload(&l, model_as_workload(r));
	}
	model_for_each(c->m, MODEL_KIND_WORKLOAD, r)
		if (model_as_workload(r)->gateway)
			add_gateway(&l, model_as_workload(r));
}

/* ---- values -------------------------------------------------------------------------------- */

static void check_domain(struct check *c, const char *name, struct str domain)
{
	struct str rest = domain, piece;
	bool good = domain.n <= 255;

	while (str_split(&rest, '.', &piece))
		good = good && check_is_label(piece);
	if (!good)
		check_add(c, "KVM0395", place(c, "mesh", name),
			  "mesh.%s must be a DNS name in lower case, is '%.*s'", name,
			  STR_ARG(domain));
}

static void check_bind(struct check *c, const char *name, struct str address, bool host)
{
	if (!names_is_ip(address) && !(host && check_is_fqdn(address)))
		check_add(c, "KVM0395", place(c, "node", name),
			  "node.%s must be an IP address%s, is '%.*s'", name,
			  host ? " or a host name" : "", STR_ARG(address));
}

static void check_authorizer(struct check *c, const struct model_extension_provider *p)
{
	const struct model_ext_authz *h = model_ext_authz_of(p);
	const struct model_check_body *body = h->includeRequestBodyInCheck;
	uint64_t status = 403;

	if (h->pathPrefix.n > 0 && h->pathPrefix.p[0] != '/')
		check_add(c, "KVM0395", p->at, "provider '%.*s': pathPrefix must begin with /",
			  STR_ARG(p->name));
	if (h->statusOnError.n > 0 &&
	    (!str_to_u64(h->statusOnError, &status) || status < 400 || status > 599))
		check_add(c, "KVM0395", p->at,
			  "provider '%.*s': statusOnError must be a status from 400 to 599, is '%.*s'",
			  STR_ARG(p->name), STR_ARG(h->statusOnError));
	if (body && (body->maxRequestBytes < 1 || body->maxRequestBytes > SNAP_AUTHORIZER_BODY_MAX))
		check_add(c, "KVM0395", p->at,
			  "provider '%.*s': maxRequestBytes must be 1 to %d", STR_ARG(p->name),
			  SNAP_AUTHORIZER_BODY_MAX);
}

static void check_providers(struct check *c)
{
	const struct model_mesh_config *m = &c->m->mesh.mesh;

	for (size_t i = 0; i < m->extensionProviders.n; i++)
		if (model_ext_authz_of(&m->extensionProviders.v[i]))
			check_authorizer(c, &m->extensionProviders.v[i]);
	for (size_t i = 0; i < m->extensionProviders.n; i++)
		for (size_t k = 0; k < i; k++)
			if (str_eq(m->extensionProviders.v[i].name,
				   m->extensionProviders.v[k].name))
				check_add(c, "KVM0395", m->extensionProviders.v[i].at,
					  "provider '%.*s' is defined twice",
					  STR_ARG(m->extensionProviders.v[i].name));
}

void check_settings(struct check *c)
{
	const struct model_mesh *m = &c->m->mesh;

	check_begin(c, NULL);
	check_fields(c);
	check_domain(c, "trustDomain", m->mesh.trustDomain);
	check_domain(c, "domainSuffix", m->mesh.domainSuffix);
	if (!check_is_label(m->mesh.rootNamespace))
		check_add(c, "KVM0395", place(c, "mesh", "rootNamespace"),
			  "mesh.rootNamespace must be a DNS label, is '%.*s'",
			  STR_ARG(m->mesh.rootNamespace));
	check_bind(c, "address", m->node.address, true);
	check_bind(c, "meshBind", m->node.meshBind, false);
	check_bind(c, "localBind", m->node.localBind, false);
	check_providers(c);
	check_listeners(c);
}
