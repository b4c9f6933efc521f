/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control: the proxy's control thread: watches the router for snapshots, keeps the certificates of
 * its identities fresh (keys are made here, only CSRs travel), publishes attachments, keeps the
 * last good snapshot on disk, serves proxy/NAME.sock. Layer proxy.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"
#include "proxy/worker.h"

struct control_options {
	const char *run_dir, *state_dir; /* as given to --run and --state:
					    STATE/proxy/INSTANCE.snapshot is ours */
	const char *instance;           /* "node", "ingressgateway", … */
	int ready_fd;                   /* -1 none: written once with the first ready() */
	int socket_fd;                  /* of an earlier process for proxy/NAME.sock, taken; served from control_take_over on.
					    -1: made here, and served at once */
};
struct control;
/* ready: called once, when the first snapshot is served with live certificates for all its
 * identities. */
struct control *control_new(struct loop *l, struct worker_set *ws, const struct control_options *o,
			    void (*ready)(void *arg), void *arg, struct err *err);
/* After worker_set_stop: until then workers write into rings that are freed here. */
void control_free(struct control *c);
void control_reload(struct control *c);         /* SIGHUP: reconnect to the router, reopen logs */
/* This is the main process of its unit from now on. */
void control_take_over(struct control *c);
/* The listening socket of proxy/NAME.sock, to be passed on; stays control's. */
int control_socket(const struct control *c);
void control_leave(struct control *c);          /* another process serves proxy/NAME.sock */
struct upgrade;
void control_use_upgrade(struct control *c, struct upgrade *u);
void control_stopping(struct control *c);       /* no more publishes */
