/* SPDX-License-Identifier: Apache-2.0 */
/*
 * witnessed: what kvmesh-witness saw, for Prometheus and Status since the start of this daemon, for reports
 * into the evidence. Layer metrics.
 */
#pragma once

#include "base/map.h"
#include "metrics/evidence.h"
#include "metrics/prom.h"

struct witnessed {
	struct map ports;               /* "KIND PORT WORKLOAD" → struct witnessed_port */
	int64_t heard_us;               /* 0: never */
	int64_t looks_at;               /* ports */
	int64_t packets, bytes;
};

void witnessed_init(struct witnessed *w);
void witnessed_done(struct witnessed *w);
/*
 * The parameters of "Witnessed". e: NULL when no evidence is kept. What is malformed changes nothing; what was
 * not kept will be told again. KV_ERR_SCHEMA, or what evidence_plain gives.
 */
int witnessed_take(struct witnessed *w, const struct doc *d, struct evidence *e, int64_t now_us,
		   struct err *err);
void witnessed_families(void *witnessed, struct prom *p);
/* Member "witness" of Status, when it was ever heard. */
void witnessed_status(const struct witnessed *w, struct arena *a, struct doc *to);
