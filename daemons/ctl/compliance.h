/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compliance: what an auditor is told, put together from what the daemons keep. Layer daemons/ctl.
 * Pure: the same inputs give the same report, byte for byte, so that its digest means something.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "doc/doc.h"

/* Of each proxy's time that must have been watched, or nothing is proven. */
#define COMPLIANCE_WATCHED_MIN 0.95

struct compliance_inputs {
	int64_t since_s, until_s;       /* seconds since 1970 */
	/* Replies of docs/IPC.md; all but evidence may be NULL: no answer. */
	const struct doc *evidence;     /* metrics "Evidence" */
	const struct doc *config;       /* router "Config" */
	const struct doc *status;       /* router "Status" */
	const struct doc *history;      /* router "History" */
	const struct doc *ca;           /* ca "Status" */
	const struct doc *certificates; /* ca "List" */
};

/*
 * The report: period, traffic, edges, policy, keys, egress, inventory, evidence, verdict
 * (COMPLIANT, NON-COMPLIANT, NOT ENOUGH EVIDENCE) with reasons. In the arena.
 */
struct doc *compliance_report(const struct compliance_inputs *in, struct arena *a);
