/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capture: whose traffic is led through the proxy, and which part of it. Layer config. Pure: the model says it, the
 * compiler tells the proxy which ports may come redirected, and kvmesh-nft makes rules of the plan.
 *
 * Captured is a workload that asks for it: injected, by itself or by its namespace, or with a capture group.
 * A workload that merely has an entry is in the mesh by the explicit ports, and nothing of the host is touched.
 */
#pragma once

#include "config/model.h"
#include "snap/snap.h"

/* Ports that are never led anywhere, whatever is asked for: SSH, the resolver, NTP (with its key exchange). */
extern const int64_t capture_never[];
extern const size_t capture_n_never;

/* NONE: this workload's traffic is left alone. */
enum model_capture_mode capture_mode(const struct model *m, const struct model_workload *w);
/* Does what comes to that port of the workload come through the proxy? */
bool capture_takes_in(const struct model *m, const struct model_workload *w, int64_t port);
/* Is there any workload of this node whose incoming, or outgoing, connections are captured? */
bool capture_any_in(const struct model *m);
bool capture_any_out(const struct model *m);

struct capture_workload {
	struct str name, ns;
	struct str unit, user;          /* how the kernel tells its processes; both empty: nothing outgoing */
	bool tproxy;                    /* incoming connections keep the client's address */
	bool open;                      /* without a proxy its traffic goes its own way */
	struct int_list inbound;        /* ascending; empty: nothing incoming */
	bool outbound;
	struct int_list include_ports, exclude_ports;           /* outgoing */
	bool all_ranges;                /* outgoing: everything but the excluded; else only include */
	struct str_list include, exclude;                       /* outgoing: addresses and CIDRs */
};
struct capture_plan {
	int64_t outbound_port, inbound_port;    /* of the proxy; 0: it takes none */
	SNAP_LIST(struct capture_workload) workloads;           /* by namespace and name */
};
/* To keep a plan, for when there is none better. */
extern const struct bind_table capture_plan_table;
/* node: the compiled snapshot of the node's proxy, whose ports are what may be captured. All of it in the arena. */
void capture_plan(const struct model *m, const struct snap *node, struct arena *a, struct capture_plan *ret);
