/* SPDX-License-Identifier: Apache-2.0 */
/* cors: origins and the fields for them, see cors.h. Layer core. */
#include "core/cors.h"

struct cors {
	const struct snap_cors *policy;
	const struct regex **patterns;  /* parallel to policy->origins, NULL: no expression */
};

int cors_new(const struct snap_cors *policy, struct regex_cache *cache, struct arena *a,
	     const struct cors **ret, struct err *err)
{
	struct cors *c = arena_new(a, struct cors);
	*c = (struct cors){ .policy = policy };
	c->patterns = arena_new_n(a, const struct regex *, policy->origins.n);
	for (size_t i = 0; i < policy->origins.n; i++) {
		const struct snap_string *o = &policy->origins.v[i];
		int r = o->kind != SNAP_MATCH_REGEX
				? 0
				: regex_cache_whole(cache, o->value, &c->patterns[i], err);
		if (r < 0)
			return r;
	}
	*ret = c;
	return 0;
}

static bool origin_fits(const struct cors *c, size_t i, struct str origin,
			struct regex_scratch *scratch, unsigned *limits)
{
	const struct snap_string *want = &c->policy->origins.v[i];
	enum regex_result r;
	switch ((enum snap_match_kind)want->kind) {
	case SNAP_MATCH_EXACT:
		return str_eq(want->value, STR("*")) || str_eq(want->value, origin);
	case SNAP_MATCH_PREFIX:
		return str_has_prefix(origin, want->value);
	case SNAP_MATCH_REGEX:
		r = regex_match(c->patterns[i], origin, scratch);
		*limits += r == REGEX_LIMIT;
		return r == REGEX_YES;
	case SNAP_MATCH_PRESENT:
	case SNAP_MATCH_KIND__N:
		break;
	}
	return false;
}

bool cors_is_preflight(const struct head *req)
{
	return str_eq(req->method, STR("OPTIONS")) && head_joined(req, STR("origin")).n > 0 &&
	       head_joined(req, STR("access-control-request-method")).n > 0;
}

enum cors_verdict cors_judge(const struct cors *c, const struct head *req,
			     struct regex_scratch *scratch, unsigned *ret_limits)
{
	struct str origin = head_joined(req, STR("origin"));
	if (origin.n == 0)
		return CORS_NOT;
	bool preflight = cors_is_preflight(req);
	for (size_t i = 0; i < c->policy->origins.n; i++) {
		if (origin_fits(c, i, origin, scratch, ret_limits))
			return preflight ? CORS_PREFLIGHT : CORS_ALLOWED;
	}
	return preflight && c->policy->answer_unmatched ? CORS_PREFLIGHT_OTHER : CORS_NOT;
}

/* ---- the answer ----------------------------------------------------------------------------- */
static void set(struct head *h, struct str name, struct str value)
{
	if (value.n > 0)
		head_set(h, name, value);
}

static void put_origin(const struct cors *c, struct str origin, struct head *res)
{
	set(res, STR("access-control-allow-origin"), origin);
	if (c->policy->credentials)
		set(res, STR("access-control-allow-credentials"), STR("true"));
}

void cors_put(const struct cors *c, struct str origin, struct head *res)
{
	put_origin(c, origin, res);
	set(res, STR("access-control-expose-headers"), c->policy->expose);
}

void cors_put_preflight(const struct cors *c, struct str origin, struct head *res)
{
	put_origin(c, origin, res);
	set(res, STR("access-control-allow-methods"), c->policy->methods);
	set(res, STR("access-control-allow-headers"), c->policy->headers);
	set(res, STR("access-control-max-age"), c->policy->max_age);
}
