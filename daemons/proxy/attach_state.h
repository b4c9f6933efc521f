/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach_state: run-time state by stable name, which outlives snapshots; private to attach.c and
 * attach_state.c. Layer proxy. The registry has one reference on each; only the control thread
 * finds or makes state, so a state with one reference has no other user and gets none behind the
 * sweep's back.
 */
#pragma once

#include "base/map.h"
#include "proxy/attach.h"

struct attach_state {
	struct map endpoints;           /* key → struct endpoint_state */
	struct map clusters;            /* name → struct cluster_state */
	struct map servers;             /* settings and paths → struct server_state */
};

/*
 * With one reference for the caller. late: its cluster is in force already, so that one that is made
 * here is new (endpoint_state.since_us).
 */
struct endpoint_state *attach_state_endpoint(struct attach_state *s, struct str key, bool late);
bool attach_state_has_cluster(const struct attach_state *s, struct str name);
/* The same; a state of the same name made from other TLS files is replaced. */
struct cluster_state *attach_state_cluster(struct attach_state *s, const struct snap_cluster *c);
/*
 * The same for a gateway's server. Files that cannot be used leave the context of those before them
 * where it is.
 */
struct server_state *attach_state_server(struct attach_state *s, const struct snap_server *sv);
/* Are its files as they were? Those of gateways' servers and of clusters. */
bool attach_state_cluster_is_current(const struct cluster_state *st, const struct snap_cluster *c);
bool attach_state_is_current(const struct server_state *st, const struct snap_server *sv);
