/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delegate: joining routes with those of a delegate, see delegate.h. Layer config. What Istio calls
 * a conflict is one here: a delegate may only narrow what its root selects.
 */
#include "config/delegate.h"

#include "base/vec.h"
#include "config/names.h"

/* ---- one matcher below another -------------------------------------------------------------- */
static bool is_set(const struct model_string_match *m)
{
	return m && (m->exact.n > 0 || m->prefix.n > 0 || m->regex.n > 0);
}

/* What an expression selects cannot be compared with anything. */
static bool leaves(const struct model_string_match *root, const struct model_string_match *sub)
{
	if (!is_set(root) || !is_set(sub))
		return false;
	if (root->regex.n > 0 || sub->regex.n > 0)
		return true;
	if (root->exact.n > 0)
		return !str_eq(sub->exact, root->exact);
	return !str_has_prefix(sub->exact.n > 0 ? sub->exact : sub->prefix, root->prefix);
}

static const struct model_named_match *find_named(const struct model_named_match *v, size_t n,
						  struct str key)
{
	for (size_t i = 0; i < n; i++) {
		if (str_eq(v[i].key, key))
			return &v[i];
	}
	return NULL;
}

#define NAMED(list) (list).v, (list).n

static bool any_leaves(const struct model_named_match *root, size_t n_root,
		       const struct model_named_match *sub, size_t n_sub)
{
	for (size_t i = 0; i < n_sub; i++) {
		const struct model_named_match *r = find_named(root, n_root, sub[i].key);
		if (r && leaves(&r->match, &sub[i].match))
			return true;
	}
	return false;
}

static bool labels_differ(const struct labels *root, const struct labels *sub)
{
	for (size_t i = 0; i < sub->n; i++) {
		for (size_t k = 0; k < root->n; k++) {
			if (str_eq(root->v[k].key, sub->v[i].key) &&
			    !str_eq(root->v[k].val, sub->v[i].val))
				return true;
		}
	}
	return false;
}

static bool gateways_leave(const struct str_list *root, const struct str_list *sub)
{
	for (size_t i = 0; i < sub->n && root->n > 0; i++) {
		if (!str_list_has(root, sub->v[i]))
			return true;
	}
	return false;
}

static bool conflicts(const struct model_http_match *r, const struct model_http_match *s)
{
	return leaves(r->uri, s->uri) || leaves(r->scheme, s->scheme) ||
	       leaves(r->method, s->method) || leaves(r->authority, s->authority) ||
	       any_leaves(NAMED(r->headers), NAMED(s->headers)) ||
	       any_leaves(NAMED(r->withoutHeaders), NAMED(s->withoutHeaders)) ||
	       any_leaves(NAMED(r->queryParams), NAMED(s->queryParams)) ||
	       (is_set(r->uri) && is_set(s->uri) && r->ignoreUriCase != s->ignoreUriCase) ||
	       (r->port > 0 && s->port > 0 && r->port != s->port) ||
	       (r->sourceNamespace.n > 0 && s->sourceNamespace.n > 0 &&
		!str_eq(r->sourceNamespace, s->sourceNamespace)) ||
	       labels_differ(&r->sourceLabels, &s->sourceLabels) ||
	       gateways_leave(&r->gateways, &s->gateways);
}

/* ---- joining -------------------------------------------------------------------------------- */
static struct str join_name(struct str root, struct str sub, struct arena *a)
{
	if (root.n == 0 || sub.n == 0)
		return root.n > 0 ? root : sub;
	return arena_printf(a, "%.*s-%.*s", STR_ARG(root), STR_ARG(sub));
}

/* Those of the delegate, then those that only the root has. */
static struct model_named_match *join_named(const struct model_named_match *root, size_t n_root,
					    const struct model_named_match *sub, size_t n_sub,
					    size_t *ret_n, struct arena *a)
{
	struct model_named_match *v =
		arena_new_n(a, struct model_named_match, n_root + n_sub + 1);
	size_t n = 0;
	for (size_t i = 0; i < n_sub; i++)
		v[n++] = sub[i];
	for (size_t i = 0; i < n_root; i++) {
		if (!find_named(sub, n_sub, root[i].key))
			v[n++] = root[i];
	}
	*ret_n = n;
	return v;
}

#define JOIN_NAMED(to, root, sub, a) \
	((to).v = join_named(NAMED(root), NAMED(sub), &(to).n, a))

static struct labels join_labels(const struct labels *root, const struct labels *sub,
				 struct arena *a)
{
	struct labels l = { .v = arena_new_n(a, struct label, root->n + sub->n + 1), .n = sub->n };
	for (size_t i = 0; i < sub->n; i++)
		l.v[i] = sub->v[i];
	for (size_t i = 0; i < root->n; i++) {
		if (!labels_is_subset(&(struct labels){ &root->v[i], 1 }, sub))
			l.v[l.n++] = root->v[i];
	}
	labels_sort(&l);
	return l;
}

static void join_match(const struct model_http_match *r, const struct model_http_match *s,
		       struct model_http_match *ret, struct arena *a)
{
	*ret = *s;
	ret->name = join_name(r->name, s->name, a);
	ret->uri = is_set(s->uri) ? s->uri : r->uri;
	ret->ignoreUriCase = is_set(s->uri) ? s->ignoreUriCase : r->ignoreUriCase;
	ret->scheme = is_set(s->scheme) ? s->scheme : r->scheme;
	ret->method = is_set(s->method) ? s->method : r->method;
	ret->authority = is_set(s->authority) ? s->authority : r->authority;
	JOIN_NAMED(ret->headers, r->headers, s->headers, a);
	JOIN_NAMED(ret->withoutHeaders, r->withoutHeaders, s->withoutHeaders, a);
	JOIN_NAMED(ret->queryParams, r->queryParams, s->queryParams, a);
	ret->port = s->port > 0 ? s->port : r->port;
	ret->sourceNamespace = s->sourceNamespace.n > 0 ? s->sourceNamespace : r->sourceNamespace;
	ret->sourceLabels = join_labels(&r->sourceLabels, &s->sourceLabels, a);
	ret->gateways = s->gateways.n > 0 ? s->gateways : r->gateways;
}

/* Every block of the delegate under each of the root's that it narrows; false: one fits under none. */
static bool join_matches(const struct model_http_route *root, const struct model_http_route *sub,
			 struct model_http_route *ret, struct arena *a)
{
	size_t cap = 0;
	if (sub->match.n == 0)
		ret->match = root->match;
	if (root->match.n == 0 || sub->match.n == 0)
		return true;
	ret->match.v = NULL;
	ret->match.n = 0;
	for (size_t i = 0; i < sub->match.n; i++) {
		size_t before = ret->match.n;
		for (size_t k = 0; k < root->match.n; k++) {
			if (conflicts(&root->match.v[k], &sub->match.v[i]))
				continue;
			join_match(&root->match.v[k], &sub->match.v[i],
				   vec_push_arena(a, ret->match.v, ret->match.n, cap), a);
		}
		if (ret->match.n == before)
			return false;
	}
	return true;
}

static void inherit_mirror(const struct model_http_route *root, struct model_http_route *to)
{
	if (!to->mirror && to->mirrors.n == 0) {
		to->mirror = root->mirror;
		to->mirrors = root->mirrors;
	}
	if (!to->mirrorPercentage && !to->has_mirrorPercent) {
		to->mirrorPercentage = root->mirrorPercentage;
		to->mirrorPercent = root->mirrorPercent;
		to->has_mirrorPercent = root->has_mirrorPercent;
	}
}

const struct model_http_route *delegate_join(const struct model_http_route *root,
					     const struct model_http_route *sub, struct arena *a)
{
	struct model_http_route *to = arena_new(a, struct model_http_route);
	*to = *sub;
	if (!join_matches(root, sub, to, a))
		return NULL;
	to->name = join_name(root->name, sub->name, a);
	to->rewrite = sub->rewrite || sub->redirect || sub->directResponse ? sub->rewrite
									   : root->rewrite;
	to->timeout = sub->timeout > 0 ? sub->timeout : root->timeout;
	to->retries = sub->retries ? sub->retries : root->retries;
	to->fault = sub->fault ? sub->fault : root->fault;
	to->corsPolicy = sub->corsPolicy ? sub->corsPolicy : root->corsPolicy;
	to->headers = sub->headers ? sub->headers : root->headers;
	inherit_mirror(root, to);
	return to;
}

/* ---- a whole VirtualService ----------------------------------------------------------------- */
const struct model_virtual_service *delegate_find(const struct model *m,
						  const struct model_virtual_service *vs,
						  const struct model_http_route *r)
{
	struct str ns = r->delegate->namespace.n > 0 ? model_ns(m, r->delegate->namespace)
						     : vs->r.ns;
	const struct model_resource *found =
		model_find(m, MODEL_KIND_VIRTUAL_SERVICE, ns, r->delegate->name);
	if (!found)
		return NULL;
	const struct model_virtual_service *to = model_as_vs(found);
	return to->hosts.n == 0 && names_exported(m, &to->exportTo,
						  &m->mesh.mesh.defaultVirtualServiceExportTo, ns,
						  vs->r.ns)
		       ? to
		       : NULL;
}

struct delegate_routes delegate_expand(const struct model *m,
				       const struct model_virtual_service *vs, struct arena *a)
{
	struct delegate_routes l = { 0 };
	size_t cap = 0;
	for (size_t i = 0; i < vs->http.n; i++) {
		const struct model_http_route *root = &vs->http.v[i];
		const struct model_virtual_service *to =
			root->delegate ? delegate_find(m, vs, root) : NULL;
		if (!root->delegate)
			*vec_push_arena(a, l.v, l.n, cap) = (struct delegate_route){ root, vs };
		for (size_t k = 0; to && k < to->http.n; k++) {
			const struct model_http_route *r =
				to->http.v[k].delegate ? NULL
						       : delegate_join(root, &to->http.v[k], a);
			if (r)
				*vec_push_arena(a, l.v, l.n, cap) =
					(struct delegate_route){ r, to };
		}
	}
	return l;
}
