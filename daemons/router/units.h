/* SPDX-License-Identifier: Apache-2.0 */
/*
 * units: which systemd units are active, as the system bus tells it. Layer daemons/router; units.c
 * is the only file here that knows libsystemd. A signal is only a reason to ask: signals can be
 * sent by any user of the bus, the answer to a question comes from systemd alone. Without a bus
 * nothing is ever told, and what was told last stays true while one is away.
 */
#pragma once

#include "base/str.h"
#include "io/loop.h"

#define UNITS_MAX 1024                  /* units beyond are not watched */
#define UNITS_STATE_MAX 32

struct units;
/* state: ActiveState, "active", "failed", …; also when it is the same as before. */
typedef void (*units_fn)(void *arg, const char *unit, const char *state);
/* Connects with the next turn of the loop and again whenever the bus went away. */
struct units *units_new(struct loop *l, units_fn fn, void *arg);
void units_free(struct units *u);       /* NULL is fine */
/* Watch exactly these; names are copied. */
void units_want(struct units *u, const struct str *names, size_t n);
/* Does a unit in that state do its work? */
bool units_is_active(struct str state);
