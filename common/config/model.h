/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model: everything that is configured, as structs with Istio's field names. Layer config. One
 * model is one load of /etc: it lives in its own arena and never changes once loaded; load.h makes
 * it, check.h judges it, names.h answers questions about it, compile.h turns it into snapshots.
 *
 * Members of resource structs are named exactly as Istio's fields (camelCase), so that tables and
 * structs cannot drift apart: the one exception from snake_case.
 */
#pragma once

#include "base/arena.h"
#include "base/map.h"
#include "config/model_mesh.h"
#include "config/model_net.h"
#include "config/model_policy.h"
#include "config/model_resource.h"
#include "config/model_traffic.h"

/* ---- kinds --------------------------------------------------------------------------------- */
struct model_kind_info {
	enum model_kind kind;
	const char *name;               /* "VirtualService" */
	const char *plural;             /* "virtualservices" */
	const char *shorts;             /* "vs": short names for the CLI, blank-separated */
	const char *group;              /* "networking.istio.io", "" core */
	const char *versions; /* accepted, blank-separated; the first is the one we write */
	size_t size;                    /* of the resource struct */
	size_t spec_offset;             /* where the spec's struct begins in it */
	const struct bind_table *table; /* of the spec, its offsets count from there */
	enum field_status status;       /* FIELD_NOT_YET: the kind as a whole is not enforced yet */
	const char *note;
	const char *help;
};
const struct model_kind_info *model_kind_info(enum model_kind kind);
/* By name, plural or short name, ASCII case ignored; NULL: none. */
const struct model_kind_info *model_kind_find(struct str name);
const char *model_kind_name(enum model_kind kind);

extern const struct bind_table model_mesh_table;        /* kvmesh.conf, into struct model_mesh */
extern const struct bind_table model_metadata_table;    /* metadata, for explain */

/* ---- the model ----------------------------------------------------------------------------- */
struct model_refs {
	struct model_resource **v; /* oldest first: first_seen_us, name, ns (Istio rule 2.1.8) */
	size_t n;
};
struct model_source {                   /* a file that was read, for messages that show the line */
	const char *path;
	struct str text;
};
struct model {
	struct arena arena;
	struct model_mesh mesh;
	struct model_refs of[MODEL_KIND__N];
	struct map by_id; /* "VirtualService/default/my-app" → struct model_resource * */
	MODEL_LIST(struct model_source) sources;
	size_t n_resources;
};

void model_free(struct model *m);       /* NULL is fine */
struct model_resource *model_find(const struct model *m, enum model_kind kind, struct str ns,
				  struct str name);
/* Text of a file that this model was read from, or STR_NULL: the source argument of err_print. */
struct str model_source_text(const struct model *m, const char *path);
/* ns, or the root namespace when ns is one of its aliases; "" gives "default". */
struct str model_ns(const struct model *m, struct str ns);
bool model_is_root_ns(const struct model *m, struct str ns);
/* "VirtualService my-app.default": how messages and policies name a resource. */
struct str model_label(const struct model_resource *r, struct arena *a);
/* Spec and metadata as one document { apiVersion, kind, metadata, spec } in canonical form. */
struct doc *model_resource_doc(const struct model_resource *r, struct arena *a);
/* kvmesh.conf as it is in force: defaults filled in; written values carry their origin. */
struct doc *model_mesh_doc(const struct model *m, struct arena *a);

/* for every resource of a kind: model_for_each(m, MODEL_KIND_SERVICE, r) { … } */
#define model_for_each(m, k, r) \
	for (struct model_resource **r##_p = (m)->of[k].v, *r = NULL; \
	     r##_p != NULL && r##_p < (m)->of[k].v + (m)->of[k].n && (r = *r##_p, true); r##_p++)

#define MODEL_AS(fn, type, KIND) \
	static inline const struct type *fn(const struct model_resource *r) \
	{ \
		kv_assert(r->kind == (KIND)); \
		return (const struct type *)(const void *)r; \
	}
MODEL_AS(model_as_vs, model_virtual_service, MODEL_KIND_VIRTUAL_SERVICE)
MODEL_AS(model_as_dr, model_destination_rule, MODEL_KIND_DESTINATION_RULE)
MODEL_AS(model_as_gateway, model_gateway, MODEL_KIND_GATEWAY)
MODEL_AS(model_as_se, model_service_entry, MODEL_KIND_SERVICE_ENTRY)
MODEL_AS(model_as_we, model_workload_entry, MODEL_KIND_WORKLOAD_ENTRY)
MODEL_AS(model_as_sidecar, model_sidecar, MODEL_KIND_SIDECAR)
MODEL_AS(model_as_pa, model_peer_authentication, MODEL_KIND_PEER_AUTHENTICATION)
MODEL_AS(model_as_ra, model_request_authentication, MODEL_KIND_REQUEST_AUTHENTICATION)
MODEL_AS(model_as_ap, model_authorization_policy, MODEL_KIND_AUTHORIZATION_POLICY)
MODEL_AS(model_as_telemetry, model_telemetry, MODEL_KIND_TELEMETRY)
MODEL_AS(model_as_service, model_service, MODEL_KIND_SERVICE)
MODEL_AS(model_as_workload, model_workload, MODEL_KIND_WORKLOAD)
MODEL_AS(model_as_namespace, model_namespace, MODEL_KIND_NAMESPACE)
