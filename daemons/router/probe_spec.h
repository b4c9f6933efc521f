/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe_spec: a Workload's probe as kvmesh-probe is told it: defaults filled in, the address
 * decided. Layer daemons/router. Kubernetes' defaults: every 10 s, 1 s for an answer, out after 3
 * failures, in after 1 success.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/model.h"

struct probe_spec {
	char *json;                     /* {"http": {…}}, … as in docs/IPC.md; NULL: no probe */
	const char *kind;               /* "http", "tcp", "exec", "grpc" */
	int64_t delay_us, period_us, timeout_us;
	int64_t success_threshold, failure_threshold;
};
void probe_spec_make(const struct model_workload *w, struct probe_spec *ret);
void probe_spec_done(struct probe_spec *s);
bool probe_spec_same_times(const struct probe_spec *x, const struct probe_spec *y);
