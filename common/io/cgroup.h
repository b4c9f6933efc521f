/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup: from a systemd unit's name to the id that the kernel tells about a socket's owner: the
 * inode of the unit's directory in the unified hierarchy. Layer io.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Mount point of the unified hierarchy, also in hybrid mode; NULL: there is none. */
const char *cgroup_root(void);
/* Id of a system unit's cgroup, 0 when it does not run. unit is NUL-ended, without '/'. */
uint64_t cgroup_of_unit(const char *root, const char *unit);
/*
 * The directory of a running unit below root, "system.slice/x.service"; how many levels that is, 0 when the unit does
 * not run or its path is too long.
 */
unsigned cgroup_path_of_unit(const char *root, const char *unit, char *ret, size_t n);
/* Whether id is the unit's cgroup or one below it (units with Delegate=). */
bool cgroup_unit_has(const char *root, const char *unit, uint64_t id);
