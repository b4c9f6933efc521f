/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt: one probe, once: begins, ends within its time, says yes or why not. Layer daemons/probe.
 * A way to probe (http, tcp, grpc, exec) is a row of attempt_methods.
 */
#pragma once

#include "base/arena.h"
#include "doc/doc.h"
#include "io/loop.h"

#define ATTEMPT_WHY_MAX 160

struct attempt;
typedef void (*attempt_done_fn)(void *arg, bool ok, const char *why);

/*
 * probe: {"http": {…}} as the router lists it. done runs once, from the loop and never from here;
 * the attempt is gone then.
 */
struct attempt *attempt_start(struct loop *l, const struct doc *probe, uint64_t timeout_us,
			      attempt_done_fn done, void *arg);
void attempt_cancel(struct attempt *a);         /* done will not run */

/* ---- for the methods ------------------------------------------------------------------------ */
struct attempt_method {
	const char *name;
	/* May end it at once. */
	void (*start)(struct attempt *a, const struct doc *spec);
	void (*stop)(struct attempt *a);        /* give back what start took; runs once */
};
extern const struct attempt_method attempt_http, attempt_tcp, attempt_grpc, attempt_exec;

struct loop *attempt_loop(const struct attempt *a);
struct arena *attempt_arena(struct attempt *a);         /* lives as long as the attempt */
void attempt_set_state(struct attempt *a, void *state);
void *attempt_state(const struct attempt *a);
void attempt_end(struct attempt *a, bool ok, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
