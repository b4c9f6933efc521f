/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_table: the routes of one virtual host, prepared: patterns compiled, an index over paths so
 * that many routes cost little. Layer core; used by match.c.
 */
#pragma once

#include "base/map.h"
#include "core/match.h"

/* Patterns compiled once however often they stand in a snapshot; owns them. */
struct regex_cache {
	struct map whole, search;       /* pattern → struct regex * */
};
void regex_cache_init(struct regex_cache *c);
void regex_cache_done(struct regex_cache *c);
/* The compiled pattern for whole strings; it is the cache's. */
int regex_cache_whole(struct regex_cache *c, struct str pattern, const struct regex **ret,
		      struct err *err);

struct route_table;
/* In the arena; borrows vhost and the cache's patterns. */
int route_table_new(const struct snap_vhost *vhost, struct regex_cache *cache, struct arena *a,
		    const struct route_table **ret, struct err *err);
