/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpus: how many CPUs' worth of time this process may use: the quota of its cgroup (CPUQuota=, what
 * proxyCPU becomes) rounded up, and never more than it may run on. Layer proxy.
 */
#pragma once

unsigned cpus_available(void);          /* at least 1 */
/*
 * The smallest quota on the way from the cgroup that the file names ("0::/a/b") to the root; 0:
 * none, or no unified hierarchy.
 */
unsigned cpus_by_quota(const char *cgroup_file, const char *cgroup_root);
