/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_sidecar: which Sidecar is in force for a workload, and what its egress lets it see
 * (semantics 2.15.6, 2.15.7). Layer config.
 */
#include "config/names.h"

/* ---- which one ----------------------------------------------------------------------------- */

static const struct labels *selector_of(const struct model_sidecar *s)
{
	return s->workloadSelector != NULL ? &s->workloadSelector->labels : NULL;
}

/* The oldest of ns without a selector. */
static const struct model_sidecar *default_of(const struct model *m, struct str ns)
{
	model_for_each(m, MODEL_KIND_SIDECAR, r) {
		const struct model_sidecar *s = model_as_sidecar(r);

		if (str_eq(r->ns, ns) && selector_of(s) == NULL)
			return s;
	}
	return NULL;
}

const struct model_sidecar *names_sidecar(const struct model *m, const struct names_client *c)
{
	const struct model_sidecar *found;

	model_for_each(m, MODEL_KIND_SIDECAR, r) {
		const struct labels *want = selector_of(model_as_sidecar(r));

		if (want != NULL && c->labels != NULL && str_eq(r->ns, c->ns) &&
		    labels_is_subset(want, c->labels))
			return model_as_sidecar(r);
	}
	found = default_of(m, c->ns);
	return found != NULL ? found : default_of(m, m->mesh.mesh.rootNamespace);
}

const struct model_sidecar_ingress *names_ingress(const struct model_sidecar *s, int64_t port)
{
	for (size_t i = 0; s != NULL && i < s->ingress.n; i++)
		if (s->ingress.v[i].port != NULL && s->ingress.v[i].port->number == port)
			return &s->ingress.v[i];
	return NULL;
}

bool names_default_endpoint(struct str s, struct str *ret_address, int64_t *ret_port)
{
	static const struct {
		struct str host, address;
	} hosts[] = {
		{ { "127.0.0.1", 9 }, { "127.0.0.1", 9 } },
		{ { "[::1]", 5 }, { "::1", 3 } },
		{ { "0.0.0.0", 7 }, { "", 0 } },
		{ { "[::]", 4 }, { "", 0 } },
		{ { "", 0 }, { "", 0 } },
	};
	ptrdiff_t colon = str_rfind(s, ':');
	uint64_t port;

	*ret_address = s;
	*ret_port = 0;
	if (str_has_prefix(s, STR("unix:///")))
		return s.n > 8;
	if (colon < 0 || !str_to_u64(str_skip(s, (size_t)colon + 1), &port) || port < 1 ||
	    port > 65535)
		return false;
	*ret_port = (int64_t)port;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		if (str_eq(hosts[i].host, str_take(s, (size_t)colon))) {
			*ret_address = hosts[i].address;
			return true;
		}
	return false;
}

bool names_allows_any(const struct model *m, const struct model_sidecar *s)
{
	if (s != NULL && s->outboundTrafficPolicy != NULL)
		return s->outboundTrafficPolicy->mode == MODEL_OUTBOUND_ALLOW_ANY;
	return m->mesh.mesh.outboundTrafficPolicy.mode != MODEL_MESH_REGISTRY_ONLY;
}

/* ---- what it sees -------------------------------------------------------------------------- */

/* "ns/host", "./host", all namespaces with "*", none with "~". */
static bool is_from(const struct model *m, const struct model_sidecar *s, struct str ns_part,
		    struct str ns)
{
	if (str_eq(ns_part, STR("*")))
		return true;
	if (str_eq(ns_part, STR(".")))
		return str_eq(s->r.ns, ns);
	return str_eq(model_ns(m, ns_part), ns);
}

struct asked {
	const struct model *m;
	const struct names_caller *c;
	struct str ns, host;
	/* names_subset_of; for VirtualServices a part is enough: names_match */
	bool (*fits)(struct str host, struct str listed);
};

static bool lists(const struct asked *a, const struct model_sidecar_egress *e)
{
	for (size_t i = 0; i < e->hosts.n; i++) {
		ptrdiff_t slash = str_find(e->hosts.v[i], '/');
		struct str ns = str_take(e->hosts.v[i], slash > 0 ? (size_t)slash : 0);

		if (ns.n > 0 && is_from(a->m, a->c->sidecar, ns, a->ns) &&
		    a->fits(a->host, str_skip(e->hosts.v[i], ns.n + 1)))
			return true;
	}
	return false;
}

/* A listener that is told a host by itself, as a forward proxy is, serves every port. */
static bool is_for_all_ports(const struct model_sidecar_egress *e)
{
	return e->port == NULL || e->port->number == 0 ||
	       str_ieq(e->port->protocol, STR("HTTP_PROXY"));
}

static bool has_listener(const struct model_sidecar *s, int64_t port)
{
	for (size_t i = 0; i < s->egress.n; i++)
		if (!is_for_all_ports(&s->egress.v[i]) && s->egress.v[i].port->number == port)
			return true;
	return false;
}

static bool sees(const struct asked *a)
{
	const struct model_sidecar *s = a->c->sidecar;
	int64_t port = a->c->port;
	bool own;

	if (s == NULL || s->egress.n == 0)
		return true;
	own = has_listener(s, port);
	for (size_t i = 0; i < s->egress.n; i++) {
		const struct model_sidecar_egress *e = &s->egress.v[i];

		/* A port with a listener of its own is not the catch-all's any more. */
		if (is_for_all_ports(e) ? own && e->port == NULL : e->port->number != port)
			continue;
		if (lists(a, e))
			return true;
	}
	return false;
}

bool names_sees(const struct model *m, const struct names_caller *c, struct str ns,
		struct str host)
{
	struct asked a = { .m = m, .c = c, .ns = ns, .host = host, .fits = names_subset_of };

	return sees(&a);
}

bool names_sees_virtual_service(const struct model *m, const struct names_caller *c,
				const struct model_virtual_service *vs)
{
	struct asked a = { .m = m, .c = c, .ns = vs->r.ns, .fits = names_match };

	if (!names_exported(m, &vs->exportTo, &m->mesh.mesh.defaultVirtualServiceExportTo,
			    vs->r.ns, c->ns))
		return false;
	for (size_t i = 0; i < vs->fqdns.n; i++) {
		a.host = vs->fqdns.v[i];
		if (sees(&a))
			return true;
	}
	return false;
}
