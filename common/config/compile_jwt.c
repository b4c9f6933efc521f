/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_jwt: the tokens that a local workload accepts, from the RequestAuthentications that are
 * for it (semantics 2.12). Layer config.
 */
#include "config/compile_parts.h"

struct rules {
	struct compile *c;
	size_t cap;
	struct map known;               /* model id → index of its first rule + 1 */
};

/* ---- keys ----------------------------------------------------------------------------------- */

#define FETCH_US (5 * 1000 * 1000)      /* Istio's timeout */

static bool is_url(struct str s)
{
	return str_has_prefix(s, STR("https://")) || str_has_prefix(s, STR("http://"));
}

/* Neither keys nor where they are: the issuer tells (2.12.6). */
static bool is_discovered(const struct model_jwt_rule *j)
{
	return j->keys.n == 0 && j->jwksUri.n == 0 && is_url(j->issuer);
}

static struct str well_known(struct compile *c, struct str issuer)
{
	struct str base = str_has_suffix(issuer, STR("/")) ? str_take(issuer, issuer.n - 1) : issuer;

	return arena_printf(c->a, "%.*s/.well-known/openid-configuration", STR_ARG(base));
}

/* A set that is here was checked (KVM0391). */
static void put_keys(struct compile *c, const struct model_jwt_rule *j, struct snap_jwt_rule *to)
{
	if (j->keys.n > 0)
		(void)snap_jwk_set(j->keys, c->a, to, NULL);
	to->discover = is_discovered(j);
	if (to->discover)
		to->uri = well_known(c, j->issuer);
	else if (j->keys.n == 0 && is_url(j->jwksUri))
		to->uri = j->jwksUri;
	else
		return;
	to->timeout_us = j->has_timeout && j->timeout > 0 ? j->timeout : FETCH_US;
}

/* ---- where a token is ------------------------------------------------------------------------ */

/* Without a place of its own: Authorization and access_token (2.12.3). */
static void put_places(struct compile *c, const struct model_jwt_rule *j, struct snap_jwt_rule *to)
{
	static struct str dflt_param = STR("access_token");
	bool dflt = j->fromHeaders.n + j->fromParams.n + j->fromCookies.n == 0;
	size_t n = dflt ? 1 : j->fromHeaders.n;

	to->headers.v = arena_new_n(c->a, struct snap_jwt_header, n);
	to->headers.n = n;
	if (dflt)
		to->headers.v[0] = (struct snap_jwt_header){ STR("authorization"), STR("Bearer ") };
	for (size_t i = 0; i < j->fromHeaders.n; i++)
		to->headers.v[i] = (struct snap_jwt_header){
			compile_lower(c, j->fromHeaders.v[i].name), j->fromHeaders.v[i].prefix
		};
	to->params = dflt ? (struct str_list){ .v = &dflt_param, .n = 1 } : j->fromParams;
	to->cookies = j->fromCookies;
}

static void put_outputs(struct compile *c, const struct model_jwt_rule *j, struct snap_jwt_rule *to)
{
	static struct str dflt_spaced[] = { STR("scope"), STR("permission") };

	to->payload_header = compile_lower(c, j->outputPayloadToHeader);
	to->forward = j->forwardOriginalToken;
	to->claims.v = arena_new_n(c->a, struct snap_jwt_claim, j->outputClaimToHeaders.n);
	for (; to->claims.n < j->outputClaimToHeaders.n; to->claims.n++) {
		const struct model_claim_to_header *h = &j->outputClaimToHeaders.v[to->claims.n];

		to->claims.v[to->claims.n] =
			(struct snap_jwt_claim){ compile_lower(c, h->header), h->claim };
	}
	to->spaced = j->spaceDelimitedClaims.n > 0 ? j->spaceDelimitedClaims :
						     (struct str_list){ .v = dflt_spaced, .n = 2 };
}

/* ---- rules ----------------------------------------------------------------------------------- */

static int64_t first_rule(struct rules *r, const struct model_request_authentication *ra)
{
	struct compile *c = r->c;
	uintptr_t known = (uintptr_t)map_get(&r->known, ra->r.id);
	size_t first = c->s->jwt_rules.n;

	if (known > 0)
		return (int64_t)known - 1;
	for (size_t i = 0; i < ra->jwtRules.n; i++) {
		const struct model_jwt_rule *j = &ra->jwtRules.v[i];
		struct snap_jwt_rule *to = compile_push(c, c->s->jwt_rules, r->cap);

		*to = (struct snap_jwt_rule){ .issuer = j->issuer,
					      .audiences = j->audiences,
					      .file = str_c(j->at.file),
					      .line = j->at.line };
		put_keys(c, j, to);
		put_places(c, j, to);
		put_outputs(c, j, to);
	}
	map_put(&r->known, ra->r.id, (void *)(uintptr_t)(first + 1));
	return (int64_t)first;
}

void compile_jwt(struct compile *c)
{
	struct rules r = { .c = c };
	size_t n;
	const struct model_resource **v = compile_by_name(c, MODEL_KIND_REQUEST_AUTHENTICATION, &n);

	map_init(&r.known);
	for (size_t i = 0; i < c->s->workloads.n; i++) {
		struct snap_workload *to = &c->s->workloads.v[i];
		size_t cap = 0;

		for (size_t k = 0; c->locals[i] && k < n; k++) {
			const struct model_request_authentication *ra = model_as_ra(v[k]);

			if (!compile_selects(c, ra->r.ns, ra->selector, c->locals[i]))
				continue;
			int64_t first = first_rule(&r, ra);

			for (size_t m = 0; m < ra->jwtRules.n; m++)
				*vec_push_arena(c->a, to->jwt_rules.v, to->jwt_rules.n, cap) =
					first + (int64_t)m;
		}
	}
	map_done(&r.known);
}
