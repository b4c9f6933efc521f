/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watchfs: inotify has no recursion, so every directory has its watch; before fn runs the tree is
 * walked again and the watches follow it: first the watches, then the reading, so no change falls
 * between. Layer daemons/router.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/vec.h"
#include "router/watchfs.h"

#define DEPTH_MAX 16
#define RETRY_US (1000u * 1000)
/* A file counts once it is closed or moved in; IN_CREATE is for directories and links. */
#define EVENTS (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB | \
		IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

struct watchfs {
	struct loop *loop;
	char *dir;
	bool (*is_ignored)(const char *name);
	void (*fn)(void *arg);
	void *arg;
	int fd;
	struct loop_fd watch;
	struct loop_timer quiet;
	uint64_t first_us;              /* first change not told yet; 0 none */
	bool missing;                   /* dir is not there */
	struct watched {
		int wd;
		char *path;
	} *dirs;                        /* ascending by wd */
	size_t n_dirs, cap_dirs;
};

static bool is_dir(int parent_fd, const struct dirent *e)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN && e->d_type != DT_LNK)
		return e->d_type == DT_DIR;
	return fstatat(parent_fd, e->d_name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

static void walk(struct watchfs *w, const char *path, int depth)
{
	int wd = inotify_add_watch(w->fd, path, EVENTS);

	if (wd < 0) {
		/* tls/ is closed to the router, on purpose. */
		if (errno != EACCES && errno != ENOENT && errno != ENOTDIR)
			log_warn("changes in %s go unnoticed: %s", path, strerror(errno));
		return;
	}
	*vec_push(w->dirs, w->n_dirs, w->cap_dirs) = (struct watched){ .wd = wd,
								       .path = kv_strdup(path) };
	DIR *d = opendir(path);

	for (const struct dirent *e; d && (e = readdir(d)) != NULL; ) {
		if (e->d_name[0] == '.' || !is_dir(dirfd(d), e) || depth == DEPTH_MAX ||
		    w->n_dirs == WATCHFS_DIRS_MAX)
			continue;
		_cleanup_free_ char *sub = kv_asprintf("%s/%s", path, e->d_name);

		walk(w, sub, depth + 1);
	}
	if (d)
		closedir(d);
}

static int cmp_watched(const void *a, const void *b)
{
	const struct watched *x = a, *y = b;

	return (x->wd > y->wd) - (x->wd < y->wd);
}

static const struct watched *find_dir(const struct watchfs *w, int wd)
{
	const struct watched key = { .wd = wd };

	return w->n_dirs == 0 ? NULL : bsearch(&key, w->dirs, w->n_dirs, sizeof(key), cmp_watched);
}

static void free_dirs(struct watched *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i].path);
	free(v);
}

/* Watches on what is there now; those of directories that moved away or are gone are dropped. */
static void rescan(struct watchfs *w)
{
	struct watched *old = w->dirs;
	size_t n_old = w->n_dirs;
	struct stat st;

	w->dirs = NULL;
	w->n_dirs = w->cap_dirs = 0;
	w->missing = stat(w->dir, &st) != 0;
	walk(w, w->dir, 0);
	if (w->n_dirs > 0)
		qsort(w->dirs, w->n_dirs, sizeof(w->dirs[0]), cmp_watched);
	for (size_t i = 0; i < n_old; i++)
		if (!find_dir(w, old[i].wd))
			(void)inotify_rm_watch(w->fd, old[i].wd);
	free_dirs(old, n_old);
}

static void on_quiet(void *arg)
{
	struct watchfs *w = arg;
	bool was_missing = w->missing, changed = w->first_us != 0;

	w->first_us = 0;
	rescan(w);
	if (w->missing)
		loop_timer_set(&w->quiet, RETRY_US);
	if (changed || was_missing != w->missing)
		w->fn(w->arg);
}

static void note_change(struct watchfs *w)
{
	uint64_t now = loop_now_us(w->loop);

	if (w->first_us == 0)
		w->first_us = now;
	uint64_t latest = w->first_us + WATCHFS_DEBOUNCE_MAX_US;
	uint64_t left = latest > now ? latest - now : 0;

	loop_timer_set(&w->quiet, left < WATCHFS_DEBOUNCE_US ? left : WATCHFS_DEBOUNCE_US);
}

static bool matters(const struct watchfs *w, const struct inotify_event *e)
{
	if (e->mask & (IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF))
		return true;
	if (e->mask & IN_IGNORED || e->len == 0)
		return false;
	if (w->is_ignored(e->name) || e->name[0] == '.')
		return false;
	/*
	 * A new file is empty and in somebody's hand: its IN_CLOSE_WRITE follows. Links have none.
	 */
	if ((e->mask & IN_CREATE) && !(e->mask & IN_ISDIR)) {
		const struct watched *in = find_dir(w, e->wd);
		_cleanup_free_ char *path = kv_asprintf("%s/%s", in ? in->path : w->dir, e->name);
		struct stat st;

		return lstat(path, &st) == 0 && !S_ISREG(st.st_mode);
	}
	return true;
}

static void on_events(void *arg, unsigned what)
{
	struct watchfs *w = arg;
	_Alignas(struct inotify_event) char buf[8192];
	ssize_t n;
	bool any = false;

	(void)what;
	while ((n = read(w->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t at = 0; at < n; ) {
			const struct inotify_event *e = (const void *)(buf + at);

			any |= matters(w, e);
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	}
	if (any)
		note_change(w);
}

int watchfs_new(struct loop *l, const char *dir, bool (*is_ignored)(const char *name),
		void (*fn)(void *arg), void *arg, struct watchfs **ret, struct err *err)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (fd < 0)
		return err_set(err, -errno, "cannot watch %s for changes: %s", dir,
			       strerror(errno));
	struct watchfs *w = kv_zalloc(sizeof(*w));

	*w = (struct watchfs){ .loop = l,
			       .dir = kv_strdup(dir),
			       .is_ignored = is_ignored,
			       .fn = fn,
			       .arg = arg,
			       .fd = fd };
	loop_timer_init(&w->quiet, l, on_quiet, w);
	loop_fd_init(&w->watch, l, fd, LOOP_READ, on_events, w);
	rescan(w);
	if (w->missing)
		loop_timer_set(&w->quiet, RETRY_US);
	*ret = w;
	return 0;
}

void watchfs_free(struct watchfs *w)
{
	if (!w)
		return;
	loop_timer_done(&w->quiet);
	loop_fd_done(&w->watch);
	close(w->fd);
	free_dirs(w->dirs, w->n_dirs);
	free(w->dir);
	free(w);
}
