/* SPDX-License-Identifier: Apache-2.0 */
/*
 * observed: requests as the proxies of this node have counted them at the caller's side, summed up
 * by service and workload. Layer daemons/ctl.
 */
#pragma once

#include "ctl/ctl.h"

#define OBSERVED_BUCKETS_MAX 64

struct observed {
	struct str service;                    /* FQDN */
	struct str workload, ns;               /* who answered; "unknown" outside the mesh */
	int64_t requests, failed;              /* 5xx, and without an answer */
	int64_t buckets[OBSERVED_BUCKETS_MAX]; /* of milliseconds, cumulative; the last is all */
	size_t n_buckets;
	double bounds[OBSERVED_BUCKETS_MAX]; /* upper ends; one fewer */
};
struct observed_list {
	struct observed *v;
	size_t n, cap;
	double seconds; /* that the oldest of the proxies has counted */
};

/* Since the proxies started; of those that answer. In c's arena. */
void observed_gather(struct ctl *c, struct observed_list *ret);
/* What has come since: later -= earlier. */
void observed_subtract(struct observed_list *later, const struct observed_list *earlier);
/* Milliseconds below which that share of the requests stayed, as Prometheus reckons; -1: none. */
double observed_quantile(const struct observed *o, double share);
void observed_add(struct observed *to, const struct observed *o);
