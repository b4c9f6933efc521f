/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server: the serving side of ipc. Layer ipc. A connection serves one call at a time; what a caller
 * sends meanwhile waits in its reader, which is capped. Replies are queued and written by conn_work
 * at the end of the turn, so a method is never called back, and no connection dies, inside a reply.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "io/buf.h"
#include "ipc/frame.h"
#include "ipc/ipc.h"
#include "ipc/rights.h"

#define CALLS_PER_TURN 16
#define ACCEPTS_PER_TURN 16
#define ACCEPT_PAUSE_US (100u * 1000)

struct ipc_server {
	struct loop *loop;
	int fd;
	struct loop_fd watch;
	struct loop_timer resume;       /* accepting again after a lack of descriptors */
	const struct ipc_method *methods;
	void *arg;
	struct list conns;
	size_t n_conns;
};

struct conn {
	struct list node;
	struct ipc_server *server;
	int fd;
	struct loop_fd watch;
	struct loop_later work;
	struct loop_timer again;        /* more calls wait than one turn may serve */
	struct loop_deadline deadline;
	struct sock_peer peer;
	uint64_t accepted_boot_us;
	unsigned rights;                /* IPC_ALLOW_*, looked up with the first call */
	bool rights_known;
	bool half_closed;               /* no more calls will come */
	bool closing;                   /* close once out is empty */
	bool dead;
	struct frame_reader in;
	uint64_t message_since_us;      /* first byte of the incomplete call */
	struct buf out;
	uint64_t progress_us;           /* last time the caller took bytes, or out was empty */
	struct ipc_call *call;
};

struct ipc_call {
	struct conn *conn;
	struct arena arena;
	bool more;
	bool starved;                   /* ipc_stream said no: on_writable is owed */
	void *data;
	void (*on_close)(void *arg, struct ipc_call *c);
	void *close_arg;
	void (*on_writable)(void *arg, struct ipc_call *c);
	void *writable_arg;
};

/* ---- life of a connection ------------------------------------------------------------------ */

static void call_free(void *p)
{
	struct ipc_call *call = p;

	arena_done(&call->arena);
	free(call);
}

static void conn_free(void *p)
{
	struct conn *c = p;

	frame_reader_done(&c->in);
	buf_done(&c->out);
	free(c);
}

static void conn_close(struct conn *c)
{
	c->dead = true;
	list_del(&c->node);
	c->server->n_conns--;
	loop_fd_done(&c->watch);
	loop_later_done(&c->work);
	loop_timer_done(&c->again);
	loop_deadline_done(&c->deadline);
	close(c->fd);
	c->fd = -1;
}

/* The last word to whoever still holds the call. */
static struct ipc_call *conn_drop_call(struct conn *c)
{
	struct ipc_call *call = c->call;

	c->call = NULL;
	if (call && call->on_close)
		call->on_close(call->close_arg, call);
	return call;
}

static void conn_kill(struct conn *c)
{
	if (c->dead)
		return;
	conn_close(c);
	struct ipc_call *call = conn_drop_call(c);

	if (call)
		loop_defer_free(c->server->loop, call_free, call);
	loop_defer_free(c->server->loop, conn_free, c);
}

/* Which events and which deadline fit the state. */
static void conn_update(struct conn *c)
{
	struct str text;
	bool room = c->in.n <= c->in.max;
	unsigned want = 0;
	uint64_t at = 0;

	if (!c->half_closed && !c->closing && room)
		want |= LOOP_READ;
	if (c->out.n > 0)
		want |= LOOP_WRITE;
	loop_fd_want(&c->watch, want);
	if (c->out.n > 0)
		at = c->progress_us + IPC_STALL_TIMEOUT_US;
	else if (!c->call && c->in.n > 0 && !frame_reader_peek(&c->in, &text))
		at = c->message_since_us + IPC_MESSAGE_TIMEOUT_US;
	loop_deadline_set(&c->deadline, at);
}

static void conn_send(struct conn *c, struct str frame)
{
	if (c->out.n == 0)
		c->progress_us = loop_now_us(c->server->loop);
	buf_append_str(&c->out, frame);
	loop_later(c->server->loop, &c->work);
}

static void log_refused(const struct conn *c, const char *why)
{
	log_warn("ipc_refused: uid %u pid %d unit %s: %s", (unsigned)c->peer.uid, (int)c->peer.pid,
		 c->peer.unit[0] ? c->peer.unit : "-", why);
}

/* Error reply to what was no acceptable call; the connection ends with it. */
static void conn_refuse(struct conn *c, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void conn_refuse(struct conn *c, const char *name, const char *fmt, ...)
{
	struct arena a;
	va_list ap;

	arena_init(&a, 0);
	va_start(ap, fmt);
	struct str message = arena_vprintf(&a, fmt, ap);

	va_end(ap);
	log_refused(c, message.p);
	conn_send(c, frame_error(name, message, &a));
	arena_done(&a);
	c->closing = true;
	loop_fd_want(&c->watch, LOOP_WRITE);
}

/* ---- calls --------------------------------------------------------------------------------- */

static const struct ipc_method *find_method(const struct ipc_server *s, struct str name)
{
	for (const struct ipc_method *m = s->methods; m->name; m++)
		if (str_eq(str_c(m->name), name))
			return m;
	return NULL;
}

static bool conn_may(struct conn *c, const struct ipc_method *m)
{
	if (m->allow & IPC_ALLOW_ANY)
		return true;
	if (!c->rights_known) {
		c->rights = rights_of(&c->peer);
		c->rights_known = true;
	}
	return (c->rights & m->allow) != 0;
}

/* Parse and dispatch one call; the reader gives its bytes back before the method runs. */
static void conn_serve(struct conn *c, struct str text)
{
	struct ipc_call *call = kv_zalloc(sizeof(*call));
	struct frame_call f;
	struct err err = { 0 };

	arena_init(&call->arena, 0);
	call->conn = c;
	int r = frame_parse_call(text, &call->arena, &f, &err);

	frame_reader_pop(&c->in);
	c->message_since_us = loop_now_us(c->server->loop);
	const struct ipc_method *m = r < 0 ? NULL : find_method(c->server, f.method);

	if (r < 0)
		conn_refuse(c, IPC_E_INVALID, "the call cannot be read: %s", err.text);
	else if (!m)
		conn_refuse(c, IPC_E_UNKNOWN_METHOD, "there is no method %.*s",
			    STR_ARG(str_take(f.method, 64)));
	else if (!conn_may(c, m))
		conn_refuse(c, IPC_E_NOT_PERMITTED, "uid %u may not call %s", (unsigned)c->peer.uid,
			    m->name);
	if (!m || c->closing) {
		call_free(call);
		return;
	}
	call->more = f.more;
	c->call = call;
	m->fn(c->server->arg, call, f.parameters);
}

static void conn_run(struct conn *c)
{
	struct str text;

	for (unsigned n = 0; !c->call && !c->closing && frame_reader_peek(&c->in, &text); n++) {
		if (n == CALLS_PER_TURN) {
			loop_timer_set(&c->again, 0);
			return;
		}
		conn_serve(c, text);
	}
	if (c->closing)
		return;
	if (!c->call && frame_reader_is_overlong(&c->in))
		conn_refuse(c, IPC_E_INVALID, "a call is longer than %u bytes", IPC_FRAME_MAX);
	else if (!c->call && c->half_closed)
		c->closing = true;
}

static void conn_flush(struct conn *c)
{
	if (c->out.n > 0) {
		ssize_t r = buf_write_fd(&c->out, c->fd);

		if (r > 0)
			c->progress_us = loop_now_us(c->server->loop);
		if (r < 0 && r != -EAGAIN) {
			conn_kill(c);
			return;
		}
	}
	if (c->out.n == 0 && c->call && c->call->starved) {
		c->call->starved = false;
		if (c->call->on_writable)
			c->call->on_writable(c->call->writable_arg, c->call);
	}
	if (c->out.n == 0 && c->closing) {
		conn_kill(c);
		return;
	}
	conn_update(c);
}

static void conn_work(void *arg)
{
	struct conn *c = arg;

	conn_run(c);
	conn_flush(c);
}

/* After a shutdown(SHUT_WR) the caller still reads; after a close nobody does. */
static bool peer_is_gone(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)) != 0;
}

static void conn_on_eof(struct conn *c)
{
	c->half_closed = true;
	/*
	 * A stream would go on for ever towards somebody whose end could not be noticed any more.
	 */
	if (peer_is_gone(c->fd) || (c->call && c->call->more))
		conn_kill(c);
}

static void conn_read(struct conn *c)
{
	bool was_empty = c->in.n == 0;
	ssize_t r = frame_reader_fill(&c->in, c->fd);

	if (r > 0 && was_empty)
		c->message_since_us = loop_now_us(c->server->loop);
	if (r == 0)
		conn_on_eof(c);
	else if (r < 0 && r != -EAGAIN && r != -ENOBUFS)
		conn_kill(c);
}

static void conn_on_event(void *arg, unsigned what)
{
	struct conn *c = arg;

	if (what & LOOP_READ)
		conn_read(c);
	if (!c->dead)
		conn_work(c);
}

static void conn_on_deadline(void *arg)
{
	struct conn *c = arg;

	log_refused(c, c->out.n > 0 ? "takes no replies" : "a call was not completed in time");
	conn_kill(c);
}

/* ---- accepting ----------------------------------------------------------------------------- */

static size_t count_uid(const struct ipc_server *s, uid_t uid)
{
	size_t n = 0;

	list_for_each(it, &s->conns)
		n += list_entry(it, struct conn, node)->peer.uid == uid;
	return n;
}

static void conn_new(struct ipc_server *s, int fd, const struct sock_peer *peer)
{
	struct conn *c = kv_zalloc(sizeof(*c));
	bool full = s->n_conns >= IPC_CONN_MAX || count_uid(s, peer->uid) >= IPC_CONN_PER_UID_MAX;

	c->server = s;
	c->fd = fd;
	c->peer = *peer;
	c->accepted_boot_us = clock_boot_us();
	frame_reader_init(&c->in, IPC_FRAME_MAX);
	buf_init(&c->out);
	list_push_back(&s->conns, &c->node);
	s->n_conns++;
	loop_later_init(&c->work, conn_work, c);
	loop_timer_init(&c->again, s->loop, conn_work, c);
	loop_deadline_init(&c->deadline, s->loop, conn_on_deadline, c);
	loop_fd_init(&c->watch, s->loop, fd, LOOP_READ, conn_on_event, c);
	if (full)
		conn_refuse(c, IPC_E_BUSY, "uid %u has too many connections", (unsigned)peer->uid);
}

static void server_on_event(void *arg, unsigned what)
{
	struct ipc_server *s = arg;

	(void)what;
	for (unsigned n = 0; n < ACCEPTS_PER_TURN; n++) {
		struct sock_addr from;
		struct sock_peer peer;
		int fd = sock_accept(s->fd, &from);

		if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS) {
			log_err("control socket: cannot accept: %s", strerror(-fd));
			loop_fd_want(&s->watch, 0);
			loop_timer_set(&s->resume, ACCEPT_PAUSE_US);
			return;
		}
		if (fd == -EAGAIN)
			return;
		if (fd < 0)
			continue;
		if (sock_peer_cred(fd, &peer) < 0)
			close(fd);
		else
			conn_new(s, fd, &peer);
	}
}

static void server_on_resume(void *arg)
{
	struct ipc_server *s = arg;

	loop_fd_want(&s->watch, LOOP_READ);
}

struct ipc_server *ipc_server_new(struct loop *l, int fd, const struct ipc_method *methods,
				  void *arg)
{
	struct ipc_server *s = kv_zalloc(sizeof(*s));

	*s = (struct ipc_server){ .loop = l, .fd = fd, .methods = methods, .arg = arg };
	list_init(&s->conns);
	loop_timer_init(&s->resume, l, server_on_resume, s);
	loop_fd_init(&s->watch, l, fd, LOOP_READ, server_on_event, s);
	return s;
}

void ipc_server_leave(struct ipc_server *s)
{
	loop_fd_done(&s->watch);
	loop_timer_done(&s->resume);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void ipc_server_free(struct ipc_server *s)
{
	if (!s)
		return;
	ipc_server_leave(s);
	list_for_each_safe(it, &s->conns) {
		struct conn *c = list_entry(it, struct conn, node);
		struct ipc_call *call = conn_drop_call(c);

		if (call)
			call_free(call);
		conn_close(c);
		conn_free(c);
	}
	free(s);
}

/* ---- a method's view ----------------------------------------------------------------------- */

const struct sock_peer *ipc_call_peer(const struct ipc_call *c)
{
	return &c->conn->peer;
}

uint64_t ipc_call_connected_boot_us(const struct ipc_call *c)
{
	return c->conn->accepted_boot_us;
}

struct arena *ipc_call_arena(struct ipc_call *c)
{
	return &c->arena;
}

bool ipc_call_wants_more(const struct ipc_call *c)
{
	return c->more;
}

static void call_end(struct ipc_call *call, struct str frame)
{
	struct conn *c = call->conn;

	kv_assert(c->call == call);
	conn_send(c, frame);
	c->call = NULL;
	c->message_since_us = loop_now_us(c->server->loop);
	loop_defer_free(c->server->loop, call_free, call);
}

void ipc_reply_json(struct ipc_call *c, struct str json_object)
{
	if (json_object.n > IPC_REPLY_MAX)
		ipc_reply_error(c, IPC_E_FAILED, "the reply has %zu bytes, more than %u",
				json_object.n, IPC_REPLY_MAX);
	else
		call_end(c, frame_reply(json_object, false, &c->arena));
}

void ipc_reply(struct ipc_call *c, const struct doc *parameters)
{
	ipc_reply_json(c, parameters ? doc_to_json(parameters, &c->arena, false) : STR("{}"));
}

void ipc_reply_error(struct ipc_call *c, const char *name, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	struct str message = arena_vprintf(&c->arena, fmt, ap);

	va_end(ap);
	call_end(c, frame_error(name, message, &c->arena));
}

bool ipc_stream_json(struct ipc_call *c, struct str json_object)
{
	struct arena a;

	if (c->conn->out.n > IPC_STREAM_WAIT_MAX) {
		c->starved = true;
		return false;
	}
	/* Its own arena: the call's lives as long as the stream. */
	arena_init(&a, 0);
	if (json_object.n > IPC_REPLY_MAX) {
		log_err("a reply of %zu bytes is longer than the %u a caller takes; it is not sent",
			json_object.n, IPC_REPLY_MAX);
		conn_send(c->conn, frame_error(IPC_E_FAILED, STR("the reply is too long"), &a));
		c->conn->closing = true;
	} else {
		conn_send(c->conn, frame_reply(json_object, true, &a));
	}
	arena_done(&a);
	return true;
}

bool ipc_stream(struct ipc_call *c, const struct doc *parameters)
{
	struct arena a;

	arena_init(&a, 0);
	bool sent = ipc_stream_json(c, parameters ? doc_to_json(parameters, &a, false) : STR("{}"));

	arena_done(&a);
	return sent;
}

void ipc_call_on_close(struct ipc_call *c, void (*fn)(void *arg, struct ipc_call *c), void *arg)
{
	c->on_close = fn;
	c->close_arg = arg;
}

void ipc_call_on_writable(struct ipc_call *c, void (*fn)(void *arg, struct ipc_call *c), void *arg)
{
	c->on_writable = fn;
	c->writable_arg = arg;
}

void ipc_call_set_data(struct ipc_call *c, void *data)
{
	c->data = data;
}

void *ipc_call_data(const struct ipc_call *c)
{
	return c->data;
}
