/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpus: how many CPUs' worth of time this process may use: the quota of its cgroup (CPUQuota=, what
 * proxyCPU becomes) rounded up, and never more than it may run on. Layer proxy.
 */
#pragma once

unsigned cpus_available(void);          /* at least 1 */
