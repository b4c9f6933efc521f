/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_log: one ring of entries for each worker and the writer that empties them. Layer proxy.
 * A ring has one producer (its worker) and one consumer (the control thread). head and tail count
 * bytes and only grow; an entry never wraps: a skip mark fills the end. The writer is woken by one
 * post per batch.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "proxy/access_format.h"
#include "proxy/access_log.h"

#define BATCH_US (20u * 1000)           /* lines of this long leave together */
#define RETRY_US (100u * 1000)          /* the reader of the log takes nothing now */
#define PENDING_BYTES_MAX (1u << 20)    /* formatted, not written yet */
#define VALUE_BYTES_MAX 4096            /* of one value in an entry */

/* ---- the ring ------------------------------------------------------------------------------ */

struct entry {
	uint32_t size;                  /* with values and padding */
	uint16_t len[ACCESS__N];
	struct access_line line;        /* v is filled by the reader */
};
#define ENTRY_ALIGN _Alignof(struct entry)
#define SKIP_TO_START UINT32_MAX        /* size: the next entry is at the start of the buffer */

struct access_log {
	struct access_log_writer *writer;
	char *buf; /* made when the log is first switched on, before on is set */
	_Atomic bool on;
	_Alignas(64) _Atomic uint64_t head;     /* producer's */
	_Alignas(64) _Atomic uint64_t tail;     /* consumer's */
};

enum sink { SINK_NONE, SINK_FILE, SINK_SOCKET, SINK_STREAM };

struct access_log_writer {
	struct loop *loop;
	struct loop_timer timer;
	_Atomic bool scheduled;         /* a post is on its way or the timer runs */
	struct access_log *rings;
	size_t n;
	/* settings */
	char *path;                     /* NULL: off */
	int fd;
	enum sink sink;
	struct access_format *format;
	/* formatted lines */
	struct text out;
	bool torn;                      /* the last line written is not whole */
	uint64_t lost;
};

static void values_of(const struct record *r, struct str v[ACCESS__N])
{
	const struct sock_addr *a[] = { &r->up_remote, &r->up_local, &r->down_local,
					&r->down_remote };

	v[ACCESS_METHOD] = r->method;
	v[ACCESS_PATH] = r->path;
	v[ACCESS_ORIGINAL_PATH] = r->original_path;
	v[ACCESS_AUTHORITY] = r->authority;
	v[ACCESS_REQUEST_ID] = r->request_id;
	v[ACCESS_USER_AGENT] = r->user_agent;
	v[ACCESS_FORWARDED_FOR] = r->forwarded_for;
	v[ACCESS_SNI] = r->sni;
	v[ACCESS_ROUTE] = r->route_name;
	v[ACCESS_CLUSTER] = r->cluster;
	v[ACCESS_DETAILS] = str_c(r->details);
	v[ACCESS_TRANSPORT_FAILURE] = r->transport_failure;
	v[ACCESS_PEER] =
		r->reporter == RECORD_SOURCE ? r->destination_principal : r->source_principal;
	v[ACCESS_TLS] = str_c(r->tls_version);
	for (size_t i = 0; i < 4; i++)
		v[ACCESS_UP_REMOTE + i] = str_from((const char *)&a[i]->ss, a[i]->len);
	for (size_t i = 0; i < ACCESS__N; i++)
		v[i] = str_take(v[i], VALUE_BYTES_MAX);
}

static void line_of(const struct record *r, struct access_line *l)
{
	l->start_real_us = r->start_real_us;
	l->bytes_received = r->bytes_received;
	l->bytes_sent = r->bytes_sent;
	l->duration_us = r->end_us > r->start_us ? r->end_us - r->start_us : 0;
	l->service_time_us = r->up_first_us > 0 && r->up_head_us >= r->up_first_us ?
		(int64_t)(r->up_head_us - r->up_first_us) : -1;
	l->protocol = r->protocol;
	l->version = r->version;
	l->fail = r->fail;
	l->more = record_more(r);
	l->status = r->status;
	l->grpc_status = r->grpc_status;
}

/* Room for n bytes in one piece, or NULL when the ring is full. *ret_end: the new head. */
static struct entry *ring_reserve(struct access_log *g, size_t n, uint64_t *ret_end)
{
	uint64_t head = atomic_load_explicit(&g->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&g->tail, memory_order_acquire);
	size_t at = head % ACCESS_LOG_RING_BYTES, to_end = ACCESS_LOG_RING_BYTES - at;
	size_t skip = n > to_end ? to_end : 0;

	if (head - tail + skip + n > ACCESS_LOG_RING_BYTES)
		return NULL;
	if (skip > 0) {
		uint32_t mark = SKIP_TO_START;

		memcpy(g->buf + at, &mark, sizeof(mark));
		at = 0;
	}
	*ret_end = head + skip + n;
	return (void *)(g->buf + at);
}

static void on_posted(void *arg)
{
	struct access_log_writer *w = arg;

	loop_timer_set(&w->timer, BATCH_US);
}

bool access_log_add(struct access_log *g, const struct record *r)
{
	struct str v[ACCESS__N];
	size_t n = sizeof(struct entry);
	uint64_t end;

	values_of(r, v);
	for (size_t i = 0; i < ACCESS__N; i++)
		n += v[i].n;
	n = (n + ENTRY_ALIGN - 1) / ENTRY_ALIGN * ENTRY_ALIGN;
	struct entry *e = ring_reserve(g, n, &end);

	if (!e)
		return false;
	char *p = (char *)(e + 1);

	e->size = (uint32_t)n;
	line_of(r, &e->line);
	for (size_t i = 0; i < ACCESS__N; i++) {
		e->len[i] = (uint16_t)v[i].n;
		if (v[i].n > 0)
			memcpy(p, v[i].p, v[i].n);
		p += v[i].n;
	}
	atomic_store_explicit(&g->head, end, memory_order_release);
	if (!atomic_load_explicit(&g->writer->scheduled, memory_order_relaxed) &&
	    !atomic_exchange(&g->writer->scheduled, true))
		loop_post(g->writer->loop, on_posted, g->writer);
	return true;
}

bool access_log_is_on(const struct access_log *g)
{
	return atomic_load_explicit(&g->on, memory_order_acquire);
}

/* ---- writing ------------------------------------------------------------------------------- */

static uint64_t count_lines(const struct text *t)
{
	uint64_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += t->p[i] == '\n';
	return n;
}

/* Bytes written of those from start on, 0 when it would block now, negative errno. */
static ssize_t sink_write(struct access_log_writer *w, size_t start)
{
	struct pollfd p = { .fd = w->fd, .events = POLLOUT };
	const char *from = w->out.p + start;
	size_t n = w->out.n - start;
	ssize_t r;

	if (w->sink == SINK_SOCKET) {
		r = send(w->fd, from, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	} else {
		/* A pipe that polls writable takes PIPE_BUF bytes at once, whoever else writes to
		 * it. */
		if (w->sink == SINK_STREAM && n > PIPE_BUF)
			n = PIPE_BUF;
		if (w->sink == SINK_STREAM && poll(&p, 1, 0) != 1)
			return 0;
		r = write(w->fd, from, n);
	}
	if (r < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return r;
}

static void lose_pending(struct access_log_writer *w, const char *why)
{
	uint64_t n = count_lines(&w->out);

	w->lost += n;
	w->out.n = 0;
	log_warn("access log %s: %llu lines lost: %s", w->path, (unsigned long long)n, why);
}

/* False: the rest must wait. */
static bool flush(struct access_log_writer *w)
{
	size_t done = 0;
	ssize_t n = 0;

	while (done < w->out.n && (n = sink_write(w, done)) > 0) {
		done += (size_t)n;
		w->torn = w->out.p[done - 1] != '\n';
	}
	if (done > 0)
		memmove(w->out.p, w->out.p + done, w->out.n - done);
	w->out.n -= done;
	if (n < 0)
		lose_pending(w, strerror((int)-n));
	return w->out.n == 0;
}

static void format_entry(struct access_log_writer *w, const struct entry *e)
{
	struct access_line l = e->line;
	const char *p = (const char *)(e + 1);

	for (size_t i = 0; i < ACCESS__N; i++) {
		l.v[i] = str_from(p, e->len[i]);
		p += e->len[i];
	}
	if (w->torn && w->out.n == 0)
		text_char(&w->out, '\n');
	access_format_write(w->format, &l, &w->out);
}

/* Format what is in a ring while there is room for it; true when the ring is empty. */
static bool drain_ring(struct access_log_writer *w, struct access_log *g)
{
	uint64_t tail = atomic_load_explicit(&g->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&g->head, memory_order_acquire);

	while (tail < head && w->out.n < PENDING_BYTES_MAX) {
		size_t at = tail % ACCESS_LOG_RING_BYTES;
		uint32_t size;

		memcpy(&size, g->buf + at, sizeof(size));
		if (size == SKIP_TO_START) {
			tail += ACCESS_LOG_RING_BYTES - at;
			continue;
		}
		if (w->format && w->fd >= 0)
			format_entry(w, (const void *)(g->buf + at));
		tail += size;
	}
	atomic_store_explicit(&g->tail, tail, memory_order_release);
	return tail == head;
}

/* One pass over all rings; true when everything that was there is written. */
static bool drain(struct access_log_writer *w)
{
	bool empty = true;

	for (size_t i = 0; i < w->n; i++) {
		if (!w->rings[i].buf)
			continue;
		if (!flush(w))
			return false;
		empty &= drain_ring(w, &w->rings[i]);
	}
	return flush(w) && empty;
}

static void on_timer(void *arg)
{
	struct access_log_writer *w = arg;

	/* Before the rings are read: who adds later finds it false and posts. */
	atomic_store(&w->scheduled, false);
	bool done = drain(w);

	if (!done && !atomic_exchange(&w->scheduled, true))
		loop_timer_set(&w->timer, w->out.n > 0 ? RETRY_US : BATCH_US);
}

/* ---- settings ------------------------------------------------------------------------------ */

static enum sink sink_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return SINK_STREAM;
	return S_ISREG(st.st_mode) ? SINK_FILE : S_ISSOCK(st.st_mode) ? SINK_SOCKET : SINK_STREAM;
}

static int open_sink(const char *path, int *ret, struct err *err)
{
	int fd;

	if (strcmp(path, "/dev/stdout") == 0 || strcmp(path, "/dev/stderr") == 0)
		fd = fcntl(strcmp(path, "/dev/stdout") == 0 ? STDOUT_FILENO : STDERR_FILENO,
			   F_DUPFD_CLOEXEC, 3);
	else
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
			  0640);
	if (fd < 0)
		return err_set(err, -errno, "cannot open the access log %s: %s", path,
			       strerror(errno));
	*ret = fd;
	return 0;
}

static void use_sink(struct access_log_writer *w, int fd)
{
	(void)drain(w);
	if (w->out.n > 0)
		lose_pending(w, "the log was changed while its reader was slow");
	if (w->fd >= 0)
		close(w->fd);
	w->fd = fd;
	w->sink = fd >= 0 ? sink_of(fd) : SINK_NONE;
	w->torn = false;
}

static void switch_on(struct access_log_writer *w, bool on)
{
	for (size_t i = 0; i < w->n; i++) {
		if (on && !w->rings[i].buf)
			w->rings[i].buf = kv_zalloc(ACCESS_LOG_RING_BYTES);
		atomic_store_explicit(&w->rings[i].on, on, memory_order_release);
	}
}

int access_log_check(bool json, struct str format, struct err *err)
{
	struct access_format *f;
	int r = access_format_new(json, format, &f, err);

	if (r == 0)
		access_format_free(f);
	return r;
}

int access_log_configure(struct access_log_writer *w, struct str path, bool json, struct str format,
			 struct err *err)
{
	_cleanup_free_ char *text = path.n > 0 ? kv_asprintf("%.*s", STR_ARG(path)) : NULL;
	struct access_format *f = NULL;
	int fd = -1, r = 0;

	if (text && memchr(path.p, '\0', path.n))
		return err_set(err, KV_ERR_SCHEMA, "the path of the access log holds a NUL byte");
	if (text)
		r = access_format_new(json, format, &f, err);
	if (r == 0 && text && (!w->path || strcmp(w->path, text) != 0))
		r = open_sink(text, &fd, err);
	if (r < 0) {
		access_format_free(f);
		return r;
	}
	if (!text || fd >= 0)
		use_sink(w, fd);
	else
		(void)drain(w);         /* entries so far in the format so far */
	access_format_free(w->format);
	w->format = f;
	free(w->path);
	w->path = take(&text);
	switch_on(w, w->path != NULL);
	return 0;
}

void access_log_reopen(struct access_log_writer *w)
{
	struct err err;
	int fd = -1;

	if (!w->path)
		return;
	if (open_sink(w->path, &fd, &err) < 0)
		log_err("%s; the old file is kept", err.text);
	else
		use_sink(w, fd);
}

uint64_t access_log_lost(const struct access_log_writer *w)
{
	return w->lost;
}

struct access_log *access_log_ring(struct access_log_writer *w, size_t worker)
{
	kv_assert(worker < w->n);
	return &w->rings[worker];
}

struct access_log_writer *access_log_writer_new(struct loop *control, size_t n_workers)
{
	struct access_log_writer *w = kv_zalloc(sizeof(*w));
	void *rings = NULL;

	if (posix_memalign(&rings, _Alignof(struct access_log),
			   n_workers * sizeof(struct access_log)) != 0)
		abort();
	memset(rings, 0, n_workers * sizeof(struct access_log));
	w->rings = rings;
	w->n = n_workers;
	w->loop = control;
	w->fd = -1;
	for (size_t i = 0; i < n_workers; i++)
		w->rings[i].writer = w;
	loop_timer_init(&w->timer, control, on_timer, w);
	return w;
}

void access_log_writer_free(struct access_log_writer *w)
{
	if (!w)
		return;
	if (w->fd >= 0)
		use_sink(w, -1);
	loop_timer_done(&w->timer);
	for (size_t i = 0; i < w->n; i++)
		free(w->rings[i].buf);
	free(w->rings);
	access_format_free(w->format);
	text_done(&w->out);
	free(w->path);
	free(w);
}
