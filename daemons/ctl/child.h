/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child: one daemon as a child of `kvmeshctl run`: found, started, restarted with back-off, asked
 * for its Status until it works. Layer daemons/ctl.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctl/ctl.h"
#include "io/loop.h"
#include "ipc/ipc.h"

#define CHILD_BACKOFF_MIN_US (50u * 1000)
#define CHILD_BACKOFF_MAX_US (2000u * 1000)
#define CHILD_STEADY_US (5000u * 1000)  /* lived that long: the next death starts anew */

enum child_kind {
	CHILD_KIND_ROUTER, CHILD_KIND_CA, CHILD_KIND_METRICS, CHILD_KIND_PROXY,
	CHILD_KIND_PROBE                /* has no socket: nobody waits for it */
};

struct child {
	enum child_kind kind;
	char *name;                     /* "kvmesh-router", "kvmesh-proxy@node" */
	char *instance;                 /* proxies; else NULL */
	char *program;                  /* path of the executable */
	char *argv[12];
	const char *notify_path;        /* child_notify_path */
	pid_t pid;                      /* 0: not running */
	uint64_t started_us, backoff_us;
	unsigned deaths;                /* in a row, none of them steady */
	bool wanted;                    /* false: no longer in the configuration */
	struct loop *loop;
	struct loop_timer restart;
	/* Status is asked for while somebody waits for the child. */
	struct ipc_client *client;
	bool asking, answered, ready;
	bool synced;                    /* proxies: the router says so */
};

/* Where the children say what they would say to systemd; lives as long as c. */
const char *child_notify_path(struct ctl *c);
/* Where a daemon is: beside kvmeshctl, else in SBINDIR. malloc'ed; or -ENOENT with err. */
int child_find_program(const char *name, char **ret, struct err *err);
/*
 * kind and instance (copied) say which daemon; it is found beside kvmeshctl, else in SBINDIR. Not
 * yet started. Returns 0, or -ENOENT with err.
 */
int child_new(struct ctl *c, struct loop *l, enum child_kind kind, const char *instance,
	      struct child **ret, struct err *err);
void child_free(struct child *ch);      /* the process must be gone */
void child_start(struct child *ch);
void child_kill(const struct child *ch, int signo);     /* nothing when it is not running */
/* Another process, of its own making, is in its place (notify.h). */
void child_succeeded(struct child *ch, pid_t pid);
/* Its process was reaped: say how it ended and, when again is true, start it after the back-off. */
void child_died(struct child *ch, int wait_status, bool again);

/* Ask for Status once, when connected and no answer is open. */
void child_ask(struct child *ch);
void child_stop_asking(struct child *ch);
