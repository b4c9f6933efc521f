/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify: what systemd is to a service (sd_notify(3)), `kvmeshctl run` is to its children as far as it matters here:
 * one of them says that another process is the main one from now on. Layer daemons/ctl.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "io/loop.h"

struct notify;
/* Listens on path, a datagram socket. main_pid: the process from said that pid is in its place. */
int notify_new(struct loop *l, const char *path, void (*main_pid)(void *arg, pid_t from, pid_t pid), void *arg,
	       struct notify **ret, struct err *err);
void notify_free(struct notify *n);             /* NULL is fine */
