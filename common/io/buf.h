/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf: a queue of bytes between a socket and a codec. Layer io.
 * A chain of blocks from a per-thread free list; an empty buf owns no memory, so idle connections
 * cost nothing. Not shared between threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "base/str.h"

#define BUF_BLOCK_BYTES 16640           /* 16 KiB and room for framing in front */

struct buf_block;
struct buf {
	struct buf_block *head, *tail;
	size_t n;                       /* bytes waiting */
};

void buf_init(struct buf *b);
void buf_done(struct buf *b);                           /* gives all blocks back; reusable */
void buf_append(struct buf *b, const void *p, size_t n);
void buf_append_str(struct buf *b, struct str s);
/* Put a few bytes in front (a frame header): free of copies while the first block has headroom. */
void buf_prepend(struct buf *b, const void *p, size_t n);
/*
 * Room for at least n contiguous bytes at the end (n <= BUF_BLOCK_BYTES); then commit what was
 * used.
 */
char *buf_reserve(struct buf *b, size_t n, size_t *ret_room);
void buf_commit(struct buf *b, size_t n);
void buf_consume(struct buf *b, size_t n);              /* drop from the front */
void buf_move(struct buf *to, struct buf *from);        /* all of it, whole blocks change hands */
void buf_move_n(struct buf *to, struct buf *from, size_t n);
/*
 * Without a copy: when p, n are many bytes and the last of the first run, that run's block changes hands, less what
 * is in front of p, which is dropped. False: nothing happened, the caller copies.
 */
bool buf_take_tail(struct buf *to, struct buf *from, const char *p, size_t n);
/* The first contiguous run. */
struct str buf_peek(const struct buf *b);
/*
 * At least the first min(n, max) bytes as one run, copied together when they are scattered. What a
 * parser that asked for more calls: max is its limit, what lies behind stays where it is.
 */
struct str buf_pullup(struct buf *b, size_t max);
/* All of it as one run, copied together when it must be (n <= max), else false. */
bool buf_linear(struct buf *b, size_t max, struct str *ret);
int buf_iov(const struct buf *b, struct iovec *iov, int max);

/* Asking for more than this says that much is expected: room for all of it is offered at once. */
#define BUF_READ_BYTES (64u << 10)
/*
 * Read until the descriptor has no more or max bytes came; bytes moved, 0 at end of file, -errno
 * (-EAGAIN: nothing there). A read that is not filled is not asked again: end of file and errors
 * behind it are told by the next call.
 */
ssize_t buf_read_fd(struct buf *b, int fd, size_t max);
/*
 * Write until all is gone or the descriptor is full; bytes moved, -EAGAIN: none, -errno. No
 * SIGPIPE.
 */
ssize_t buf_write_fd(struct buf *b, int fd);
/* Give this thread's spare blocks back to the system; done by itself when a thread ends. */
void buf_trim(void);
