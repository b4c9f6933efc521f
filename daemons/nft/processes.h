/* SPDX-License-Identifier: Apache-2.0 */
/*
 * processes: how the kernel tells the processes of a workload: by the cgroup of its unit where the host has the
 * unified hierarchy, else by the user; see THREATS.md for what each is worth. Layer daemons/nft.
 */
#pragma once

#include "base/err.h"
#include "nft/rules.h"

/* The user of that name or number; false: there is none. */
bool processes_user(struct str name, uid_t *ret);
/* Who sends for the mesh itself: the daemons' users that exist here, and one more (NULL: none). In the arena. */
void processes_ours(const char *more, struct arena *a, uid_t **ret, size_t *ret_n);
/*
 * For each workload of the plan, in the arena. What cannot be told becomes a warning, and RULES_MATCH_NONE: a unit
 * that does not run has no cgroup yet, and what runs as root or as the mesh itself is not captured by user.
 */
struct rules_match *processes_find(const struct capture_plan *plan, const uid_t *ours, size_t n_ours,
				   struct arena *a, struct err_list *errs);
/* unit.c: the User= of a unit, as systemd says; 0 and an empty name when it has none. */
int unit_user(const char *unit, struct arena *a, struct str *ret, struct err *err);
