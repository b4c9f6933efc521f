/* SPDX-License-Identifier: Apache-2.0 */
/* until: run a loop until something is true. Check's own timeout is the deadline. */
#pragma once

#include "io/loop.h"

struct until {
	struct loop *loop;
	struct loop_timer timer;
	bool (*done)(void *arg);
	void *arg;
};

static inline void until_look(void *arg)
{
	struct until *u = arg;

	if (u->done(u->arg))
		loop_stop(u->loop);
	else
		loop_timer_set(&u->timer, 2000);
}

static inline void run_until(struct loop *l, bool (*done)(void *arg), void *arg)
{
	struct until u = { .loop = l, .done = done, .arg = arg };

	loop_timer_init(&u.timer, l, until_look, &u);
	loop_timer_set(&u.timer, 1);
	loop_run(l);
	loop_timer_done(&u.timer);
}

static inline void until_passed(void *arg)
{
	loop_stop(arg);
}

/* For what must not happen: give it the chance. */
static inline void run_for(struct loop *l, uint64_t us)
{
	struct loop_timer t;

	loop_timer_init(&t, l, until_passed, l);
	loop_timer_set(&t, us);
	loop_run(l);
	loop_timer_done(&t);
}
