/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upgrade: SIGUSR2 or the call Upgrade: the installed program takes the place of this one (handover.h). Layer proxy,
 * control thread. Both sides of it: this process as the one that goes, and, when it was started so, as the one that
 * came.
 */
#pragma once

#include "base/err.h"
#include "doc/doc.h"
#include "io/loop.h"
#include "ipc/ipc.h"
#include "proxy/control.h"
#include "proxy/worker.h"

struct upgrade;
/*
 * argv: of main. Sockets of the process before, if there is one, are inherited now: *ret_socket_fd is its control
 * socket, or -1. over: another process is in this one's place, and what was begun here has ended. Negative: this process
 * was to take a place and did not get all it needs.
 */
int upgrade_new(struct loop *l, struct worker_set *ws, char *const *argv, void (*over)(void *arg), void *arg,
		struct upgrade **ret, int *ret_socket_fd, struct err *err);
void upgrade_use_control(struct upgrade *u, struct control *c);
/* call: replied to when the other one is the main process, or is not going to be; NULL: the journal is told alone. */
void upgrade_begin(struct upgrade *u, struct ipc_call *call);
/* The first snapshot is served with live certificates. */
void upgrade_ready(struct upgrade *u);
/* A drain for another reason. False: this one is over already, and is draining. */
bool upgrade_cancel(struct upgrade *u);
/* "predecessor" of Status, when there was one. */
void upgrade_status(const struct upgrade *u, struct arena *a, struct doc *status);
void upgrade_free(struct upgrade *u);
