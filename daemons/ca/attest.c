/* SPDX-License-Identifier: Apache-2.0 */
/* attest: pidfd around /proc, because Linux before 6.5 has no SO_PEERPIDFD. Layer daemons/ca. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "ca/attest.h"
#include "io/sd.h"

#define PROC_FILE_MAX 65536u
#define STAT_START_TIME 22      /* proc(5): field number in /proc/PID/stat */

static char *read_proc(pid_t pid, const char *file)
{
	_cleanup_free_ char *path = kv_asprintf("/proc/%d/%s", (int)pid, file);
	char *text = NULL;
	size_t n;

	return fs_read(path, PROC_FILE_MAX, &text, &n, NULL) == 0 ? text : NULL;
}

static bool read_start_ticks(pid_t pid, uint64_t *ret)
{
	_cleanup_free_ char *text = read_proc(pid, "stat");
	/*
	 * The second field is the program's name in brackets and may hold anything, brackets too.
	 */
	const char *after = text ? strrchr(text, ')') : NULL;

	if (!after)
		return false;
	struct str rest = str_trim(str_c(after + 1)), field;

	for (int i = 3; str_split(&rest, ' ', &field); i++)
		if (i == STAT_START_TIME)
			return str_to_u64(field, ret);
	return false;
}

/* Real user of the process: "Uid:\treal\teffective\tsaved\tfs". All four must agree. */
static bool read_uid(pid_t pid, uid_t *ret)
{
	_cleanup_free_ char *text = read_proc(pid, "status");
	const char *line = text ? strstr(text, "\nUid:\t") : NULL;

	if (!line)
		return false;
	struct str rest = str_c(line + 6), uids, one;
	uint64_t first = 0, n;

	if (!str_split(&rest, '\n', &uids))
		return false;
	for (int i = 0; str_split(&uids, '\t', &one); i++) {
		if (!str_to_u64(one, &n) || n > UINT32_MAX || (i > 0 && n != first))
			return false;
		first = n;
	}
	*ret = (uid_t)first;
	return true;
}

static void read_executable(struct attest *a)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)a->pid);
	ssize_t n = readlink(path, a->executable, sizeof(a->executable) - 1);

	a->executable[n > 0 ? n : 0] = '\0';
}

static int refuse(struct err *err, pid_t pid, const char *why)
{
	return err_set(err, KV_ERR_REFUSED, "process %d %s", (int)pid, why);
}

static int read_facts(struct attest *a, const struct sock_peer *peer, uint64_t connected_boot_us,
		      struct err *err)
{
	uint64_t ticks_per_s = (uint64_t)sysconf(_SC_CLK_TCK);

	if (!read_start_ticks(a->pid, &a->start_ticks) || !read_uid(a->pid, &a->uid))
		return refuse(err, a->pid, "cannot be looked at");
	if (a->start_ticks / ticks_per_s > connected_boot_us / 1000000 + 1)
		return refuse(err, a->pid, "began after the connection was made");
	if (a->uid != peer->uid)
		return refuse(err, a->pid, "has another user than the one who connected");
	if (!sd_unit_of(a->pid, a->unit, sizeof(a->unit)))
		a->unit[0] = '\0';
	read_executable(a);
	return attest_confirm(a, err);
}

int attest_begin(const struct sock_peer *peer, uint64_t connected_boot_us, struct attest *ret,
		 struct err *err)
{
	*ret = (struct attest){ .pidfd = -1, .pid = peer->pid };
	if (peer->pid <= 0)
		return refuse(err, peer->pid, "is not visible from here");
	ret->pidfd = (int)syscall(SYS_pidfd_open, peer->pid, 0);
	if (ret->pidfd < 0)
		return refuse(err, peer->pid, errno == ESRCH ? "is gone" : "cannot be pinned");
	int r = read_facts(ret, peer, connected_boot_us, err);

	if (r < 0)
		attest_end(ret);
	return r;
}

static bool runs_the_same(const struct attest *a)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)a->pid);
	return stat(path, &st) == 0 && st.st_dev == a->program_dev && st.st_ino == a->program_ino;
}

int attest_confirm(const struct attest *a, struct err *err)
{
	struct pollfd p = { .fd = a->pidfd, .events = POLLIN };
	uint64_t ticks;

	/* A pidfd becomes readable when its process ends. */
	if (poll(&p, 1, 0) != 0)
		return refuse(err, a->pid, "ended");
	if (!read_start_ticks(a->pid, &ticks) || ticks != a->start_ticks)
		return refuse(err, a->pid, "is not the one it was");
	if (a->program_ino != 0 && !runs_the_same(a))
		return refuse(err, a->pid, "runs another program than before");
	return 0;
}

void attest_end(struct attest *a)
{
	if (a->pidfd >= 0)
		close(a->pidfd);
	a->pidfd = -1;
}
