/* SPDX-License-Identifier: Apache-2.0 */
/* handover: see handover.h. Layer proxy, control thread. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdalign.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/vec.h"
#include "io/sd.h"
#include "proxy/handover.h"

#define CHILD_FD 3
#define PASS_TIMEOUT_S 10

enum letter { OURS = 'o', MANAGERS = 'm', CONTROL = 'c', LIST_END = 'e', YOURS = 'y', ENDED = 'd', READY = 'r' };

/* ---- packets --------------------------------------------------------------------------------- */

struct packet {
	char letter;
	struct worker_drained last;      /* ENDED */
};

static int send_packet(int to, const struct packet *p, int fd)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)p, .iov_len = sizeof(*p) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))] = { 0 };

	if (fd >= 0) {
		m.msg_control = room;
		m.msg_controllen = sizeof(room);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);

		*c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(to, &m, MSG_NOSIGNAL) == (ssize_t)sizeof(*p) ? 0 : -errno;
}

static int tell(int to, char letter)
{
	return send_packet(to, &(struct packet){ .letter = letter }, -1);
}

/* 1, 0 at the end, or negative. *ret_fd: what came with it, -1 nothing. */
static int take_packet(int from, struct packet *ret, int *ret_fd)
{
	struct iovec iov = { .iov_base = ret, .iov_len = sizeof(*ret) };
	alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int))];
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	ssize_t n;

	do {
		n = recvmsg(from, &m, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	*ret_fd = -1;
	if (n <= 0)
		return n == 0 || errno == ECONNRESET ? 0 : -errno;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return n == (ssize_t)sizeof(*ret) ? 1 : -EPROTO;
}

/* One that passes nothing. */
static int take_word(int from, struct packet *ret)
{
	int fd, r = take_packet(from, ret, &fd);

	if (fd >= 0)
		close(fd);
	return r;
}

/* ---- the process that goes ------------------------------------------------------------------- */

struct handover {
	struct handover_give give;
	pid_t pid;
	int fd;
	struct loop_fd io;
	struct loop_timer deadline;
	bool over;                      /* the other one is the main process */
};

/* What the service manager said is about this process; the rest is the other one's too. */
static bool is_for_us(const char *assignment)
{
	static const char *const names[] = { "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=", "WATCHDOG_PID=", (HANDOVER_ENV "=") };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(assignment, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static char **make_environment(char *own)
{
	char **v = NULL;
	size_t n = 0, cap = 0;

	for (char **e = environ; *e; e++)
		if (!is_for_us(*e))
			*vec_push(v, n, cap) = *e;
	*vec_push(v, n, cap) = own;
	*vec_push(v, n, cap) = NULL;
	return v;
}

/* --ready-fd was for whoever started this one. */
static char **make_arguments(char *const *argv)
{
	char **v = NULL;
	size_t n = 0, cap = 0;

	for (; *argv; argv++) {
		if (strcmp(*argv, "--ready-fd") == 0 && argv[1])
			argv++;
		else if (strncmp(*argv, "--ready-fd=", 11) != 0)
			*vec_push(v, n, cap) = *argv;
	}
	*vec_push(v, n, cap) = NULL;
	return v;
}

static int spawn(const struct handover_give *g, int fd, pid_t *ret, struct err *err)
{
	char own[sizeof(HANDOVER_ENV) + 8];
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;

	snprintf(own, sizeof(own), HANDOVER_ENV "=%d", CHILD_FD);
	char **environment = make_environment(own), **argv = make_arguments(g->argv);

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, CHILD_FD);
	int r = posix_spawn(ret, g->program, &actions, &attr, argv, environment);

	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	free(argv);
	free(environment);
	return r == 0 ? 0 : err_set(err, -r, "cannot start %s: %s", g->program, err_code_name(-r));
}

struct passing {
	int to, error;
};

static bool pass_one(void *arg, int fd, enum door_origin origin)
{
	struct passing *p = arg;

	p->error = send_packet(p->to, &(struct packet){ .letter = origin == DOOR_ORIGIN_OURS ? OURS : MANAGERS }, fd);
	return p->error == 0;
}

/* It ends now, whatever it does; how, when that was by itself. */
static void bury(struct handover *h, char *buf, size_t n)
{
	int status = 0;

	(void)kill(h->pid, SIGKILL);
	(void)waitpid(h->pid, &status, 0);
	h->pid = 0;
	if (WIFSIGNALED(status))
		snprintf(buf, n, "was killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(buf, n, "ended with exit code %d", WEXITSTATUS(status));
}

/* The other one reads from its first moment: waiting for it is short, and bounded. */
static int pass_sockets(struct handover *h, struct err *err)
{
	struct passing p = { .to = h->fd };
	char how[64];

	doors_each(h->give.doors, pass_one, &p);
	if (p.error == 0)
		p.error = send_packet(h->fd, &(struct packet){ .letter = CONTROL }, h->give.control_fd);
	if (p.error == 0)
		p.error = tell(h->fd, LIST_END);
	if (p.error == 0)
		return 0;
	bury(h, how, sizeof(how));
	return err_set(err, p.error, "the new %s takes no sockets: %s, it %s; this one goes on", h->give.program,
		       err_code_name(p.error), how);
}

static void fail(struct handover *h, const char *why)
{
	char text[256];

	loop_fd_want(&h->io, 0);
	loop_timer_stop(&h->deadline);
	snprintf(text, sizeof(text), "the new %s %s; this one goes on", h->give.program, why);
	h->give.failed(h->give.arg, text);
}

static void on_deadline(void *arg)
{
	struct handover *h = arg;
	char how[64];

	bury(h, how, sizeof(how));
	fail(h, "does not get ready");
}

static void on_end(struct handover *h)
{
	char how[64];

	if (!h->over) {
		bury(h, how, sizeof(how));
		fail(h, how);
		return;
	}
	loop_fd_want(&h->io, 0);
	h->give.lost(h->give.arg);
}

static void give_place(struct handover *h)
{
	loop_timer_stop(&h->deadline);
	if (!sd_main_pid(h->pid))
		log_warn("the service manager has not answered: it may not know yet that %d is the main process", (int)h->pid);
	h->over = true;
	(void)tell(h->fd, YOURS);
	h->give.done(h->give.arg, h->pid);
}

static void on_answer(void *arg, unsigned what)
{
	struct handover *h = arg;
	struct packet p;
	int r = take_word(h->fd, &p);

	(void)what;
	if (r == -EAGAIN)
		return;
	if (r > 0 && p.letter == READY && !h->over)
		give_place(h);
	else
		on_end(h);
}

static int begin(struct handover *h, struct err *err)
{
	static const struct timeval limit = { .tv_sec = PASS_TIMEOUT_S };
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return err_set(err, -errno, "cannot make a socket pair: %s", err_code_name(-errno));
	h->fd = ends[0];
	(void)setsockopt(h->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	int r = spawn(&h->give, ends[1], &h->pid, err);

	close(ends[1]);
	if (r == 0)
		r = pass_sockets(h, err);
	if (r < 0)
		return r;
	(void)fcntl(h->fd, F_SETFL, O_NONBLOCK);
	loop_fd_init(&h->io, h->give.loop, h->fd, LOOP_READ, on_answer, h);
	loop_timer_init(&h->deadline, h->give.loop, on_deadline, h);
	loop_timer_set(&h->deadline, HANDOVER_READY_US);
	return 0;
}

int handover_start(const struct handover_give *g, struct handover **ret, struct err *err)
{
	struct handover *h = kv_zalloc(sizeof(*h));

	h->give = *g;
	h->fd = -1;
	int r = begin(h, err);

	if (r < 0) {
		handover_free(h);
		return r;
	}
	*ret = h;
	return 0;
}

bool handover_is_under_way(const struct handover *h)
{
	return h->pid > 0 && !h->over;
}

void handover_finish(struct handover *h, const struct worker_drained *last)
{
	(void)send_packet(h->fd, &(struct packet){ .letter = ENDED, .last = *last }, -1);
}

void handover_free(struct handover *h)
{
	char how[64];

	if (!h)
		return;
	if (h->pid > 0 && !h->over)
		bury(h, how, sizeof(how));
	if (h->io.loop) {
		loop_fd_done(&h->io);
		loop_timer_done(&h->deadline);
	}
	if (h->fd >= 0)
		close(h->fd);
	free(h);
}

/* ---- the process that comes ------------------------------------------------------------------ */

struct heir {
	int fd;
	pid_t predecessor;
	struct loop_fd io;
	struct worker_drained last;
	bool is_main;
	void (*main)(void *arg);
	void (*gone)(void *arg, const struct worker_drained *last);
	void *arg;
};

static int take_sockets(const struct heir *h, struct doors *doors, int *ret_control_fd, struct err *err)
{
	for (;;) {
		struct packet p;
		int fd, r = take_packet(h->fd, &p, &fd);

		if (r <= 0)
			return err_set(err, r < 0 ? r : KV_ERR_CLOSED, "the process before this one passes no sockets: %s",
				       r < 0 ? err_code_name(r) : "it has ended");
		if (p.letter == LIST_END)
			return *ret_control_fd >= 0 ? 0 : err_set(err, KV_ERR_PROTOCOL, "the control socket was not passed on");
		if (fd < 0 || (p.letter == CONTROL && *ret_control_fd >= 0))
			return err_set(err, KV_ERR_PROTOCOL, "a packet of the process before this one makes no sense");
		if (p.letter == CONTROL)
			*ret_control_fd = fd;
		else
			doors_inherit(doors, fd, p.letter == OURS ? DOOR_ORIGIN_OURS : DOOR_ORIGIN_MANAGER);
	}
}

static void on_word(void *arg, unsigned what)
{
	struct heir *h = arg;
	struct packet p;
	int r = take_word(h->fd, &p);

	(void)what;
	if (r == -EAGAIN)
		return;
	if (r > 0 && p.letter == ENDED) {
		h->last = p.last;
	} else if (r > 0 && p.letter == YOURS && !h->is_main) {
		h->is_main = true;
		h->main(h->arg);
	} else if (r <= 0) {
		loop_fd_want(&h->io, 0);
		h->gone(h->arg, &h->last);
	}
}

int heir_new(struct loop *l, struct doors *doors, struct heir **ret, int *ret_control_fd, struct err *err)
{
	static const struct timeval limit = { .tv_sec = PASS_TIMEOUT_S };
	const char *text = getenv(HANDOVER_ENV);
	uint64_t fd;

	*ret = NULL;
	*ret_control_fd = -1;
	if (!text)
		return 0;
	if (!str_to_u64(str_c(text), &fd) || fd > INT_MAX || fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_set(err, -EINVAL, HANDOVER_ENV "=%s is no descriptor", text);
	struct heir *h = kv_zalloc(sizeof(*h));

	h->fd = (int)fd;
	h->predecessor = getppid();
	/* The other one serves as long as this one cannot. */
	doors_be_patient(doors, HANDOVER_READY_US);
	unsetenv(HANDOVER_ENV);
	(void)setsockopt(h->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	int r = take_sockets(h, doors, ret_control_fd, err);

	if (r < 0) {
		heir_free(h);
		return r;
	}
	(void)fcntl(h->fd, F_SETFL, O_NONBLOCK);
	loop_fd_init(&h->io, l, h->fd, 0, on_word, h);
	*ret = h;
	return 0;
}

void heir_ready(struct heir *h, void (*main)(void *arg), void (*gone)(void *arg, const struct worker_drained *last),
		void *arg)
{
	h->main = main;
	h->gone = gone;
	h->arg = arg;
	loop_fd_want(&h->io, LOOP_READ);
	(void)tell(h->fd, READY);
}

bool heir_is_main(const struct heir *h)
{
	return h->is_main;
}

pid_t heir_predecessor(const struct heir *h)
{
	return h->predecessor;
}

void heir_free(struct heir *h)
{
	if (!h)
		return;
	if (h->io.loop)
		loop_fd_done(&h->io);
	close(h->fd);
	free(h);
}
