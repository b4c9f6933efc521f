/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover: a new program takes the place of this one, and nobody who connects notices. Layer proxy, control thread.
 * The process that goes starts the one that comes and sends it its listening sockets, whole, with who waits in them.
 * The one that comes loads its snapshot, gets certificates of its own and says "ready"; then it is the main process,
 * accepts alone, and the other one ends what it has begun. If it does not get ready, it ends, and nothing has changed.
 *
 * One packet is one letter and, in those that pass sockets, their descriptors (SCM_RIGHTS):
 *     going → coming   o, m, c   sockets: ours, the service manager's, the control socket
 *                      e         that was the last one
 *                      y         you are the main process
 *                      d         ended: two numbers, see struct worker_drained
 *     coming → going   r         ready
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "io/loop.h"
#include "proxy/doors.h"
#include "proxy/worker.h"

#define HANDOVER_READY_US (60ull * 1000 * 1000) /* of the service manager for a start */
#define HANDOVER_ENV "KVMESH_HANDOVER"          /* the descriptor that packets come on */

/* ---- the process that goes ---- */
struct handover_give {
	struct loop *loop;
	const char *program;
	char *const *argv;
	const struct doors *doors;
	int control_fd;                 /* stays the caller's */
	/* The other one is the main process: end. */
	void (*done)(void *arg, pid_t pid);
	/* All is as before; why is a sentence. */
	void (*failed)(void *arg, const char *why);
	/* The one that took over is dead already. */
	void (*lost)(void *arg);
	void *arg;
};
struct handover;
/* Negative: nothing was started. */
int handover_start(const struct handover_give *g, struct handover **ret, struct err *err);
bool handover_is_under_way(const struct handover *h);    /* neither done, nor failed */
/* After done(), when all has ended. */
void handover_finish(struct handover *h, const struct worker_drained *last);
void handover_free(struct handover *h);         /* NULL is fine; a program that is not ready yet is killed */

/* ---- the process that comes ---- */
struct heir;
/*
 * NULL in ret and 0: nobody has started this process so. Else its sockets are in doors and *ret_control_fd. Negative: it
 * was, and did not get all it needs.
 */
int heir_new(struct loop *l, struct doors *doors, struct heir **ret, int *ret_control_fd, struct err *err);
/* Says "ready"; main: once this is the main process. gone: the other one has ended, after main. */
void heir_ready(struct heir *h, void (*main)(void *arg), void (*gone)(void *arg, const struct worker_drained *last),
		void *arg);
bool heir_is_main(const struct heir *h);
pid_t heir_predecessor(const struct heir *h);
void heir_free(struct heir *h);                 /* NULL is fine */
