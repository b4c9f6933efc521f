/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile_authz: the AuthorizationPolicies that are for a local workload, their fields and keys as
 * predicates over attributes (semantics 2.11). Layer config.
 */
#include "config/compile_parts.h"

/* A list of the model and the attribute that it is about. */
struct part {
	const struct str_list *values, *not_values;
	enum snap_attr attr;
};

struct policies {
	struct compile *c;
	size_t cap;
	struct map known;               /* model id → index + 1 */
};

/* ---- values --------------------------------------------------------------------------------- */

static bool is_own_domain(const struct compile *c, struct str domain)
{
	return str_list_has(&c->m->mesh.mesh.trustDomainAliases, domain) ||
	       str_eq(domain, c->m->mesh.mesh.trustDomain) || str_eq(domain, STR("cluster.local"));
}

/* A principal of this mesh is meant under each name that the mesh has (2.11.7). */
static void add_principal(struct compile *c, struct str v, struct str_list *l, size_t *cap)
{
	const struct model_mesh *g = &c->m->mesh;
	ptrdiff_t slash = str_find(v, '/');
	struct str rest = slash < 0 ? STR_NULL : str_skip(v, (size_t)slash);

	if (slash < 0 || !is_own_domain(c, str_take(v, (size_t)slash))) {
		*vec_push_arena(c->a, l->v, l->n, *cap) = v;
		return;
	}
	*vec_push_arena(c->a, l->v, l->n, *cap) = arena_printf(
		c->a, "%.*s%.*s", STR_ARG(g->mesh.trustDomain), STR_ARG(rest));
	for (size_t i = 0; i < g->mesh.trustDomainAliases.n; i++)
		*vec_push_arena(c->a, l->v, l->n, *cap) =
			arena_printf(c->a, "%.*s%.*s", STR_ARG(g->mesh.trustDomainAliases.v[i]),
				     STR_ARG(rest));
}

static struct str_list values_of(struct compile *c, enum snap_attr attr, const struct str_list *from,
				 struct str ns)
{
	struct str_list l = { 0 };
	size_t cap = 0;

	for (size_t i = 0; i < from->n; i++) {
		struct str v = from->v[i];

		if (attr == SNAP_ATTR_PRINCIPAL)
			add_principal(c, v, &l, &cap);
		else if (attr == SNAP_ATTR_SERVICE_ACCOUNT && str_find(v, '/') < 0)
			*vec_push_arena(c->a, l.v, l.n, cap) =
				arena_printf(c->a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(v));
		else
			*vec_push_arena(c->a, l.v, l.n, cap) = v;
	}
	return l;
}

/* ---- predicates ----------------------------------------------------------------------------- */

struct predicates {                     /* the layout of every list of them in a snapshot */
	struct snap_predicate *v;
	size_t n, cap;
	struct compile *c;
	struct str ns;                  /* the policy's */
};

static void add(struct predicates *to, enum snap_attr attr, struct str name,
		const struct str_list *values, bool negate)
{
	if (values->n == 0)
		return;
	*vec_push_arena(to->c->a, to->v, to->n, to->cap) =
		(struct snap_predicate){ .attr = (int)attr,
					 .name = name,
					 .values = values_of(to->c, attr, values, to->ns),
					 .negate = negate };
}

static struct snap_predicates add_parts(struct compile *c, struct str ns, const struct part *v,
					size_t n)
{
	struct predicates l = { .c = c, .ns = ns };

	for (size_t i = 0; i < n; i++) {
		add(&l, v[i].attr, STR(""), v[i].values, false);
		add(&l, v[i].attr, STR(""), v[i].not_values, true);
	}
	return (struct snap_predicates){ .all = { l.v, l.n } };
}

static struct snap_predicates source(struct compile *c, struct str ns,
				     const struct model_authz_source *s)
{
	const struct part parts[] = {
		{ &s->principals, &s->notPrincipals, SNAP_ATTR_PRINCIPAL },
		{ &s->namespaces, &s->notNamespaces, SNAP_ATTR_NAMESPACE },
		{ &s->serviceAccounts, &s->notServiceAccounts, SNAP_ATTR_SERVICE_ACCOUNT },
		{ &s->trustDomains, &s->notTrustDomains, SNAP_ATTR_TRUST_DOMAIN },
		{ &s->ipBlocks, &s->notIpBlocks, SNAP_ATTR_SOURCE_IP },
		{ &s->remoteIpBlocks, &s->notRemoteIpBlocks, SNAP_ATTR_REMOTE_IP },
		{ &s->requestPrincipals, &s->notRequestPrincipals, SNAP_ATTR_REQUEST_PRINCIPAL },
	};

	return add_parts(c, ns, parts, sizeof(parts) / sizeof(parts[0]));
}

static struct snap_predicates operation(struct compile *c, struct str ns,
					const struct model_authz_operation *o)
{
	const struct part parts[] = {
		{ &o->ports, &o->notPorts, SNAP_ATTR_PORT },
		{ &o->hosts, &o->notHosts, SNAP_ATTR_HOST },
		{ &o->methods, &o->notMethods, SNAP_ATTR_METHOD },
		{ &o->paths, &o->notPaths, SNAP_ATTR_PATH },
	};

	return add_parts(c, ns, parts, sizeof(parts) / sizeof(parts[0]));
}

/* Host and method are no fields of a head (Envoy's :authority, :method). */
static enum snap_attr attr_of_header(struct compile *c, struct str *name)
{
	*name = compile_lower(c, *name);
	if (str_eq(*name, STR("host")) || str_eq(*name, STR(":authority"))) {
		*name = STR("");
		return SNAP_ATTR_HOST;
	}
	if (!str_eq(*name, STR(":method")))
		return SNAP_ATTR_HEADER;
	*name = STR("");
	return SNAP_ATTR_METHOD;
}

/* "request.headers[X-Tenant]" → the attribute and "x-tenant". The key was checked (KVM0392). */
static enum snap_attr attr_of_key(struct compile *c, struct str key, struct str *ret_name)
{
	ptrdiff_t bracket = str_find(key, '[');
	struct str word = bracket < 0 ? key : str_take(key, (size_t)bracket);

	*ret_name = STR("");
	if (bracket >= 0) {
		*ret_name = str_skip(key, (size_t)bracket + 1);
		*ret_name = str_take(*ret_name, ret_name->n - 1);
	}
	for (int i = 0; i < SNAP_ATTR__N; i++)
		if (str_eq(word, str_c(snap_attr_names[i]))) {
			return i == SNAP_ATTR_HEADER ? attr_of_header(c, ret_name) :
						       (enum snap_attr)i;
		}
	return SNAP_ATTR__N;
}

static void put_when(struct compile *c, struct str ns, const struct model_authz_rule *r,
		     struct snap_authz_rule *to)
{
	struct predicates l = { .c = c, .ns = ns };

	for (size_t i = 0; i < r->when.n; i++) {
		const struct model_authz_condition *w = &r->when.v[i];
		struct str name;
		enum snap_attr attr = attr_of_key(c, w->key, &name);

		if (attr == SNAP_ATTR__N) {
			compile_error(c, w->at, "when: '%.*s' is no attribute", STR_ARG(w->key));
			continue;
		}
		add(&l, attr, name, &w->values, false);
		add(&l, attr, name, &w->notValues, true);
	}
	to->when.v = l.v;
	to->when.n = l.n;
}

/* ---- policies ------------------------------------------------------------------------------- */

static struct snap_authz_rule rule(struct compile *c, struct str ns, const struct model_authz_rule *r)
{
	struct snap_authz_rule to = { .line = r->at.line };

	to.from.v = arena_new_n(c->a, struct snap_predicates, r->from.n);
	for (size_t i = 0; i < r->from.n; i++)
		to.from.v[to.from.n++] = source(c, ns, r->from.v[i].source);
	to.to.v = arena_new_n(c->a, struct snap_predicates, r->to.n);
	for (size_t i = 0; i < r->to.n; i++)
		to.to.v[to.to.n++] = operation(c, ns, r->to.v[i].operation);
	put_when(c, ns, r, &to);
	return to;
}

static int64_t policy(struct policies *p, const struct model_authorization_policy *ap)
{
	struct compile *c = p->c;
	uintptr_t known = (uintptr_t)map_get(&p->known, ap->r.id);
	struct str dry_run = labels_get(&ap->r.annotations, STR("istio.io/dry-run"));

	if (known > 0)
		return (int64_t)known - 1;
	struct snap_policy *to = compile_push(c, c->s->policies, p->cap);

	*to = (struct snap_policy){ .name = ap->r.name,
				    .ns = ap->r.ns,
				    .action = ap->action,
				    .dry_run = str_eq(dry_run, STR("true")),
				    .file = str_c(ap->r.at.file),
				    .provider = ap->provider ? ap->provider->name : STR_NULL };
	to->rules.v = arena_new_n(c->a, struct snap_authz_rule, ap->rules.n);
	for (; to->rules.n < ap->rules.n; to->rules.n++)
		to->rules.v[to->rules.n] = rule(c, ap->r.ns, &ap->rules.v[to->rules.n]);
	map_put(&p->known, ap->r.id, (void *)(uintptr_t)c->s->policies.n);
	return (int64_t)c->s->policies.n - 1;
}

bool compile_selects(const struct compile *c, struct str ns,
		     const struct model_match_labels *selector, const struct model_workload *w)
{
	return (str_eq(ns, w->r.ns) || str_eq(ns, c->m->mesh.mesh.rootNamespace)) &&
	       (!selector || labels_is_subset(&selector->matchLabels, &w->r.labels));
}

static int by_name(const void *x, const void *y)
{
	const struct model_resource *const *a = x, *const *b = y;
	int r = str_cmp((*a)->ns, (*b)->ns);

	return r != 0 ? r : str_cmp((*a)->name, (*b)->name);
}

const struct model_resource **compile_by_name(struct compile *c, enum model_kind kind, size_t *ret_n)
{
	const struct model_resource **v = arena_new_n(c->a, const struct model_resource *, c->m->of[kind].n);
	size_t n = 0;

	model_for_each(c->m, kind, r)
		v[n++] = r;
	if (n > 1)
		qsort(v, n, sizeof(*v), by_name);
	*ret_n = n;
	return v;
}

void compile_authz(struct compile *c)
{
	struct policies p = { .c = c };
	size_t n;
	const struct model_resource **v = compile_by_name(c, MODEL_KIND_AUTHORIZATION_POLICY, &n);

	map_init(&p.known);
	for (size_t i = 0; i < c->s->workloads.n; i++) {
		struct snap_workload *to = &c->s->workloads.v[i];
		size_t cap = 0;

		if (!c->locals[i])
			continue;
		to->ambiguous_paths = c->locals[i]->pathAmbiguity == MODEL_PATH_ALLOW;
		for (size_t k = 0; k < n; k++) {
			const struct model_authorization_policy *ap = model_as_ap(v[k]);

			if (compile_selects(c, ap->r.ns, ap->selector, c->locals[i]))
				*vec_push_arena(c->a, to->policies.v, to->policies.n, cap) =
					policy(&p, ap);
		}
	}
	map_done(&p.known);
	compile_authorizers(c);
}
