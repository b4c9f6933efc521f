/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch: do the workers' loops still turn? The service manager's watchdog sees the control thread
 * only; a worker that answers no ping for WATCH_MISSED ticks in a row ends the process, so that it
 * is started anew (security-model F16). Ticks are counted, not time: a machine that was paused is
 * not taken for a stalled worker. Layer proxy.
 */
#pragma once

#include "io/loop.h"
#include "proxy/worker.h"

#define WATCH_TICK_US (2u * 1000 * 1000)
#define WATCH_MISSED 5

struct watch;
/* Ticks in l, the control thread's. */
struct watch *watch_new(struct loop *l, struct worker_set *ws);
/* After the workers were joined. */
void watch_free(struct watch *w);
