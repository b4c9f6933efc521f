/* SPDX-License-Identifier: Apache-2.0 */
/* sd: readiness, watchdog, socket activation, own unit; all no-ops outside systemd. Layer io. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "io/loop.h"

void sd_ready(const char *fmt_status, ...) __attribute__((format(printf, 1, 2)));
void sd_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void sd_reloading(void);                /* RELOADING=1 with MONOTONIC_USEC; end with sd_ready */
void sd_stopping(void);
/* Feed the watchdog from l at half of its interval; nothing without WATCHDOG_USEC. */
void sd_watchdog_start(struct loop *l);
void sd_watchdog_stop(void);                    /* before that loop is freed */
/* Descriptor passed under that FileDescriptorName=, or -1. */
int sd_listen_fd(const char *name);
/*
 * How many sockets the service manager has passed, from *ret_first on. They are close-on-exec and
 * non-blocking from then on, and this process's until it ends.
 */
unsigned sd_listen_sockets(int *ret_first);
/*
 * The system unit of a process (0: own); false when it is in none (user manager counts as that
 * unit).
 */
bool sd_unit_of(pid_t pid, char *buf, size_t n);
/* The same for the process at the other end of a Unix socket. */
bool sd_unit_of_peer(int fd, char *buf, size_t n);
/* $NOTIFY-like descriptor of kvmeshctl run: writes "ready\n" once when --ready-fd was given. */
void sd_ready_fd(int fd);
