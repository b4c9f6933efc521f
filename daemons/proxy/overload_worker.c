/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overload_worker: what a worker gives up at each level, see overload.h. Layer proxy; in the
 * worker's thread, by a post of the control thread.
 */
#include "config.h"

#include <stdlib.h>

#include "base/arena.h"
#include "io/buf.h"
#include "io/loop.h"
#include "proxy/conn.h"
#include "proxy/listener.h"
#include "proxy/overload.h"
#include "proxy/stream.h"
#include "proxy/tube.h"
#include "proxy/upstream.h"
#include "proxy/worker.h"

struct order {
	struct worker *w;
	enum overload_level level;
};

static void carry_out(void *arg)
{
	struct order *o = arg;
	struct worker *w = o->w;
	enum overload_level before = w->level;

	w->level = o->level;
	free(o);
	bool relaxes = before >= OVERLOAD_FULL && w->level < OVERLOAD_FULL;

	list_for_each(it, &w->listeners) {
		struct listener *l = list_entry(it, struct listener, node);

		/* The other workers have the same order, and what comes in here may go through one that has not read it. */
		if (relaxes)
			listener_pause(l);
		else
			listener_rest(l);
	}
	if (w->level == OVERLOAD_NONE || w->draining)
		return;
	upstream_trim(w);
	tube_trim(w);
	stream_cache_trim(w->cache);
	buf_trim();
	if (w->level <= before || w->level < OVERLOAD_TIGHT)
		return;
	list_for_each_safe(it, &w->conns) {
		struct conn *c = list_entry(it, struct conn, node);

		if (c->ops && c->ops->hurry)
			c->ops->hurry(c);
	}
}

void overload_tell(struct worker *w, enum overload_level level)
{
	struct order *o = kv_malloc(sizeof(*o));

	*o = (struct order){ .w = w, .level = level };
	loop_post(w->loop, carry_out, o);
}
