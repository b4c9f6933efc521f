/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listening: on which TCP ports a running unit listens: the sockets that the processes of its
 * control group hold, whoever made them (a socket unit for instance), joined with what the kernel
 * says listens. Layer daemons/ctl.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "io/sock.h"

struct listening {
	uint16_t port;
	struct sock_addr at;            /* the most reachable one it is bound to: loopback first */
	char program[16];               /* of the first process that has it */
};
#define LISTENING_MAX 64

/*
 * By port, each once. cgroup: the unit's ControlGroup, "/system.slice/shop.service". Returns 0, or
 * a negative code with err filled.
 */
int listening_find(const char *cgroup, struct arena *a, struct listening **ret, size_t *ret_n,
		   struct err *err);
/* The same for the processes listed in DIR/cgroup.procs and below. */
int listening_find_in(const char *dir, struct arena *a, struct listening **ret, size_t *ret_n,
		      struct err *err);
