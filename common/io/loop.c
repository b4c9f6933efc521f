/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop: one thread's event loop over libevent's core. Layer io; with buf.c's sockets the only place
 * that waits. Owns the event base, the queue of posts and its eventfd, the wheel of deadlines, and
 * the lists of deferred work and frees.
 *
 * The clock is read at the first callback of a turn (that is loop_now_us) and after each callback:
 * the difference tells which callback was slow.
 */
#include "io/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/vec.h"

#define TICK_US 100000u
#define WHEEL_SLOTS 512u
#define LATE_US 5000u
#define LATER_ROUNDS 16
#define TIMER_MAX_US (100ull * 365 * 86400 * 1000000)

struct post {
	struct post *next;
	loop_fn fn;
	void *arg;
};

struct deferred {
	loop_fn fn;
	void *p;
};

struct on_signal {
	struct on_signal *next;
	struct loop *loop;
	struct event ev;
	loop_signal_fn fn;
	void *arg;
};

struct loop {
	struct event_base *base;
	uint64_t now_us;
	uint64_t mark_us;               /* when the running callback began */
	bool fresh;                     /* now_us is of this turn */
	bool running;
	atomic_bool stop;

	int wake_fd;
	struct event wake_ev;
	_Atomic(struct post *) posts;   /* newest first */

	struct list later, next;
	struct deferred *frees;
	size_t n_frees, cap_frees;

	struct list wheel[WHEEL_SLOTS];
	uint64_t tick;                  /* the last one that was looked at */
	uint64_t armed_tick;            /* 0: the wheel's timer is off */
	struct loop_timer wheel_timer;

	struct list soon;               /* loop_fd */
	struct loop_deadline soon_deadline;

	struct on_signal *signals;
	_Atomic uint64_t late_count, late_us;
};

/* All of from goes behind what to holds. */
static void splice(struct list *to, struct list *from)
{
	if (list_is_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

/* ---- time ---------------------------------------------------------------- */

uint64_t loop_now_us(const struct loop *l)
{
	return l->fresh ? l->now_us : clock_mono_us();
}

static void callback_begins(struct loop *l)
{
	if (l->fresh)
		return;
	l->now_us = l->mark_us = clock_mono_us();
	l->fresh = true;
}

/* One writer, readers in other threads: no read-modify-write is needed. */
static void count_late(struct loop *l, uint64_t us)
{
	uint64_t n = atomic_load_explicit(&l->late_count, memory_order_relaxed);
	uint64_t sum = atomic_load_explicit(&l->late_us, memory_order_relaxed);

	atomic_store_explicit(&l->late_count, n + 1, memory_order_relaxed);
	atomic_store_explicit(&l->late_us, sum + us, memory_order_relaxed);
}

static void callback_ended(struct loop *l)
{
	uint64_t now = clock_mono_us();

	if (now - l->mark_us > LATE_US)
		count_late(l, now - l->mark_us);
	l->mark_us = now;
}

void loop_late(const struct loop *l, uint64_t *ret_count, uint64_t *ret_us)
{
	*ret_count = atomic_load_explicit(&l->late_count, memory_order_relaxed);
	*ret_us = atomic_load_explicit(&l->late_us, memory_order_relaxed);
}

/* ---- descriptors --------------------------------------------------------- */

static void on_fd(evutil_socket_t fd, short what, void *arg)
{
	struct loop_fd *f = arg;
	struct loop *l = f->loop;

	(void)fd;
	callback_begins(l);
	f->fn(f->arg, (what & EV_READ) != 0 ? LOOP_READ : LOOP_WRITE);
	callback_ended(l);
}

void loop_fd_init(struct loop_fd *f, struct loop *l, int fd, unsigned want, loop_fd_fn fn,
		  void *arg)
{
	f->loop = l;
	f->fn = fn;
	f->arg = arg;
	f->want = 0;
	list_init(&f->soon);
	kv_assert(event_assign(&f->read_ev, l->base, fd, EV_READ | EV_PERSIST, on_fd, f) == 0);
	kv_assert(event_assign(&f->write_ev, l->base, fd, EV_WRITE | EV_PERSIST, on_fd, f) == 0);
	loop_fd_want(f, want);
}

static void want_one(struct event *ev, bool have, bool want)
{
	if (want && !have)
		kv_assert(event_add(ev, NULL) == 0);
	else if (have && !want)
		event_del(ev);
}

void loop_fd_want(struct loop_fd *f, unsigned want)
{
	if (!list_is_empty(&f->soon)) {
		list_del(&f->soon);
		f->want = 0;
	}
	if (want == f->want)
		return;
	want_one(&f->read_ev, (f->want & LOOP_READ) != 0, (want & LOOP_READ) != 0);
	want_one(&f->write_ev, (f->want & LOOP_WRITE) != 0, (want & LOOP_WRITE) != 0);
	f->want = want;
}

static void on_soon(void *arg)
{
	struct loop *l = arg;

	while (!list_is_empty(&l->soon)) {
		struct loop_fd *f = list_entry(l->soon.next, struct loop_fd, soon);

		loop_fd_want(f, f->want);
	}
}

void loop_fd_want_soon(struct loop_fd *f, unsigned want)
{
	struct loop *l = f->loop;

	if (f->want != 0) {             /* the kernel knows it, or it is on the list */
		if (want != f->want)
			loop_fd_want(f, want);
		return;
	}
	if (want == 0)
		return;
	f->want = want;
	list_push_back(&l->soon, &f->soon);
	if (l->soon_deadline.at_us == 0)
		loop_deadline_set(&l->soon_deadline, loop_now_us(l) + TICK_US);
}

void loop_fd_done(struct loop_fd *f)
{
	if (!f->loop)
		return;
	loop_fd_want(f, 0);
	f->loop = NULL;
}

/* ---- timers -------------------------------------------------------------- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct loop_timer *t = arg;
	struct loop *l = t->loop;

	(void)fd;
	(void)what;
	t->armed = false;
	callback_begins(l);
	t->fn(t->arg);
	callback_ended(l);
}

void loop_timer_init(struct loop_timer *t, struct loop *l, loop_timer_fn fn, void *arg)
{
	t->loop = l;
	t->fn = fn;
	t->arg = arg;
	t->armed = false;
	kv_assert(event_assign(&t->ev, l->base, -1, 0, on_timer, t) == 0);
}

void loop_timer_set(struct loop_timer *t, uint64_t after_us)
{
	if (after_us > TIMER_MAX_US)
		after_us = TIMER_MAX_US;
	struct timeval tv = { .tv_sec = (time_t)(after_us / 1000000),
			      .tv_usec = (suseconds_t)(after_us % 1000000) };

	kv_assert(event_add(&t->ev, &tv) == 0);
	t->armed = true;
}

void loop_timer_stop(struct loop_timer *t)
{
	if (t->armed)
		event_del(&t->ev);
	t->armed = false;
}

void loop_timer_done(struct loop_timer *t)
{
	if (!t->loop)
		return;
	loop_timer_stop(t);
	t->loop = NULL;
}

/* ---- the wheel ----------------------------------------------------------- */

static struct list *wheel_slot(struct loop *l, uint64_t tick)
{
	return &l->wheel[tick % WHEEL_SLOTS];
}

static void wheel_arm(struct loop *l, uint64_t tick)
{
	uint64_t now = loop_now_us(l), at = tick * TICK_US;

	l->armed_tick = tick;
	loop_timer_set(&l->wheel_timer, at > now ? at - now : 0);
}

/* The next slot with something in it, or the timer stays off: an idle daemon does not tick. */
static void wheel_arm_next(struct loop *l)
{
	l->armed_tick = 0;
	for (uint64_t t = l->tick + 1; t <= l->tick + WHEEL_SLOTS; t++) {
		if (!list_is_empty(wheel_slot(l, t))) {
			wheel_arm(l, t);
			return;
		}
	}
	loop_timer_stop(&l->wheel_timer);
}

static void wheel_file(struct loop *l, struct loop_deadline *d)
{
	if (l->armed_tick == 0)
		l->tick = loop_now_us(l) / TICK_US;
	uint64_t tick = d->at_us / TICK_US + (d->at_us % TICK_US != 0 ? 1 : 0);

	if (tick <= l->tick)
		tick = l->tick + 1;
	if (tick > l->tick + WHEEL_SLOTS - 1)
		tick = l->tick + WHEEL_SLOTS - 1;
	d->filed_tick = tick;
	list_push_back(wheel_slot(l, tick), &d->node);
}

static void wheel_fire(struct loop *l, struct loop_deadline *d)
{
	list_del(&d->node);
	if (d->at_us == 0)
		return;
	if (d->at_us > l->now_us) {
		wheel_file(l, d);
		return;
	}
	d->at_us = 0;
	d->fn(d->arg);
	callback_ended(l);
}

static void on_wheel(void *arg)
{
	struct loop *l = arg;
	uint64_t to = l->now_us / TICK_US, from = l->tick + 1;

	if (to >= from + WHEEL_SLOTS)
		from = to - WHEEL_SLOTS + 1;
	l->tick = to;
	for (uint64_t t = from; t <= to; t++) {
		struct list due = LIST_INIT(due);

		/* Out of the slot first: what is filed meanwhile may land in the same one. */
		splice(&due, wheel_slot(l, t));
		while (!list_is_empty(&due))
			wheel_fire(l, list_entry(due.next, struct loop_deadline, node));
	}
	wheel_arm_next(l);
}

void loop_deadline_init(struct loop_deadline *d, struct loop *l, loop_timer_fn fn, void *arg)
{
	*d = (struct loop_deadline){ .loop = l, .fn = fn, .arg = arg };
	list_init(&d->node);
}

void loop_deadline_set(struct loop_deadline *d, uint64_t at_us)
{
	struct loop *l = d->loop;

	d->at_us = at_us;
	if (at_us == 0)
		return;         /* stays filed; forgotten when the wheel comes by */
	if (!list_is_empty(&d->node)) {
		if (at_us >= d->filed_tick * TICK_US - (TICK_US - 1))
			return;
		list_del(&d->node);
	}
	wheel_file(l, d);
	if (l->armed_tick == 0 || d->filed_tick < l->armed_tick)
		wheel_arm(l, d->filed_tick);
}

void loop_deadline_done(struct loop_deadline *d)
{
	if (!d->loop)
		return;
	list_del(&d->node);
	d->at_us = 0;
	d->loop = NULL;
}

/* ---- signals ------------------------------------------------------------- */

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
	struct on_signal *s = arg;

	(void)what;
	callback_begins(s->loop);
	s->fn(s->arg, (int)signo);
	callback_ended(s->loop);
}

void loop_on_signal(struct loop *l, int signo, loop_signal_fn fn, void *arg)
{
	struct on_signal *s = kv_zalloc(sizeof(*s));

	*s = (struct on_signal){ .next = l->signals, .loop = l, .fn = fn, .arg = arg };
	l->signals = s;
	kv_assert(event_assign(&s->ev, l->base, signo, EV_SIGNAL | EV_PERSIST, on_signal, s) == 0);
	kv_assert(event_add(&s->ev, NULL) == 0);
}

/* ---- posts --------------------------------------------------------------- */

static void wake(struct loop *l)
{
	uint64_t one = 1;
	ssize_t r;

	do
		r = write(l->wake_fd, &one, sizeof(one));
	while (r < 0 && errno == EINTR);
	/* EAGAIN: the counter is full, so the loop is going to wake up anyway. */
	kv_assert(r == sizeof(one) || errno == EAGAIN);
}

void loop_post(struct loop *l, loop_fn fn, void *arg)
{
	struct post *p = kv_malloc(sizeof(*p));
	struct post *top = atomic_load_explicit(&l->posts, memory_order_relaxed);

	*p = (struct post){ .fn = fn, .arg = arg };
	do
		p->next = top;
	while (!atomic_compare_exchange_weak_explicit(&l->posts, &top, p, memory_order_release,
						      memory_order_relaxed));
	/* Whoever put the first one on the empty stack wakes the loop, which takes all. */
	if (!top)
		wake(l);
}

/* All posts, oldest first. */
static struct post *take_posts(struct loop *l)
{
	struct post *p = atomic_exchange_explicit(&l->posts, NULL, memory_order_acquire);
	struct post *oldest = NULL;

	while (p) {
		struct post *next = p->next;

		p->next = oldest;
		oldest = p;
		p = next;
	}
	return oldest;
}

static void run_posts(struct loop *l)
{
	struct post *p = take_posts(l);

	while (p) {
		struct post *next = p->next;

		p->fn(p->arg);
		callback_ended(l);
		free(p);
		p = next;
	}
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	uint64_t n;

	(void)what;
	callback_begins(l);
	if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN && errno != EINTR)
		log_err("loop: cannot read the wake-up counter: %s", err_code_name(-errno));
	run_posts(l);
}

/* ---- deferred work and frees --------------------------------------------- */

void loop_later_init(struct loop_later *w, loop_fn fn, void *arg)
{
	*w = (struct loop_later){ .fn = fn, .arg = arg };
	list_init(&w->node);
}

void loop_later(struct loop *l, struct loop_later *w)
{
	if (list_is_empty(&w->node))
		list_push_back(&l->later, &w->node);
}

void loop_next(struct loop *l, struct loop_later *w)
{
	if (list_is_empty(&w->node))
		list_push_back(&l->next, &w->node);
}

void loop_later_done(struct loop_later *w)
{
	if (w->node.next)
		list_del(&w->node);
}

static void run_later(struct loop *l)
{
	for (int round = 0; round < LATER_ROUNDS && !list_is_empty(&l->later); round++) {
		struct list now = LIST_INIT(now);

		splice(&now, &l->later);
		while (!list_is_empty(&now)) {
			struct loop_later *w = list_entry(now.next, struct loop_later, node);

			list_del(&w->node);
			callback_begins(l);
			w->fn(w->arg);
			callback_ended(l);
		}
	}
}

void loop_defer_free(struct loop *l, loop_fn fn, void *p)
{
	*vec_push(l->frees, l->n_frees, l->cap_frees) = (struct deferred){ .fn = fn, .p = p };
}

/* Freeing one thing may defer the next: in order, until none is left. */
static void run_frees(struct loop *l)
{
	for (size_t i = 0; i < l->n_frees; i++) {
		struct deferred d = l->frees[i];

		d.fn(d.p);
	}
	l->n_frees = 0;
}

/* ---- life ---------------------------------------------------------------- */

static struct event_base *base_new(void)
{
	struct event_config *cfg = event_config_new();

	kv_assert(cfg);
	/* One thread owns it; the environment does not get to choose the back end. */
	kv_assert(event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV) ==
		  0);
	struct event_base *base = event_base_new_with_config(cfg);

	event_config_free(cfg);
	kv_assert(base);
	return base;
}

void loop_use_reserve(void)
{
	event_set_mem_functions(kv_try_malloc, kv_try_realloc, free);
}

struct loop *loop_new(void)
{
	struct loop *l = kv_zalloc(sizeof(*l));

	l->base = base_new();
	list_init(&l->later);
	list_init(&l->next);
	for (size_t i = 0; i < WHEEL_SLOTS; i++)
		list_init(&l->wheel[i]);
	loop_timer_init(&l->wheel_timer, l, on_wheel, l);
	list_init(&l->soon);
	loop_deadline_init(&l->soon_deadline, l, on_soon, l);
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	kv_assert(l->wake_fd >= 0);
	kv_assert(event_assign(&l->wake_ev, l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake,
			       l) == 0);
	kv_assert(event_add(&l->wake_ev, NULL) == 0);
	return l;
}

static void free_signals(struct loop *l)
{
	while (l->signals) {
		struct on_signal *s = l->signals;

		l->signals = s->next;
		event_del(&s->ev);
		free(s);
	}
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	kv_assert(!l->running);
	run_frees(l);
	for (struct post *p = take_posts(l); p;) {
		struct post *next = p->next;

		free(p);
		p = next;
	}
	free_signals(l);
	loop_deadline_done(&l->soon_deadline);
	loop_timer_done(&l->wheel_timer);
	event_del(&l->wake_ev);
	close(l->wake_fd);
	event_base_free(l->base);
	free(l->frees);
	free(l);
}

static void turn(struct loop *l)
{
	splice(&l->later, &l->next);
	bool poll = !list_is_empty(&l->later) || atomic_load(&l->stop);

	l->fresh = false;
	event_base_loop(l->base, EVLOOP_ONCE | (poll ? EVLOOP_NONBLOCK : 0));
	run_later(l);
	run_frees(l);
	l->fresh = false;
}

void loop_run(struct loop *l)
{
	kv_assert(!l->running);
	l->running = true;
	while (!atomic_load(&l->stop))
		turn(l);
	turn(l);        /* posts from before the stop, and what they deferred */
	atomic_store(&l->stop, false);
	l->running = false;
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stop, true);
	wake(l);
}

struct event_base *loop_base(struct loop *l)
{
	return l->base;
}
