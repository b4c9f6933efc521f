/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_fields: the field table of metadata, the same for every kind. Layer config.
 */
#include "config/model_fields.h"

#define T struct model_metadata
static const struct field metadata_fields[] = {
	{ F_STR(T, name), .flags = FIELD_REQUIRED | FIELD_NONEMPTY, P1, SINCE("1.8"),
	  .help = "Name of the resource, unique in its kind and namespace" },
	{ F_STR(T, namespace), P1, SINCE("1.8"),
	  .help = "Namespace of the resource (default default)" },
	{ F_LABELS(T, labels), P1, SINCE("1.8"),
	  .help = "Labels of the resource; those of a Workload are what selectors look at" },
	{ F_LABELS(T, annotations), P1, SINCE("1.8"),
	  .help = "Annotations: sidecar.istio.io/* of a Workload, analyze-suppress" },
	{ F_STR(T, creationTimestamp), P1, SINCE("1.8"),
	  .help = "RFC 3339 time that decides which of two resources is older (default: first "
		  "seen)" },
	{ F_ANY(T, refused), .name = "generateName", P3, SINCE("1.8"),
	  REFUSED("a resource in a file needs a name"), .help = "Beginning of a generated name" },
	{ F_ANY(T, unused), .name = "uid", P3, SINCE("1.8"), IGNORED("Kubernetes' bookkeeping"),
	  .help = "Kubernetes' bookkeeping" },
	{ F_ANY(T, unused), .name = "resourceVersion", P3, SINCE("1.8"),
	  IGNORED("Kubernetes' bookkeeping"), .help = "Kubernetes' bookkeeping" },
	{ F_ANY(T, unused), .name = "generation", P3, SINCE("1.8"),
	  IGNORED("Kubernetes' bookkeeping"), .help = "Kubernetes' bookkeeping" },
	{ F_ANY(T, unused), .name = "selfLink", P3, SINCE("1.8"),
	  IGNORED("Kubernetes' bookkeeping"), .help = "Kubernetes' bookkeeping" },
	{ F_ANY(T, unused), .name = "ownerReferences", P3, SINCE("1.8"),
	  IGNORED("Kubernetes' bookkeeping"), .help = "Kubernetes' bookkeeping" },
	{ F_ANY(T, unused), .name = "finalizers", P3, SINCE("1.8"),
	  IGNORED("Kubernetes' bookkeeping"), .help = "Kubernetes' bookkeeping" },
	{ F_ANY(T, unused), .name = "managedFields", P3, SINCE("1.8"),
	  IGNORED("Kubernetes' bookkeeping"), .help = "Kubernetes' bookkeeping" },
	F_END
};
const struct bind_table model_metadata_table = TABLE("Metadata", metadata_fields);
#undef T
