/* SPDX-License-Identifier: Apache-2.0 */
/* loop: descriptors, timers, deadlines, posts from other threads, deferred work and frees. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "io/loop.h"

#include "unit.h"

#define SECOND 1000000ull

static struct loop *loop;
static char trace[256];

static void note(char c)
{
	size_t n = strlen(trace);

	ck_assert_uint_lt(n + 1, sizeof(trace));
	trace[n] = c;
	trace[n + 1] = '\0';
}

static void stop(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

static void start(void)
{
	loop = loop_new();
	trace[0] = '\0';
}

static void too_long(void *arg)
{
	(void)arg;
	ck_abort_msg("nothing ended the loop");
}

/* Every test that waits arms this: a hang is a failure with a name. */
static struct loop_timer guard;

static void run(void)
{
	loop_timer_init(&guard, loop, too_long, NULL);
	loop_timer_set(&guard, 40 * SECOND);
	loop_run(loop);
	loop_timer_done(&guard);
}

/* ---- descriptors --------------------------------------------------------- */

struct ends {
	int fd[2];
	struct loop_fd f;
	int reads, writes;
};

static void on_ends(void *arg, unsigned what)
{
	struct ends *e = arg;
	char buf[16];

	if (what == LOOP_WRITE) {
		e->writes++;
		loop_fd_want(&e->f, LOOP_READ);
		ck_assert_int_eq(write(e->fd[1], "ping", 4), 4);
		return;
	}
	ck_assert_uint_eq(what, LOOP_READ);
	e->reads++;
	ssize_t n = read(e->fd[0], buf, 2);

	ck_assert_int_ge(n, 0);
	if (e->reads == 2)
		close(e->fd[1]);
	if (n == 0) {
		loop_fd_done(&e->f);
		loop_stop(loop);
	}
}

START_TEST(level_triggered_and_persistent)
{
	struct ends e = { 0 };

	start();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, e.fd), 0);
	loop_fd_init(&e.f, loop, e.fd[0], LOOP_READ | LOOP_WRITE, on_ends, &e);
	run();
	ck_assert_int_eq(e.writes, 1);
	ck_assert_int_eq(e.reads, 3);           /* two halves of "ping", then the end */
	loop_fd_done(&e.f);                     /* harmless twice */
	close(e.fd[0]);
	loop_free(loop);
}
END_TEST

static void never_called(void *arg, unsigned what)
{
	(void)arg;
	(void)what;
	ck_abort_msg("called though nothing is wanted");
}

START_TEST(nothing_wanted_nothing_called)
{
	struct ends e = { 0 };
	struct loop_timer t;

	start();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, e.fd), 0);
	ck_assert_int_eq(write(e.fd[1], "x", 1), 1);
	close(e.fd[1]);
	loop_fd_init(&e.f, loop, e.fd[0], 0, never_called, NULL);
	loop_timer_init(&t, loop, stop, NULL);
	loop_timer_set(&t, 20000);
	run();
	loop_fd_done(&e.f);
	close(e.fd[0]);
	loop_timer_done(&t);
	loop_free(loop);
}
END_TEST

static void on_called(void *arg, unsigned what)
{
	struct ends *e = arg;

	ck_assert_uint_eq(what, LOOP_READ);
	e->reads++;
	loop_stop(loop);
}

/* One is called, after its time or, when it is wanted at once, before that; one that is taken back is not. */
START_TEST(what_is_wanted_soon)
{
	struct ends a = { 0 }, b = { 0 };

	start();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a.fd), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b.fd), 0);
	ck_assert_int_eq(write(a.fd[1], "x", 1), 1);
	ck_assert_int_eq(write(b.fd[1], "x", 1), 1);
	loop_fd_init(&a.f, loop, a.fd[0], 0, on_called, &a);
	loop_fd_init(&b.f, loop, b.fd[0], 0, never_called, NULL);
	loop_fd_want_soon(&a.f, LOOP_READ);
	loop_fd_want_soon(&b.f, LOOP_READ);
	loop_fd_want(&b.f, 0);
	run();
	ck_assert_int_gt(a.reads, 0);
	a.reads = 0;
	loop_fd_want(&a.f, 0);
	loop_fd_want_soon(&a.f, LOOP_READ);
	loop_fd_want(&a.f, LOOP_READ);
	loop_fd_want_soon(&a.f, LOOP_READ);     /* no news */
	loop_fd_want_soon(&b.f, LOOP_READ);
	loop_fd_done(&b.f);
	run();
	ck_assert_int_gt(a.reads, 0);
	loop_fd_want_soon(&a.f, 0);
	loop_fd_done(&a.f);
	for (int i = 0; i < 2; i++) {
		close(a.fd[i]);
		close(b.fd[i]);
	}
	loop_free(loop);
}
END_TEST

/*
 * Both events of a descriptor are ready; the first callback takes it out: the second is not called.
 */
static void on_first(void *arg, unsigned what)
{
	struct ends *e = arg;

	(void)what;
	e->reads++;
	loop_fd_done(&e->f);
	loop_stop(loop);
}

START_TEST(done_takes_back_what_is_ready)
{
	struct ends e = { 0 };

	start();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, e.fd), 0);
	ck_assert_int_eq(write(e.fd[1], "x", 1), 1);
	loop_fd_init(&e.f, loop, e.fd[0], LOOP_READ | LOOP_WRITE, on_first, &e);
	run();
	ck_assert_int_eq(e.reads, 1);
	close(e.fd[0]);
	close(e.fd[1]);
	loop_free(loop);
}
END_TEST

/* ---- timers and deadlines ------------------------------------------------ */

struct ticker {
	struct loop_timer t;
	int n;
};

static void on_ticker(void *arg)
{
	struct ticker *k = arg;

	ck_assert(!k->t.armed);
	if (++k->n == 3)
		loop_stop(loop);
	else
		loop_timer_set(&k->t, 1000);
}

START_TEST(timers_are_one_shot_and_rearmed_by_hand)
{
	struct ticker k = { 0 }, other = { 0 };
	uint64_t begun = clock_mono_us();

	start();
	loop_timer_init(&k.t, loop, on_ticker, &k);
	loop_timer_init(&other.t, loop, on_ticker, &other);
	loop_timer_set(&other.t, 1000);
	loop_timer_stop(&other.t);
	loop_timer_set(&k.t, 30 * SECOND);
	loop_timer_set(&k.t, 1000);             /* replaces */
	run();
	ck_assert_int_eq(k.n, 3);
	ck_assert_int_eq(other.n, 0);
	ck_assert_uint_ge(clock_mono_us() - begun, 2000);
	loop_timer_done(&k.t);
	loop_timer_done(&k.t);
	loop_timer_done(&other.t);
	loop_free(loop);
}
END_TEST

struct due {
	struct loop_deadline d;
	uint64_t want_us, fired_us;
	char name;
};

static int n_due;

static void on_due(void *arg)
{
	struct due *x = arg;

	ck_assert_uint_eq(x->d.at_us, 0);
	x->fired_us = loop_now_us(loop);
	note(x->name);
	if (--n_due == 0)
		loop_stop(loop);
}

static void due_init(struct due *x, char name, uint64_t after_us)
{
	*x = (struct due){ .name = name, .want_us = loop_now_us(loop) + after_us };
	loop_deadline_init(&x->d, loop, on_due, x);
	loop_deadline_set(&x->d, x->want_us);
}

static void due_move(struct due *x, uint64_t after_us)
{
	x->want_us = after_us != 0 ? loop_now_us(loop) + after_us : 0;
	loop_deadline_set(&x->d, x->want_us);
}

/*
 * One falls due, one was moved later, one earlier, one cleared, one taken out, one lies in the
 * past.
 */
START_TEST(deadlines_move_both_ways)
{
	struct due a, b, c, d, e, f;

	start();
	due_init(&a, 'a', 150000);
	due_init(&b, 'b', 100000);
	due_move(&b, 500000);
	due_init(&c, 'c', 30 * SECOND);
	due_move(&c, 300000);
	due_init(&d, 'd', 200000);
	due_move(&d, 0);
	due_init(&e, 'e', 200000);
	loop_deadline_done(&e.d);
	due_init(&f, 'f', 5 * SECOND);
	loop_deadline_set(&f.d, 1);
	n_due = 4;
	run();
	ck_assert_str_eq(trace, "facb");
	ck_assert_uint_ge(a.fired_us, a.want_us);
	ck_assert_uint_ge(b.fired_us, b.want_us);
	ck_assert_uint_ge(c.fired_us, c.want_us);
	loop_deadline_done(&a.d);
	loop_deadline_done(&a.d);
	loop_free(loop);
}
END_TEST

/*
 * Beyond one round of the wheel (51.2 s): must not fire early. The wheel sees it again and again.
 */
START_TEST(far_deadlines_wait)
{
	struct due far, near;

	start();
	due_init(&far, 'F', 3600 * SECOND);
	due_init(&near, 'n', 250000);
	n_due = 1;
	run();
	ck_assert_str_eq(trace, "n");
	ck_assert_uint_eq(far.d.at_us, far.want_us);
	loop_deadline_done(&far.d);
	loop_free(loop);
}
END_TEST

/* A deadline's callback may re-arm itself and take out one that is due in the same tick. */
static struct due pair[2];

static void on_pair(void *arg)
{
	struct due *x = arg;

	note(x->name);
	loop_deadline_done(&pair[1 - (x - pair)].d);
	if (strlen(trace) < 3)
		loop_deadline_set(&x->d, loop_now_us(loop) + 1000);
	else
		loop_stop(loop);
}

START_TEST(deadline_callbacks_may_change_the_wheel)
{
	start();
	for (int i = 0; i < 2; i++) {
		pair[i] = (struct due){ .name = (char)('0' + i) };
		loop_deadline_init(&pair[i].d, loop, on_pair, &pair[i]);
		loop_deadline_set(&pair[i].d, 1000);
	}
	run();
	ck_assert(strcmp(trace, "000") == 0 || strcmp(trace, "111") == 0);
	loop_deadline_done(&pair[0].d);
	loop_deadline_done(&pair[1].d);
	loop_free(loop);
}
END_TEST

/* ---- deferred work ------------------------------------------------------- */

static struct loop_later first, second, again;
static int n_again;

static void on_second(void *arg)
{
	(void)arg;
	note('2');
}

static void on_free_static(void *arg)
{
	note(*(const char *)arg);
}

static void on_free_chain(void *arg)
{
	static char y = 'y';

	note(*(const char *)arg);
	loop_defer_free(loop, on_free_static, &y);
}

static void on_work_chain(void *arg)
{
	static char x = 'x';

	(void)arg;
	note('1');
	loop_defer_free(loop, on_free_chain, &x);
	loop_later(loop, &second);
	loop_later(loop, &second);
	loop_stop(loop);
}

START_TEST(work_then_frees)
{
	start();
	loop_later_init(&first, on_work_chain, NULL);
	loop_later_init(&second, on_second, NULL);
	loop_later(loop, &first);
	run();
	ck_assert_str_eq(trace, "12xy");
	loop_later_done(&first);
	loop_free(loop);
}
END_TEST

START_TEST(work_can_be_taken_back)
{
	start();
	loop_later_init(&first, on_second, NULL);
	loop_later(loop, &first);
	loop_later_done(&first);
	loop_later_done(&first);
	loop_stop(loop);
	run();
	ck_assert_str_eq(trace, "");
	loop_free(loop);
}
END_TEST

/* Work that always asks for more does not starve a descriptor. */
static void on_again(void *arg)
{
	(void)arg;
	n_again++;
	loop_later(loop, &again);
}

static void on_readable(void *arg, unsigned what)
{
	(void)arg;
	(void)what;
	loop_later_done(&again);
	loop_stop(loop);
}

START_TEST(endless_work_lets_descriptors_through)
{
	struct ends e = { 0 };

	start();
	n_again = 0;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, e.fd), 0);
	loop_fd_init(&e.f, loop, e.fd[0], LOOP_READ, on_readable, NULL);
	loop_later_init(&again, on_again, NULL);
	loop_later(loop, &again);
	ck_assert_int_eq(write(e.fd[1], "x", 1), 1);
	run();
	loop_later_done(&again);
	loop_fd_done(&e.f);
	close(e.fd[0]);
	close(e.fd[1]);
	loop_free(loop);
}
END_TEST

/* loop_next runs in the next turn: a descriptor that is ready is served before. */
static struct ends next_ends;

static void on_next(void *arg)
{
	(void)arg;
	note('n');
	loop_stop(loop);
}

static void on_before(void *arg)
{
	(void)arg;
	note('b');
	loop_next(loop, &second);
	ck_assert_int_eq(write(next_ends.fd[1], "x", 1), 1);
}

static void on_next_readable(void *arg, unsigned what)
{
	(void)arg;
	(void)what;
	note('r');
	loop_fd_done(&next_ends.f);
}

START_TEST(next_comes_after_descriptors)
{
	start();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, next_ends.fd), 0);
	loop_fd_init(&next_ends.f, loop, next_ends.fd[0], LOOP_READ, on_next_readable, NULL);
	loop_later_init(&first, on_before, NULL);
	loop_later_init(&second, on_next, NULL);
	loop_later(loop, &first);
	run();
	ck_assert_str_eq(trace, "brn");
	close(next_ends.fd[0]);
	close(next_ends.fd[1]);
	loop_free(loop);
}
END_TEST

/* ---- posts and signals --------------------------------------------------- */

#define THREADS 4
#define POSTS 2000

struct poster {
	pthread_t thread;
	int next;                       /* what the loop expects from this one */
};
struct posted {
	struct poster *by;
	int n;
};
static struct poster posters[THREADS];
static int n_posted;

static void on_posted(void *arg)
{
	struct posted *p = arg;

	ck_assert_int_eq(p->n, p->by->next);
	p->by->next++;
	free(p);
	if (++n_posted == THREADS * POSTS)
		loop_stop(loop);
}

static void *post_many(void *arg)
{
	for (int i = 0; i < POSTS; i++) {
		struct posted *p = kv_malloc(sizeof(*p));

		*p = (struct posted){ .by = arg, .n = i };
		loop_post(loop, on_posted, p);
	}
	return NULL;
}

START_TEST(posts_arrive_in_order_from_each_thread)
{
	start();
	n_posted = 0;
	for (int i = 0; i < THREADS; i++) {
		posters[i].next = 0;
		ck_assert_int_eq(pthread_create(&posters[i].thread, NULL, post_many, &posters[i]),
				 0);
	}
	run();
	for (int i = 0; i < THREADS; i++) {
		pthread_join(posters[i].thread, NULL);
		ck_assert_int_eq(posters[i].next, POSTS);
	}
	loop_free(loop);
}
END_TEST

static void on_note(void *arg)
{
	note(*(const char *)arg);
}

/* What was posted before the stop runs; a loop that is stopped before it runs ends at once. */
START_TEST(stop_before_run)
{
	static char c = 'p';

	start();
	loop_post(loop, on_note, &c);
	loop_stop(loop);
	run();
	ck_assert_str_eq(trace, "p");
	loop_post(loop, on_note, &c);           /* freed with the loop, not run */
	loop_free(loop);
	ck_assert_str_eq(trace, "p");
}
END_TEST

static void on_sig(void *arg, int signo)
{
	ck_assert_int_eq(signo, SIGUSR1);
	note(*(const char *)arg);
	loop_stop(loop);
}

static void raise_it(void *arg)
{
	(void)arg;
	raise(SIGUSR1);
}

START_TEST(signals_reach_the_loop)
{
	static char c = 's', c2 = 'x';

	start();
	loop_on_signal(loop, SIGUSR1, on_sig, &c);
	loop_post(loop, raise_it, &c2);
	run();
	ck_assert_str_eq(trace, "s");
	loop_free(loop);
}
END_TEST

/* ---- time ---------------------------------------------------------------- */

static uint64_t slow_began;

static void on_slow(void *arg)
{
	(void)arg;
	slow_began = loop_now_us(loop);
	nanosleep(&(struct timespec){ .tv_nsec = 8000000 }, NULL);
	ck_assert_uint_eq(loop_now_us(loop), slow_began);       /* read once per turn */
	loop_stop(loop);
}

START_TEST(slow_callbacks_are_counted)
{
	uint64_t n, us;

	start();
	loop_late(loop, &n, &us);
	ck_assert_uint_eq(n, 0);
	loop_post(loop, on_slow, NULL);
	run();
	loop_late(loop, &n, &us);
	ck_assert_uint_ge(n, 1);
	ck_assert_uint_ge(us, 5000);
	ck_assert_uint_ge(loop_now_us(loop), slow_began + 8000);
	loop_free(loop);
}
END_TEST

UNIT_MAIN("loop", level_triggered_and_persistent, nothing_wanted_nothing_called, what_is_wanted_soon,
	  done_takes_back_what_is_ready, timers_are_one_shot_and_rearmed_by_hand,
	  deadlines_move_both_ways, far_deadlines_wait, deadline_callbacks_may_change_the_wheel,
	  work_then_frees, work_can_be_taken_back, endless_work_lets_descriptors_through,
	  next_comes_after_descriptors, posts_arrive_in_order_from_each_thread, stop_before_run,
	  signals_reach_the_loop, slow_callbacks_are_counted)
