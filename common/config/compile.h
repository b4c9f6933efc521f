/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile: a checked model and "which proxy" → the snapshot of that proxy. Layer config. Pure: the
 * same model and environment give the same bytes. Every name is resolved, every default filled in,
 * every order decided here, so that a proxy only walks arrays. Fields that are not enforced yet are
 * not compiled.
 *
 * Who sees what: each local workload calls through a view made for its namespace and those of its
 * labels that some resource asks for. Unregistered callers (workload 0, the node itself) see what a
 * workload without labels in namespace "default" sees.
 */
#pragma once

#include "config/model.h"
#include "snap/snap.h"

/* What a model does not know. */
struct compile_env {
	int64_t version;                /* of the snapshot */
	/* Is this workload or WorkloadEntry known to be down? NULL: none is. */
	bool (*is_inactive)(void *arg, const struct model_resource *r);
	void *arg;
	const char *etc_dir;            /* credentials are below it; NULL: /etc/kvmesh */
};

/*
 * Instances that a configuration asks for: "node", then each Workload that is a gateway or has a
 * dedicated proxy. In the arena.
 */
struct str_list compile_proxies(const struct model *m, struct arena *a);

/*
 * One new snapshot (one reference) for that instance. The model's check must have passed; what is
 * found here all the same goes to errs, and nothing is returned then. KV_ERR_NOT_FOUND: no such
 * instance.
 */
int snap_compile(const struct model *m, struct str proxy, const struct compile_env *env,
		 struct snap **ret, struct err_list *errs);
