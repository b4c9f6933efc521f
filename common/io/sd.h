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
 * Every socket that the service manager has passed; stored: an earlier process has asked it to keep it
 * (sd_store_socket). They are close-on-exec and non-blocking from then on, and fn's.
 */
void sd_listen_sockets(void (*fn)(void *arg, int fd, bool stored), void *arg);
/*
 * Keep a descriptor of this socket for the next process of the unit (FileDescriptorStoreMax=), under an address's
 * text; several may have the same. It stays the caller's. Over a stop the service manager keeps none.
 */
void sd_store_socket(const char *address, int fd);
void sd_unstore_socket(const char *address);    /* all under that text */
/*
 * Another process of the unit is the main one from now on: the service manager knows when this returns. False: it
 * does not answer.
 */
bool sd_main_pid(pid_t pid);
/*
 * The system unit of a process (0: own); false when it is in none (user manager counts as that
 * unit).
 */
bool sd_unit_of(pid_t pid, char *buf, size_t n);
/* The same for the process at the other end of a Unix socket. */
bool sd_unit_of_peer(int fd, char *buf, size_t n);
/* $NOTIFY-like descriptor of kvmeshctl run: writes "ready\n" once when --ready-fd was given. */
void sd_ready_fd(int fd);
