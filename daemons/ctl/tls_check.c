/* SPDX-License-Identifier: Apache-2.0 */
/* tls_check: see tls_check.h. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "ctl/tls_check.h"

const char *const tls_check_status_names[] = { "OK", "CONFLICT", "AUTO", "UNKNOWN" };

static const char *const mode_names[] = { "UNSET", "DISABLE", "PERMISSIVE", "STRICT" };
static const char *const client_names[] = { "DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL" };

/* What is said about the endpoints of one port. */
struct server_side {
	size_t n, n_strict,
		n_mtls; /* endpoints; those that refuse plain text; those that take mTLS */
	bool conflict;
	struct str modes, policies;
};

static bool has_piece(struct str list, struct str piece)
{
	struct str rest = list, p;

	while (rest.p && rest.n > 0 && str_split(&rest, ',', &p))
		if (str_eq(p, piece))
			return true;
	return false;
}

static void add_piece(struct arena *a, struct str *list, struct str piece)
{
	if (piece.n > 0 && !has_piece(*list, piece))
		*list = arena_printf(a, "%.*s%s%.*s", STR_ARG(*list), list->n > 0 ? "," : "",
				     STR_ARG(piece));
}

/* Does this endpoint have a proxy that ends mTLS for it? (Istio rule 2.9.2) */
static bool is_meshed(const struct names_endpoint *e)
{
	if (e->workload)
		return e->workload->inject;
	return str_eq(labels_get(&e->labels, STR("security.istio.io/tlsMode")), STR("istio"));
}

/* Istio's own TLS on a port that the proxy reads as HTTP is the only TLS it takes (rule 2.10.6). */
static bool takes_foreign_tls(enum model_mtls_mode mode, enum snap_protocol protocol)
{
	if (mode == MODEL_MTLS_DISABLE)
		return true;
	return mode == MODEL_MTLS_PERMISSIVE &&
	       (protocol == SNAP_PROTOCOL_TCP || protocol == SNAP_PROTOCOL_TLS ||
		protocol == SNAP_PROTOCOL_AUTO);
}

static bool is_conflict(const struct model_client_tls *tls, bool auto_mtls, bool meshed,
			enum model_mtls_mode mode, enum snap_protocol protocol)
{
	if (!tls)
		return !auto_mtls && meshed && mode == MODEL_MTLS_STRICT;
	switch ((enum model_client_tls_mode)tls->mode) {
	case MODEL_CLIENT_TLS_DISABLE:
		return meshed && mode == MODEL_MTLS_STRICT;
	case MODEL_CLIENT_TLS_ISTIO_MUTUAL:
		return !meshed || mode == MODEL_MTLS_DISABLE;
	case MODEL_CLIENT_TLS_SIMPLE:
	case MODEL_CLIENT_TLS_MUTUAL:
		break;
	}
	return meshed && !takes_foreign_tls(mode, protocol);
}

static void look_at_endpoint(const struct model *m, const struct names_endpoint *e,
			     const struct names_port *port, const struct model_client_tls *tls,
			     struct arena *a, struct server_side *ret)
{
	int64_t target = names_endpoint_port(e, port);
	bool meshed = is_meshed(e);
	struct names_mtls mtls = { .mode = MODEL_MTLS_DISABLE };

	if (target <= 0)
		return;
	if (meshed) {
		mtls = names_mtls(m, e->ns, &e->labels, target);
		add_piece(a, &ret->modes, str_c(mode_names[mtls.mode]));
		if (mtls.by)
			add_piece(a, &ret->policies,
				  arena_printf(a, "%.*s/%.*s", STR_ARG(mtls.by->r.name),
					       STR_ARG(mtls.by->r.ns)));
	} else {
		add_piece(a, &ret->modes, STR("-"));
	}
	ret->n++;
	ret->n_strict += meshed && mtls.mode == MODEL_MTLS_STRICT;
	ret->n_mtls += meshed && mtls.mode != MODEL_MTLS_DISABLE;
	ret->conflict = ret->conflict || is_conflict(tls, m->mesh.mesh.enableAutoMtls, meshed,
						     mtls.mode, port->protocol);
}

static struct server_side look_at_servers(const struct model *m, const struct names_service *s,
					  const struct names_port *port,
					  const struct model_subset *subset,
					  const struct model_client_tls *tls, struct arena *a)
{
	struct names_endpoints eps = names_endpoints(m, s, a);
	struct server_side side = { 0 };

	for (size_t i = 0; i < eps.n; i++)
		if (!subset || labels_is_subset(&subset->labels, &eps.v[i].labels))
			look_at_endpoint(m, &eps.v[i], port, tls, a, &side);
	return side;
}

static struct str client_word(const struct model *m, const struct model_client_tls *tls,
			      const struct server_side *side)
{
	if (tls)
		return str_c(client_names[tls->mode]);
	if (!m->mesh.mesh.enableAutoMtls)
		return STR("plain");
	if (side->n == 0)
		return STR("auto");
	return side->n_mtls == side->n ? STR("mTLS (auto)") :
	       side->n_mtls == 0 ? STR("plain (auto)") : STR("mTLS or plain (auto)");
}

static enum tls_check_status judge(const struct model_client_tls *tls, bool auto_mtls,
				   const struct server_side *side)
{
	if (side->n == 0)
		return TLS_CHECK_UNKNOWN;
	if (side->conflict)
		return TLS_CHECK_CONFLICT;
	/* either side insists: nothing is left to chance */
	if (tls || !auto_mtls || side->n_strict == side->n)
		return TLS_CHECK_OK;
	return TLS_CHECK_AUTO;
}

void tls_check(const struct model *m, const struct names_client *c, const struct names_service *s,
	       const struct names_port *port, struct str subset, struct arena *a,
	       struct tls_check *ret)
{
	struct names_rules rules;
	struct names_policy policy;

	names_rules(m, c, s->host, s->ns, a, &rules);
	names_policy(&rules, subset, port->number, &policy);
	const struct model_subset *sub = subset.n > 0 ? names_subset(&rules, subset, NULL) : NULL;
	struct server_side side = look_at_servers(m, s, port, sub, policy.tls, a);
	const struct model_destination_rule *rule = policy.tls ? policy.tls_by :
						    rules.n > 0 ? rules.v[0] : NULL;

	*ret = (struct tls_check){
		.status = judge(policy.tls, m->mesh.mesh.enableAutoMtls, &side),
		.server = side.modes.n > 0 ? side.modes : STR("-"),
		.client = client_word(m, policy.tls, &side),
		.policy = side.policies,
		.rule = rule ? arena_printf(a, "%.*s/%.*s", STR_ARG(rule->r.name),
					    STR_ARG(rule->r.ns))
			     : STR(""),
		.has_explicit = policy.tls != NULL,
		.explicit_mode = policy.tls ? (enum model_client_tls_mode)policy.tls->mode
					    : MODEL_CLIENT_TLS_DISABLE,
	};
}
