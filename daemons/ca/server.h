/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server: ca.sock (docs/IPC.md) and the stream of identities from the router. Layer daemons/ca.
 * Owns the listening socket, its watchers and the router's client; borrows the authority.
 */
#pragma once

#include "ca/authority.h"
#include "ipc/daemon.h"

struct server;
struct server *server_new(struct loop *l, const struct daemon_options *o, struct authority *a,
			  int listen_fd);
void server_free(struct server *s);
/* SIGHUP. */
void server_reload(struct server *s);
