/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf: a queue of bytes between a socket and a codec. Layer io.
 * Owns the blocks of each buf and a per-thread list of spare ones. A fresh block keeps some
 * headroom in front, and 16 KiB of payload behind it: what a full TLS record carries.
 *
 * Invariants: n is the sum of all len; only the last block may be empty (a reservation that was
 * not committed); a buf with n == 0 owns at most such a block.
 */
#include "io/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/err.h"
#include "io/thread.h"

#define HEADROOM 256u
#define PAYLOAD (BUF_BLOCK_BYTES - HEADROOM)
#define SPARE_MAX 64u                   /* 1 MiB per thread */
#define IOV_MAX_ONE 32                  /* pieces of one sendmsg */
#define READ_ROOM 4096u                 /* what the last block must have left to be read into alone */
#define READ_PIECE (PAYLOAD - 9)        /* with an HTTP/2 frame's head in front it fills one TLS record */
#define READ_BLOCKS 17                  /* fresh blocks offered after a read that was filled */
#define COPY_BELOW 2048u                /* moving: fewer bytes than this are copied, not chained */

struct buf_block {
	struct buf_block *next;
	uint32_t off, len, cap;
	char data[];
};

/* ---- spare blocks of this thread ----------------------------------------- */

static _Thread_local struct buf_block *spare;
static _Thread_local unsigned n_spare;
static _Thread_local bool exit_armed;

void buf_trim(void)
{
	while (spare) {
		struct buf_block *b = spare;

		spare = b->next;
		free(b);
	}
	n_spare = 0;
}

static struct buf_block *block_big(size_t cap)
{
	struct buf_block *b = kv_malloc(sizeof(*b) + cap);

	*b = (struct buf_block){ .cap = (uint32_t)cap };
	return b;
}

static struct buf_block *block_get(void)
{
	struct buf_block *b = spare;

	if (!b) {
		b = block_big(BUF_BLOCK_BYTES);
		b->off = HEADROOM;
		return b;
	}
	spare = b->next;
	n_spare--;
	b->next = NULL;
	b->off = HEADROOM;
	b->len = 0;
	return b;
}

static void block_put(struct buf_block *b)
{
	if (b->cap != BUF_BLOCK_BYTES || n_spare >= SPARE_MAX) {
		free(b);
		return;
	}
	if (!exit_armed) {
		exit_armed = true;
		thread_at_exit(buf_trim);
	}
	b->next = spare;
	spare = b;
	n_spare++;
}

static size_t block_room(const struct buf_block *b)
{
	return b->cap - b->off - b->len;
}

static char *block_end(struct buf_block *b)
{
	return b->data + b->off + b->len;
}

/* ---- the queue ----------------------------------------------------------- */

static void chain(struct buf *b, struct buf_block *k)
{
	if (b->tail)
		b->tail->next = k;
	else
		b->head = k;
	b->tail = k;
}

void buf_init(struct buf *b)
{
	*b = (struct buf){ 0 };
}

void buf_done(struct buf *b)
{
	while (b->head) {
		struct buf_block *k = b->head;

		b->head = k->next;
		block_put(k);
	}
	buf_init(b);
}

void buf_append(struct buf *b, const void *p, size_t n)
{
	const char *from = p;

	while (n > 0) {
		size_t room;
		char *to = buf_reserve(b, 1, &room);
		size_t now = n < room ? n : room;

		memcpy(to, from, now);
		buf_commit(b, now);
		from += now;
		n -= now;
	}
}

void buf_append_str(struct buf *b, struct str s)
{
	buf_append(b, s.p, s.n);
}

void buf_prepend(struct buf *b, const void *p, size_t n)
{
	struct buf_block *k = b->head;

	kv_assert(n <= PAYLOAD);
	if (n == 0)
		return;
	if (!k || k->off < n) {
		k = block_get();
		k->off += (uint32_t)n;
		k->next = b->head;
		b->head = k;
		if (!b->tail)
			b->tail = k;
	}
	k->off -= (uint32_t)n;
	k->len += (uint32_t)n;
	memcpy(k->data + k->off, p, n);
	b->n += n;
}

char *buf_reserve(struct buf *b, size_t n, size_t *ret_room)
{
	struct buf_block *k = b->tail;

	kv_assert(n <= BUF_BLOCK_BYTES);
	if (!k || block_room(k) < (n > 0 ? n : 1)) {
		if (k && k->len == 0 && k->cap >= n) {
			k->off = 0;     /* an empty reservation that is too small as it stands */
		} else {
			k = block_get();
			if (n > PAYLOAD)
				k->off = 0;
			chain(b, k);
		}
	}
	*ret_room = block_room(k);
	return block_end(k);
}

void buf_commit(struct buf *b, size_t n)
{
	struct buf_block *k = b->tail;

	if (n > 0) {
		kv_assert(k && n <= block_room(k));
		k->len += (uint32_t)n;
		b->n += n;
	} else if (b->n == 0) {
		buf_done(b);
	}
}

void buf_consume(struct buf *b, size_t n)
{
	kv_assert(n <= b->n);
	b->n -= n;
	if (b->n == 0) {
		buf_done(b);
		return;
	}
	while (n > 0) {
		struct buf_block *k = b->head;
		size_t now = n < k->len ? n : k->len;

		k->off += (uint32_t)now;
		k->len -= (uint32_t)now;
		n -= now;
		if (k->len == 0) {
			b->head = k->next;
			block_put(k);
		}
	}
}

/* An empty block at the end (a reservation) must not end up in the middle. */
static void drop_empty_tail(struct buf *b)
{
	if (!b->tail || b->tail->len > 0)
		return;
	if (b->head == b->tail) {
		buf_done(b);
		return;
	}
	struct buf_block *k = b->head;

	while (k->next != b->tail)
		k = k->next;
	block_put(b->tail);
	k->next = NULL;
	b->tail = k;
}

void buf_move(struct buf *to, struct buf *from)
{
	drop_empty_tail(to);
	drop_empty_tail(from);
	if (from->n == 0)
		return;
	if (to->n == 0) {
		*to = *from;
		buf_init(from);
		return;
	}
	while (from->head && from->head->len <= COPY_BELOW &&
	       from->head->len <= block_room(to->tail)) {
		struct buf_block *k = from->head;

		memcpy(block_end(to->tail), k->data + k->off, k->len);
		buf_commit(to, k->len);
		buf_consume(from, k->len);
	}
	if (from->head) {
		to->tail->next = from->head;
		to->tail = from->tail;
		to->n += from->n;
		buf_init(from);
	}
}

void buf_move_n(struct buf *to, struct buf *from, size_t n)
{
	kv_assert(n <= from->n);
	if (n == from->n) {
		buf_move(to, from);
		return;
	}
	while (n > 0 && from->head->len <= n) {
		struct buf one = { .head = from->head, .tail = from->head, .n = from->head->len };

		from->head = one.head->next;
		from->n -= one.n;
		one.head->next = NULL;
		n -= one.n;
		buf_move(to, &one);
	}
	if (n > 0) {
		buf_append(to, from->head->data + from->head->off, n);
		buf_consume(from, n);
	}
}

bool buf_take_tail(struct buf *to, struct buf *from, const char *p, size_t n)
{
	struct buf_block *k = from->head;

	if (n <= COPY_BELOW || !k || p < k->data + k->off || p + n != block_end(k))
		return false;
	struct buf one = { .head = k, .tail = k, .n = n };

	from->n -= k->len;
	from->head = k->next;
	if (!from->head)
		from->tail = NULL;
	k->next = NULL;
	k->off = (uint32_t)(p - k->data);
	k->len = (uint32_t)n;
	buf_move(to, &one);
	return true;
}

struct str buf_peek(const struct buf *b)
{
	return b->n > 0 ? str_from(b->head->data + b->head->off, b->head->len) : STR_NULL;
}

struct str buf_pullup(struct buf *b, size_t max)
{
	size_t want = b->n < max ? b->n : max;

	if (b->n == 0 || b->head->len >= want)
		return buf_peek(b);
	/* Twice the size: a head that arrives in many pieces is not copied once for each. */
	struct buf_block *all = 2 * want <= PAYLOAD ? block_get() : block_big(2 * want);

	while (all->len < want) {
		struct buf_block *k = b->head;
		size_t left = want - all->len;
		uint32_t now = k->len < left ? k->len : (uint32_t)left;

		memcpy(block_end(all), k->data + k->off, now);
		all->len += now;
		k->off += now;
		k->len -= now;
		if (k->len > 0)
			break;
		b->head = k->next;
		block_put(k);
	}
	all->next = b->head;
	if (!b->head)
		b->tail = all;
	b->head = all;
	return buf_peek(b);
}

bool buf_linear(struct buf *b, size_t max, struct str *ret)
{
	if (b->n > 0 && b->head->len < b->n && b->n > max)
		return false;
	*ret = buf_pullup(b, b->n);
	return true;
}

int buf_iov(const struct buf *b, struct iovec *iov, int max)
{
	int n = 0;

	for (struct buf_block *k = b->head; k && n < max; k = k->next)
		if (k->len > 0)
			iov[n++] = (struct iovec){ k->data + k->off, k->len };
	return n;
}

/* ---- descriptors --------------------------------------------------------- */

/* Where the next read goes: the tail's room, then fresh blocks, together at most max bytes. */
struct read_plan {
	struct iovec iov[READ_BLOCKS + 1];
	struct buf_block *fresh[READ_BLOCKS];
	int n_iov, n_fresh;
	size_t asked, in_tail;
};

static void plan_add(struct read_plan *p, char *to, size_t room, size_t max)
{
	size_t n = room < max - p->asked ? room : max - p->asked;

	p->iov[p->n_iov++] = (struct iovec){ .iov_base = to, .iov_len = n };
	p->asked += n;
}

static void plan_read(struct read_plan *p, struct buf *b, size_t max, int blocks)
{
	p->n_iov = p->n_fresh = 0;
	p->asked = p->in_tail = 0;
	if (b->tail && block_room(b->tail) >= READ_ROOM) {
		plan_add(p, block_end(b->tail), block_room(b->tail), max);
		p->in_tail = p->asked;
	}
	while (p->asked < max && p->n_fresh < blocks) {
		struct buf_block *k = block_get();

		p->fresh[p->n_fresh++] = k;
		plan_add(p, block_end(k), READ_PIECE, max);
	}
}

/* r bytes came (or less than 0): hang what was filled into b, give the rest back. */
static void plan_end(struct read_plan *p, struct buf *b, ssize_t r)
{
	size_t left = r > 0 ? (size_t)r : 0;
	size_t now = left < p->in_tail ? left : p->in_tail;
	int used = 0;

	if (now > 0)
		buf_commit(b, now);
	left -= now;
	for (; left > 0; used++) {
		/* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): no more bytes came than there is room in what was filled */
		struct buf_block *k = p->fresh[used];

		now = left < READ_PIECE ? left : READ_PIECE;
		chain(b, k);
		buf_commit(b, now);
		left -= now;
	}
	while (p->n_fresh > used)
		block_put(p->fresh[--p->n_fresh]);
}

/* recv is the cheapest call for one piece, and most reads need no more. */
static ssize_t read_some(int fd, const struct read_plan *p)
{
	ssize_t r;

	do {
		r = p->n_iov == 1 ? recv(fd, p->iov[0].iov_base, p->iov[0].iov_len, 0) : -1;
		if (p->n_iov > 1 || (r < 0 && errno == ENOTSOCK))
			r = readv(fd, p->iov, p->n_iov);
	} while (r < 0 && errno == EINTR);
	return r;
}

ssize_t buf_read_fd(struct buf *b, int fd, size_t max)
{
	size_t total = 0;
	int blocks = b->tail && block_room(b->tail) >= READ_ROOM ? 0 : 1;

	if (max > BUF_READ_BYTES)
		blocks = READ_BLOCKS;
	while (total < max) {
		_scratch_ struct read_plan p;

		plan_read(&p, b, max - total, blocks);
		ssize_t r = read_some(fd, &p);
		int failed = r < 0 ? errno : 0;

		plan_end(&p, b, r);
		if (failed != 0 && total == 0)
			return -failed;
		if (r <= 0)
			break;
		total += (size_t)r;
		if ((size_t)r < p.asked)
			break;
		blocks = READ_BLOCKS;
	}
	return (ssize_t)total;
}

static ssize_t write_some(int fd, struct iovec *iov, int n)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)n };
	ssize_t r;

	do {
		r = n == 1 ? send(fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL) :
			     sendmsg(fd, &msg, MSG_NOSIGNAL);
		if (r < 0 && errno == ENOTSOCK)
			r = writev(fd, iov, n);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

ssize_t buf_write_fd(struct buf *b, int fd)
{
	size_t total = 0;

	while (b->n > 0) {
		_scratch_ struct iovec iov[IOV_MAX_ONE];
		int n = buf_iov(b, iov, IOV_MAX_ONE);
		size_t asked = 0;

		for (int i = 0; i < n; i++)
			asked += iov[i].iov_len;
		ssize_t r = write_some(fd, iov, n);

		if (r < 0)
			return total > 0 ? (ssize_t)total : r;
		buf_consume(b, (size_t)r);
		total += (size_t)r;
		if ((size_t)r < asked)
			break;
	}
	return (ssize_t)total;
}
