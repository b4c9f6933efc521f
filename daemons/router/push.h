/* SPDX-License-Identifier: Apache-2.0 */
/*
 * push: who watches which snapshot, who has acknowledged what. Layer daemons/router. Owns the Watch
 * and Identities streams; borrows the state. A slow watcher is sent the newest version once it
 * reads again, never a queue of them.
 */
#pragma once

#include <stdbool.h>

#include "doc/doc.h"
#include "ipc/ipc.h"
#include "router/state.h"

struct push;
/*
 * settled: runs whenever an acknowledgement or a departure may have settled what a caller waits
 * for.
 */
struct push *push_new(const struct state *s, void (*settled)(void *arg), void *arg);
void push_free(struct push *p);
/* The state changed: proxies come and go, watchers get what is new to them. */
void push_sync(struct push *p);

/* Take over the call; a proxy that the configuration does not ask for is answered NotFound. */
void push_watch(struct push *p, struct ipc_call *call, struct str proxy);
void push_watch_identities(struct push *p, struct ipc_call *call);

struct push_ack {
	struct str proxy, error, software;      /* error empty: accepted */
	int64_t version, pid;
};
/* False: no such proxy. */
bool push_take_ack(struct push *p, const struct push_ack *ack, int64_t now_us);

enum push_progress { PUSH_PENDING, PUSH_DONE, PUSH_FAILED };
/*
 * Has every connected proxy taken its present version? For PUSH_PENDING and PUSH_FAILED: who, in
 * words.
 */
enum push_progress push_progress(const struct push *p, struct arena *a, struct str *ret_who);
/* [{name, state, version, software, pid, connected, ackedAt, error}] of docs/IPC.md. */
struct doc *push_status(const struct push *p, struct arena *a);
