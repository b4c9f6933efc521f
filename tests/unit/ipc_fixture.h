/* SPDX-License-Identifier: Apache-2.0 */
/* ipc_fixture: a server with a few methods in a process of its own, for the tests of ipc. */
#pragma once

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/loop.h"
#include "io/sock.h"
#include "ipc/ipc.h"
#include "unit.h"

#define FLOOD_LAST 3000                 /* versions that Flood publishes */
#define FLOOD_BYTES 4000                /* of padding in each: far more than a socket holds */

struct flood {
	struct loop_timer timer;
	struct ipc_call *call;
	int64_t version;
	int64_t refusals;               /* times the stream was too slow */
};

struct fixture {
	char dir[64], path[96];
	pid_t pid;
	/* in the server's process */
	struct loop *loop;
	struct flood flood;
	int64_t closed;                 /* calls whose caller went away */
};

static inline void on_echo(void *arg, struct ipc_call *c, const struct doc *p)
{
	(void)arg;
	ipc_reply(c, p);
}

static inline void on_fail(void *arg, struct ipc_call *c, const struct doc *p)
{
	(void)arg;
	ipc_reply_error(c, IPC_E_NOT_FOUND, "there is no %.*s",
			STR_ARG(doc_get_str(p, "name", STR("name"))));
}

static inline void on_count(void *arg, struct ipc_call *c, const struct doc *p)
{
	struct arena *a = ipc_call_arena(c);
	int64_t n = doc_get_int(p, "n", 0);

	(void)arg;
	for (int64_t i = 1; i <= n; i++) {
		struct doc *d = doc_new_map(a);

		doc_set_int(a, d, "i", i);
		if (i < n)
			ipc_stream(c, d);
		else
			ipc_reply(c, d);
	}
}

static inline void count_closed(void *arg, struct ipc_call *c)
{
	struct fixture *f = arg;

	(void)c;
	f->closed++;
}

static inline void on_never(void *arg, struct ipc_call *c, const struct doc *p)
{
	(void)p;
	ipc_call_on_close(c, count_closed, arg);
}

static inline void flood_send(struct flood *f)
{
	static char pad[FLOOD_BYTES + 1];
	struct arena a;

	memset(pad, 'x', FLOOD_BYTES);
	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a);

	doc_set_int(&a, d, "version", f->version);
	doc_set_str(&a, d, "pad", str_c(pad));
	if (!ipc_stream(f->call, d))
		f->refusals++;
	arena_done(&a);
}

static inline void on_flood_timer(void *arg)
{
	struct flood *f = arg;

	for (int i = 0; i < 100 && f->version < FLOOD_LAST; i++) {
		f->version++;
		flood_send(f);
	}
	if (f->version < FLOOD_LAST)
		loop_timer_set(&f->timer, 0);
}

static inline void on_flood_writable(void *arg, struct ipc_call *c)
{
	(void)c;
	flood_send(arg);
}

static inline void on_flood(void *arg, struct ipc_call *c, const struct doc *p)
{
	struct fixture *f = arg;

	(void)p;
	f->flood.call = c;
	ipc_call_on_writable(c, on_flood_writable, &f->flood);
	loop_timer_init(&f->flood.timer, f->loop, on_flood_timer, &f->flood);
	loop_timer_set(&f->flood.timer, 0);
}

static inline void on_facts(void *arg, struct ipc_call *c, const struct doc *p)
{
	struct fixture *f = arg;
	struct arena *a = ipc_call_arena(c);
	struct doc *d = doc_new_map(a);

	(void)p;
	doc_set_int(a, d, "uid", (int64_t)ipc_call_peer(c)->uid);
	doc_set_int(a, d, "pid", (int64_t)ipc_call_peer(c)->pid);
	doc_set_int(a, d, "closed", f->closed);
	doc_set_int(a, d, "version", f->flood.version);
	doc_set_int(a, d, "refusals", f->flood.refusals);
	ipc_reply(c, d);
}

static const struct ipc_method fixture_methods[] = {
	{ "Echo", IPC_ALLOW_READ, on_echo, "" },
	{ "Fail", IPC_ALLOW_READ, on_fail, "" },
	{ "Count", IPC_ALLOW_READ, on_count, "" },
	{ "Never", IPC_ALLOW_ANY, on_never, "" },
	{ "Flood", IPC_ALLOW_READ, on_flood, "" },
	{ "Facts", IPC_ALLOW_ANY, on_facts, "" },
	/* Nobody who runs tests is in that group alone: refused to root as well. */
	{ "Viewers", IPC_ALLOW_VIEW, on_echo, "" },
	{ NULL },
};

static inline void fixture_serve(struct fixture *f, int fd)
{
	f->loop = loop_new();
	struct ipc_server *s = ipc_server_new(f->loop, fd, fixture_methods, f);

	loop_run(f->loop);
	ipc_server_free(s);
	loop_free(f->loop);
}

static inline void fixture_start(struct fixture *f)
{
	struct err err = { 0 };
	pid_t parent = getpid();
	int fd = sock_listen_unix(f->path, 0666, (gid_t)-1, &err);

	ck_assert_msg(fd >= 0, "%s", err.text);
	f->pid = fork();
	ck_assert(f->pid >= 0);
	if (f->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			fixture_serve(f, fd);
		_exit(0);
	}
	close(fd);
}

static inline void fixture_kill(struct fixture *f)
{
	kill(f->pid, SIGKILL);
	waitpid(f->pid, NULL, 0);
}

static inline void fixture_init(struct fixture *f)
{
	*f = (struct fixture){ 0 };
	snprintf(f->dir, sizeof(f->dir), "/tmp/kvmesh-ipc-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
	fixture_start(f);
}

static inline void fixture_done(struct fixture *f)
{
	fixture_kill(f);
	unlink(f->path);
	rmdir(f->dir);
}
