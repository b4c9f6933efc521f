/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_policy: rules inside one PeerAuthentication, RequestAuthentication, AuthorizationPolicy or
 * Telemetry (semantics 2.11, 2.12, 2.18). Layer config.
 */
#include "config/check_parts.h"
#include "snap/snap_jwt.h"

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

/* Public keys for signatures; a symmetric one would let every reader of it make tokens. */
static void check_jwk(struct check *c, const struct model_jwt_rule *j, size_t i,
		      const struct doc *key)
{
	struct str kty = doc_get_str(key, "kty", STR(""));

	if (key->kind != DOC_MAP)
		check_add(c, "KVM0391", j->at, "jwks: key %zu is no object", i);
	else if (!str_eq(kty, STR("RSA")) && !str_eq(kty, STR("EC")) && !str_eq(kty, STR("OKP")))
		check_add(c, "KVM0391", j->at, "jwks: key %zu: kty '%.*s' is none of RSA, EC, OKP", i,
			  STR_ARG(kty));
	else if (doc_get(key, STR("d")) != NULL)
		check_add(c, "KVM0133", j->at,
			  "jwks: key %zu is a private key; only the public part belongs here", i);
}

/* A JWK set: an object with a list of keys. */
static void check_jwks(struct check *c, const struct model_jwt_rule *j)
{
	const struct doc *keys;
	struct doc *set;
	struct err e;

	if (j->keys.n == 0)
		return;
	if (doc_read_json(j->keys, &c->arena, &set, &e) < 0) {
		check_add(c, "KVM0391", j->at, "jwks is no JSON: %s", e.text);
		return;
	}
	keys = doc_get(set, STR("keys"));
	if (keys == NULL || keys->kind != DOC_LIST) {
		check_add(c, "KVM0391", j->at, "jwks has no list 'keys'");
		return;
	}
	if (keys->n > SNAP_JWKS_MAX)
		check_add(c, "KVM0391", j->at, "jwks: more than %d keys", SNAP_JWKS_MAX);
	for (size_t i = 0; i < keys->n; i++)
		check_jwk(c, j, i, keys->v[i]);
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
	if (j->keys_problem.n > 0)
		check_add(c, "KVM0391", j->at, "jwksUri: %.*s", STR_ARG(j->keys_problem));
	else if (j->keys.n == 0 && j->jwksUri.n == 0 && j->issuer.n > 0 &&
		 !str_has_prefix(j->issuer, STR("https://")) && !str_has_prefix(j->issuer, STR("http://")))
		check_add(c, "KVM0391", j->at,
			  "issuer '%.*s' is no URL where its keys could be found: say jwksUri or jwks",
			  STR_ARG(j->issuer));
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

struct named_list {
	const char *name;               /* NULL ends an array of them */
	const struct str_list *l;
};

static void check_all_nonempty(struct check *c, struct origin at, const struct named_list *v)
{
	for (; v->name != NULL; v++)
		check_nonempty(c, at, "KVM0392", v->name, v->l);
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
	check_all_nonempty(c, s->at, (const struct named_list[]){
		{ "principals", &s->principals }, { "notPrincipals", &s->notPrincipals },
		{ "requestPrincipals", &s->requestPrincipals },
		{ "notRequestPrincipals", &s->notRequestPrincipals },
		{ "namespaces", &s->namespaces }, { "notNamespaces", &s->notNamespaces },
		{ "trustDomains", &s->trustDomains }, { "notTrustDomains", &s->notTrustDomains },
		{ NULL, NULL } });
	check_accounts(c, s);
}

static void check_ports(struct check *c, struct origin at, const struct str_list *l)
{
	uint64_t port;

	for (size_t i = 0; i < l->n; i++)
		if (!str_to_u64(l->v[i], &port) || port < 1 || port > 65535)
			check_add(c, "KVM0392", at, "ports: '%.*s' is no port", STR_ARG(l->v[i]));
}

/* Length of an operator at the beginning: "{*}" 3, "{**}" 4, none 0. */
static size_t operator_at(struct str s)
{
	return str_has_prefix(s, STR("{**}")) ? 4 : str_has_prefix(s, STR("{*}")) ? 3 : 0;
}

/* What is wrong with a path that has operators, or NULL (2.11.12). */
static const char *template_error(struct str path)
{
	bool last = false;

	for (size_t i = 0; i < path.n; i++) {
		struct str rest = str_skip(path, i);
		size_t n = operator_at(rest);

		if (n == 0 && str_find(STR("*{}"), path.p[i]) >= 0)
			return "'*', '{' and '}' stand only in {*} and {**}";
		if (n == 0)
			continue;
		if (last)
			return "{**} is the last operator";
		if (i == 0 || path.p[i - 1] != '/' || (rest.n > n && rest.p[n] != '/'))
			return "an operator is a whole segment";
		last = n == 4;
		i += n - 1;
	}
	return NULL;
}

static void check_templates(struct check *c, struct origin at, const char *what,
			    const struct str_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		const char *wrong = str_find_str(l->v[i], STR("{*")) < 0 ? NULL :
									   template_error(l->v[i]);

		if (wrong != NULL)
			check_add(c, "KVM0392", at, "%s: '%.*s' is no path template: %s", what,
				  STR_ARG(l->v[i]), wrong);
	}
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
	check_all_nonempty(c, o->at, (const struct named_list[]){
		{ "hosts", &o->hosts }, { "notHosts", &o->notHosts },
		{ "methods", &o->methods }, { "notMethods", &o->notMethods },
		{ "paths", &o->paths }, { "notPaths", &o->notPaths },
		{ NULL, NULL } });
	check_templates(c, o->at, "paths", &o->paths);
	check_templates(c, o->at, "notPaths", &o->notPaths);
}

/* ---- conditions ---------------------------------------------------------------------------- */

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
	static const char *const indexed[] = { "request.headers[", "request.auth.claims[" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (str_eq(key, str_c(words[i])))
			return true;
	for (size_t i = 0; i < sizeof(indexed) / sizeof(indexed[0]); i++)
		if (str_has_prefix(key, str_c(indexed[i])) && key.p[key.n - 1] == ']' &&
		    key.n > strlen(indexed[i]) + 1)
			return true;
	return false;
}

/* Host and method stand in the head of each request, whatever the protocol calls them. */
static void check_header_key(struct check *c, const struct model_authz_condition *w)
{
	struct str name = STR("request.headers[");

	if (!str_has_prefix(w->key, name))
		return;
	name = str_skip(w->key, name.n);
	name = str_take(name, name.n - 1);
	if (check_is_token(name) || str_ieq(name, STR(":authority")) ||
	    str_ieq(name, STR(":method")))
		return;
	check_add(c, "KVM0392", w->at, "when '%.*s': '%.*s' is no header%s", STR_ARG(w->key),
		  STR_ARG(name),
		  str_ieq(name, STR(":path")) ? "; to.operation.paths looks at the path" : "");
}

static void check_key(struct check *c, const struct model_authz_condition *w)
{
	if (str_has_prefix(w->key, STR("experimental.envoy.filters.")))
		check_add(c, "KVM0392", w->at,
			  "when: '%.*s' asks a filter of Envoy; there are none here",
			  STR_ARG(w->key));
	else if (!is_known_key(w->key))
		check_add(c, "KVM0392", w->at, "when: unknown key '%.*s'", STR_ARG(w->key));
	else
		check_header_key(c, w);
}

static void check_condition_values(struct check *c, const struct model_authz_condition *w,
				   const char *what, const struct str_list *l)
{
	bool account = str_eq(w->key, STR("source.serviceAccount"));

	if (str_eq(w->key, STR("source.ip")) || str_eq(w->key, STR("remote.ip")) ||
	    str_eq(w->key, STR("destination.ip")))
		check_cidrs(c, w->at, what, l);
	if (str_eq(w->key, STR("destination.port")))
		check_ports(c, w->at, l);
	for (size_t i = 0; account && i < l->n; i++)
		if (str_find(l->v[i], '*') >= 0)
			check_add(c, "KVM0392", w->at,
				  "when '%.*s': '%.*s' must be NAMESPACE/ACCOUNT without wildcard; "
				  "source.principal takes them", STR_ARG(w->key), STR_ARG(l->v[i]));
}

static void check_condition(struct check *c, const struct model_authz_condition *w)
{
	check_key(c, w);
	if (w->values.n + w->notValues.n == 0)
		check_add(c, "KVM0392", w->at, "when '%.*s' needs values or notValues",
			  STR_ARG(w->key));
	check_condition_values(c, w, "values", &w->values);
	check_condition_values(c, w, "notValues", &w->notValues);
}

/* An external authorizer is asked before anybody knows who calls (2.11.15). */
static void check_custom(struct check *c, const struct model_authz_rule *r)
{
	static const char *const keys[] = { "source.principal", "source.namespace",
					    "source.serviceAccount", "source.trustDomain" };

	for (size_t i = 0; i < r->from.n; i++) {
		const struct model_authz_source *s = r->from.v[i].source;

		if (s != NULL && s->principals.n + s->notPrincipals.n + s->namespaces.n +
					 s->notNamespaces.n + s->serviceAccounts.n +
					 s->notServiceAccounts.n + s->trustDomains.n +
					 s->notTrustDomains.n + s->requestPrincipals.n +
					 s->notRequestPrincipals.n > 0)
			check_add(c, "KVM0392", s->at, "a CUSTOM rule may not look at identities");
	}
	for (size_t i = 0; i < r->when.n; i++) {
		bool identity = str_has_prefix(r->when.v[i].key, STR("request.auth."));

		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			identity = identity || str_eq(r->when.v[i].key, str_c(keys[k]));
		if (identity)
			check_add(c, "KVM0392", r->when.v[i].at,
				  "a CUSTOM rule may not look at identities ('%.*s')",
				  STR_ARG(r->when.v[i].key));
	}
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
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): n > 0: there is a v */
		check_source(c, r->from.v[i].source);
	for (size_t i = 0; i < r->to.n; i++)
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): as above */
		check_operation(c, r->to.v[i].operation);
	for (size_t i = 0; i < r->when.n; i++)
		check_condition(c, &r->when.v[i]);
	if (ap->action == MODEL_AUTHZ_CUSTOM)
		check_custom(c, r);
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
