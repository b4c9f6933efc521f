/* SPDX-License-Identifier: Apache-2.0 */
/* listening: see listening.h. Layer daemons/ctl. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/vec.h"
#include "ctl/listening.h"

#define DEPTH_MAX 4                     /* of control groups below the unit's */
#define PROCESSES_MAX 4096

struct held {                           /* a socket that a process of the unit holds */
	uint64_t inode;
	pid_t pid;
};
struct search {
	struct arena *a;
	struct held *held;
	size_t n_held, cap_held;
	size_t n_processes;
	struct listening *v;
	size_t n, cap;
};

/* ---- sockets of processes --------------------------------------------------------------------- */

/* The inode of "socket:[12345]", else 0. */
static uint64_t socket_inode(int dir, const char *name)
{
	char link[64];
	ssize_t n = readlinkat(dir, name, link, sizeof(link));
	struct str s = str_from(link, n > 0 ? (size_t)n : 0);
	uint64_t inode;

	if (n >= (ssize_t)sizeof(link) || !str_has_prefix(s, STR("socket:[")) ||
	    !str_has_suffix(s, STR("]")))
		return 0;
	return str_to_u64(str_take(str_skip(s, 8), s.n - 9), &inode) ? inode : 0;
}

static void add_process(struct search *s, pid_t pid)
{
	char path[64];

	if (s->n_processes++ >= PROCESSES_MAX)
		return;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *d = opendir(path);

	for (struct dirent *e; d && (e = readdir(d));) {
		uint64_t inode = e->d_name[0] == '.' ? 0 : socket_inode(dirfd(d), e->d_name);

		if (inode > 0)
			*vec_push_arena(s->a, s->held, s->n_held, s->cap_held) =
				(struct held){ inode, pid };
	}
	if (d)
		closedir(d);
}

static int add_group(struct search *s, const char *dir, unsigned depth)
{
	_cleanup_free_ char *procs = kv_asprintf("%s/cgroup.procs", dir);
	FILE *f = fopen(procs, "re");
	int pid;

	if (!f)
		return -errno;
	/* NOLINTNEXTLINE(cert-err34-c): the kernel writes numbers that fit */
	while (fscanf(f, "%d", &pid) == 1)
		if (pid > 0)
			add_process(s, pid);
	fclose(f);
	DIR *d = depth > 0 ? opendir(dir) : NULL;

	for (struct dirent *e; d && (e = readdir(d));) {
		_cleanup_free_ char *sub = kv_asprintf("%s/%s", dir, e->d_name);

		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			(void)add_group(s, sub, depth - 1);
	}
	if (d)
		closedir(d);
	return 0;
}

/* ---- which of them listen --------------------------------------------------------------------- */

static const struct held *find_held(const struct search *s, uint64_t inode)
{
	for (size_t i = 0; i < s->n_held; i++)
		if (s->held[i].inode == inode)
			return &s->held[i];
	return NULL;
}

static void read_program(pid_t pid, char ret[static 16])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, ret, 15) : 0;

	ret[n > 0 ? n : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	if (fd >= 0)
		close(fd);
}

/* Lower is better: where callers on this node reach it. */
static int rank(const struct sock_addr *at)
{
	bool v6 = at->sa.sa_family == AF_INET6;

	if (sock_addr_is_loopback(at) || sock_addr_is_any(at))
		return v6 && !sock_addr_is_any(at) ? 1 : 0;
	return v6 ? 3 : 2;
}

static void on_listener(void *arg, const struct sock_addr *at, uint64_t inode)
{
	struct search *s = arg;
	const struct held *h = find_held(s, inode);
	uint16_t port = sock_addr_port(at);

	if (!h)
		return;
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].port == port) {
			if (rank(at) < rank(&s->v[i].at))
				s->v[i].at = *at;
			return;
		}
	if (s->n == LISTENING_MAX)
		return;
	struct listening *l = vec_push_arena(s->a, s->v, s->n, s->cap);

	*l = (struct listening){ .port = port, .at = *at };
	read_program(h->pid, l->program);
}

static int by_port(const void *x, const void *y)
{
	const struct listening *a = x, *b = y;

	return a->port < b->port ? -1 : a->port > b->port;
}

int listening_find_in(const char *dir, struct arena *a, struct listening **ret, size_t *ret_n,
		      struct err *err)
{
	struct search s = { .a = a };
	int r = add_group(&s, dir, DEPTH_MAX);

	*ret = NULL;
	*ret_n = 0;
	if (r < 0)
		return err_set(err, r, "%s: %s", dir, strerror(-r));
	if ((r = sock_tcp_listeners(on_listener, &s)) < 0)
		return err_set(err, r, "the kernel does not tell what listens: %s", strerror(-r));
	if (s.n > 1)
		qsort(s.v, s.n, sizeof(*s.v), by_port);
	*ret = s.v;
	*ret_n = s.n;
	return 0;
}

int listening_find(const char *cgroup, struct arena *a, struct listening **ret, size_t *ret_n,
		   struct err *err)
{
	/* Unified, then the hierarchy that systemd names its own where versions 1 and 2 are mixed. */
	static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified",
					     "/sys/fs/cgroup/systemd" };
	struct stat st;

	for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
		const char *dir = arena_printf(a, "%s%s", roots[i], cgroup).p;
		const char *procs = arena_printf(a, "%s/cgroup.procs", dir).p;

		if (stat(procs, &st) == 0)
			return listening_find_in(dir, a, ret, ret_n, err);
	}
	return err_set(err, -ENOENT, "control group %s is not there", cgroup);
}
