/* SPDX-License-Identifier: Apache-2.0 */
/* verdict: see verdict.h. Layer daemons/ctl. */
#include "config.h"

#include "ctl/verdict.h"

static const char *reason(const struct authz *z, size_t workload, const struct authz_verdict *v)
{
	if (v->custom && v->allowed)
		return "once the external authorizer has allowed it";
	if (v->policy && v->policy->action == SNAP_AUTHZ_CUSTOM)
		return "a rule wants it asked about, and there is no one authorizer to ask";
	if (v->ambiguous)
		return "the path has another reading, which is not allowed";
	if (v->policy)
		return v->allowed ? "a rule allows it" : "a rule refuses it";
	if (!v->allowed)
		return "there are ALLOW policies, and none of their rules fits";
	return authz_has_policies(z, workload) ? "no ALLOW policy limits who may"
					       : "no policy is for this workload";
}

struct str verdict_place(struct arena *a, const struct snap_policy *p, size_t rule)
{
	return arena_printf(a, "%.*s:%lld", STR_ARG(p->file), (long long)p->rules.v[rule].line);
}

void verdict_put(struct arena *a, struct doc *d, const struct authz *z, size_t workload,
		 const struct authz_verdict *v)
{
	const struct snap_policy *p = v->policy;

	doc_set_str(a, d, "verdict", v->allowed ? STR("ALLOWED") : STR("DENIED"));
	doc_set_str(a, d, "why", str_c(reason(z, workload, v)));
	if (v->custom)
		doc_set_str(a, d, "asks", v->custom->provider);
	if (!p)
		return;
	doc_set_str(a, d, "policy", arena_printf(a, "%.*s.%.*s", STR_ARG(p->name), STR_ARG(p->ns)));
	doc_set_int(a, d, "rule", (int64_t)v->rule);
	doc_set_str(a, d, "file", verdict_place(a, p, v->rule));
}
