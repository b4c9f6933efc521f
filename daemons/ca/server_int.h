/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_int: the inside of server, shared by server.c (callers, the router) and server_admin.c (what
 * administrators order). Layer daemons/ca.
 */
#pragma once

#include "base/list.h"
#include "ca/authority.h"
#include "ca/server.h"
#include "ca/workload_api.h"
#include "ipc/ipc.h"

struct server {
	struct loop *loop;
	struct authority *authority;
	bool standalone;
	struct ipc_server *ipc;
	struct ipc_client *router;
	struct grpc *workloads;         /* NULL: its socket could not be made */
	struct loop_timer tick;
	bool fresh;                     /* the registry is the router's present word */
	struct list watchers;           /* struct watcher: calls of Roots */
	uint64_t started_us;
};

/* server.c */
const char *server_error_name(int code);
void server_set_time_s(struct arena *a, struct doc *d, const char *key, int64_t s);
/* chain: who vouches for the issuer, for peers that know the root alone; empty: nobody need be told. */
void server_reply_certificate(struct ipc_call *call, const struct authority_cert *cert, struct str chain);
void server_say_status(const struct server *s);
void server_tell_watchers(struct server *s);    /* bundle, issuer or what is revoked is another */
void server_advance(struct server *s);          /* a step of a rotation may be over */

/* server_admin.c: methods */
void server_on_rotate(void *arg, struct ipc_call *call, const struct doc *p);
void server_on_issue(void *arg, struct ipc_call *call, const struct doc *p);
void server_on_revoke(void *arg, struct ipc_call *call, const struct doc *p);
void server_on_revoked(void *arg, struct ipc_call *call, const struct doc *p);
void server_on_sign_report(void *arg, struct ipc_call *call, const struct doc *p);
void server_on_request(void *arg, struct ipc_call *call, const struct doc *p);
void server_on_install(void *arg, struct ipc_call *call, const struct doc *p);
