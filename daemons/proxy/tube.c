/* SPDX-License-Identifier: Apache-2.0 */
/* tube: splice between two plain sockets, see tube.h. Layer proxy. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "proxy/conn.h"
#include "proxy/tube.h"
#include "proxy/worker.h"

/* A direction that is full goes on when so much has left, as the copying one does. */
#define ROOM_BYTES (CODEC_HIGH_BYTES - CODEC_LOW_BYTES)

/* ---- moving ---------------------------------------------------------------------------------- */

static void mark_full(struct tube *t)
{
	size_t part = t->n / 2 < ROOM_BYTES ? t->n / 2 : ROOM_BYTES;

	t->full = true;
	t->low = t->n - part;
}

/* A pipe holds pages, not bytes: it can be full before it is filled, which looks as if nothing had come. */
ssize_t tube_fill(struct tube *t)
{
	ssize_t n = -EAGAIN;

	if (t->n < t->size) {
		n = splice(t->from->fd, NULL, t->in, NULL, t->size - t->n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n < 0)
			n = errno == EINTR ? -EAGAIN : -errno;
	}
	if (n > 0) {
		t->n += (size_t)n;
		t->used_us = loop_now_us(t->to->w->loop);
		list_del(&t->node);
		list_push_back(&t->to->w->tubes, &t->node);
		stats_add(t->to->w->stats, STATS_SPLICED_BYTES, n);
	}
	if (t->n >= t->size || (n == -EAGAIN && t->n > 0))
		mark_full(t);
	return n;
}

ssize_t tube_drain(struct tube *t)
{
	ssize_t n = splice(t->out, NULL, t->to->fd, NULL, t->n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	t->n -= (size_t)n;
	t->full = t->full && t->n > t->low;
	return n;
}

/* ---- life ------------------------------------------------------------------------------------ */

void tube_seal(struct tube *t)
{
	if (!t || !t->from)
		return;
	t->from->tube_in = NULL;
	t->from = NULL;
}

void tube_free(struct tube *t)
{
	if (!t)
		return;
	struct worker *w = t->to->w;

	tube_seal(t);
	t->to->tube_out = NULL;
	list_del(&t->node);
	w->n_tubes--;
	stats_add(w->stats, STATS_PIPES, -1);
	close(t->in);
	close(t->out);
	free(t);
}

void tube_trim(struct worker *w)
{
	list_for_each_safe(it, &w->tubes) {
		struct tube *t = list_entry(it, struct tube, node);

		if (t->n == 0)
			tube_free(t);
	}
}

/* One that nobody has used for a while makes room. */
static bool has_place(struct worker *w)
{
	if (w->n_tubes < TUBES_MAX)
		return true;
	list_for_each(it, &w->tubes) {
		struct tube *t = list_entry(it, struct tube, node);

		if (loop_now_us(w->loop) - t->used_us < TUBE_IDLE_US)
			return false;
		if (t->n > 0)
			continue;
		tube_free(t);
		return true;
	}
	return false;
}

/*
 * Over the user's soft limit of pages in pipes (fs.pipe-user-pages-soft) a pipe cannot be made
 * larger; a small one costs more than copying.
 */
static bool make_pipe(int ret_fd[2], size_t *ret_size)
{
	static const int sizes[] = { TUBE_BYTES, TUBE_MIN_BYTES };

	if (pipe2(ret_fd, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int n = fcntl(ret_fd[1], F_SETPIPE_SZ, sizes[i]);

		if (n < (int)TUBE_MIN_BYTES)
			continue;
		*ret_size = (size_t)n;
		return true;
	}
	close(ret_fd[0]);
	close(ret_fd[1]);
	return false;
}

static bool is_fit(const struct conn *c)
{
	return c->state == CONN_OPEN && !c->tls && !c->broken && c->error == 0;
}

bool tube_lay(struct conn *from, struct conn *to)
{
	struct worker *w = to->w;
	size_t size;
	int fd[2];

	if (!is_fit(from) || !is_fit(to) || from->eof || from->in.n > 0 || to->shut_wanted ||
	    from->tube_in || to->tube_out)
		return false;
	if (w->level > OVERLOAD_NONE || !has_place(w) || !make_pipe(fd, &size))
		return false;
	struct tube *t = kv_zalloc(sizeof(*t));

	*t = (struct tube){ .from = from, .to = to, .in = fd[1], .out = fd[0], .size = size,
			    .used_us = loop_now_us(w->loop) };
	list_push_back(&w->tubes, &t->node);
	w->n_tubes++;
	stats_add(w->stats, STATS_PIPES, 1);
	from->tube_in = to->tube_out = t;
	return true;
}
