/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_parts: what the files of load share: the state of one load and its stages. Layer config;
 * private.
 */
#pragma once

#include "config/load.h"
#include "config/load_split.h"

struct load {
	struct model *m;
	const struct model_load_opts *opts;
	struct err_list *errs;
	const char *root; /* real path of etc: nothing outside is read; NULL: anything */
	struct load_found found;
	size_t n_files, cap_sources;
};

/* ---- load_files.c: which files there are, and whether they may be trusted ------------------ */
struct load_paths {
	char **v;                       /* sorted */
	size_t n, cap;
};
void load_paths_done(struct load_paths *p);
/*
 * Regular files below dir with one of the extensions; a missing dir is fine. Findings go to
 * l->errs.
 */
int load_paths_scan(struct load *l, const char *dir, bool recurse, struct load_paths *ret);
/* Owner, mode, no way out of root (security-model 5.6). 0, or a finding in l->errs. */
int load_file_is_safe(struct load *l, const char *path);

/* ---- load_mesh.c: kvmesh.conf -------------------------------------------------------------- */
void load_mesh_defaults(struct model *m, const char *node_name);
/* over laid on base key by key; new maps, shared leaves. Either may be NULL. */
struct doc *load_merge(struct doc *base, struct doc *over, struct arena *a);
/* Bind the settings found so far, in order, over the defaults. */
int load_mesh_bind(struct load *l);

/* ---- load_fill.c: what tables cannot say --------------------------------------------------- */
/* Members marked "filled by load", defaults from other fields, annotations. */
int load_fill(struct load *l, struct model_resource *r);
/* load_capture.c: what annotations say of redirected traffic. */
int load_capture(struct load *l, struct model_workload *w);
/* load_jwks.c: keys that stand in files. */
void load_jwks(struct load *l, struct model_request_authentication *ra);
/*
 * Hosts of VirtualServices, DestinationRules and destinations as FQDNs, once every Service is
 * known.
 */
void load_resolve(struct model *m);
/* RFC 3339 in UTC ("2020-12-01T10:00:00Z", fraction allowed) → microseconds since 1970. */
bool load_parse_time(struct str s, int64_t *ret_us);
