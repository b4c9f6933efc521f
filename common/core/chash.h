/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chash: consistent hashing (Istio 2.8.3): the same key goes to the same endpoint, and when one
 * leaves only its keys move. Layer core. A table is made once per cluster of a snapshot, from
 * addresses and weights alone, so that every proxy of the mesh agrees; read-only afterwards.
 */
#pragma once

#include "core/lb.h"

struct chash;

/* For a cluster whose lb is RING_HASH or MAGLEV; NULL: it has no endpoints. */
struct chash *chash_new(const struct snap_cluster *c);
void chash_free(struct chash *t);       /* NULL is fine */

/*
 * The endpoint of that key, or, while it is not usable, the next one that the key has; LB_NONE: no
 * endpoint is usable.
 */
size_t chash_pick(const struct chash *t, const struct lb_set *set, uint64_t key);

#define CHASH_RING_MIN 1024             /* Istio's default */
#define CHASH_RING_MAX 8388608
#define CHASH_MAGLEV_SIZE 65537
