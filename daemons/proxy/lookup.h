/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup: the addresses of the names in a snapshot's DNS clusters (semantics 2.15; blueprint F3).
 * Names are asked again when their time to live is over; when that fails the last answer stays.
 * Layer proxy, control thread.
 */
#pragma once

#include "io/loop.h"
#include "snap/snap.h"

struct lookup;
/* on_change: some name has other addresses than before; several that come together are one call. */
struct lookup *lookup_new(struct loop *l, void (*on_change)(void *arg), void *arg);
void lookup_free(struct lookup *u);

/* From now on the names of this snapshot are looked up, and no others. */
void lookup_want(struct lookup *u, const struct snap *s);
/*
 * The snapshot with each name's endpoint replaced by one per address; names without an answer yet
 * stay. One reference; s itself when it has no names.
 */
int lookup_resolve(const struct lookup *u, struct snap *s, struct snap **ret, struct err *err);
