/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker: one thread with its own loop, SO_REUSEPORT listeners, upstream pools, counters, rng and lease.
 * Layer proxy. Workers share nothing on the request path but the atomics of attach.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "io/loop.h"
#include "proxy/attach.h"
#include "proxy/stats.h"

struct access_log;

/* A worker-local, counted reference to an attachment: a stream pins the one it started with. */
struct lease {
	struct attached *at;
	unsigned refs;                  /* plain: one thread */
};
struct lease *lease_ref(struct lease *l);
void lease_unref(struct lease *l);      /* the last one drops the worker's reference on the attachment */

struct worker {
	unsigned index;
	struct loop *loop;
	struct stats *stats;
	struct access_log *log;         /* NULL: off; shared ring of this worker, see access_log.h */
	struct rng rng;
	struct lease *lease;            /* current; NULL before the first publish */
	struct list listeners;          /* struct listener */
	struct list conns;              /* struct conn, downstream */
	struct map pools;               /* struct pool, by key */
	size_t n_down;                  /* open downstream connections */
	bool draining;
	/* the thread itself is worker.c's */
	struct worker_thread *thread;
};

/* Control thread. Start n workers (threads run at once, serving nothing). */
struct worker_set;
struct worker_set *worker_set_start(unsigned n);
/* Hand a new attachment to all workers (takes one reference per worker itself); opens and closes
 * listeners as the snapshot says: the same address stays open. listening sockets are made in the control
 * thread, one per worker and address (SO_REUSEPORT), so that a failure is reported here and nothing changes. */
int worker_publish(struct worker_set *ws, struct attached *at, struct err *err);
/* Close listeners, finish exchanges, close idle connections; done() is posted to loop when all are gone or
 * after deadline_us. */
void worker_drain(struct worker_set *ws, uint64_t deadline_us, struct loop *loop, loop_fn done, void *arg);
void worker_set_stop(struct worker_set *ws);            /* joins */
size_t worker_count(const struct worker_set *ws);
struct stats *const *worker_stats(const struct worker_set *ws, size_t *ret_n);
struct worker *worker_at(const struct worker_set *ws, size_t i);
/* Bound listeners as {kind, address, port} for Status. */
struct doc *worker_listeners(const struct worker_set *ws, struct arena *a);
