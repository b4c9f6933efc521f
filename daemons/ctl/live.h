/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live: what the running daemons say about themselves, asked once for a command. Layer daemons/ctl.
 * A daemon that does not answer is a fact like the others, not a failure of the command.
 */
#pragma once

#include "ctl/ctl.h"

struct live_proxy {
	const char *name;
	const struct doc *router;       /* its entry in the router's Status, or NULL */
	const struct doc *status;       /* its own Status, or NULL */
	struct err err;                 /* why there is none */
};

struct live {
	const struct doc *router, *ca, *metrics;        /* Status, or NULL */
	struct err router_err, ca_err, metrics_err;
	struct live_proxy *proxies;     /* by name: known to the router or with a socket */
	size_t n_proxies;
};

void live_gather(struct ctl *c, struct live *ret);
/*
 * What the router says of workloads with a unit or a probe (Status.workloads), NULL: no answer; the
 * row of one, NULL: none; that row in words.
 */
const struct doc *live_workloads(struct ctl *c);
const struct doc *live_workload(const struct doc *rows, struct str name, struct str ns);
struct str live_workload_text(struct arena *a, const struct doc *row);
/* "kvmesh-proxy.service" of node, "kvmesh-proxy@NAME.service" of the others. */
struct str live_unit(struct ctl *c, const char *proxy);
/* Micros until the first certificate of a proxy's Status ends; false when it has none. */
bool live_cert_left(const struct doc *status, int64_t now_us, int64_t *ret_us);
/* SYNCED, STALE, NOT SENT; "-" when the router does not say. */
struct str live_state(const struct live_proxy *p);
