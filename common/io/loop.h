/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: one thread's event loop over libevent: descriptors, timers, signals, posts from other
 * threads, deferred frees. Layer io. Everything but loop_post and loop_stop belongs to the loop's
 * own thread.
 *
 * One turn: wait for events → callbacks → deferred work (loop_later) until none is left → frees.
 * Nothing is freed inside its own callback: loop_defer_free runs at the end of the turn.
 * Deferred work that queues itself again and again is put off to the next turn after 16 rounds, so
 * that descriptors are served in between.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event_struct.h>

#include "base/list.h"

struct loop;

/* libevent allocates as kv_try_malloc does, on the reserve of base/arena.h too. Before any loop. */
void loop_use_reserve(void);
struct loop *loop_new(void);
/* All loop_fd, loop_timer, loop_deadline of it are done before. Runs what loop_defer_free holds. */
void loop_free(struct loop *l);
/* Until loop_stop. What was posted before the stop still runs. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);                 /* from any thread; ends after the current turn */
uint64_t loop_now_us(const struct loop *l);     /* monotonic, read once per turn */
struct event_base *loop_base(struct loop *l);   /* for evhttp and evdns only */

/* ---- descriptors: level-triggered, persistent ---------------------------- */
#define LOOP_READ 0x1u
#define LOOP_WRITE 0x2u
/*
 * Called once for reading and once for writing; a hang-up or an error shows as whatever is wanted.
 */
typedef void (*loop_fd_fn)(void *arg, unsigned what);
struct loop_fd {
	struct loop *loop;
	struct event read_ev, write_ev;
	loop_fd_fn fn;
	void *arg;
	unsigned want;
	struct list soon;               /* wanted, and the kernel not yet asked */
};
/* The descriptor stays the caller's. want: LOOP_READ | LOOP_WRITE, may be 0. */
void loop_fd_init(struct loop_fd *f, struct loop *l, int fd, unsigned want, loop_fd_fn fn,
		  void *arg);
void loop_fd_want(struct loop_fd *f, unsigned want);    /* costs nothing when unchanged */
/*
 * The same within some 200 ms: for what is most likely not wanted any more by then, which saves to tell the
 * kernel twice.
 */
void loop_fd_want_soon(struct loop_fd *f, unsigned want);
void loop_fd_done(struct loop_fd *f);                   /* before close(fd); harmless twice */

/* ---- timers: one shot, re-armed by hand ---------------------------------- */
typedef void (*loop_timer_fn)(void *arg);
struct loop_timer {
	struct loop *loop;
	struct event ev;
	loop_timer_fn fn;
	void *arg;
	bool armed;
};
void loop_timer_init(struct loop_timer *t, struct loop *l, loop_timer_fn fn, void *arg);
void loop_timer_set(struct loop_timer *t, uint64_t after_us);   /* (re-)arms */
void loop_timer_stop(struct loop_timer *t);
void loop_timer_done(struct loop_timer *t);

/*
 * Coarse deadlines for many objects: a wheel of 100 ms ticks; setting costs one store when it moves
 * later.
 */
struct loop_deadline {
	struct list node;
	struct loop *loop;
	uint64_t at_us;                 /* 0: none */
	uint64_t filed_tick;            /* when the wheel looks at it next */
	loop_timer_fn fn;
	void *arg;
};
void loop_deadline_init(struct loop_deadline *d, struct loop *l, loop_timer_fn fn, void *arg);
void loop_deadline_set(struct loop_deadline *d, uint64_t at_us);        /* absolute; 0 clears */
void loop_deadline_done(struct loop_deadline *d);

/* ---- signals: in one loop of the process only ---------------------------- */
typedef void (*loop_signal_fn)(void *arg, int signo);
void loop_on_signal(struct loop *l, int signo, loop_signal_fn fn, void *arg);

/* ---- work ---------------------------------------------------------------- */
typedef void (*loop_fn)(void *arg);
/* From any thread: run fn(arg) in the loop's thread. Order per posting thread is kept. */
void loop_post(struct loop *l, loop_fn fn, void *arg);
/* Own thread: once, later in this turn (for example: flush what this turn's callbacks queued). */
struct loop_later {
	struct list node;
	loop_fn fn;
	void *arg;
};
void loop_later_init(struct loop_later *w, loop_fn fn, void *arg);
void loop_later(struct loop *l, struct loop_later *w);          /* harmless when already queued */
/*
 * The same in the next turn, after descriptors were looked at; the loop does not sleep until then.
 */
void loop_next(struct loop *l, struct loop_later *w);
void loop_later_done(struct loop_later *w);
/* Own thread: fn(p) at the very end of this turn. */
void loop_defer_free(struct loop *l, loop_fn fn, void *p);

/* Callbacks that ran longer than 5 ms: count and total, readable from any thread. */
void loop_late(const struct loop *l, uint64_t *ret_count, uint64_t *ret_us);
