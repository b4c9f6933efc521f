/* SPDX-License-Identifier: Apache-2.0 */
/* attempt: see attempt.h. Layer daemons/probe. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "probe/attempt.h"

struct attempt {
	struct loop *loop;
	struct arena arena;
	struct loop_timer deadline;
	struct loop_later tell;
	const struct attempt_method *method;    /* NULL: stopped */
	void *state;
	attempt_done_fn done;
	void *arg;
	uint64_t timeout_us;
	bool ok;
	char why[ATTEMPT_WHY_MAX];
};

static const struct attempt_method *const methods[] = {
	&attempt_http, &attempt_tcp, &attempt_grpc, &attempt_exec,
};

struct loop *attempt_loop(const struct attempt *a)
{
	return a->loop;
}

struct arena *attempt_arena(struct attempt *a)
{
	return &a->arena;
}

void attempt_set_state(struct attempt *a, void *state)
{
	a->state = state;
}

void *attempt_state(const struct attempt *a)
{
	return a->state;
}

static void stop(struct attempt *a)
{
	const struct attempt_method *m = a->method;

	a->method = NULL;
	loop_timer_done(&a->deadline);
	if (m && a->state)
		m->stop(a);
}

static void free_it(void *p)
{
	struct attempt *a = p;

	arena_done(&a->arena);
	free(a);
}

static void on_tell(void *arg)
{
	struct attempt *a = arg;

	a->done(a->arg, a->ok, a->why);
	loop_defer_free(a->loop, free_it, a);
}

void attempt_end(struct attempt *a, bool ok, const char *fmt, ...)
{
	va_list ap;

	if (!a->method)
		return;
	stop(a);
	a->ok = ok;
	va_start(ap, fmt);
	vsnprintf(a->why, sizeof(a->why), fmt, ap);
	va_end(ap);
	loop_later(a->loop, &a->tell);
}

static void on_deadline(void *arg)
{
	struct attempt *a = arg;

	attempt_end(a, false, "%s probe: no answer within %llu s", a->method->name,
		    (unsigned long long)(a->timeout_us / 1000000));
}

static void begin(struct attempt *a, const struct doc *probe)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		const struct doc *spec = doc_get(probe, str_c(methods[i]->name));

		if (!spec)
			continue;
		a->method = methods[i];
		loop_timer_set(&a->deadline, a->timeout_us);
		a->method->start(a, spec);
		return;
	}
	a->method = methods[0];
	attempt_end(a, false, "the probe is of a kind that is not known here");
}

struct attempt *attempt_start(struct loop *l, const struct doc *probe, uint64_t timeout_us,
			      attempt_done_fn done, void *arg)
{
	struct attempt *a = kv_zalloc(sizeof(*a));

	*a = (struct attempt){ .loop = l, .timeout_us = timeout_us, .done = done, .arg = arg };
	arena_init(&a->arena, 0);
	loop_timer_init(&a->deadline, l, on_deadline, a);
	loop_later_init(&a->tell, on_tell, a);
	begin(a, probe);
	return a;
}

void attempt_cancel(struct attempt *a)
{
	loop_later_done(&a->tell);
	stop(a);
	loop_defer_free(a->loop, free_it, a);
}
