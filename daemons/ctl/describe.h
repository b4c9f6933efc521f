/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe: everything that concerns one service or workload, gathered as one document from what
 * the node's proxy runs (or the files make) and the resources. Layer daemons/ctl.
 */
#pragma once

#include "ctl/ctl.h"
#include "ctl/snapshot.h"

struct describe {
	struct ctl *c;
	struct arena *a;
	struct snapshot of; /* of the node's proxy */
	struct doc *resources;
	const struct doc *health; /* live_workloads, NULL: not asked */
	struct err_list findings; /* of the files, or of the router's last reload */
};

/* 0, or an exit code with the reason printed. describe_done in any case. */
int describe_open(struct ctl *c, struct describe *ret);
void describe_done(struct describe *d);

/* FQDN of a service as people name it; empty (with the reason printed) when there is none. */
struct str describe_find_service(struct describe *d, const char *word);
/* "my-app.default"; the host of a ServiceEntry. */
struct str describe_short_name(const struct describe *d, const struct snap_cluster *k);
/* {kind, name, host, subsets, routes, endpoints, workloads, policies, warnings} */
struct doc *describe_service(struct describe *d, struct str fqdn);
/* The same for an index into the snapshot's workloads. */
struct doc *describe_workload(struct describe *d, size_t workload);

/* {kind, name, identity, proxy, listeners, workloads} */
struct doc *describe_node(struct describe *d);

/* Sets KEY to "NAME.NS" and KEY_file to its place when it is known. */
void describe_put_resource(const struct describe *d, struct doc *to, const char *key,
			   const char *kind, struct str name);
/* Rows of the routes of one service, each once however many see it. */
struct doc *describe_routes(struct describe *d, struct str fqdn);
