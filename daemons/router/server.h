/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server: router.sock (docs/IPC.md) and the reasons to load again: SIGHUP, a changed file, a Reload
 * call. Layer daemons/router. Owns the listening socket, push and watchfs; borrows the state.
 */
#pragma once

#include "ipc/daemon.h"
#include "router/state.h"

struct server;
struct server *server_new(struct loop *l, const struct daemon_options *o, struct state *s,
			  int listen_fd);
void server_free(struct server *s);
/* Load and tell everybody; by as in state_load. */
enum state_outcome server_load(struct server *s, const char *by);
