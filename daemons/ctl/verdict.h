/* SPDX-License-Identifier: Apache-2.0 */
/* verdict: what core/authz decided, as members of a row. Layer daemons/ctl. */
#pragma once

#include "core/authz.h"
#include "ctl/ctl.h"

/* verdict, why; asks (the external authorizer that comes first); of a rule that decided: policy, rule, file. */
void verdict_put(struct arena *a, struct doc *d, const struct authz *z, size_t workload,
		 const struct authz_verdict *v);
/* Rows {action, policy, rule, what, file} of a workload's rules, as they are asked. */
void verdict_rules(struct arena *a, const struct snap *s, size_t workload, struct doc *rows);
/* "FILE:LINE" of a rule. */
struct str verdict_place(struct arena *a, const struct snap_policy *p, size_t rule);
