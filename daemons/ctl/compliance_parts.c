/* SPDX-License-Identifier: Apache-2.0 */
/* compliance_parts: see compliance_parts.h. Layer daemons/ctl. */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/compliance_parts.h"
#include "ctl/ctl.h"

#define COUNTRY_KEY "kvmesh.io/country"
#define OPERATOR_KEY "kvmesh.io/operator"

static struct str text(const struct doc *d, const char *key)
{
	return compliance_text(d, key);
}

static const struct doc *member(const struct doc *d, const char *key)
{
	return doc_get(d, str_c(key));
}

static const struct doc *resources_of(const struct compliance_inputs *in)
{
	static const struct doc none = { .kind = DOC_LIST };
	const struct doc *all = member(in->config, "resources");

	return all ? all : &none;
}

static bool is_kind(const struct doc *r, const char *kind)
{
	return str_eq(text(r, "kind"), str_c(kind));
}

static const struct doc *mesh_of(const struct compliance_inputs *in)
{
	return member(member(in->config, "kvmesh"), "mesh");
}

/* NAME.NAMESPACE */
static struct str full_name(struct arena *a, const struct doc *r)
{
	return arena_printf(a, "%.*s.%.*s", STR_ARG(text(r, "name")), STR_ARG(text(r, "namespace")));
}

static void copy_text(struct arena *a, struct doc *to, const struct doc *from, const char *key)
{
	doc_set_str(a, to, key, text(from, key));
}

/* ---- inventory ----------------------------------------------------------------------------- */

/* "http 8080, grpc 9090" */
static struct str ports_of(struct arena *a, const struct doc *spec)
{
	const struct doc *ports = member(spec, "ports");
	struct str s = STR("");

	for (size_t i = 0; ports && i < ports->n; i++)
		s = arena_printf(a, "%.*s%s%.*s %" PRId64, STR_ARG(s), i > 0 ? ", " : "",
				 STR_ARG(text(ports->v[i], "name")), doc_get_int(ports->v[i], "number", 0));
	return s;
}

/* How the kernel proves who the workload is. */
static struct str proof_of(struct arena *a, const struct doc *spec)
{
	struct str unit = text(spec, "unit"), user = text(spec, "user");

	return unit.n > 0  ? unit
	       : user.n > 0 ? arena_printf(a, "user %.*s", STR_ARG(user))
			    : STR("");
}

static void add_workload(struct arena *a, struct doc *list, const struct doc *r, struct str domain)
{
	const struct doc *spec = member(r, "spec");
	struct doc *d = doc_add(a, list, doc_new_map(a));
	struct str account = doc_get_str(spec, "serviceAccount", STR("default"));

	doc_set_str(a, d, "workload", full_name(a, r));
	doc_set_str(a, d, "identity", arena_printf(a, "spiffe://%.*s/ns/%.*s/sa/%.*s", STR_ARG(domain),
						   STR_ARG(text(r, "namespace")), STR_ARG(account)));
	doc_set_str(a, d, "provedBy", proof_of(a, spec));
	doc_set_str(a, d, "ports", ports_of(a, spec));
}

static void add_service(struct arena *a, struct doc *list, const struct doc *r)
{
	struct doc *d = doc_add(a, list, doc_new_map(a));

	doc_set_str(a, d, "service", full_name(a, r));
	doc_set_str(a, d, "kind", text(r, "kind"));
	doc_set_str(a, d, "ports", ports_of(a, member(r, "spec")));
}

static void add_proxies(struct arena *a, struct doc *list, const struct doc *status)
{
	const struct doc *all = member(status, "proxies");

	for (size_t i = 0; all && i < all->n; i++) {
		struct doc *d = doc_add(a, list, doc_new_map(a));

		doc_set_str(a, d, "proxy", text(all->v[i], "name"));
		copy_text(a, d, all->v[i], "state");
		copy_text(a, d, all->v[i], "software");
		doc_set_int(a, d, "generation", doc_get_int(all->v[i], "version", 0));
	}
}

struct doc *compliance_inventory(struct arena *a, const struct compliance_inputs *in)
{
	const struct doc *all = resources_of(in), *node = member(member(in->config, "kvmesh"), "node");
	struct doc *d = doc_new_map(a);
	struct str domain = text(mesh_of(in), "trustDomain");

	doc_set_str(a, d, "node", text(node, "name"));
	doc_set_str(a, d, "locality", text(node, "locality"));
	doc_set_str(a, d, "software", text(in->status, "software"));
	struct doc *workloads = doc_set(a, d, "workloads", doc_new_list(a));
	struct doc *services = doc_set(a, d, "services", doc_new_list(a));

	for (size_t i = 0; i < all->n; i++)
		if (is_kind(all->v[i], "Workload"))
			add_workload(a, workloads, all->v[i], domain);
		else if (is_kind(all->v[i], "Service") || is_kind(all->v[i], "ServiceEntry"))
			add_service(a, services, all->v[i]);
	add_proxies(a, doc_set(a, d, "proxies", doc_new_list(a)), in->status);
	return d;
}

/* ---- policy -------------------------------------------------------------------------------- */

static bool is_strict(const struct doc *mtls)
{
	return str_eq(text(mtls, "mode"), STR("STRICT"));
}

static bool has_weaker_port(const struct doc *spec)
{
	const struct doc *ports = member(spec, "portLevelMtls");

	for (size_t i = 0; ports && ports->kind == DOC_MAP && i < ports->n; i++) {
		struct str mode = doc_get_str(ports->v[i], "mode", STR("UNSET"));

		if (!str_eq(mode, STR("STRICT")) && !str_eq(mode, STR("UNSET")))
			return true;
	}
	return false;
}

static struct str root_namespace(const struct compliance_inputs *in)
{
	return doc_get_str(mesh_of(in), "rootNamespace", STR("kvmesh-system"));
}

static bool mentions(const struct doc *entry, struct str label)
{
	const struct doc *changed = member(entry, "changed");

	for (size_t i = 0; changed && i < changed->n; i++)
		if (changed->v[i]->kind == DOC_STR && str_has_suffix(changed->v[i]->s, label))
			return true;
	return false;
}

/* Since when it says what it says: its last change, as far as loads are remembered. */
static struct str since_of(struct arena *a, const struct compliance_inputs *in, const struct doc *r)
{
	const struct doc *loads = member(in->history, "entries");
	struct str label = arena_printf(a, " %.*s %.*s", STR_ARG(text(r, "kind")),
					STR_ARG(full_name(a, r)));

	for (size_t i = 0; loads && i < loads->n; i++)
		if (doc_get_bool(loads->v[i], "ok", false) && mentions(loads->v[i], label))
			return text(loads->v[i], "at");
	return text(r, "firstSeen");
}

static void add_exception(struct arena *a, struct doc *policy, const struct doc *r, struct str mode)
{
	struct doc *x = doc_add(a, doc_get(policy, STR("exceptions")), doc_new_map(a));

	copy_text(a, x, r, "kind");
	doc_set_str(a, x, "policy", full_name(a, r));
	doc_set_str(a, x, "mode", mode);
	copy_text(a, x, r, "file");
	doc_set_int(a, x, "line", doc_get_int(r, "line", 0));
}

static void judge_peers(struct arena *a, const struct compliance_inputs *in, const struct doc *r,
			struct doc *policy)
{
	const struct doc *spec = member(r, "spec"), *mtls = member(spec, "mtls");
	bool wide = str_eq(text(r, "namespace"), root_namespace(in)) && !member(spec, "selector");
	struct str mode = doc_get_str(mtls, "mode", STR("UNSET"));

	if (wide && is_strict(mtls) && !has_weaker_port(spec)) {
		doc_set_bool(a, policy, "strict", true);
		doc_set_str(a, policy, "since", since_of(a, in, r));
		return;
	}
	if ((!is_strict(mtls) && !str_eq(mode, STR("UNSET"))) || has_weaker_port(spec))
		add_exception(a, policy, r, mode);
}

static bool is_tls_off(const struct doc *policy)
{
	const struct doc *ports = member(policy, "portLevelSettings");

	for (size_t i = 0; ports && i < ports->n; i++)
		if (is_tls_off(ports->v[i]))
			return true;
	return str_eq(text(member(policy, "tls"), "mode"), STR("DISABLE"));
}

static void judge_clients(struct arena *a, const struct doc *r, struct doc *policy)
{
	const struct doc *spec = member(r, "spec"), *subsets = member(spec, "subsets");
	bool off = is_tls_off(member(spec, "trafficPolicy"));

	for (size_t i = 0; subsets && i < subsets->n; i++)
		off = off || is_tls_off(member(subsets->v[i], "trafficPolicy"));
	if (off)
		add_exception(a, policy, r, STR("tls DISABLE"));
}

static void add_policy(struct arena *a, const struct compliance_inputs *in, const struct doc *r,
		       struct doc *list, struct str says)
{
	struct doc *d = doc_add(a, list, doc_new_map(a));

	copy_text(a, d, r, "kind");
	doc_set_str(a, d, "policy", full_name(a, r));
	doc_set_str(a, d, "says", says);
	doc_set_str(a, d, "since", since_of(a, in, r));
	copy_text(a, d, r, "file");
	doc_set_int(a, d, "line", doc_get_int(r, "line", 0));
}

static void judge_policy(struct arena *a, const struct compliance_inputs *in, const struct doc *r,
			 struct doc *policy)
{
	const struct doc *spec = member(r, "spec");
	struct doc *list = doc_get(policy, STR("policies"));

	if (is_kind(r, "PeerAuthentication")) {
		judge_peers(a, in, r, policy);
		add_policy(a, in, r, list, doc_get_str(member(spec, "mtls"), "mode", STR("UNSET")));
	} else if (is_kind(r, "AuthorizationPolicy")) {
		add_policy(a, in, r, list, doc_get_str(spec, "action", STR("ALLOW")));
	} else if (is_kind(r, "RequestAuthentication")) {
		add_policy(a, in, r, list, STR("tokens"));
	} else if (is_kind(r, "DestinationRule")) {
		judge_clients(a, r, policy);
	}
}

static struct str joined(struct arena *a, const struct doc *list)
{
	struct str s = STR("");

	for (size_t i = 0; list && i < list->n; i++)
		if (list->v[i]->kind == DOC_STR)
			s = arena_printf(a, "%.*s%s%.*s", STR_ARG(s), s.n > 0 ? "; " : "",
					 STR_ARG(list->v[i]->s));
	return s;
}

/* Loads of the period, oldest first, and the one before it, which was in force when it began. */
static struct doc *loads_of(struct arena *a, const struct compliance_inputs *in)
{
	const struct doc *all = member(in->history, "entries");
	struct doc *list = doc_new_list(a);
	size_t n = 0;

	for (bool before = false; all && n < all->n && !before; n++) {
		int64_t at;

		before = ctl_time_parse(text(all->v[n], "at"), &at) && at < in->since_s * 1000000 &&
			 doc_get_bool(all->v[n], "ok", false);
	}
	while (n-- > 0) {
		const struct doc *e = all->v[n];
		struct doc *d = doc_add(a, list, doc_new_map(a));

		doc_set_int(a, d, "generation", doc_get_int(e, "generation", 0));
		copy_text(a, d, e, "at");
		copy_text(a, d, e, "by");
		doc_set_bool(a, d, "ok", doc_get_bool(e, "ok", false));
		copy_text(a, d, e, "digest");
		doc_set_str(a, d, "changed", joined(a, member(e, "changed")));
	}
	return list;
}

struct doc *compliance_policy(struct arena *a, const struct compliance_inputs *in)
{
	const struct doc *all = resources_of(in);
	struct doc *policy = doc_new_map(a);

	doc_set_bool(a, policy, "strict", false);
	doc_set(a, policy, "exceptions", doc_new_list(a));
	doc_set(a, policy, "policies", doc_new_list(a));
	for (size_t i = 0; i < all->n; i++)
		judge_policy(a, in, all->v[i], policy);
	doc_set(a, policy, "loads", loads_of(a, in));
	return policy;
}

/* ---- keys ---------------------------------------------------------------------------------- */

struct listed {
	int64_t longest_us, expired, by_nobody;
};

static void look_at(const struct doc *c, struct listed *l)
{
	int64_t from, to;
	bool expired = str_eq(text(c, "state"), STR("expired"));

	if (ctl_time_parse(text(c, "notBefore"), &from) && ctl_time_parse(text(c, "notAfter"), &to) &&
	    to - from > l->longest_us)
		l->longest_us = to - from;
	l->expired += expired;
	l->by_nobody += !expired && text(c, "proxy").n == 0;
}

struct doc *compliance_keys(struct arena *a, const struct compliance_inputs *in)
{
	const struct doc *list = member(in->certificates, "certificates");
	const struct doc *root = member(in->ca, "root"), *issuer = member(in->ca, "issuer");
	struct doc *keys = doc_new_map(a);
	struct listed l = { 0 };

	for (size_t i = 0; list && i < list->n; i++)
		look_at(list->v[i], &l);
	doc_set_bool(a, keys, "rootKeyOnNode", doc_get_bool(root, "keyOnNode", false));
	doc_set_str(a, keys, "root", text(root, "subject"));
	doc_set_str(a, keys, "rootUntil", text(root, "notAfter"));
	doc_set_str(a, keys, "issuer", text(issuer, "subject"));
	doc_set_str(a, keys, "issuerUntil", text(issuer, "notAfter"));
	doc_set_bool(a, keys, "issuerPluggedIn", doc_get_bool(issuer, "pluggedIn", false));
	doc_set_str(a, keys, "rotation", text(member(in->ca, "rotation"), "step"));
	doc_set_int(a, keys, "issued", doc_get_int(in->ca, "issued", 0));
	doc_set_int(a, keys, "listed", list ? (int64_t)list->n : 0);
	doc_set_int(a, keys, "expired", l.expired);
	doc_set_int(a, keys, "outsideOfProxies", l.by_nobody);
	doc_set_int(a, keys, "revoked", doc_get_int(member(in->ca, "revoked"), "count", 0));
	doc_set_int(a, keys, "longestLifeSeconds", l.longest_us / 1000000);
	return keys;
}

/* ---- egress -------------------------------------------------------------------------------- */

static bool has_host(const struct doc *entry, struct str host)
{
	const struct doc *hosts = member(member(entry, "spec"), "hosts");

	for (size_t i = 0; hosts && i < hosts->n; i++) {
		struct str h = hosts->v[i]->kind == DOC_STR ? hosts->v[i]->s : STR("");

		if (str_ieq(h, host) ||
		    (str_has_prefix(h, STR("*.")) && str_has_suffix(host, str_skip(h, 1))))
			return true;
	}
	return false;
}

/* What the ServiceEntry of that host declares; empty: nothing, or there is none. */
static struct str declared(const struct compliance_inputs *in, struct str host, const char *key)
{
	const struct doc *all = resources_of(in);
	struct str found = STR("");

	for (size_t i = 0; i < all->n && found.n == 0; i++) {
		const struct doc *meta = member(all->v[i], "metadata");

		if (!is_kind(all->v[i], "ServiceEntry") || !has_host(all->v[i], host))
			continue;
		found = text(member(meta, "annotations"), key);
		if (found.n == 0)
			found = text(member(meta, "labels"), key);
	}
	return found;
}

/* False only where a policy names countries and that one is none of them. */
static bool is_allowed(const struct doc *policy, struct str country)
{
	const struct doc *allowed = member(policy, "allowCountries");

	for (size_t i = 0; allowed && i < allowed->n; i++)
		if (allowed->v[i]->kind == DOC_STR && str_eq(allowed->v[i]->s, country))
			return true;
	return !allowed || country.n == 0;
}

static bool is_same_way(const struct doc *row, const struct doc *e)
{
	return str_eq(text(row, "destination"), text(e, "service")) &&
	       str_eq(text(row, "security"), text(e, "security")) &&
	       doc_get_int(row, "port", 0) == doc_get_int(e, "port", 0);
}

static const struct doc *egress_policy(const struct compliance_inputs *in)
{
	return member(member(in->config, "kvmesh"), "egressPolicy");
}

static void count_way(struct arena *a, const struct compliance_inputs *in, struct doc *list,
		      const struct doc *e)
{
	static const char *const numbers[] = { "requests", "connections", "bytesReceived",
					       "bytesSent" };
	struct str host = text(e, "service");
	struct doc *row = NULL;

	for (size_t i = 0; i < list->n && !row; i++)
		row = is_same_way(list->v[i], e) ? list->v[i] : NULL;
	if (!row) {
		row = doc_add(a, list, doc_new_map(a));
		doc_set_str(a, row, "destination", host);
		doc_set_int(a, row, "port", doc_get_int(e, "port", 0));
		struct str country = declared(in, host, COUNTRY_KEY);

		doc_set_str(a, row, "country", country);
		doc_set_bool(a, row, "allowed", is_allowed(egress_policy(in), country));
		doc_set_str(a, row, "operator", declared(in, host, OPERATOR_KEY));
		copy_text(a, row, e, "security");
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		doc_set_int(a, row, numbers[i],
			    doc_get_int(row, numbers[i], 0) + doc_get_int(e, numbers[i], 0));
}

struct doc *compliance_egress(struct arena *a, const struct compliance_inputs *in,
			      const struct doc *edges)
{
	struct doc *d = doc_new_map(a), *list;

	doc_set_str(a, d, "outboundTrafficPolicy",
		    text(member(mesh_of(in), "outboundTrafficPolicy"), "mode"));
	if (egress_policy(in))
		doc_set(a, d, "egressPolicy", doc_copy(a, egress_policy(in)));
	list = doc_set(a, d, "destinations", doc_new_list(a));
	for (size_t i = 0; i < edges->n; i++)
		if (doc_get_bool(edges->v[i], "egress", false))
			count_way(a, in, list, edges->v[i]);
	return d;
}
