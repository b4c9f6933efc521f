/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot: what a proxy runs, as rows to print: its compiled snapshot joined with what is live
 * (health of endpoints, ports as bound). Layer daemons/ctl.
 */
#pragma once

#include "ctl/ctl.h"
#include "snap/snap.h"

struct snapshot {
	struct ctl *c;
	struct snap *snap;
	const struct doc *status;       /* the proxy's Status, or NULL */
	const struct doc *endpoints;    /* its Dump of endpoints, or NULL */
};

/* Ask that proxy. Returns CTL_EXIT_OK or the exit code, with the message printed. */
int snapshot_fetch(struct ctl *c, const char *proxy, struct snapshot *ret);
void snapshot_done(struct snapshot *s);

/* Rows, a list of maps. */
struct doc *snapshot_clusters(const struct snapshot *s);
struct doc *snapshot_listeners(const struct snapshot *s);
struct doc *snapshot_routes(const struct snapshot *s);
struct doc *snapshot_endpoints(const struct snapshot *s);
struct doc *snapshot_secrets(const struct snapshot *s);
