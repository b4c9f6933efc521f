/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker: one thread with its own loop, SO_REUSEPORT listeners, upstream pools, counters, rng and
 * lease. Layer proxy. Workers share nothing on the request path but the atomics of attach.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "core/lb.h"
#include "io/loop.h"
#include "proxy/attach.h"
#include "proxy/overload.h"
#include "proxy/stats.h"
#include "proxy/upstream.h"

#define WORKER_POOL_HINTS 64            /* pools found without their key, see upstream.h */
#define WORKER_SILENT 64
#define WORKER_SILENT 64

struct access_log;
struct doors;
struct gate;
struct named;
struct regex_scratch;
struct slab;
struct stream_cache;

/* What a worker remembers about one cluster, workload or inbound of an attachment. */
struct lease_cluster {
	struct lb_rr rr;
	bool weighted;
};

/* A worker-local, counted reference to an attachment: a stream pins the one it started with. */
struct lease {
	struct attached *at;
	unsigned refs;                  /* plain: one thread */
	uint64_t serial;                /* of the worker's leases; never used again */
	struct snap_settings settings;  /* the snapshot's, defaults filled in */
	struct lease_cluster *clusters; /* parallel to the snapshot's */
	struct str *callers;            /* parallel to workloads: "name.ns" for the other proxy */
	struct str *inbounds;           /* parallel to inbounds: "inbound|8001||" for records */
	struct arena arena;             /* these */
};
struct lease *lease_ref(struct lease *l);
static inline struct lease_cluster *lease_cluster(struct lease *l, size_t i)
{
	return &l->clusters[i];
}
void lease_unref(struct lease *l);      /* the last one drops the reference on the attachment */

struct worker {
	unsigned index;
	struct loop *loop;
	struct stats *stats;
	struct access_log *log;         /* NULL: off; this worker's ring, see access_log.h */
	struct rng rng;
	struct regex_scratch *regex;    /* what this thread's matches write to */
	struct lease *lease;            /* current; NULL before the first publish */
	struct lease *previous;         /* of another snapshot, for peers who do not know yet; or NULL */
	struct list listeners;          /* struct listener */
	struct list conns;              /* struct conn, downstream */
	struct list streams;            /* struct stream, under way */
	struct slab *slab;              /* small blocks that come and go with exchanges */
	struct stream_cache *cache;     /* finished ones, kept for the next */
	struct named *names;            /* addresses of hosts that only requests name */
	struct map pools;               /* struct pool, by key */
	struct pool_hint pool_hints[WORKER_POOL_HINTS];
	uint64_t silent[WORKER_SILENT];         /* hashes of destinations whose last caller let the server speak first */
	uint64_t n_leases;              /* made so far */
	size_t n_down;                  /* open downstream connections */
	size_t n_shadows;               /* copies of requests under way (mirror.h) */
	struct list tubes;              /* struct tube (tube.h) */
	size_t n_tubes;
	size_t n_ended;                 /* exchanges, since the drain began */
	struct gate *gate;              /* of all workers */
	enum overload_level level;      /* as last told, see overload.h */
	int reserve_fd;                 /* given up when descriptors run out; -1 gone */
	bool draining, stopping;
	bool succeeded;                 /* another process accepts at the same addresses */
	char date[40];                  /* of the second date_at, for answers that are made here */
	size_t date_n;
	int64_t date_at;
	/* the thread itself is worker.c's */
	struct worker_thread *thread;
};

/* Settings of the current lease. */
static inline const struct snap_settings *worker_settings(const struct worker *w)
{
	return &w->lease->settings;
}

/* Every identity of the current attachment has its certificate and the worker is not draining. */
bool worker_is_ready(const struct worker *w);
/* A downstream connection went away: perhaps the drain is over. */
void worker_check_drained(struct worker *w);

/*
 * Control thread. Start n workers, 0: as many as there are CPUs for it (threads run at once,
 * serving nothing).
 */
struct worker_set;
struct worker_set *worker_set_start(unsigned n);
/*
 * Hand a new attachment to all workers (takes one reference per worker itself); opens and closes
 * listeners as the snapshot says (doors.h). Negative: nothing has changed.
 */
int worker_publish(struct worker_set *ws, struct attached *at, struct err *err);
/*
 * Close listeners, finish exchanges, close idle connections; done() is posted to loop when all are
 * gone or after deadline_us (0: as the snapshot says).
 */
void worker_drain(struct worker_set *ws, uint64_t deadline_us, struct loop *loop, loop_fn done,
		  void *arg);
/* The addresses that it listens on; the control thread's. */
struct doors *worker_doors(const struct worker_set *ws);
/*
 * Another process serves the same addresses from now on. A drain leaves it to that one to accept, and has patience with
 * those who may just be sending their next request.
 */
void worker_succeed(struct worker_set *ws);
/* Exchanges, opaque ones too, of the time of the drain. After done(). */
struct worker_drained {
	uint32_t ended, cut;            /* by themselves; by its deadline */
};
struct worker_drained worker_drained(const struct worker_set *ws);
void worker_set_stop(struct worker_set *ws);            /* joins */
size_t worker_count(const struct worker_set *ws);
struct stats *const *worker_stats(const struct worker_set *ws, size_t *ret_n);
struct gate *worker_gate(struct worker_set *ws);         /* what all of them let in */
struct worker *worker_at(const struct worker_set *ws, size_t i);
/* Bound listeners as {kind, address, port} for Status. */
struct doc *worker_listeners(const struct worker_set *ws, struct arena *a);
