/* SPDX-License-Identifier: Apache-2.0 */
/* rights: which users are who in the mesh, by the user and group database. Layer ipc. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/str.h"
#include "io/sock.h"

#define RIGHTS_USER_PROXY "kvmesh-proxy"
#define RIGHTS_USER_CA "kvmesh-ca"
#define RIGHTS_USER_ROUTER "kvmesh-router"
#define RIGHTS_USER_METRICS "kvmesh-metrics"
#define RIGHTS_USER_PROBE "kvmesh-probe"        /* no daemon to the others: it runs commands */

#define RIGHTS_USER_WITNESS "kvmesh-witness"    /* … nor this one: it may look at packets, and nobody may tell it what to say */

/* IPC_ALLOW_ROOT, _ADMIN, _VIEW and _DAEMON as they apply to that peer. */
unsigned rights_of(const struct sock_peer *p);
/* Is there such a user, and which? */
bool rights_find_user(const char *name, uid_t *ret);
/* uid is that of the named user. */
bool rights_is_user(uid_t uid, const char *name);
/* One of the four users of the daemons. */
bool rights_is_daemon(uid_t uid);

#define RIGHTS_NODE_INSTANCE "node"
/*
 * The proxy instance that a system unit runs ("kvmesh-proxy.service" is node,
 * "kvmesh-proxy@NAME.service" is NAME), borrowed from unit; STR_NULL: it is no proxy's unit.
 */
struct str rights_instance_of_unit(const char *unit);
