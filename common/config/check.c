/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check: see check.h. The driver: every resource by itself, then everything together. Layer config.
 */
#include "config/check_parts.h"

void check_begin(struct check *c, const struct model_resource *r)
{
	c->r = r;
	c->what = r != NULL ? model_label(r, &c->arena) : STR("kvmesh.conf");
}

/* Does the annotation's list name this rule, by our code, Istio's, or "*"? */
static bool lists_rule(struct str list, const struct check_rule *rule)
{
	struct str piece;

	while (str_split(&list, ',', &piece)) {
		piece = str_trim(piece);
		if (str_eq(piece, STR("*")) || str_eq(piece, str_c(rule->code)) ||
		    (rule->istio[0] != '\0' && str_eq(piece, str_c(rule->istio))))
			return true;
	}
	return false;
}

static bool is_silenced(const struct check *c, const struct check_rule *rule)
{
	const struct labels *a;

	if (c->r == NULL || rule->level == ERR_LEVEL_ERROR)
		return false;
	a = &c->r->annotations;
	return lists_rule(labels_get(a, STR("galley.istio.io/analyze-suppress")), rule) ||
	       lists_rule(labels_get(a, STR("kvmesh.io/analyze-suppress")), rule);
}

void check_add(struct check *c, const char *code, struct origin at, const char *fmt, ...)
{
	const struct check_rule *rule = check_rule_find(str_c(code));
	struct str text;
	va_list ap;

	kv_assert(rule != NULL);
	if (is_silenced(c, rule))
		return;
	va_start(ap, fmt);
	text = arena_vprintf(&c->arena, fmt, ap);
	va_end(ap);
	if (at.line == 0 && c->r != NULL)
		at = c->r->at;
	err_list_add(c->errs, rule->level, rule->level == ERR_LEVEL_ERROR ? KV_ERR_CHECK : 0, code,
		     at, "%.*s: %.*s", STR_ARG(c->what), STR_ARG(text));
}

static void check_name(struct check *c, const struct model_resource *r)
{
	struct str rest = r->name, piece;
	bool good = r->name.n <= 253;

	while (str_split(&rest, '.', &piece))
		good = good && check_is_label(piece);
	if (!good)
		check_add(c, "KVM0301", r->at,
			  "the name must be lower-case letters, digits, '-' and '.', is '%.*s'",
			  STR_ARG(r->name));
	if (!check_is_label(r->ns))
		check_add(c, "KVM0301", r->at,
			  "the namespace must be lower-case letters, digits and '-', is '%.*s'",
			  STR_ARG(r->ns));
}

static void check_kind(struct check *c, const struct model_resource *r)
{
	switch (r->kind) {
	case MODEL_KIND_VIRTUAL_SERVICE:
		return check_virtual_service(c, model_as_vs(r));
	case MODEL_KIND_DESTINATION_RULE:
		return check_destination_rule(c, model_as_dr(r));
	case MODEL_KIND_GATEWAY:
		return check_gateway(c, model_as_gateway(r));
	case MODEL_KIND_SERVICE_ENTRY:
		return check_service_entry(c, model_as_se(r));
	case MODEL_KIND_WORKLOAD_ENTRY:
		return check_workload_entry(c, model_as_we(r));
	case MODEL_KIND_SIDECAR:
		return check_sidecar(c, model_as_sidecar(r));
	case MODEL_KIND_PEER_AUTHENTICATION:
		return check_peer_authentication(c, model_as_pa(r));
	case MODEL_KIND_REQUEST_AUTHENTICATION:
		return check_request_authentication(c, model_as_ra(r));
	case MODEL_KIND_AUTHORIZATION_POLICY:
		return check_authorization_policy(c, model_as_ap(r));
	case MODEL_KIND_TELEMETRY:
		return check_telemetry(c, model_as_telemetry(r));
	case MODEL_KIND_SERVICE:
		return check_service(c, model_as_service(r));
	case MODEL_KIND_WORKLOAD:
		return check_workload(c, model_as_workload(r));
	case MODEL_KIND_NAMESPACE:
		return check_namespace(c, model_as_namespace(r));
	case MODEL_KIND__N:
		break;
	}
}

int model_check(const struct model *m, struct err_list *errs)
{
	struct check c = { .m = m, .errs = errs };
	size_t before = errs->n_errors;

	arena_init(&c.arena, 0);
	names_registry_init(&c.reg, m, &c.arena);
	for (int k = 0; k < MODEL_KIND__N; k++)
		model_for_each(m, k, r) {
			check_begin(&c, r);
			check_name(&c, r);
			check_fields(&c);
			check_kind(&c, r);
		}
	check_settings(&c);
	check_references(&c);
	check_scopes(&c);
	check_workloads(&c);
	check_mtls(&c);
	check_residency(&c);
	check_practice(&c);
	names_registry_done(&c.reg);
	arena_done(&c.arena);
	err_list_sort(errs);
	return errs->n_errors > before ? KV_ERR_CHECK : 0;
}
