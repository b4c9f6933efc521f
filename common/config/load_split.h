/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_split: one file's documents → the resources and settings groups that are in it, whatever
 * the syntax: native (top-level name = kind), Istio YAML or JSON (apiVersion, kind, metadata,
 * spec; List). Layer config; used by load.c and convert.c.
 */
#pragma once

#include "config/model.h"

struct load_raw {                       /* a resource as written, split into metadata and spec */
	const struct model_kind_info *kind;
	struct doc *metadata, *spec;    /* maps, never NULL */
	const struct doc *status;       /* NULL: none was written */
	struct origin at;
	enum doc_syntax syntax;
};
struct load_found {                     /* arrays live in the arena */
	struct load_raw *raws;
	size_t n_raws, cap_raws;
	struct doc **settings; /* one map per file that has kvmesh.conf's groups (mesh, node, …) */
	size_t n_settings, cap_settings;
};

/* Append what f holds to *ret. Every finding is reported; returns 0 or the first error's code. */
int load_split(const struct doc_file *f, struct arena *a, struct load_found *ret,
	       struct err_list *errs);
/*
 * Bring metadata and spec of *raw into canonical form (doc/bind.h), with numbers where Istio has
 * numbers that a table cannot say (WorkloadEntry.ports, locality weights, Service.targetPort).
 */
int load_canon(struct load_raw *raw, struct arena *a, struct err_list *errs);
/* The same for a localityLbSetting that stands alone (kvmesh.conf); NULL is fine. */
int load_canon_locality(const struct doc *locality, struct arena *a, struct err_list *errs);
/* Is name one of kvmesh.conf's groups? */
bool load_is_settings(struct str name);
