/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prober: kvmesh-probe as the router sees it: it is sent the list of probes and tells results.
 * Layer daemons/router. Owns the Probes streams and the file below the run directory that makes
 * systemd start kvmesh-probe while there is something to probe; borrows the health.
 */
#pragma once

#include <stdbool.h>

#include "ipc/ipc.h"
#include "router/health.h"

struct prober;
/* flag_path: the file; NULL: none. */
struct prober *prober_new(struct health *h, const char *flag_path);
void prober_free(struct prober *p);
/* health_list says something else. */
void prober_sync(struct prober *p);
/* Take over the calls; who is neither root, this user nor kvmesh-probe is refused. */
void prober_watch(struct prober *p, struct ipc_call *call);
void prober_take(struct prober *p, struct ipc_call *call, const struct doc *result);
bool prober_is_connected(const struct prober *p);
