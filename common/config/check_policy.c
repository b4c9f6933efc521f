/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_policy: rules inside one PeerAuthentication, RequestAuthentication, AuthorizationPolicy or
 * Telemetry (semantics 2.11, 2.12, 2.18). Layer config.
 */
#include "config/check_parts.h"

static void check_selector(struct check *c, const struct model_match_labels *s)
{
	if (s != NULL && s->matchLabels.n == 0)
		check_add(c, "KVM0208", s->at.line > 0 ? s->at : c->r->at,
			  "a selector without labels is for every workload of the namespace, like "
			  "none at all");
}

/* ---- PeerAuthentication -------------------------------------------------------------------- */

void check_peer_authentication(struct check *c, const struct model_peer_authentication *pa)
{
	check_selector(c, pa->selector);
	if (pa->portLevelMtls.v == NULL)
		return;
	if (pa->portLevelMtls.n == 0)
		check_add(c, "KVM0390", pa->r.at, "portLevelMtls is empty");
	else if (pa->selector == NULL || pa->selector->matchLabels.n == 0)
		check_add(c, "KVM0390", pa->r.at,
			  "portLevelMtls needs a selector: ports belong to workloads");
}

/* ---- RequestAuthentication ----------------------------------------------------------------- */

static void check_nonempty(struct check *c, struct origin at, const char *code, const char *what,
			   const struct str_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].n == 0)
			check_add(c, code, at, "%s: an entry is empty", what);
}

/* A JWK set: an object with a list of keys, none of them private. */
static void check_jwks(struct check *c, const struct model_jwt_rule *j)
{
	const struct doc *keys;
	struct doc *set;
	struct err e;

	if (j->jwks.n == 0)
		return;
	if (doc_read_json(j->jwks, &c->arena, &set, &e) < 0) {
		check_add(c, "KVM0391", j->at, "jwks is no JSON: %s", e.text);
		return;
	}
	keys = doc_get(set, STR("keys"));
	if (keys == NULL || keys->kind != DOC_LIST) {
		check_add(c, "KVM0391", j->at, "jwks has no list 'keys'");
		return;
	}
	for (size_t i = 0; i < keys->n; i++)
		if (doc_get(keys->v[i], STR("d")) != NULL)
			check_add(
				c, "KVM0133", j->at,
				"jwks: key %zu is a private key; only the public part belongs here",
				i);
}

static void check_jwt_rule(struct check *c, const struct model_jwt_rule *j)
{
	if (j->issuer.n == 0 && j->jwksUri.n == 0)
		check_add(c, "KVM0391", j->at, "a rule needs issuer or jwksUri");
	if (j->jwksUri.n > 0 && !str_has_prefix(j->jwksUri, STR("https://")) &&
	    !str_has_prefix(j->jwksUri, STR("http://")) &&
	    !str_has_prefix(j->jwksUri, STR("file:///")))
		check_add(c, "KVM0391", j->at,
			  "jwksUri must begin with https://, http:// or file:///, is '%.*s'",
			  STR_ARG(j->jwksUri));
	check_jwks(c, j);
	check_nonempty(c, j->at, "KVM0391", "audiences", &j->audiences);
	check_nonempty(c, j->at, "KVM0391", "fromParams", &j->fromParams);
	check_nonempty(c, j->at, "KVM0391", "fromCookies", &j->fromCookies);
	for (size_t i = 0; i < j->fromHeaders.n; i++)
		if (!check_is_token(j->fromHeaders.v[i].name))
			check_add(c, "KVM0307", j->at, "fromHeaders: '%.*s' is no header name",
				  STR_ARG(j->fromHeaders.v[i].name));
	for (size_t i = 0; i < j->outputClaimToHeaders.n; i++)
		if (!check_is_token(j->outputClaimToHeaders.v[i].header))
			check_add(c, "KVM0307", j->at,
				  "outputClaimToHeaders: '%.*s' is no header name",
				  STR_ARG(j->outputClaimToHeaders.v[i].header));
}

void check_request_authentication(struct check *c, const struct model_request_authentication *ra)
{
	check_selector(c, ra->selector);
	for (size_t i = 0; i < ra->jwtRules.n; i++)
		check_jwt_rule(c, &ra->jwtRules.v[i]);
	if (ra->jwtRules.n == 0)
		check_add(c, "KVM0208", ra->r.at, "without jwtRules no token is checked");
}

/* ---- AuthorizationPolicy ------------------------------------------------------------------- */

static bool source_is_empty(const struct model_authz_source *s)
{
	return s->principals.n + s->notPrincipals.n + s->requestPrincipals.n +
		       s->notRequestPrincipals.n + s->namespaces.n + s->notNamespaces.n +
		       s->serviceAccounts.n + s->notServiceAccounts.n + s->trustDomains.n +
		       s->notTrustDomains.n + s->ipBlocks.n + s->notIpBlocks.n +
		       s->remoteIpBlocks.n + s->notRemoteIpBlocks.n ==
	       0;
}

static void check_accounts(struct check *c, const struct model_authz_source *s)
{
	const struct str_list *lists[] = { &s->serviceAccounts, &s->notServiceAccounts };

	for (size_t k = 0; k < 2; k++) {
		if (lists[k]->n > 16)
			check_add(c, "KVM0392", s->at, "serviceAccounts takes at most 16 entries");
		for (size_t i = 0; i < lists[k]->n; i++)
			if (str_find(lists[k]->v[i], '*') >= 0 || lists[k]->v[i].n == 0 ||
			    lists[k]->v[i].n > 320)
				check_add(c, "KVM0392", s->at,
					  "serviceAccounts: '%.*s' must be NAMESPACE/ACCOUNT "
					  "without wildcard",
					  STR_ARG(lists[k]->v[i]));
	}
	if (s->serviceAccounts.n + s->notServiceAccounts.n > 0 &&
	    s->principals.n + s->notPrincipals.n + s->namespaces.n + s->notNamespaces.n > 0)
		check_add(c, "KVM0392", s->at,
			  "serviceAccounts excludes principals and namespaces");
}

static void check_source(struct check *c, const struct model_authz_source *s)
{
	if (s == NULL)
		return;
	if (source_is_empty(s))
		check_add(c, "KVM0392", s->at, "source is empty");
	check_cidrs(c, s->at, "ipBlocks", &s->ipBlocks);
	check_cidrs(c, s->at, "notIpBlocks", &s->notIpBlocks);
	check_cidrs(c, s->at, "remoteIpBlocks", &s->remoteIpBlocks);
	check_cidrs(c, s->at, "notRemoteIpBlocks", &s->notRemoteIpBlocks);
	check_nonempty(c, s->at, "KVM0392", "principals", &s->principals);
	check_nonempty(c, s->at, "KVM0392", "namespaces", &s->namespaces);
	check_accounts(c, s);
}

static void check_ports(struct check *c, struct origin at, const struct str_list *l)
{
	uint64_t port;

	for (size_t i = 0; i < l->n; i++)
		if (!str_to_u64(l->v[i], &port) || port < 1 || port > 65535)
			check_add(c, "KVM0392", at, "ports: '%.*s' is no port", STR_ARG(l->v[i]));
}

static void check_operation(struct check *c, const struct model_authz_operation *o)
{
	if (o == NULL)
		return;
	if (o->hosts.n + o->notHosts.n + o->ports.n + o->notPorts.n + o->methods.n +
		    o->notMethods.n + o->paths.n + o->notPaths.n ==
	    0)
		check_add(c, "KVM0392", o->at, "operation is empty");
	check_ports(c, o->at, &o->ports);
	check_ports(c, o->at, &o->notPorts);
	check_nonempty(c, o->at, "KVM0392", "hosts", &o->hosts);
	check_nonempty(c, o->at, "KVM0392", "methods", &o->methods);
	check_nonempty(c, o->at, "KVM0392", "paths", &o->paths);
}

static bool is_known_key(struct str key)
{
	static const char *const words[] = { "source.ip",
					     "remote.ip",
					     "source.namespace",
					     "source.principal",
					     "source.serviceAccount",
					     "source.trustDomain",
					     "request.auth.principal",
					     "request.auth.audiences",
					     "request.auth.presenter",
					     "destination.ip",
					     "destination.port",
					     "connection.sni" };
	static const char *const indexed[] = { "request.headers[", "request.auth.claims[",
					       "experimental.envoy.filters." };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (str_eq(key, str_c(words[i])))
			return true;
	for (size_t i = 0; i < sizeof(indexed) / sizeof(indexed[0]); i++)
		if (str_has_prefix(key, str_c(indexed[i])) && key.p[key.n - 1] == ']' &&
		    key.n > strlen(indexed[i]) + 1)
			return true;
	return false;
}

static void check_condition(struct check *c, const struct model_authz_condition *w)
{
	if (!is_known_key(w->key))
		check_add(c, "KVM0392", w->at, "when: unknown key '%.*s'", STR_ARG(w->key));
	if (w->values.n + w->notValues.n == 0)
		check_add(c, "KVM0392", w->at, "when '%.*s' needs values or notValues",
			  STR_ARG(w->key));
	if (!str_eq(w->key, STR("source.ip")) && !str_eq(w->key, STR("remote.ip")) &&
	    !str_eq(w->key, STR("destination.ip")))
		return;
	check_cidrs(c, w->at, "values", &w->values);
	check_cidrs(c, w->at, "notValues", &w->notValues);
}

/* Only attributes of HTTP: on a TCP port a DENY rule made of them denies everything (2.11.14). */
static bool is_http_only(const struct model_authz_rule *r)
{
	bool http = false;

	for (size_t i = 0; i < r->from.n; i++) {
		const struct model_authz_source *s = r->from.v[i].source;

		if (s == NULL ||
		    s->principals.n + s->namespaces.n + s->ipBlocks.n + s->serviceAccounts.n > 0)
			return false;
		http = true;
	}
	for (size_t i = 0; i < r->to.n; i++) {
		const struct model_authz_operation *o = r->to.v[i].operation;

		if (o == NULL || o->ports.n + o->notPorts.n > 0)
			return false;
		http = true;
	}
	for (size_t i = 0; i < r->when.n; i++) {
		if (!str_has_prefix(r->when.v[i].key, STR("request.")))
			return false;
		http = true;
	}
	return http;
}

static void check_authz_rule(struct check *c, const struct model_authorization_policy *ap,
			     const struct model_authz_rule *r)
{
	if ((r->from.v != NULL && r->from.n == 0) || (r->to.v != NULL && r->to.n == 0))
		check_add(c, "KVM0392", r->at, "from and to may be absent, but not empty");
	for (size_t i = 0; i < r->from.n; i++)
		check_source(c, r->from.v[i].source);
	for (size_t i = 0; i < r->to.n; i++)
		check_operation(c, r->to.v[i].operation);
	for (size_t i = 0; i < r->when.n; i++)
		check_condition(c, &r->when.v[i]);
	if (ap->action == MODEL_AUTHZ_DENY && is_http_only(r))
		check_add(c, "KVM0133", r->at,
			  "the rule looks at HTTP only: on a TCP port it denies every connection");
	if (r->from.n + r->to.n + r->when.n == 0)
		check_add(c, "KVM0208", r->at,
			  "an empty rule matches every request: the policy %s everything",
			  ap->action == MODEL_AUTHZ_DENY    ? "denies"
			  : ap->action == MODEL_AUTHZ_ALLOW ? "allows"
							    : "is for");
}

static void check_dry_run(struct check *c, const struct model_authorization_policy *ap)
{
	struct str v = labels_get(&ap->r.annotations, STR("istio.io/dry-run"));

	if (v.p == NULL)
		return;
	if (!str_eq(v, STR("true")) && !str_eq(v, STR("false")))
		check_add(c, "KVM0392", ap->r.at,
			  "annotation istio.io/dry-run must be \"true\" or \"false\"");
	if (ap->action != MODEL_AUTHZ_ALLOW && ap->action != MODEL_AUTHZ_DENY)
		check_add(c, "KVM0392", ap->r.at,
			  "annotation istio.io/dry-run is for ALLOW and DENY");
}

void check_authorization_policy(struct check *c, const struct model_authorization_policy *ap)
{
	check_selector(c, ap->selector);
	if ((ap->action == MODEL_AUTHZ_DENY || ap->action == MODEL_AUTHZ_CUSTOM) &&
	    ap->rules.n == 0)
		check_add(c, "KVM0392", ap->r.at, "a %s policy needs rules",
			  ap->action == MODEL_AUTHZ_DENY ? "DENY" : "CUSTOM");
	if ((ap->action == MODEL_AUTHZ_CUSTOM) != (ap->provider != NULL))
		check_add(c, "KVM0392", ap->r.at, "provider and action CUSTOM belong together");
	if (ap->action == MODEL_AUTHZ_ALLOW && ap->rules.n == 0)
		check_add(c, "KVM0208", ap->r.at,
			  "ALLOW without rules allows nothing: this policy denies everything");
	for (size_t i = 0; i < ap->rules.n; i++)
		check_authz_rule(c, ap, &ap->rules.v[i]);
	check_dry_run(c, ap);
}

/* ---- Telemetry ----------------------------------------------------------------------------- */

static void check_overrides(struct check *c, const struct model_metrics_override *o)
{
	for (size_t i = 0; i < o->tagOverrides.n; i++) {
		const struct model_tag_override *t = &o->tagOverrides.v[i];

		if (t->operation == MODEL_TAG_UPSERT && t->value.n == 0)
			check_add(c, "KVM0393", o->at, "tagOverrides '%.*s': UPSERT needs a value",
				  STR_ARG(t->key));
		if (t->operation == MODEL_TAG_REMOVE && t->value.n > 0)
			check_add(c, "KVM0393", o->at, "tagOverrides '%.*s': REMOVE takes no value",
				  STR_ARG(t->key));
	}
}

void check_telemetry(struct check *c, const struct model_telemetry *t)
{
	check_selector(c, t->selector);
	if (t->tracing.n > 1)
		check_add(c, "KVM0133", t->r.at, "several tracing blocks: the first is used");
	for (size_t i = 0; i < t->tracing.n; i++)
		if (t->tracing.v[i].providers.n > 1)
			check_add(c, "KVM0133", t->tracing.v[i].at,
				  "several tracing providers: the first is used");
	for (size_t i = 0; i < t->metrics.n; i++)
		for (size_t k = 0; k < t->metrics.v[i].overrides.n; k++)
			check_overrides(c, &t->metrics.v[i].overrides.v[k]);
}
