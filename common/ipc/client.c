/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client: the asynchronous caller of ipc, for daemons. Layer ipc. One connection, calls answered in
 * order, reconnecting with back-off. Handlers run from the loop only; a handler may free the
 * client, so every walk re-checks dead.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "io/buf.h"
#include "ipc/frame.h"
#include "ipc/ipc.h"
#include "ipc/rights.h"

#define BACKOFF_MIN_US (100u * 1000)
#define BACKOFF_MAX_US (5u * 1000 * 1000)

struct pending {
	struct list node;
	ipc_reply_fn fn;
	void *arg;
	const char *failed;             /* in c->failed: the error name to tell */
};

struct ipc_client {
	struct loop *loop;
	char *path;
	int fd;                         /* -1 while waiting to connect again */
	bool connecting, connected, dead;
	struct loop_fd watch;
	struct loop_timer retry;
	struct loop_later work;
	uint64_t backoff_us;
	struct frame_reader in;
	struct buf out;
	struct list open;               /* struct pending, sent, oldest first */
	struct list failed;             /* struct pending, to be told by work */
	void (*on_connect)(void *arg, bool connected);
	void *connect_arg;
};

static void client_connect(void *arg);

static void client_free(void *p)
{
	struct ipc_client *c = p;

	frame_reader_done(&c->in);
	buf_done(&c->out);
	free(c->path);
	free(c);
}

static void drop_all(struct list *l)
{
	list_for_each_safe(it, l) {
		list_del(it);
		free(list_entry(it, struct pending, node));
	}
}

void ipc_client_free(struct ipc_client *c)
{
	if (!c)
		return;
	c->dead = true;
	if (c->fd >= 0) {
		loop_fd_done(&c->watch);
		close(c->fd);
	}
	loop_timer_done(&c->retry);
	loop_later_done(&c->work);
	drop_all(&c->open);
	drop_all(&c->failed);
	loop_defer_free(c->loop, client_free, c);
}

/* Tell the calls that failed; from the loop only. */
static void tell_failed(struct ipc_client *c)
{
	while (!c->dead && !list_is_empty(&c->failed)) {
		struct pending *p = list_entry(c->failed.next, struct pending, node);
		struct doc nothing = { .kind = DOC_MAP };

		list_del(&p->node);
		p->fn(p->arg, p->failed, &nothing, false);
		free(p);
	}
}

static void fail_open(struct ipc_client *c)
{
	list_for_each_safe(it, &c->open) {
		list_del(it);
		list_entry(it, struct pending, node)->failed = IPC_E_DISCONNECTED;
		list_push_back(&c->failed, it);
	}
}

static void client_lost(struct ipc_client *c, const char *why)
{
	bool was = c->connected;

	log_debug("%s: %s", c->path, why);
	if (c->fd >= 0) {
		loop_fd_done(&c->watch);
		close(c->fd);
	}
	c->fd = -1;
	c->connecting = c->connected = false;
	frame_reader_done(&c->in);
	buf_done(&c->out);
	loop_timer_set(&c->retry, c->backoff_us);
	c->backoff_us = c->backoff_us * 2 < BACKOFF_MAX_US ? c->backoff_us * 2 : BACKOFF_MAX_US;
	fail_open(c);
	tell_failed(c);
	if (!c->dead && was && c->on_connect)
		c->on_connect(c->connect_arg, false);
}

/* The other end must be one who may run a daemon here; anybody could squat on a path in /tmp. */
static bool server_is_trusted(int fd)
{
	struct sock_peer p;

	return sock_peer_cred(fd, &p) == 0 &&
	       (p.uid == 0 || p.uid == geteuid() || rights_is_daemon(p.uid));
}

static void client_connected(struct ipc_client *c)
{
	c->connecting = false;
	if (!server_is_trusted(c->fd)) {
		log_err("%s is served by a user that is not of the mesh", c->path);
		client_lost(c, "untrusted server");
		return;
	}
	c->connected = true;
	loop_fd_want(&c->watch, LOOP_READ);
	if (c->on_connect)
		c->on_connect(c->connect_arg, true);
}

static void handle_reply(struct ipc_client *c, struct pending *p, struct str text)
{
	struct arena a;
	struct frame_reply f;
	struct err err = { 0 };

	arena_init(&a, 0);
	int r = frame_parse_reply(text, &a, &f, &err);

	frame_reader_pop(&c->in);
	if (r < 0) {
		arena_done(&a);
		log_err("%s: unreadable reply: %s", c->path, err.text);
		client_lost(c, "unreadable reply");
		return;
	}
	if (!f.continues)
		list_del(&p->node);
	if (f.error.p) {
		p->fn(p->arg, arena_str(&a, f.error).p, f.parameters, false);
	} else {
		c->backoff_us = BACKOFF_MIN_US;
		p->fn(p->arg, NULL, f.parameters, f.continues);
	}
	/* A stream's entry is still in c->open, or was freed with the client. */
	if (!f.continues)
		free(p);
	arena_done(&a);
}

static void handle_replies(struct ipc_client *c)
{
	struct str text;

	while (!c->dead && c->fd >= 0 && frame_reader_peek(&c->in, &text)) {
		if (list_is_empty(&c->open)) {
			log_err("%s: a reply that nobody asked for", c->path);
			client_lost(c, "unexpected reply");
			return;
		}
		handle_reply(c, list_entry(c->open.next, struct pending, node), text);
	}
	if (!c->dead && c->fd >= 0 && frame_reader_is_overlong(&c->in)) {
		log_err("%s: a reply is longer than %u bytes", c->path, IPC_REPLY_MAX);
		client_lost(c, "reply too long");
	}
}

static void client_flush(struct ipc_client *c)
{
	if (!c->connected || c->out.n == 0)
		return;
	ssize_t r = buf_write_fd(&c->out, c->fd);

	if (r < 0 && r != -EAGAIN)
		client_lost(c, "cannot write");
	else
		loop_fd_want(&c->watch, LOOP_READ | (c->out.n > 0 ? LOOP_WRITE : 0u));
}

static void client_work(void *arg)
{
	struct ipc_client *c = arg;

	tell_failed(c);
	if (!c->dead)
		client_flush(c);
}

static void client_read(struct ipc_client *c)
{
	ssize_t r = frame_reader_fill(&c->in, c->fd);

	if (r == 0 || (r < 0 && r != -EAGAIN))
		client_lost(c, r == 0 ? "closed by the server" : strerror((int)-r));
	else
		handle_replies(c);
}

static void client_on_event(void *arg, unsigned what)
{
	struct ipc_client *c = arg;

	if (c->connecting) {
		int r = sock_error(c->fd);

		if (r < 0)
			client_lost(c, strerror(-r));
		else
			client_connected(c);
		return;
	}
	if (what & LOOP_READ)
		client_read(c);
	if (!c->dead && c->connected)
		client_flush(c);
}

static void client_connect(void *arg)
{
	struct ipc_client *c = arg;
	_cleanup_free_ char *address = kv_asprintf("unix:%s", c->path);
	struct sock_addr a;
	struct err err = { 0 };

	/*
	 * Not the blocking connect: a stopped server with a full backlog must not stop us as well.
	 */
	int fd = sock_addr_parse(str_c(address), 0, &a) ? sock_connect(&a, &err) :
		err_set(&err, -EINVAL, "the path of a socket must be absolute and short");
	if (fd < 0) {
		client_lost(c, err.text);
		return;
	}
	c->fd = fd;
	c->connecting = true;
	loop_fd_init(&c->watch, c->loop, fd, LOOP_WRITE, client_on_event, c);
}

struct ipc_client *ipc_client_new(struct loop *l, const char *path)
{
	struct ipc_client *c = kv_zalloc(sizeof(*c));

	c->loop = l;
	c->path = kv_strdup(path);
	c->fd = -1;
	c->backoff_us = BACKOFF_MIN_US;
	frame_reader_init(&c->in, IPC_REPLY_MAX);
	buf_init(&c->out);
	list_init(&c->open);
	list_init(&c->failed);
	loop_timer_init(&c->retry, l, client_connect, c);
	loop_later_init(&c->work, client_work, c);
	loop_timer_set(&c->retry, 0);
	return c;
}

void ipc_client_on_connect(struct ipc_client *c, void (*fn)(void *arg, bool connected), void *arg)
{
	c->on_connect = fn;
	c->connect_arg = arg;
}

bool ipc_client_is_connected(const struct ipc_client *c)
{
	return c->connected;
}

void ipc_client_call(struct ipc_client *c, const char *method, const struct doc *parameters,
		     bool more, ipc_reply_fn fn, void *arg)
{
	struct pending *p = kv_zalloc(sizeof(*p));
	struct arena a;

	*p = (struct pending){ .fn = fn, .arg = arg };
	arena_init(&a, 0);
	struct str frame = frame_call(method, parameters, more, &a);

	if (!c->connected)
		p->failed = IPC_E_DISCONNECTED;
	else if (frame.n > IPC_FRAME_MAX)
		p->failed = IPC_E_INVALID;
	else
		buf_append_str(&c->out, frame);
	list_push_back(p->failed ? &c->failed : &c->open, &p->node);
	arena_done(&a);
	loop_later(c->loop, &c->work);
}
