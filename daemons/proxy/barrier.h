/* SPDX-License-Identifier: Apache-2.0 */
/*
 * barrier: when has every worker taken what was published to it? Layer proxy. What is told to others
 * as being in force is in force in all threads.
 */
#pragma once

#include "proxy/worker.h"

/* Control thread: done runs in loop's thread after all that was posted to the workers so far. */
void barrier_wait(struct worker_set *ws, struct loop *loop, loop_fn done, void *arg);
