/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync: the blocking caller of ipc, for kvmeshctl and tests. Layer ipc. Every wait ends at a
 * deadline.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/sock.h"
#include "ipc/frame.h"
#include "ipc/ipc.h"

#define RETRY_MS 10             /* a full backlog: no event tells when there is room */

struct ipc_conn {
	int fd;
	int timeout_ms;
	char *path;
	struct frame_reader in;
};

static uint64_t deadline_in(int timeout_ms)
{
	return clock_mono_us() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0) * 1000;
}

static int left_ms(uint64_t deadline_us)
{
	uint64_t now = clock_mono_us();

	return now >= deadline_us ? 0 : (int)((deadline_us - now + 999) / 1000);
}

static int wait_for(const struct ipc_conn *c, short events, uint64_t deadline_us, struct err *err)
{
	for (;;) {
		struct pollfd p = { .fd = c->fd, .events = events };
		int r = poll(&p, 1, left_ms(deadline_us));

		if (r > 0)
			return 0;
		if (r == 0)
			return err_set(err, KV_ERR_TIMEOUT, "%s does not answer in time", c->path);
		if (errno != EINTR)
			return err_set(err, -errno, "%s: %s", c->path, strerror(errno));
	}
}

static int finish_connect(struct ipc_conn *c, uint64_t deadline_us, struct err *err)
{
	int r = wait_for(c, POLLOUT, deadline_us, err);

	if (r < 0)
		return r;
	r = sock_error(c->fd);
	return r < 0 ? err_set(err, r, "cannot connect to %s: %s", c->path, strerror(-r)) : 0;
}

int ipc_dial(const char *path, int timeout_ms, struct ipc_conn **ret, struct err *err)
{
	uint64_t deadline_us = deadline_in(timeout_ms);
	_cleanup_free_ char *address = kv_asprintf("unix:%s", path);
	struct sock_addr a;
	int fd;

	if (!sock_addr_parse(str_c(address), 0, &a))
		return err_set(err, -EINVAL,
			       "%s is no path of a socket: it must be absolute and short", path);
	while ((fd = sock_connect(&a, err)) == -EAGAIN) {
		if (left_ms(deadline_us) == 0)
			return err_set(err, KV_ERR_TIMEOUT, "%s does not take connections", path);
		(void)poll(NULL, 0, RETRY_MS);
	}
	if (fd < 0)
		return err_set(err, fd, "cannot connect to %s: %s", path, strerror(-fd));
	struct ipc_conn *c = kv_zalloc(sizeof(*c));

	*c = (struct ipc_conn){ .fd = fd, .timeout_ms = timeout_ms, .path = kv_strdup(path) };
	frame_reader_init(&c->in, IPC_REPLY_MAX);
	int r = finish_connect(c, deadline_us, err);

	if (r < 0) {
		ipc_hangup(c);
		return r;
	}
	*ret = c;
	return 0;
}

void ipc_hangup(struct ipc_conn *c)
{
	if (!c)
		return;
	close(c->fd);
	frame_reader_done(&c->in);
	free(c->path);
	free(c);
}

static int send_all(struct ipc_conn *c, struct str frame, uint64_t deadline_us, struct err *err)
{
	while (frame.n > 0) {
		ssize_t put = send(c->fd, frame.p, frame.n, MSG_NOSIGNAL);

		if (put >= 0) {
			frame = str_skip(frame, (size_t)put);
			continue;
		}
		/* A server that refused us has already written why: read that instead. */
		if (errno == EPIPE || errno == ECONNRESET)
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return err_set(err, -errno, "%s: %s", c->path, strerror(errno));
		int r = wait_for(c, POLLOUT, deadline_us, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int receive(struct ipc_conn *c, uint64_t deadline_us, struct str *ret, struct err *err)
{
	while (!frame_reader_peek(&c->in, ret)) {
		ssize_t got = frame_reader_fill(&c->in, c->fd);

		if (got > 0)
			continue;
		if (got == -ENOBUFS)
			return err_set(err, KV_ERR_PROTOCOL, "%s: a reply is longer than %u bytes",
				       c->path, IPC_REPLY_MAX);
		if (got == 0 || got == -ECONNRESET)
			return err_set(err, KV_ERR_CLOSED, "%s closed the connection", c->path);
		if (got != -EAGAIN)
			return err_set(err, (int)got, "%s: %s", c->path, strerror((int)-got));
		int r = wait_for(c, POLLIN, deadline_us, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int error_code(struct str name)
{
	static const struct {
		const char *name;
		int code;
	} codes[] = {
		{ IPC_E_NOT_PERMITTED, KV_ERR_REFUSED },
		{ IPC_E_NOT_FOUND, KV_ERR_NOT_FOUND },
		{ IPC_E_INVALID, KV_ERR_SCHEMA },
		{ IPC_E_BUSY, KV_ERR_LIMIT },
		{ IPC_E_UNKNOWN_METHOD, KV_ERR_PROTOCOL },
	};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (str_eq(str_c(codes[i].name), name))
			return codes[i].code;
	return -EIO;
}

int ipc_next_sync(struct ipc_conn *c, const char *method, const struct doc *parameters,
		  struct arena *a, struct doc **ret, bool *ret_continues, int timeout_ms,
		  struct err *err)
{
	uint64_t deadline_us = deadline_in(timeout_ms);
	struct frame_reply f;
	struct str text;
	int r = 0;

	if (method)
		r = send_all(c, frame_call(method, parameters, ret_continues != NULL, a),
			     deadline_us, err);
	if (r == 0)
		r = receive(c, deadline_us, &text, err);
	if (r < 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): r is 0 only when receive has set text */
	r = frame_parse_reply(text, a, &f, err);
	frame_reader_pop(&c->in);
	if (r < 0)
		return r;
	if (f.error.p) {
		struct str message = doc_get_str(f.parameters, "message", f.error);

		return err_set(err, error_code(f.error), "%.*s", STR_ARG(message));
	}
	if (ret_continues)
		*ret_continues = f.continues;
	*ret = f.parameters;
	return 0;
}

int ipc_call_sync(struct ipc_conn *c, const char *method, const struct doc *parameters,
		  struct arena *a, struct doc **ret, struct err *err)
{
	return ipc_next_sync(c, method, parameters, a, ret, NULL, c->timeout_ms, err);
}
