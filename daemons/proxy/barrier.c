/* SPDX-License-Identifier: Apache-2.0 */
/* barrier: one post to each worker, behind those before it; the last one posts back. Layer proxy. */
#include "config.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "proxy/barrier.h"

struct barrier {
	atomic_size_t left;
	struct loop *loop;
	loop_fn done;
	void *arg;
};

static void pass(void *arg)
{
	struct barrier *b = arg;

	if (atomic_fetch_sub(&b->left, 1) > 1)
		return;
	loop_post(b->loop, b->done, b->arg);
	free(b);
}

void barrier_wait(struct worker_set *ws, struct loop *loop, loop_fn done, void *arg)
{
	size_t n = worker_count(ws);
	struct barrier *b = kv_zalloc(sizeof(*b));

	*b = (struct barrier){ .loop = loop, .done = done, .arg = arg };
	atomic_init(&b->left, n);
	for (size_t i = 0; i < n; i++)
		loop_post(worker_at(ws, i)->loop, pass, b);
}
