/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tube: a pipe of the kernel between two plain sockets, by which the bytes of one direction pass
 * without being copied through this process (splice). For bulk only: below some 64 KiB at a time a
 * copy is as cheap. Layer proxy; conn.c fills and drains it, forward.c lays it. Owned by the
 * connection that it leads to; the worker counts them, for each costs two descriptors and up to
 * TUBE_BYTES of the kernel's memory.
 *
 * It is taken away only when it is empty: the two connections go on by copying and never see bytes
 * out of order.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"

struct conn;
struct worker;

#define TUBE_BYTES (1u << 20)           /* what a pipe is made to hold … */
#define TUBE_MIN_BYTES (256u << 10)     /* … and must hold to be worth it */
#define TUBES_MAX 16                    /* of a worker */
#define TUBE_IDLE_US (1u * 1000 * 1000) /* unused for so long, it may be taken for another */

struct tube {
	struct list node;               /* worker->tubes; used last is last */
	struct conn *from, *to;         /* from NULL: nothing comes any more */
	int in, out;                    /* the pipe's ends: written to, read from */
	size_t n, size;                 /* bytes in it; room for them */
	size_t low;                     /* full: until no more than this is left */
	bool full;
	uint64_t used_us;
};

/*
 * From now on what comes from one socket goes to the other by a pipe, behind what is queued there.
 * False: nothing changed, for either is no plain open connection, or pipes, descriptors or memory
 * are short.
 */
bool tube_lay(struct conn *from, struct conn *to);
/* Bytes moved, 0 at end of file, -EAGAIN (perhaps because it is full now), -errno. */
ssize_t tube_fill(struct tube *t);
ssize_t tube_drain(struct tube *t);
static inline size_t tube_bytes(const struct tube *t)
{
	return t ? t->n : 0;
}
/* Nothing comes by it any more; NULL is fine. */
void tube_seal(struct tube *t);
/* With what is in it; NULL is fine. */
void tube_free(struct tube *t);
/* Give back those that are empty: descriptors or memory are short. */
void tube_trim(struct worker *w);
