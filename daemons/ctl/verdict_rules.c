/* SPDX-License-Identifier: Apache-2.0 */
/* verdict_rules: the rules that are for a workload, in words. Layer daemons/ctl. */
#include "config.h"

#include "ctl/verdict.h"

static struct str predicate_text(struct arena *a, const struct snap_predicate *p)
{
	struct str s = arena_printf(a, "%s", snap_attr_names[p->attr]);

	if (p->name.n > 0)
		s = arena_printf(a, "%.*s[%.*s]", STR_ARG(s), STR_ARG(p->name));
	s = arena_printf(a, "%.*s %s ", STR_ARG(s), p->negate ? "!=" : "=");
	for (size_t i = 0; i < p->values.n; i++)
		s = arena_printf(a, "%.*s%s%.*s", STR_ARG(s), i > 0 ? "|" : "",
				 STR_ARG(p->values.v[i]));
	return s;
}

static struct str joined(struct arena *a, struct str s, const char *by, struct str more)
{
	return s.n > 0 ? arena_printf(a, "%.*s%s%.*s", STR_ARG(s), by, STR_ARG(more)) : more;
}

static struct str alternatives_text(struct arena *a, const struct snap_predicates *v, size_t n)
{
	struct str s = STR("");

	for (size_t i = 0; i < n; i++) {
		struct str one = STR("");

		for (size_t k = 0; k < v[i].all.n; k++)
			one = joined(a, one, ", ", predicate_text(a, &v[i].all.v[k]));
		s = joined(a, s, " or ", one);
	}
	return s;
}

static struct str rule_text(struct arena *a, const struct snap_authz_rule *r)
{
	struct str s = alternatives_text(a, r->from.v, r->from.n);
	struct str to = alternatives_text(a, r->to.v, r->to.n);

	if (to.n > 0)
		s = joined(a, s, "; ", to);
	for (size_t i = 0; i < r->when.n; i++)
		s = joined(a, s, "; ", predicate_text(a, &r->when.v[i]));
	return s.n > 0 ? s : STR("everything");
}

static struct doc *add_row(struct arena *a, struct doc *rows, const struct snap_policy *p)
{
	struct doc *d = doc_add(a, rows, doc_new_map(a));

	doc_set_str(a, d, "action",
		    arena_printf(a, "%s%s%.*s%s", snap_authz_action_names[p->action],
				 p->provider.n > 0 ? " by " : "", STR_ARG(p->provider),
				 p->dry_run ? " (dry run)" : ""));
	doc_set_str(a, d, "policy", arena_printf(a, "%.*s.%.*s", STR_ARG(p->name), STR_ARG(p->ns)));
	return d;
}

static void add_policy(struct arena *a, struct doc *rows, const struct snap_policy *p)
{
	if (p->rules.n == 0)
		doc_set_str(a, add_row(a, rows, p), "what", STR("nothing"));
	for (size_t i = 0; i < p->rules.n; i++) {
		struct doc *d = add_row(a, rows, p);

		doc_set_int(a, d, "rule", (int64_t)i);
		doc_set_str(a, d, "what", rule_text(a, &p->rules.v[i]));
		doc_set_str(a, d, "file", verdict_place(a, p, i));
	}
}

void verdict_rules(struct arena *a, const struct snap *s, size_t workload, struct doc *rows)
{
	/* As they are asked (2.11.2). */
	static const int order[] = { SNAP_AUTHZ_CUSTOM, SNAP_AUTHZ_AUDIT, SNAP_AUTHZ_DENY,
				     SNAP_AUTHZ_ALLOW };
	const struct int_list *l = &s->workloads.v[workload].policies;

	for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++)
		for (size_t i = 0; i < l->n; i++)
			if (s->policies.v[l->v[i]].action == order[k])
				add_policy(a, rows, &s->policies.v[l->v[i]]);
}
