/* SPDX-License-Identifier: Apache-2.0 */
/* notify: see notify.h. Layer daemons/ctl. */
#include "config.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "ctl/notify.h"

#define MESSAGE_MAX 4096
#define MESSAGES_PER_TURN 64

struct notify {
	int fd;
	char *path;
	struct loop_fd io;
	void (*main_pid)(void *arg, pid_t from, pid_t pid);
	void *arg;
};

static void take_line(struct notify *n, pid_t from, struct str line)
{
	static const struct str name = STR("MAINPID=");
	uint64_t pid;

	if (str_has_prefix(line, name) && str_to_u64(str_skip(line, name.n), &pid) && pid > 1 && pid <= INT32_MAX)
		n->main_pid(n->arg, from, (pid_t)pid);
}

static void take_message(struct notify *n, pid_t from, struct str text)
{
	while (text.n > 0) {
		const char *end = memchr(text.p, '\n', text.n);
		size_t len = end ? (size_t)(end - text.p) : text.n;

		take_line(n, from, str_from(text.p, len));
		text = str_skip(text, end ? len + 1 : len);
	}
}

/*
 * The kernel says who sent it. Descriptors (FDSTORE=, BARRIER=) have no room and are closed with that, which is what a
 * barrier waits for.
 */
static bool take_one(struct notify *n)
{
	char text[MESSAGE_MAX];
	alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = { .iov_base = text, .iov_len = sizeof(text) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	ssize_t got = recvmsg(n->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = got < 0 ? NULL : CMSG_FIRSTHDR(&m);
	struct ucred who;

	if (got < 0)
		return false;
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS || c->cmsg_len != CMSG_LEN(sizeof(who)))
		return true;
	memcpy(&who, CMSG_DATA(c), sizeof(who));
	if (who.uid == geteuid() || who.uid == 0)
		take_message(n, who.pid, str_from(text, (size_t)got));
	return true;
}

static void on_readable(void *arg, unsigned what)
{
	(void)what;
	for (unsigned i = 0; i < MESSAGES_PER_TURN && take_one(arg); i++)
		;
}

static int listen_at(const char *path, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	static const int on = 1;

	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s is too long for the path of a socket", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	(void)unlink(path);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0) {
		int code = -errno;

		if (fd >= 0)
			close(fd);
		return err_set(err, code, "cannot listen on %s: %s", path, err_code_name(code));
	}
	return fd;
}

int notify_new(struct loop *l, const char *path, void (*main_pid)(void *arg, pid_t from, pid_t pid), void *arg,
	       struct notify **ret, struct err *err)
{
	int fd = listen_at(path, err);

	if (fd < 0)
		return fd;
	struct notify *n = kv_zalloc(sizeof(*n));

	n->fd = fd;
	n->path = kv_strdup(path);
	n->main_pid = main_pid;
	n->arg = arg;
	loop_fd_init(&n->io, l, fd, LOOP_READ, on_readable, n);
	*ret = n;
	return 0;
}

void notify_free(struct notify *n)
{
	if (!n)
		return;
	loop_fd_done(&n->io);
	close(n->fd);
	(void)unlink(n->path);
	free(n->path);
	free(n);
}
