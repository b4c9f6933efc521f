/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model: the table of kinds, and looking things up in a loaded model. Layer config.
 */
#include "config/model.h"

#include <stdio.h>
#include <stdlib.h>

#include "config/model_fields.h"

#define KIND(k, type, m) .kind = (k), .size = sizeof(struct type), .spec_offset = (m)

static const struct model_kind_info kinds[MODEL_KIND__N] = {
	[MODEL_KIND_VIRTUAL_SERVICE] = { KIND(MODEL_KIND_VIRTUAL_SERVICE, model_virtual_service, 0),
					 .name = "VirtualService", .plural = "virtualservices",
					 .shorts = "vs", .group = "networking.istio.io",
					 .versions = "v1 v1beta1 v1alpha3",
					 .table = &model_virtual_service_table,
					 .help = "How requests for a host are routed: by path, "
						 "header, weight" },
	[MODEL_KIND_DESTINATION_RULE] = { KIND(MODEL_KIND_DESTINATION_RULE, model_destination_rule,
					       0),
					  .name = "DestinationRule", .plural = "destinationrules",
					  .shorts = "dr", .group = "networking.istio.io",
					  .versions = "v1 v1beta1 v1alpha3",
					  .table = &model_destination_rule_table,
					  .help = "Versions (subsets) of a service and how they "
						  "are reached: balancing, limits, TLS" },
	[MODEL_KIND_GATEWAY] = { KIND(MODEL_KIND_GATEWAY, model_gateway, 0), .name = "Gateway",
				 .plural = "gateways", .shorts = "gw",
				 .group = "networking.istio.io", .versions = "v1 v1beta1 v1alpha3",
				 .table = &model_gateway_table,
				 .help = "What an edge proxy listens on: ports, hosts, "
					 "certificates" },
	[MODEL_KIND_SERVICE_ENTRY] = { KIND(MODEL_KIND_SERVICE_ENTRY, model_service_entry, 0),
				       .name = "ServiceEntry", .plural = "serviceentries",
				       .shorts = "se", .group = "networking.istio.io",
				       .versions = "v1 v1beta1 v1alpha3",
				       .table = &model_service_entry_table,
				       .help = "A service by host names: outside the mesh, or "
					       "inside with listed endpoints" },
	[MODEL_KIND_WORKLOAD_ENTRY] = { KIND(MODEL_KIND_WORKLOAD_ENTRY, model_workload_entry,
					     offsetof(struct model_workload_entry, e)),
					.name = "WorkloadEntry", .plural = "workloadentries",
					.shorts = "we", .group = "networking.istio.io",
					.versions = "v1 v1beta1 v1alpha3",
					.table = &model_endpoint_table,
					.help = "One endpoint of a service that is no unit of this "
						"node" },
	[MODEL_KIND_SIDECAR] = { KIND(MODEL_KIND_SIDECAR, model_sidecar, 0), .name = "Sidecar",
				 .plural = "sidecars", .shorts = "", .group = "networking.istio.io",
				 .versions = "v1 v1beta1 v1alpha3", .table = &model_sidecar_table,
				 .help = "What a workload sees of the mesh" },
	[MODEL_KIND_PEER_AUTHENTICATION] = { KIND(MODEL_KIND_PEER_AUTHENTICATION,
						  model_peer_authentication, 0),
					     .name = "PeerAuthentication",
					     .plural = "peerauthentications", .shorts = "pa",
					     .group = "security.istio.io", .versions = "v1 v1beta1",
					     .table = &model_peer_authentication_table,
					     .help = "Whether a workload takes only mTLS, both, or "
						     "only plain text" },
	[MODEL_KIND_REQUEST_AUTHENTICATION] = { KIND(MODEL_KIND_REQUEST_AUTHENTICATION,
						     model_request_authentication, 0),
						.name = "RequestAuthentication",
						.plural = "requestauthentications", .shorts = "ra",
						.group = "security.istio.io",
						.versions = "v1 v1beta1",
						.table = &model_request_authentication_table,
						.help = "Which end-user tokens (JWT) are "
							"accepted" },
	[MODEL_KIND_AUTHORIZATION_POLICY] = { KIND(MODEL_KIND_AUTHORIZATION_POLICY,
						   model_authorization_policy, 0),
					      .name = "AuthorizationPolicy",
					      .plural = "authorizationpolicies", .shorts = "ap",
					      .group = "security.istio.io",
					      .versions = "v1 v1beta1",
					      .table = &model_authorization_policy_table,
					      .help = "Who may call what" },
	[MODEL_KIND_TELEMETRY] = { KIND(MODEL_KIND_TELEMETRY, model_telemetry, 0),
				   .name = "Telemetry", .plural = "telemetries",
				   .shorts = "telemetry", .group = "telemetry.istio.io",
				   .versions = "v1 v1alpha1", .table = &model_telemetry_table,
				   .status = FIELD_NOT_YET,
				   .note = "mesh.accessLogFile and Istio's standard metrics are in "
					   "force",
				   .help = "Which metrics, spans and log lines are made" },
	[MODEL_KIND_SERVICE] = { KIND(MODEL_KIND_SERVICE, model_service, 0), .name = "Service",
				 .plural = "services", .shorts = "svc", .group = "",
				 .versions = "v1", .table = &model_service_table,
				 .help = "A name with ports in front of workloads chosen by "
					 "label" },
	[MODEL_KIND_WORKLOAD] = { KIND(MODEL_KIND_WORKLOAD, model_workload, 0), .name = "Workload",
				  .plural = "workloads", .shorts = "wl", .group = "kvmesh",
				  .versions = "v1", .table = &model_workload_table,
				  .help = "A systemd unit (or user's processes) of this node that "
					  "is part of the mesh" },
	[MODEL_KIND_NAMESPACE] = { KIND(MODEL_KIND_NAMESPACE, model_namespace, 0),
				   .name = "Namespace", .plural = "namespaces", .shorts = "ns",
				   .group = "", .versions = "v1", .table = &model_namespace_table,
				   .help = "What is said of a namespace as a whole: its labels. "
					   "istio-injection=enabled injects its Workloads" },
};

const struct model_kind_info *model_kind_info(enum model_kind kind)
{
	kv_assert(kind < MODEL_KIND__N);
	return &kinds[kind];
}

const char *model_kind_name(enum model_kind kind)
{
	return model_kind_info(kind)->name;
}

static bool has_word(const char *words, struct str word)
{
	struct str rest = str_c(words), piece;

	while (str_split(&rest, ' ', &piece))
		if (piece.n > 0 && str_ieq(piece, word))
			return true;
	return false;
}

const struct model_kind_info *model_kind_find(struct str name)
{
	for (int k = 0; k < MODEL_KIND__N; k++)
		if (str_ieq(name, str_c(kinds[k].name)) || str_ieq(name, str_c(kinds[k].plural)) ||
		    has_word(kinds[k].shorts, name))
			return &kinds[k];
	return NULL;
}

void model_free(struct model *m)
{
	if (m == NULL)
		return;
	map_done(&m->by_id);
	arena_done(&m->arena);
	free(m);
}

struct model_resource *model_find(const struct model *m, enum model_kind kind, struct str ns,
				  struct str name)
{
	char key[512];
	int n = snprintf(key, sizeof(key), "%s/%.*s/%.*s", model_kind_name(kind), STR_ARG(ns),
			 STR_ARG(name));

	if (n < 0 || (size_t)n >= sizeof(key))
		return NULL;
	return map_get(&m->by_id, str_from(key, (size_t)n));
}

struct str model_source_text(const struct model *m, const char *path)
{
	for (size_t i = 0; path != NULL && i < m->sources.n; i++)
		if (strcmp(m->sources.v[i].path, path) == 0)
			return m->sources.v[i].text;
	return STR_NULL;
}

struct str model_ns(const struct model *m, struct str ns)
{
	const struct model_mesh_config *c = &m->mesh.mesh;

	if (str_is_empty(ns))
		return STR("default");
	for (size_t i = 0; i < c->rootNamespaceAliases.n; i++)
		if (str_eq(ns, c->rootNamespaceAliases.v[i]))
			return c->rootNamespace;
	return ns;
}

bool model_is_root_ns(const struct model *m, struct str ns)
{
	return str_eq(ns, m->mesh.mesh.rootNamespace);
}

struct str model_label(const struct model_resource *r, struct arena *a)
{
	return arena_printf(a, "%s %.*s.%.*s", model_kind_name(r->kind), STR_ARG(r->name),
			    STR_ARG(r->ns));
}

struct doc *model_resource_doc(const struct model_resource *r, struct arena *a)
{
	const struct model_kind_info *k = model_kind_info(r->kind);
	struct str versions = str_c(k->versions), version;
	struct doc *d = doc_new_map(a);

	kv_assert(str_split(&versions, ' ', &version));
	doc_set_str(a, d, "apiVersion",
		    arena_printf(a, "%s%s%.*s", k->group, k->group[0] != '\0' ? "/" : "",
				 STR_ARG(version)));
	doc_set_str(a, d, "kind", str_c(k->name));
	doc_set(a, d, "metadata", doc_copy(a, r->metadata));
	doc_set(a, d, "spec", doc_copy(a, r->doc));
	d->at = r->at;
	return d;
}
