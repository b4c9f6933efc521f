/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf: the queue against a plain array, descriptors in both directions, threads and their spares.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/rng.h"
#include "io/buf.h"

#include "unit.h"

/* ---- the obvious queue --------------------------------------------------- */

#define MODEL_MAX (1u << 20)
struct model {
	char *p;
	size_t n;
};

static void model_append(struct model *m, const char *p, size_t n)
{
	ck_assert_uint_le(m->n + n, MODEL_MAX);
	memcpy(m->p + m->n, p, n);
	m->n += n;
}

static void model_prepend(struct model *m, const char *p, size_t n)
{
	memmove(m->p + n, m->p, m->n);
	memcpy(m->p, p, n);
	m->n += n;
}

static void model_consume(struct model *m, size_t n)
{
	memmove(m->p, m->p + n, m->n - n);
	m->n -= n;
}

/* The bytes of b, read through buf_iov, are those of the model. */
static void same(const struct buf *b, const struct model *m)
{
	struct iovec iov[256];
	int n = buf_iov(b, iov, 256);
	size_t at = 0;

	ck_assert_uint_eq(b->n, m->n);
	ck_assert_int_lt(n, 256);
	for (int i = 0; i < n; i++) {
		ck_assert_uint_gt(iov[i].iov_len, 0);
		ck_assert_uint_le(at + iov[i].iov_len, m->n);
		ck_assert_int_eq(memcmp(iov[i].iov_base, m->p + at, iov[i].iov_len), 0);
		at += iov[i].iov_len;
	}
	ck_assert_uint_eq(at, m->n);
	struct str first = buf_peek(b);

	ck_assert(first.n > 0 || m->n == 0);
	if (m->n == 0)
		ck_assert_ptr_null(b->head);
}

static size_t some_size(struct rng *r)
{
	static const size_t sizes[] = { 0, 1, 2, 31, 255, 256, 257, 1000, 4096, 16383, 16384, 16385,
					16640, 16641, 40000 };

	return rng_below(r, 2) == 0 ? sizes[rng_below(r, sizeof(sizes) / sizeof(sizes[0]))]
				    : rng_below(r, 20000);
}

static void step(struct rng *r, struct buf b[2], struct model m[2], const char *noise)
{
	size_t n = some_size(r), i = rng_below(r, 2), room;
	struct buf *x = &b[i], *y = &b[1 - i];
	struct model *mx = &m[i], *my = &m[1 - i];
	const char *p = noise + rng_below(r, 1000);
	struct str s;

	if (m[0].n + m[1].n > MODEL_MAX / 4 && n < mx->n / 2)
		n = mx->n / 2;
	size_t in = n < mx->n ? n : mx->n;

	switch (rng_below(r, m[0].n + m[1].n > MODEL_MAX / 4 ? 3 : 10)) {
	case 0:
		buf_consume(x, in);
		model_consume(mx, in);
		break;
	case 1:
		buf_done(x);
		mx->n = 0;
		break;
	case 2:
		s = buf_pullup(x, n);
		ck_assert_uint_ge(s.n, in);
		ck_assert(s.n == 0 || memcmp(s.p, mx->p, s.n) == 0);
		break;
	case 3:
		buf_move_n(y, x, in);
		model_append(my, mx->p, in);
		model_consume(mx, in);
		break;
	case 4:
		buf_move(y, x);
		model_append(my, mx->p, mx->n);
		mx->n = 0;
		break;
	case 5:
		n %= 16000;
		buf_prepend(x, p, n);
		model_prepend(mx, p, n);
		break;
	case 6:
		s = buf_peek(x);
		in = in < s.n ? in : s.n;
		if (buf_take_tail(y, x, s.p + in, s.n - in)) {
			model_append(my, mx->p + in, s.n - in);
			model_consume(mx, s.n);
		}
		break;
	case 7: {
		n = n > BUF_BLOCK_BYTES ? BUF_BLOCK_BYTES : n;
		char *to = buf_reserve(x, n, &room);
		size_t use = n == 0 ? 0 : rng_below(r, n + 1);

		ck_assert_uint_ge(room, n);
		memcpy(to, p, use);
		buf_commit(x, use);
		model_append(mx, p, use);
		break;
	}
	default:
		buf_append(x, p, n);
		model_append(mx, p, n);
		break;
	}
}

START_TEST(behaves_like_an_array)
{
	static char noise[64000];
	struct rng r;
	struct buf b[2];
	struct model m[2] = { { .p = kv_malloc(MODEL_MAX) }, { .p = kv_malloc(MODEL_MAX) } };

	rng_init(&r, 7);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (char)rng_next(&r);
	buf_init(&b[0]);
	buf_init(&b[1]);
	for (int i = 0; i < 20000; i++) {
		step(&r, b, m, noise);
		same(&b[0], &m[0]);
		same(&b[1], &m[1]);
	}
	buf_done(&b[0]);
	buf_done(&b[1]);
	free(m[0].p);
	free(m[1].p);
	buf_trim();
}
END_TEST

START_TEST(a_tail_changes_hands_without_a_copy)
{
	static const char noise[10000];
	struct buf from = { 0 }, to = { 0 };

	buf_append(&from, noise, sizeof(noise));
	struct str s = buf_peek(&from);

	ck_assert(!buf_take_tail(&to, &from, s.p, s.n - 1));    /* not up to the end */
	ck_assert(!buf_take_tail(&to, &from, s.p + s.n - 10, 10));      /* not worth it */
	ck_assert_uint_eq(from.n, sizeof(noise));
	ck_assert(buf_take_tail(&to, &from, s.p + 9, s.n - 9));
	ck_assert_ptr_eq(buf_peek(&to).p, s.p + 9);
	ck_assert_uint_eq(to.n, sizeof(noise) - 9);
	ck_assert_uint_eq(from.n, 0);
	ck_assert_ptr_null(from.head);
	buf_done(&to);
}
END_TEST

START_TEST(linear_respects_its_limit)
{
	static char big[50000];
	struct buf b;
	struct str s;

	memset(big, 'x', sizeof(big));
	buf_init(&b);
	ck_assert(buf_linear(&b, 0, &s));
	ck_assert_uint_eq(s.n, 0);
	buf_append(&b, big, sizeof(big));
	ck_assert(!buf_linear(&b, sizeof(big) - 1, &s));
	ck_assert(buf_linear(&b, sizeof(big), &s));
	ck_assert_uint_eq(s.n, sizeof(big));
	ck_assert_int_eq(memcmp(s.p, big, s.n), 0);
	ck_assert(buf_linear(&b, 10, &s));      /* one run already */
	buf_done(&b);
}
END_TEST

/* A head that trickles in is linear after each piece, and not copied each time. */
START_TEST(pullup_leaves_room_behind)
{
	struct buf b;
	const char *at = NULL;
	int moves = 0;

	buf_init(&b);
	for (int i = 0; i < 60000; i++) {
		buf_append(&b, "y", 1);
		struct str s = buf_pullup(&b, 65536);

		ck_assert_uint_eq(s.n, (size_t)i + 1);
		moves += s.p != at;
		at = s.p;
	}
	ck_assert_int_le(moves, 5);
	buf_done(&b);
}
END_TEST

/* A reservation that is not used leaves nothing in the middle. */
START_TEST(reservations_may_be_dropped)
{
	struct buf a = { 0 }, b = { 0 };
	size_t room;

	for (int i = 0; i < 3; i++)
		buf_append(&a, &(char[16384]){ 'x' }, 16384);
	buf_reserve(&a, 100, &room);
	ck_assert_uint_ge(room, 100);
	buf_reserve(&a, BUF_BLOCK_BYTES, &room);
	ck_assert_uint_ge(room, BUF_BLOCK_BYTES);
	buf_reserve(&b, 1, &room);
	buf_move(&b, &a);
	ck_assert_uint_eq(b.n, 3 * 16384);
	buf_append_str(&b, STR("end"));
	buf_reserve(&a, 1, &room);
	buf_move(&b, &a);
	ck_assert_ptr_null(a.head);
	ck_assert_uint_eq(b.n, 3 * 16384 + 3);
	struct str all = buf_pullup(&b, b.n);

	unit_str_eq(str_skip(all, 3 * 16384), "end");
	buf_reserve(&a, 1, &room);
	buf_commit(&a, 0);
	ck_assert_ptr_null(a.head);
	buf_done(&b);
}
END_TEST

START_TEST(prepend_uses_the_headroom)
{
	struct buf b;

	buf_init(&b);
	buf_append_str(&b, STR("payload"));
	const char *before = buf_peek(&b).p;

	buf_prepend(&b, "head ", 5);
	ck_assert_ptr_eq(buf_peek(&b).p, before - 5);
	unit_str_eq(buf_peek(&b), "head payload");
	buf_done(&b);
}
END_TEST

/* ---- descriptors --------------------------------------------------------- */

static void pair(int fd[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
}

START_TEST(moves_through_a_socket)
{
	int fd[2];
	struct buf out, in;
	size_t total = 0;

	pair(fd);
	buf_init(&out);
	buf_init(&in);
	for (int i = 0; i < 100000; i++) {
		uint32_t v = (uint32_t)i;

		buf_append(&out, &v, sizeof(v));
	}
	while (out.n > 0 || total < 400000) {
		ssize_t w = buf_write_fd(&out, fd[0]);

		ck_assert(w >= 0 || w == -EAGAIN);
		ssize_t r = buf_read_fd(&in, fd[1], 70001);

		ck_assert(r > 0 && r <= 70001);
		total += (size_t)r;
	}
	struct str s = buf_pullup(&in, 400000);

	ck_assert_uint_eq(s.n, 400000);
	for (uint32_t i = 0; i < 100000; i++)
		ck_assert_int_eq(memcmp(s.p + 4 * i, &i, 4), 0);
	ck_assert_int_eq(buf_read_fd(&in, fd[1], 100), -EAGAIN);
	close(fd[0]);
	ck_assert_int_eq(buf_read_fd(&in, fd[1], 100), 0);
	buf_done(&in);
	close(fd[1]);
}
END_TEST

START_TEST(reads_no_more_than_asked)
{
	int fd[2];
	struct buf b;
	char bytes[1000] = { 0 };

	pair(fd);
	buf_init(&b);
	ck_assert_int_eq(write(fd[0], bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_int_eq(buf_read_fd(&b, fd[1], 0), 0);
	ck_assert_ptr_null(b.head);
	ck_assert_int_eq(buf_read_fd(&b, fd[1], 300), 300);
	ck_assert_int_eq(buf_read_fd(&b, fd[1], 300), 300);
	ck_assert_int_eq(buf_read_fd(&b, fd[1], 4000), 400);
	ck_assert_uint_eq(b.n, 1000);
	ck_assert_int_eq(buf_read_fd(&b, -1, 4000), -EBADF);
	ck_assert_uint_eq(b.n, 1000);
	buf_done(&b);
	close(fd[0]);
	close(fd[1]);
}
END_TEST

START_TEST(a_closed_peer_is_an_error_not_a_signal)
{
	int fd[2];
	struct buf b;

	pair(fd);
	buf_init(&b);
	close(fd[1]);
	signal(SIGPIPE, SIG_DFL);
	buf_append_str(&b, STR("x"));
	ck_assert_int_eq(buf_write_fd(&b, fd[0]), -EPIPE);
	ck_assert_uint_eq(b.n, 1);
	buf_done(&b);
	ck_assert_int_eq(buf_write_fd(&b, fd[0]), 0);
	close(fd[0]);
}
END_TEST

START_TEST(writes_to_what_is_no_socket)
{
	int fd[2];
	struct buf b;

	ck_assert_int_eq(pipe2(fd, O_NONBLOCK), 0);
	buf_init(&b);
	buf_append_str(&b, STR("through a pipe"));
	ck_assert_int_eq(buf_write_fd(&b, fd[1]), 14);
	ck_assert_int_eq(buf_read_fd(&b, fd[0], 100), 14);
	unit_str_eq(buf_peek(&b), "through a pipe");
	buf_done(&b);
	close(fd[0]);
	close(fd[1]);
}
END_TEST

/* Leak checkers see it when the spares of a thread do not go with it. */
static void *uses_blocks(void *arg)
{
	struct buf b;

	(void)arg;
	buf_init(&b);
	for (int i = 0; i < 100; i++)
		buf_append(&b, &(char[16384]){ 0 }, 16384);
	buf_done(&b);
	return NULL;
}

START_TEST(threads_do_not_share)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, uses_blocks, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}
END_TEST

UNIT_MAIN("buf", behaves_like_an_array, a_tail_changes_hands_without_a_copy,
	  linear_respects_its_limit, pullup_leaves_room_behind,
	  reservations_may_be_dropped, prepend_uses_the_headroom, moves_through_a_socket,
	  reads_no_more_than_asked,
	  a_closed_peer_is_an_error_not_a_signal, writes_to_what_is_no_socket, threads_do_not_share)
