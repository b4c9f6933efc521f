/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_resource: what every resource has in common: its kind, identity, place and age.
 * Layer config; included by model.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/label.h"
#include "base/str.h"
#include "doc/bind.h"
#include "doc/doc.h"

/* { type *v; size_t n; }, the layout of struct bind_list. */
#define MODEL_LIST(type) struct { type *v; size_t n; }

enum model_kind {
	MODEL_KIND_VIRTUAL_SERVICE,
	MODEL_KIND_DESTINATION_RULE,
	MODEL_KIND_GATEWAY,
	MODEL_KIND_SERVICE_ENTRY,
	MODEL_KIND_WORKLOAD_ENTRY,
	MODEL_KIND_SIDECAR,
	MODEL_KIND_PEER_AUTHENTICATION,
	MODEL_KIND_REQUEST_AUTHENTICATION,
	MODEL_KIND_AUTHORIZATION_POLICY,
	MODEL_KIND_TELEMETRY,
	MODEL_KIND_SERVICE,
	MODEL_KIND_WORKLOAD,
	MODEL_KIND_NAMESPACE,
	MODEL_KIND__N
};

#define MODEL_AGE_UNKNOWN (INT64_C(1) << 62)

/* First member of every resource struct. */
struct model_resource {
	enum model_kind kind;
	struct str ns, name;            /* ns: an alias of the root namespace is already replaced */
	struct str id;                  /* "VirtualService/default/my-app": key of model.by_id */
	struct labels labels, annotations;      /* of metadata */
	struct origin at;               /* of the resource */
	/* age: smaller is older; from MODEL_AGE_UNKNOWN on: order of reading */
	int64_t first_seen_us;
	const struct doc *doc;          /* the spec in canonical form, origins kept */
	const struct doc *metadata;     /* metadata in canonical form: name, namespace, labels, … */
	enum doc_syntax syntax;         /* how it was written */
	bool unhealthy;                 /* status has the condition Healthy with status "False" */
};

/* Map string → number (WorkloadEntry.ports, locality weights), in order of appearance. */
struct model_int_entry {
	struct str key;
	int64_t value;
};
struct model_int_map {
	struct model_int_entry *v;
	size_t n;
};

/* metadata as it is written; its canonical doc is model_resource.metadata. */
struct model_metadata {
	struct str name, namespace;
	struct labels labels, annotations;
	struct str creationTimestamp;
	struct doc *unused, *refused;   /* what has no meaning here; what is refused, never set */
};
