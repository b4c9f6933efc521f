/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health: which workloads of this node may be given work: their unit is active, and their probe,
 * when they have one, did not fail too often in a row. Layer daemons/router. Owns the state of each
 * workload, its copy on disk and the watch on the units; the probing itself is done by
 * kvmesh-probe, which takes its list from here and tells each result.
 *
 * What is not known is as it was known last, over restarts too: the first result decides then, and
 * thresholds count from there. A workload that was never probed is in; one whose unit began anew is
 * out until its first result, as a new pod is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "config/model.h"
#include "doc/doc.h"
#include "io/loop.h"

struct health;
/* kept_path: what an earlier run knew; missing or damaged: nothing is known. */
struct health *health_new(const char *kept_path);
void health_free(struct health *h);             /* NULL is fine */

struct health_watch {
	void (*changed)(void *arg);     /* a workload went out or came back in */
	void (*listed)(void *arg);      /* health_list says something else */
	void *arg;
};
/* From now on tell what changes; units: watch them on the system bus. */
void health_start(struct health *h, struct loop *l, bool units, const struct health_watch *w);
/* No more of that; the loop may go. */
void health_stop(struct health *h);
/* The workloads of a model that is now in force. */
void health_follow(struct health *h, const struct model *m);
/* compile_env.is_inactive; arg is the struct health, or NULL: nothing is known. */
bool health_is_inactive(void *arg, const struct model_resource *r);
/* Write what is known to disk when it is another than last time. */
void health_keep(struct health *h);

/* Is there a workload with a probe? */
bool health_has_probes(const struct health *h);
/* {wanted, probes: […]}: reply to Probes. Valid until the list changes. */
struct str health_list(struct health *h);

struct health_result {
	struct str id;                  /* of the list */
	int64_t round;                  /* … and the round: results of another one are dropped */
	bool ok;
	struct str why;                 /* when it is not */
};
void health_take(struct health *h, const struct health_result *r);
/* [{workload, namespace, state, …}] of docs/IPC.md. */
struct doc *health_status(const struct health *h, struct arena *a);
