/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_canon: the canonical form of a resource: what bind_canon does by table, and the few places
 * where a value's type depends on more than its field (maps to numbers, number-or-name). Layer
 * config.
 */
#include "config/load_split.h"

static bool is_decimal(const struct doc *d, int64_t *ret)
{
	if (d->kind == DOC_INT) {
		*ret = d->i;
		return true;
	}
	return d->kind == DOC_STR && str_to_i64(d->s, ret);
}

/* Give *d another value; its name and place stay. */
static void become(struct doc *d, const struct doc *value)
{
	struct str key = d->key;
	struct origin at = d->at, key_at = d->key_at;

	*d = *value;
	d->key = key;
	d->at = at;
	d->key_at = key_at;
}

static void become_int(struct doc *d, int64_t i, struct arena *a)
{
	become(d, doc_new_int(a, i));
}

/* One entry of a list form, { key, value } or "key=value", as a named number; NULL: neither. */
static struct doc *int_entry(const struct doc *d, struct arena *a)
{
	const struct doc *key = doc_get(d, STR("key")), *value = doc_get(d, STR("value"));
	struct doc *e = NULL;
	int64_t i;

	if (d->kind == DOC_STR) {
		ptrdiff_t eq = str_find(d->s, '=');

		if (eq <= 0 || !str_to_i64(str_skip(d->s, (size_t)eq + 1), &i))
			return NULL;
		e = doc_new_int(a, i);
		e->key = str_take(d->s, (size_t)eq);
	} else if (key != NULL && value != NULL && d->n == 2 && key->kind == DOC_STR &&
		   is_decimal(value, &i)) {
		e = doc_new_int(a, i);
		e->key = key->s;
	} else {
		return NULL;
	}
	e->at = e->key_at = d->at;
	return e;
}

static int not_numbers(const struct doc *d, const char *what, struct err_list *errs)
{
	return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106", d->at,
			    "%s must map names to numbers", what);
}

/* Any of the three forms of a map → a map whose values are numbers. d == NULL: absent, fine. */
static int canon_int_map(struct doc *d, const char *what, struct arena *a, struct err_list *errs)
{
	struct doc *map;
	int64_t i;

	if (d == NULL)
		return 0;
	if (d->kind != DOC_MAP && d->kind != DOC_LIST)
		return not_numbers(d, what, errs);
	map = doc_new_map(a);
	map->v = arena_new_n(a, struct doc *, d->n + 1);
	for (size_t k = 0; k < d->n; k++) {
		struct doc *e = d->v[k];

		if (d->kind == DOC_LIST) {
			e = int_entry(e, a);
			if (e == NULL || doc_get(map, e->key) != NULL)
				return not_numbers(d->v[k], what, errs);
		} else if (is_decimal(e, &i)) {
			become_int(e, i, a);
		} else {
			return not_numbers(e, what, errs);
		}
		map->v[map->n++] = e;
	}
	become(d, map);
	return 0;
}

static struct doc *list_member(const struct doc *d, const char *name)
{
	struct doc *m = d != NULL ? doc_get(d, str_c(name)) : NULL;

	return m != NULL && m->kind == DOC_LIST ? m : NULL;
}

int load_canon_locality(const struct doc *locality, struct arena *a, struct err_list *errs)
{
	struct doc *distribute = list_member(locality, "distribute");
	int r = 0;

	for (size_t i = 0; distribute != NULL && i < distribute->n; i++) {
		int ri = canon_int_map(doc_get(distribute->v[i], STR("to")),
				       "localityLbSetting.distribute.to", a, errs);

		r = r < 0 ? r : ri;
	}
	return r;
}

static int canon_balancer(const struct doc *policy, struct arena *a, struct err_list *errs)
{
	const struct doc *lb = policy != NULL ? doc_get(policy, STR("loadBalancer")) : NULL;

	return load_canon_locality(lb != NULL ? doc_get(lb, STR("localityLbSetting")) : NULL, a,
				   errs);
}

static int canon_policy(const struct doc *policy, struct arena *a, struct err_list *errs)
{
	struct doc *ports = list_member(policy, "portLevelSettings");
	int r = canon_balancer(policy, a, errs);

	for (size_t i = 0; ports != NULL && i < ports->n; i++) {
		int ri = canon_balancer(ports->v[i], a, errs);

		r = r < 0 ? r : ri;
	}
	return r;
}

static int canon_destination_rule(struct doc *spec, struct arena *a, struct err_list *errs)
{
	struct doc *subsets = list_member(spec, "subsets");
	int r = canon_policy(doc_get(spec, STR("trafficPolicy")), a, errs);

	for (size_t i = 0; subsets != NULL && i < subsets->n; i++) {
		int ri = canon_policy(doc_get(subsets->v[i], STR("trafficPolicy")), a, errs);

		r = r < 0 ? r : ri;
	}
	return r;
}

static int canon_service_entry(struct doc *spec, struct arena *a, struct err_list *errs)
{
	struct doc *endpoints = list_member(spec, "endpoints");
	int r = 0;

	for (size_t i = 0; endpoints != NULL && i < endpoints->n; i++) {
		int ri = canon_int_map(doc_get(endpoints->v[i], STR("ports")), "endpoints.ports", a,
				       errs);

		r = r < 0 ? r : ri;
	}
	return r;
}

/* Service.targetPort: digits are a number, anything else the name of a port. */
static int canon_service(struct doc *spec, struct arena *a, struct err_list *errs)
{
	struct doc *ports = list_member(spec, "ports");
	int64_t number;

	for (size_t i = 0; ports != NULL && i < ports->n; i++) {
		struct doc *t = doc_get(ports->v[i], STR("targetPort"));

		if (t == NULL)
			continue;
		if (is_decimal(t, &number))
			become_int(t, number, a);
		else if (t->kind != DOC_STR || t->s.n == 0)
			return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106", t->at,
					    "targetPort must be a port number or the name of a "
					    "workload's port");
	}
	return 0;
}

int load_canon(struct load_raw *raw, struct arena *a, struct err_list *errs)
{
	raw->metadata = bind_canon(&model_metadata_table, raw->metadata, a);
	raw->spec = bind_canon(raw->kind->table, raw->spec, a);
	if (raw->kind->kind == MODEL_KIND_DESTINATION_RULE)
		return canon_destination_rule(raw->spec, a, errs);
	if (raw->kind->kind == MODEL_KIND_SERVICE_ENTRY)
		return canon_service_entry(raw->spec, a, errs);
	if (raw->kind->kind == MODEL_KIND_WORKLOAD_ENTRY)
		return canon_int_map(doc_get(raw->spec, STR("ports")), "ports", a, errs);
	if (raw->kind->kind == MODEL_KIND_SERVICE)
		return canon_service(raw->spec, a, errs);
	return 0;
}
