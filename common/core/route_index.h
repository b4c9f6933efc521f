/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_index: which of many rules can fit a path at all. A rule stands under one key: its exact
 * path, its prefix, or of a pattern the literal that is likely to tell most apart, be it where
 * matches begin, where they end, or four bytes that they have anywhere (regex_literals.h). Case is
 * folded and keys are hashes: it may name too many rules, but never too few. Layer core; used by
 * route_table.c.
 */
#pragma once

#include "base/arena.h"
#include "core/regex_literals.h"
#include "snap/snap.h"

/* What a rule asks of the path. */
struct route_key {
	const struct snap_string *uri;  /* NULL: nothing */
	struct regex_literals literals; /* of a pattern */
};

struct route_index;
/* keys are used in this call only. In the arena. */
const struct route_index *route_index_new(const struct route_key *keys, size_t n, struct arena *a);

#define ROUTE_LISTS_MAX 32              /* merged at once */

/* The rules for one path, ascending. */
struct route_candidates {
	struct { const uint32_t *at, *end;
	} lists[ROUTE_LISTS_MAX];
	size_t n;
};
/* False: too many lists, every rule has to be tried. */
bool route_index_find(const struct route_index *x, struct str path, struct route_candidates *ret);
size_t route_candidates_next(struct route_candidates *c);       /* SIZE_MAX: no more */
