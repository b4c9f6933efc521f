/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject: what injection means to systemd: the drop-ins that order a unit behind its proxy and give
 * an instance of the proxy its limits, and the units that are better left alone. Layer config; pure.
 * kvmesh-generator writes what is made here, kvmeshctl shows it.
 */
#pragma once

#include "config/model.h"

#define INJECT_DROPIN_NAME "50-kvmesh.conf"
/* Annotation of a Workload whose unit is injected although inject_refusal speaks against it. */
#define INJECT_FORCE_ANNOTATION "kvmesh.io/force-inject"

/*
 * Why that unit must not be ordered behind a proxy or captured, as the end of a sentence ("it is how
 * this node is reached"); NULL: nothing speaks against it. Told by the name alone.
 */
const char *inject_refusal(struct str unit);
/* Is there such a reason for the workload's unit, and nobody has insisted? */
bool inject_is_left_alone(const struct model_workload *w);
/* A whole name of a service as systemd takes it (fit to be a file's name), no template. */
bool inject_is_unit_name(struct str unit);

/* Has it an instance kvmesh-proxy@NAME to itself? */
static inline bool inject_is_dedicated(const struct model_workload *w)
{
	return w->inject && !w->gateway && w->sidecar == MODEL_SIDECAR_DEDICATED;
}
/* That unit's proxy: "kvmesh-proxy.service". In the arena or static. */
struct str inject_proxy_unit(const struct model_workload *w, struct arena *a);

struct inject_dropin {
	struct str unit;                /* "shop.service": the file is UNIT.d/INJECT_DROPIN_NAME */
	struct str text;
	const struct model_workload *workload;
};
/* One a unit, by name: of the injected units and of instances of the proxy that have limits. */
void inject_dropins(const struct model *m, struct arena *a, struct inject_dropin **ret,
		    size_t *ret_n);
