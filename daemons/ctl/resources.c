/* SPDX-License-Identifier: Apache-2.0 */
/* resources: see resources.h. Layer daemons/ctl. */
#include "config.h"

#include "config/model.h"
#include "ctl/findings.h"
#include "ctl/resources.h"
#include "ctl/snapshot.h"

/* One row, whatever it came from: kind, namespace, name, source, firstSeen, labels, spec. */
static struct doc *add_row(struct arena *a, struct doc *rows, struct str kind, struct str ns,
			   struct str name)
{
	struct doc *row = doc_add(a, rows, doc_new_map(a));

	doc_set_str(a, row, "kind", kind);
	doc_set_str(a, row, "namespace", ns);
	doc_set_str(a, row, "name", name);
	return row;
}

/* Kinds that without a selector are for their namespace; in the root's, for the mesh. */
static void set_scope(struct arena *a, struct doc *row, struct str root_ns)
{
	static const char *const kinds[] = { "PeerAuthentication", "RequestAuthentication",
					     "AuthorizationPolicy", "Telemetry", "Sidecar" };
	struct str kind = doc_get_str(row, "kind", STR("")),
		   ns = doc_get_str(row, "namespace", STR(""));

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (str_eq(kind, str_c(kinds[i])))
			doc_set_str(a, row, "scope",
				    str_eq(ns, root_ns)
					    ? STR("the mesh")
					    : arena_printf(a, "namespace %.*s", STR_ARG(ns)));
}

static int rows_from_files(struct ctl *c, struct doc *rows)
{
	struct arena *a = &c->arena;
	struct model *m = c->model;
	int code;

	if (!m && (code = findings_load_or_fail(c, &m)) != CTL_EXIT_OK)
		return code;
	for (int k = 0; k < MODEL_KIND__N; k++)
		model_for_each (m, (enum model_kind)k, r) {
			struct doc *row =
				add_row(a, rows, str_c(model_kind_name(r->kind)), r->ns, r->name);

			doc_set_str(a, row, "source",
				    arena_printf(a, "%s:%u", r->at.file, r->at.line));
			doc_set(a, row, "metadata", doc_copy(a, r->metadata));
			doc_set(a, row, "spec", doc_copy(a, r->doc));
			set_scope(a, row, m->mesh.mesh.rootNamespace);
		}
	return CTL_EXIT_OK;
}

static void rows_from_router(struct ctl *c, const struct doc *reply, struct doc *rows)
{
	static const char *const kept[] = { "firstSeen", "metadata", "spec" };
	struct arena *a = &c->arena;
	const struct doc *list = doc_get(reply, STR("resources"));
	struct str root = doc_get_str(doc_get(doc_get(reply, STR("kvmesh")), STR("mesh")),
				      "rootNamespace", STR("kvmesh-system"));

	for (size_t i = 0; list && list->kind == DOC_LIST && i < list->n; i++) {
		const struct doc *r = list->v[i];
		struct doc *row = add_row(a, rows, doc_get_str(r, "kind", STR("")),
					  doc_get_str(r, "namespace", STR("")),
					  doc_get_str(r, "name", STR("")));

		doc_set_str(a, row, "source",
			    arena_printf(a, "%.*s:%lld", STR_ARG(doc_get_str(r, "file", STR("-"))),
					 (long long)doc_get_int(r, "line", 0)));
		for (size_t k = 0; k < sizeof(kept) / sizeof(kept[0]); k++) {
			const struct doc *v = doc_get(r, str_c(kept[k]));

			if (v)
				doc_set(a, row, kept[k], doc_copy(a, v));
		}
		set_scope(a, row, root);
	}
}

int resources_gather(struct ctl *c, struct doc **ret)
{
	struct doc *reply, *rows = *ret = doc_new_list(&c->arena);
	struct err err;

	if (snapshot_is_of_files(c))
		return rows_from_files(c, rows);
	if (ctl_call_router(c, "Config", NULL, &reply, &err) == 0) {
		rows_from_router(c, reply, rows);
		return CTL_EXIT_OK;
	}
	if (!ctl_is_unanswered(&err))
		return ctl_fail_err(&err);
	ctl_note(c, "kvmesh-router does not answer; this is what the files in %s say", c->etc);
	return rows_from_files(c, rows);
}

const struct doc *resources_find(const struct doc *rows, const char *kind, struct str name)
{
	ptrdiff_t dot = str_rfind(name, '.');
	struct str ns = dot < 0 ? STR("") : str_skip(name, (size_t)dot + 1);

	for (size_t i = 0; rows && dot > 0 && i < rows->n; i++)
		if (str_eq(doc_get_str(rows->v[i], "kind", STR("")), str_c(kind)) &&
		    str_eq(doc_get_str(rows->v[i], "name", STR("")), str_take(name, (size_t)dot)) &&
		    str_eq(doc_get_str(rows->v[i], "namespace", STR("")), ns))
			return rows->v[i];
	return NULL;
}
