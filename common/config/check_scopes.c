/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_scopes: several policies for one scope, Gateways that get in each other's way, token
 * claims without token check. Layer config.
 */
#include "config/check_parts.h"

/* ---- several policies for one scope -------------------------------------------------------- */

static const struct labels *selector_of(const struct model_resource *r)
{
	const struct model_match_labels *s = NULL;

	if (r->kind == MODEL_KIND_SIDECAR)
		return model_as_sidecar(r)->workloadSelector != NULL
			       ? &model_as_sidecar(r)->workloadSelector->labels
			       : NULL;
	if (r->kind == MODEL_KIND_TELEMETRY)
		s = model_as_telemetry(r)->selector;
	else if (r->kind == MODEL_KIND_PEER_AUTHENTICATION)
		s = model_as_pa(r)->selector;
	return s != NULL && s->matchLabels.n > 0 ? &s->matchLabels : NULL;
}

/* A workload of the namespace that both select, or NULL. */
static const struct model_resource *both_select(const struct check *c, struct str ns,
						const struct labels *a, const struct labels *b)
{
	model_for_each(c->m, MODEL_KIND_WORKLOAD, r) if (str_eq(r->ns, ns) &&
							 labels_is_subset(a, &r->labels) &&
							 labels_is_subset(b, &r->labels)) return r;
	return NULL;
}

struct scope_rule {
	enum model_kind kind;
	/* codes: two without selector, two with one for a common workload */
	const char *without, *with;
	const char *meaning;
};

static void compare_scopes(struct check *c, const struct scope_rule *rule,
			   const struct model_resource *r, const struct model_resource *older)
{
	const struct labels *a = selector_of(r), *b = selector_of(older);
	const struct model_resource *w;

	if (a == NULL && b == NULL) {
		check_add(c, rule->without, r->at, "%s is for the whole namespace as well: %s",
			  model_label(older, &c->arena).p, rule->meaning);
		return;
	}
	if (a == NULL || b == NULL)
		return;
	w = both_select(c, r->ns, a, b);
	if (w != NULL)
		check_add(c, rule->with, r->at, "%s selects %s as well: %s",
			  model_label(older, &c->arena).p, model_label(w, &c->arena).p,
			  rule->meaning);
}

static void check_policies(struct check *c)
{
	static const struct scope_rule rules[] = {
		{ MODEL_KIND_SIDECAR, "KVM0111", "KVM0110", "only one can be in force" },
		{ MODEL_KIND_TELEMETRY, "KVM0160", "KVM0159", "only one can be in force" },
		{ MODEL_KIND_PEER_AUTHENTICATION, "KVM0209", "KVM0209",
		  "the older one decides, this one is ignored" },
	};

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		model_for_each(c->m, rules[i].kind, r) {
			check_begin(c, r);
			model_for_each(c->m, rules[i].kind, older) {
				if (older == r)
					break;
				if (str_eq(older->ns, r->ns))
					compare_scopes(c, &rules[i], r, older);
			}
		}
}

/* ---- Gateways ------------------------------------------------------------------------------ */

/* Some workload could be selected by both: equal pairs do not contradict. */
static bool selectors_meet(const struct labels *a, const struct labels *b)
{
	return labels_is_subset(a, b) || labels_is_subset(b, a);
}

static struct str host_part(struct str host)
{
	ptrdiff_t slash = str_find(host, '/');

	return slash < 0 ? host : str_skip(host, (size_t)slash + 1);
}

static bool hosts_meet(const struct model_server *a, const struct model_server *b, struct str *ret)
{
	for (size_t i = 0; i < a->hosts.n; i++)
		for (size_t k = 0; k < b->hosts.n; k++)
			if (str_eq(host_part(a->hosts.v[i]), host_part(b->hosts.v[k]))) {
				*ret = a->hosts.v[i];
				return true;
			}
	return false;
}

static struct str bind_of(const struct model_server *s)
{
	return s->bind.n > 0 ? s->bind : STR("0.0.0.0");
}

static bool share_port(const struct model_server *s, const struct model_server *o)
{
	return s->port != NULL && o->port != NULL && s->port->number == o->port->number &&
	       str_eq(bind_of(s), bind_of(o));
}

/* The oldest server of the port: it decides what is spoken there (2.14.1). NULL: s is it. */
static const struct model_server *owner_of(struct check *c, const struct model_gateway *g,
					   const struct model_server *s, const struct model_gateway **ret)
{
	model_for_each(c->m, MODEL_KIND_GATEWAY, r) {
		const struct model_gateway *o = *ret = model_as_gateway(r);

		for (size_t i = 0; i < o->servers.n && selectors_meet(&g->selector, &o->selector); i++) {
			if (&o->servers.v[i] == s)
				return NULL;
			if (share_port(s, &o->servers.v[i]))
				return &o->servers.v[i];
		}
		if (o == g)
			break;
	}
	return NULL;
}

static bool is_shut_out(struct check *c, const struct model_gateway *g, const struct model_server *s)
{
	const struct model_gateway *other;
	const struct model_server *o = s->port != NULL ? owner_of(c, g, s, &other) : NULL;
	enum names_family mine, first;

	if (o == NULL)
		return false;
	mine = names_server_family(s);
	first = names_server_family(o);
	if (mine == first && mine != NAMES_FAMILY_TCP)
		return false;
	check_add(c, "KVM0211", s->at, "port %lld is %s by %s at line %u: this server of %s is not opened",
		  (long long)s->port->number, names_family_name(first),
		  model_label(&other->r, &c->arena).p, o->at.line, names_family_name(mine));
	return true;
}

static void compare_servers(struct check *c, const struct model_server *s,
			    const struct model_server *o, const struct model_gateway *other)
{
	struct str host;

	if (s->port == NULL || o->port == NULL)
		return;
	if (share_port(s, o) && names_server_family(s) == names_server_family(o) &&
	    hosts_meet(s, o, &host))
		check_add(c, "KVM0145", s->at, "host '%.*s' on port %lld is served by %s as well",
			  STR_ARG(host), (long long)s->port->number,
			  model_label(&other->r, &c->arena).p);
	else if (s->tls != NULL && o->tls != NULL && s->tls->credentialName.n > 0 &&
		 str_eq(s->tls->credentialName, o->tls->credentialName))
		check_add(c, "KVM0138", s->at, "certificate '%.*s' is used by %s as well",
			  STR_ARG(s->tls->credentialName), model_label(&other->r, &c->arena).p);
}

/* Of one Gateway: names of TLS servers; hosts of HTTP servers are joined. */
static void compare_own(struct check *c, const struct model_gateway *g, size_t i)
{
	const struct model_server *s = &g->servers.v[i];
	struct str host;

	for (size_t k = 0; k < i; k++) {
		const struct model_server *o = &g->servers.v[k];

		if (share_port(s, o) && names_server_family(s) == NAMES_FAMILY_TLS &&
		    names_server_family(o) == NAMES_FAMILY_TLS && hosts_meet(s, o, &host))
			check_add(c, "KVM0211", s->at,
				  "host '%.*s' on port %lld is that of the server at line %u: it never gets here",
				  STR_ARG(host), (long long)s->port->number, o->at.line);
	}
}

static void check_server(struct check *c, const struct model_gateway *g, size_t i)
{
	if (is_shut_out(c, g, &g->servers.v[i]))
		return;
	compare_own(c, g, i);
	model_for_each(c->m, MODEL_KIND_GATEWAY, older) {
		const struct model_gateway *o = model_as_gateway(older);

		if (o == g)
			break;
		for (size_t k = 0; k < o->servers.n && selectors_meet(&g->selector, &o->selector); k++)
			compare_servers(c, &g->servers.v[i], &o->servers.v[k], o);
	}
}

static void check_gateways(struct check *c)
{
	model_for_each(c->m, MODEL_KIND_GATEWAY, r) {
		const struct model_gateway *g = model_as_gateway(r);

		check_begin(c, r);
		for (size_t i = 0; i < g->servers.n; i++)
			check_server(c, g, i);
	}
}

/* ---- claims of tokens (IST0149) ------------------------------------------------------------ */

static bool uses_claims(const struct model_virtual_service *vs, struct origin *ret_at)
{
	for (size_t i = 0; i < vs->http.n; i++)
		for (size_t k = 0; k < vs->http.v[i].match.n; k++) {
			const struct model_http_match *m = &vs->http.v[i].match.v[k];

			for (size_t h = 0; h < m->headers.n + m->withoutHeaders.n; h++) {
				struct str key =
					h < m->headers.n
						? m->headers.v[h].key
						: m->withoutHeaders.v[h - m->headers.n].key;

				if (str_has_prefix(key, STR("@request.auth.claims"))) {
					*ret_at = m->at;
					return true;
				}
			}
		}
	return false;
}

/* A RequestAuthentication could be for workloads that the Gateway selects. */
static bool tokens_are_checked(const struct check *c, const struct model_gateway *g)
{
	model_for_each(c->m, MODEL_KIND_REQUEST_AUTHENTICATION, r) {
		const struct model_request_authentication *ra = model_as_ra(r);

		if (!model_is_root_ns(c->m, r->ns) && !str_eq(r->ns, g->r.ns))
			continue;
		if (ra->selector == NULL ||
		    selectors_meet(&ra->selector->matchLabels, &g->selector))
			return true;
	}
	return false;
}

static void check_claims(struct check *c, const struct model_virtual_service *vs)
{
	struct origin at;

	if (!uses_claims(vs, &at))
		return;
	for (size_t i = 0; i < vs->gateways.n; i++) {
		struct str key = names_gateway(c->m, vs->gateways.v[i], vs->r.ns, &c->arena);
		ptrdiff_t slash = str_find(key, '/');
		const struct model_resource *g;

		if (slash < 0)
			continue;
		g = model_find(c->m, MODEL_KIND_GATEWAY, str_take(key, (size_t)slash),
			       str_skip(key, (size_t)slash + 1));
		if (g != NULL && !tokens_are_checked(c, model_as_gateway(g)))
			check_add(c, "KVM0149", at,
				  "claims of a token are matched, but no RequestAuthentication is "
				  "for gateway '%.*s'",
				  STR_ARG(vs->gateways.v[i]));
	}
}

void check_scopes(struct check *c)
{
	check_policies(c);
	check_gateways(c);
	model_for_each(c->m, MODEL_KIND_VIRTUAL_SERVICE, r) {
		check_begin(c, r);
		check_claims(c, model_as_vs(r));
	}
}
