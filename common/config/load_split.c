/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_split: see load_split.h. Layer config.
 */
#include "config/load_split.h"

#include "base/vec.h"

/* Kinds of Istio that kvmesh has no counterpart for: silence would be wrong. */
static const char *const other_istio_kinds[] = { "EnvoyFilter", "WasmPlugin",       "WorkloadGroup",
						 "ProxyConfig", "TrafficExtension", "IstioOperator",
						 NULL };

/* Kubernetes' kinds that ship in the same files and do not concern a mesh without Kubernetes. */
static const char *const kubernetes_kinds[] = { "APIService",
						"ClusterRole",
						"ClusterRoleBinding",
						"ConfigMap",
						"ControllerRevision",
						"CronJob",
						"CSIDriver",
						"CustomResourceDefinition",
						"DaemonSet",
						"Deployment",
						"EndpointSlice",
						"Endpoints",
						"Event",
						"HorizontalPodAutoscaler",
						"Ingress",
						"IngressClass",
						"Job",
						"Lease",
						"LimitRange",
						"MutatingWebhookConfiguration",
						"NetworkPolicy",
						"Node",
						"PersistentVolume",
						"PersistentVolumeClaim",
						"Pod",
						"PodDisruptionBudget",
						"PodTemplate",
						"PriorityClass",
						"ReplicaSet",
						"ReplicationController",
						"ResourceQuota",
						"Role",
						"RoleBinding",
						"RuntimeClass",
						"Secret",
						"ServiceAccount",
						"StatefulSet",
						"StorageClass",
						"ValidatingWebhookConfiguration",
						NULL };

static const char *const kubernetes_groups[] = { "",       "apps",       "batch", "autoscaling",
						 "policy", "extensions", NULL };

static bool is_one_of(struct str s, const char *const *names)
{
	for (size_t i = 0; names[i] != NULL; i++)
		if (str_eq(s, str_c(names[i])))
			return true;
	return false;
}

static void nearer(struct str name, const char *candidate, const char **best,
		   unsigned *best_distance)
{
	unsigned d = str_distance(name, str_c(candidate), *best_distance);

	if (d < *best_distance) {
		*best = candidate;
		*best_distance = d;
	}
}

/* " (did you mean 'X'?)" for a misspelt kind (or group of settings), or "". */
static struct str kind_hint(struct str name, bool settings, struct arena *a)
{
	const char *best = NULL;
	unsigned best_distance = name.n < 6 ? 2 : 4;

	for (int k = 0; k < MODEL_KIND__N; k++)
		nearer(name, model_kind_name((enum model_kind)k), &best, &best_distance);
	for (const struct field *f = model_mesh_table.fields; settings && f->name != NULL; f++)
		nearer(name, f->name, &best, &best_distance);
	return best != NULL ? arena_printf(a, " (did you mean '%s'?)", best) : STR("");
}

static const struct model_kind_info *kind_exact(struct str name)
{
	const struct model_kind_info *k = model_kind_find(name);

	return k != NULL && str_eq(name, str_c(k->name)) ? k : NULL;
}

bool load_is_settings(struct str name)
{
	for (const struct field *f = model_mesh_table.fields; f->name != NULL; f++)
		if (str_eq(name, str_c(f->name)))
			return true;
	return false;
}

static void add_raw(struct load_found *ret, struct arena *a, const struct load_raw *raw)
{
	*vec_push_arena(a, ret->raws, ret->n_raws, ret->cap_raws) = *raw;
}

static struct doc *empty_map(struct arena *a, struct origin at)
{
	struct doc *d = doc_new_map(a);

	d->at = at;
	return d;
}

/* The member name of d as a map; absent or null: an empty one; another type: an error and NULL. */
static struct doc *map_member(struct doc *d, const char *name, struct arena *a,
			      struct err_list *errs)
{
	struct doc *m = doc_get(d, str_c(name));

	if (m == NULL || m->kind == DOC_NULL)
		return empty_map(a, d->at);
	if (m->kind == DOC_MAP)
		return m;
	err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106", m->at,
		     "'%s' must be a map, is a %s", name, doc_kind_name(m->kind));
	return NULL;
}

/* Only these names may stand beside metadata and spec. */
static int check_envelope(const struct doc *d, struct err_list *errs)
{
	static const char *const known[] = { "apiVersion", "kind",   "metadata",
					     "spec",       "status", NULL };
	int r = 0;

	for (size_t i = 0; i < d->n; i++)
		if (!is_one_of(d->v[i]->key, known))
			r = err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106",
					 d->v[i]->key_at,
					 "unknown field '%.*s' beside metadata and spec",
					 STR_ARG(d->v[i]->key));
	return r;
}

/* { metadata, spec } of a known kind. */
static int add_enveloped(const struct model_kind_info *k, struct doc *d, enum doc_syntax syntax,
			 struct arena *a, struct load_found *ret, struct err_list *errs)
{
	struct load_raw raw = { .kind = k, .at = d->at, .syntax = syntax };
	int r = check_envelope(d, errs);

	raw.metadata = map_member(d, "metadata", a, errs);
	raw.spec = map_member(d, "spec", a, errs);
	raw.status = doc_get(d, STR("status"));
	if (r < 0 || raw.metadata == NULL || raw.spec == NULL)
		return KV_ERR_SCHEMA;
	add_raw(ret, a, &raw);
	return 0;
}

/* ---- Istio's shape: YAML and JSON ---------------------------------------------------------- */

static void split_api_version(struct str api, struct str *ret_group, struct str *ret_version)
{
	ptrdiff_t slash = str_rfind(api, '/');

	*ret_group = slash < 0 ? STR("") : str_take(api, (size_t)slash);
	*ret_version = slash < 0 ? api : str_skip(api, (size_t)slash + 1);
}

static bool is_kubernetes_group(struct str group)
{
	return is_one_of(group, kubernetes_groups) || str_has_suffix(group, STR(".k8s.io"));
}

/*
 * A kind that is not ours, or of a group that is not its own: an error unless it is Kubernetes'
 * own affair.
 */
static int foreign_kind(struct str kind, struct str group, const struct doc *at, struct arena *a,
			struct err_list *errs)
{
	if (str_eq(group, STR("gateway.networking.k8s.io")))
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0003", at->at,
				    "kind '%.*s' of the Kubernetes Gateway API is not supported: "
				    "use Gateway and VirtualService of networking.istio.io",
				    STR_ARG(kind));
	if (is_kubernetes_group(group) && is_one_of(kind, kubernetes_kinds)) {
		err_list_add(errs, ERR_LEVEL_WARNING, 0, "KVM0004", at->at,
			     "kind '%.*s' belongs to Kubernetes and is ignored", STR_ARG(kind));
		return 0;
	}
	if (str_has_suffix(group, STR("istio.io")) && is_one_of(kind, other_istio_kinds))
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0003", at->at,
				    "kind '%.*s' of Istio is not supported", STR_ARG(kind));
	if (kind_exact(kind) != NULL)
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0003", at->at,
				    "kind '%.*s' does not belong to apiVersion '%.*s'",
				    STR_ARG(kind), STR_ARG(at->s));
	return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0003", at->at,
			    "unknown kind '%.*s'%.*s", STR_ARG(kind),
			    STR_ARG(kind_hint(kind, false, a)));
}

static bool has_version(const struct model_kind_info *k, struct str version)
{
	struct str rest = str_c(k->versions), piece;

	while (str_split(&rest, ' ', &piece))
		if (str_eq(piece, version))
			return true;
	return false;
}

static struct str text_of(const struct doc *d, const char *name)
{
	const struct doc *m = doc_get(d, str_c(name));

	return m != NULL && m->kind == DOC_STR ? m->s : STR_NULL;
}

static int split_document(struct doc *d, enum doc_syntax syntax, struct arena *a, unsigned depth,
			  struct load_found *ret, struct err_list *errs);

/* kind: List, or any …List with items, as kubectl get -o yaml writes. */
static int split_items(const struct doc *items, enum doc_syntax syntax, struct arena *a,
		       unsigned depth, struct load_found *ret, struct err_list *errs)
{
	int r = 0;

	if (items->kind == DOC_NULL)
		return 0;
	if (items->kind != DOC_LIST)
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106", items->at,
				    "'items' must be a list, is a %s", doc_kind_name(items->kind));
	for (size_t i = 0; i < items->n; i++) {
		int ri = split_document(items->v[i], syntax, a, depth + 1, ret, errs);

		r = r < 0 ? r : ri;
	}
	return r;
}

static int split_typed(struct doc *d, struct str kind, struct str api, enum doc_syntax syntax,
		       struct arena *a, struct load_found *ret, struct err_list *errs)
{
	const struct model_kind_info *k = kind_exact(kind);
	struct str group, version;

	split_api_version(api, &group, &version);
	if (k == NULL || !str_eq(group, str_c(k->group)))
		return foreign_kind(kind, group,
				    doc_get(d, k == NULL ? STR("kind") : STR("apiVersion")), a,
				    errs);
	if (!has_version(k, version))
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0003",
				    doc_get(d, STR("apiVersion"))->at,
				    "kind '%s' has no version '%.*s' (known: %s)", k->name,
				    STR_ARG(version), k->versions);
	return add_enveloped(k, d, syntax, a, ret, errs);
}

static int split_document(struct doc *d, enum doc_syntax syntax, struct arena *a, unsigned depth,
			  struct load_found *ret, struct err_list *errs)
{
	struct str kind, api;

	if (d->kind == DOC_NULL)
		return 0;
	if (d->kind == DOC_LIST && syntax == DOC_SYNTAX_JSON && depth == 0)
		return split_items(d, syntax, a, depth, ret, errs);
	if (d->kind != DOC_MAP)
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106", d->at,
				    "a resource must be a map, is a %s", doc_kind_name(d->kind));
	kind = text_of(d, "kind");
	api = text_of(d, "apiVersion");
	if (kind.n == 0 || api.n == 0)
		return err_list_add(
			errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0003", d->at,
			"'%s' is missing: a resource has apiVersion, kind, metadata and spec",
			kind.n == 0 ? "kind" : "apiVersion");
	if (str_has_suffix(kind, STR("List")) && doc_get(d, STR("items")) != NULL && depth < 4)
		return split_items(doc_get(d, STR("items")), syntax, a, depth, ret, errs);
	return split_typed(d, kind, api, syntax, a, ret, errs);
}

/* ---- native shape -------------------------------------------------------------------------- */

/* Does this name of a flat resource belong to metadata? WorkloadEntry has labels in its spec. */
static bool is_metadata_name(const struct model_kind_info *k, struct str name)
{
	static const char *const names[] = { "name",        "namespace",         "labels",
					     "annotations", "creationTimestamp", NULL };

	return is_one_of(name, names) && bind_find(k->table, name) == NULL;
}

/* A map with room for n members of another one. */
static struct doc *map_for(size_t n, struct origin at, struct arena *a)
{
	struct doc *d = empty_map(a, at);

	d->v = arena_new_n(a, struct doc *, n > 0 ? n : 1);
	return d;
}

static int split_native_one(const struct model_kind_info *k, struct doc *d, struct arena *a,
			    struct load_found *ret, struct err_list *errs)
{
	struct load_raw raw = { .kind = k, .at = d->at, .syntax = DOC_SYNTAX_NATIVE };

	if (d->kind != DOC_MAP)
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106", d->at,
				    "%s must be a group or a list of groups, is a %s", k->name,
				    doc_kind_name(d->kind));
	if (doc_get(d, STR("spec")) != NULL || doc_get(d, STR("metadata")) != NULL)
		return add_enveloped(k, d, DOC_SYNTAX_NATIVE, a, ret, errs);
	raw.metadata = map_for(d->n, d->at, a);
	raw.spec = map_for(d->n, d->at, a);
	for (size_t i = 0; i < d->n; i++) {
		struct doc *to = is_metadata_name(k, d->v[i]->key) ? raw.metadata : raw.spec;

		to->v[to->n++] = d->v[i];
	}
	add_raw(ret, a, &raw);
	return 0;
}

/* The value of a top-level name that is a kind: one resource or a list of them. */
static int split_native_kind(struct doc *d, struct arena *a, struct load_found *ret,
			     struct err_list *errs)
{
	const struct model_kind_info *k = kind_exact(d->key);
	int r = 0;

	if (k == NULL)
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0003", d->key_at,
				    "unknown kind '%.*s'%.*s", STR_ARG(d->key),
				    STR_ARG(kind_hint(d->key, true, a)));
	if (d->kind != DOC_LIST)
		return split_native_one(k, d, a, ret, errs);
	for (size_t i = 0; i < d->n; i++) {
		int ri = split_native_one(k, d->v[i], a, ret, errs);

		r = r < 0 ? r : ri;
	}
	return r;
}

static int split_native(const struct doc *d, struct arena *a, struct load_found *ret,
			struct err_list *errs)
{
	struct doc *settings = map_for(d->n, d->at, a);
	int r = 0;

	for (size_t i = 0; i < d->n; i++) {
		int ri = 0;

		if (load_is_settings(d->v[i]->key))
			settings->v[settings->n++] = d->v[i];
		else
			ri = split_native_kind(d->v[i], a, ret, errs);
		r = r < 0 ? r : ri;
	}
	if (settings->n > 0)
		*vec_push_arena(a, ret->settings, ret->n_settings, ret->cap_settings) = settings;
	return r;
}

int load_split(const struct doc_file *f, struct arena *a, struct load_found *ret,
	       struct err_list *errs)
{
	int r = 0;

	for (size_t i = 0; i < f->n; i++) {
		struct doc *d = f->docs[i];
		int ri = 0;

		if (f->syntax != DOC_SYNTAX_NATIVE)
			ri = split_document(d, f->syntax, a, 0, ret, errs);
		else if (d->kind == DOC_MAP)
			ri = split_native(d, a, ret, errs);
		r = r < 0 ? r : ri;
	}
	return r;
}
