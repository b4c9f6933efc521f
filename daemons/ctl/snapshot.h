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
/* What the files say that it should run; status and endpoints are NULL. */
int snapshot_compile(struct ctl *c, const char *proxy, struct snapshot *ret);
/*
 * The proxy's, or that of the files: when only they were named, and (with a remark) when it does
 * not run.
 */
int snapshot_open(struct ctl *c, const char *proxy, struct snapshot *ret);
/* Were only the files named: another system's, or a draft? */
bool snapshot_is_of_files(const struct ctl *c);
void snapshot_done(struct snapshot *s);

/*
 * Index into s->workloads of "web", "web.shop" or "shop/web", or an exit code with the message
 * printed.
 */
int snapshot_workload(struct ctl *c, const struct snap *s, const char *word, size_t *ret);
/* What the proxy knows of one endpoint now; NULL: not asked. */
const struct doc *snapshot_live_endpoint(const struct snapshot *s, struct str cluster,
					 const struct snap_endpoint *e);

/* "GET /cart* x-user=*" */
struct str snapshot_match_text(struct arena *a, const struct snap_match *m);

/* Rows, a list of maps. */
struct doc *snapshot_clusters(const struct snapshot *s);
struct doc *snapshot_listeners(const struct snapshot *s);
struct doc *snapshot_routes(const struct snapshot *s);
struct doc *snapshot_endpoints(const struct snapshot *s);
struct doc *snapshot_secrets(const struct snapshot *s);
