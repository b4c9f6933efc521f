/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_host: host names: wildcards, short names, aliases, visibility (semantics 2.1). Layer
 * config.
 */
#include <arpa/inet.h>

#include "base/vec.h"
#include "config/names.h"

bool names_is_wildcard(struct str host)
{
	return host.n > 0 && host.p[0] == '*';
}

bool names_is_ip(struct str host)
{
	char text[INET6_ADDRSTRLEN + 1];
	unsigned char addr[16];

	if (host.n == 0 || host.n >= sizeof(text))
		return false;
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	return inet_pton(AF_INET, text, addr) == 1 || inet_pton(AF_INET6, text, addr) == 1;
}

static bool has_isuffix(struct str s, struct str suffix)
{
	return s.n >= suffix.n && str_ieq(str_skip(s, s.n - suffix.n), suffix);
}

bool names_match(struct str a, struct str b)
{
	bool aw = names_is_wildcard(a), bw = names_is_wildcard(b);

	if (aw && bw)
		return a.n < b.n ? has_isuffix(str_skip(b, 1), str_skip(a, 1)) :
				   has_isuffix(str_skip(a, 1), str_skip(b, 1));
	if (aw)
		return has_isuffix(b, str_skip(a, 1));
	if (bw)
		return has_isuffix(a, str_skip(b, 1));
	return str_ieq(a, b);
}

bool names_subset_of(struct str a, struct str b)
{
	if (!names_is_wildcard(b))
		return str_ieq(a, b);
	if (names_is_wildcard(a))
		return a.n >= b.n && has_isuffix(str_skip(a, 1), str_skip(b, 1));
	return has_isuffix(a, str_skip(b, 1));
}

int names_specificity_cmp(struct str a, struct str b)
{
	bool aw = names_is_wildcard(a), bw = names_is_wildcard(b);

	if (aw != bw)
		return aw ? 1 : -1;
	if (!aw || a.n == b.n)
		return 0;
	return a.n > b.n ? -1 : 1;
}

/* ---- short names --------------------------------------------------------------------------- */

static struct str lower(struct str s, struct arena *a)
{
	char *p = arena_alloc(a, s.n + 1);

	for (size_t i = 0; i < s.n; i++)
		p[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] - 'A' + 'a') : s.p[i];
	p[s.n] = '\0';
	return str_from(p, s.n);
}

struct str names_service_fqdn(const struct model *m, struct str name, struct str ns,
			      struct arena *a)
{
	return lower(arena_printf(a, "%.*s.%.*s.svc.%.*s", STR_ARG(name), STR_ARG(ns),
				  STR_ARG(m->mesh.mesh.domainSuffix)), a);
}

/* host is NAME.NS.svc or NAME.NS.svc.SUFFIX: true, and its two names. */
static bool split_service_host(const struct model *m, struct str host, struct str *ret_name,
			       struct str *ret_ns)
{
	struct str suffix = m->mesh.mesh.domainSuffix;
	ptrdiff_t dot;

	if (host.n > suffix.n && host.p[host.n - suffix.n - 1] == '.' && has_isuffix(host, suffix))
		host = str_take(host, host.n - suffix.n - 1);
	if (!has_isuffix(host, STR(".svc")))
		return false;
	host = str_take(host, host.n - 4);
	dot = str_find(host, '.');
	if (dot <= 0 || str_find(str_skip(host, (size_t)dot + 1), '.') >= 0)
		return false;
	*ret_name = str_take(host, (size_t)dot);
	*ret_ns = str_skip(host, (size_t)dot + 1);
	return ret_ns->n > 0;
}

struct str names_fqdn(const struct model *m, struct str host, struct str ns, struct arena *a)
{
	struct str name, host_ns;
	ptrdiff_t dot;

	if (host.n > 1 && host.p[host.n - 1] == '.')
		host = str_take(host, host.n - 1);
	if (names_is_wildcard(host) || names_is_ip(host) || host.n == 0)
		return lower(host, a);
	dot = str_find(host, '.');
	if (dot < 0)
		return names_service_fqdn(m, host, ns, a);
	if (split_service_host(m, host, &name, &host_ns))
		return names_service_fqdn(m, name, model_ns(m, host_ns), a);
	name = str_take(host, (size_t)dot);
	host_ns = model_ns(m, str_skip(host, (size_t)dot + 1));
	if (model_find(m, MODEL_KIND_SERVICE, host_ns, name) != NULL)
		return names_service_fqdn(m, name, host_ns, a);
	return lower(host, a);
}

static void add(struct str_list *l, size_t *cap, struct str s, struct arena *a)
{
	*vec_push_arena(a, l->v, l->n, *cap) = s;
}

/* NAME.NS, NAME.NS.svc, NAME.NS.svc.SUFFIX and the last with a dot behind it. */
static void add_aliases(const struct model *m, struct str name, struct str ns, struct str_list *l,
			size_t *cap, struct arena *a)
{
	struct str full = names_service_fqdn(m, name, ns, a);

	add(l, cap, lower(arena_printf(a, "%.*s.%.*s", STR_ARG(name), STR_ARG(ns)), a), a);
	add(l, cap, lower(arena_printf(a, "%.*s.%.*s.svc", STR_ARG(name), STR_ARG(ns)), a), a);
	add(l, cap, full, a);
	add(l, cap, arena_printf(a, "%.*s.", STR_ARG(full)), a);
}

struct str_list names_aliases(const struct model *m, struct str name, struct str ns,
			      struct str client_ns, struct arena *a)
{
	const struct str_list *roots = &m->mesh.mesh.rootNamespaceAliases;
	struct str_list l = { 0 };
	size_t cap = 0;

	if (str_eq(ns, client_ns))
		add(&l, &cap, lower(name, a), a);
	add_aliases(m, name, ns, &l, &cap, a);
	for (size_t i = 0; model_is_root_ns(m, ns) && i < roots->n; i++)
		add_aliases(m, name, roots->v[i], &l, &cap, a);
	return l;
}

/* ---- visibility, gateways ------------------------------------------------------------------ */

bool names_exported(const struct model *m, const struct str_list *export_to,
		    const struct str_list *dflt, struct str owner_ns, struct str client_ns)
{
	const struct str_list *l = export_to->n > 0 ? export_to : dflt;

	if (l == NULL || l->n == 0)
		return true;
	for (size_t i = 0; i < l->n; i++) {
		if (str_eq(l->v[i], STR("*")))
			return true;
		if (str_eq(l->v[i], STR(".")) ? str_eq(owner_ns, client_ns) :
						str_eq(model_ns(m, l->v[i]), client_ns))
			return true;
	}
	return false;
}

struct str names_gateway(const struct model *m, struct str gateway, struct str ns, struct arena *a)
{
	ptrdiff_t slash = str_find(gateway, '/');
	struct str name = gateway, gw_ns = ns;

	if (str_eq(gateway, STR("mesh")))
		return gateway;
	if (slash >= 0) {
		name = str_skip(gateway, (size_t)slash + 1);
		if (!str_eq(str_take(gateway, (size_t)slash), STR(".")))
			gw_ns = model_ns(m, str_take(gateway, (size_t)slash));
	} else if (split_service_host(m, gateway, &name, &gw_ns)) {
		gw_ns = model_ns(m, gw_ns);
	}
	return arena_printf(a, "%.*s/%.*s", STR_ARG(gw_ns), STR_ARG(name));
}
