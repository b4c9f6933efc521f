/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules: a capture plan as one batch for the kernel: the whole of table inet kvmesh, replaced at once. Layer
 * daemons/nft. Pure: the same plan and the same processes give the same text.
 *
 * Only first packets are looked at, so that no connection that is under way is ever moved, and only TCP. What our own
 * daemons send is never captured. The chains stay where they are when rules change, and so does what is counted.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/arena.h"
#include "config/capture.h"

enum rules_match_kind {
	RULES_MATCH_NONE,               /* its processes cannot be told: nothing that they send is captured */
	RULES_MATCH_USER,
	RULES_MATCH_CGROUP,
};
struct rules_match {
	enum rules_match_kind kind;
	uid_t uid;
	struct str path;                /* of the cgroup, below /sys/fs/cgroup */
	unsigned level;                 /* of it, below the root of the hierarchy */
};

struct rules_input {
	const struct capture_plan *plan;
	const struct rules_match *matches;      /* parallel to the plan's workloads */
	const uid_t *ours;              /* users of the mesh's own daemons; at least one */
	size_t n_ours;
	bool proxy_is_up;               /* else workloads that may go without are left out */
};

/* In the language of nft(8), in the arena. */
struct str rules_make(const struct rules_input *in, struct arena *a);
/* The fingerprint that these rules carry, 16 hex digits in the comment of one of them. */
struct str rules_mark(struct str rules);
/* How many rules there are in it. */
size_t rules_count(struct str rules);
/* What removes the table, whether it is there or not. */
struct str rules_none(void);
/* The name of the counter of a workload's direction, "out/my-app.default". */
struct str rules_counter(const struct capture_workload *w, const char *direction, struct arena *a);
