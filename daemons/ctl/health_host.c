/* SPDX-License-Identifier: Apache-2.0 */
/* health_host: the machine and the files: what is true without any daemon. Layer daemons/ctl. */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fs.h"
#include "config/load.h"
#include "config/model.h"
#include "ctl/health.h"
#include "ctl/findings.h"

#define CHECK_DEPTH_MAX 8
#define CHECK_TOLD_MAX 5        /* files or findings named in one reason */
#define CHECK_BACKLOG 4096      /* what the proxies ask listen(2) for */

/* ---- host ------------------------------------------------------------------------------------ */

/* The number before sep (or the end), stepping over sep. */
static uint64_t next_number(struct str *rest, char sep)
{
	struct str piece;
	uint64_t n = 0;

	if (rest->p && str_split(rest, sep, &piece))
		str_to_u64(piece, &n);
	return n;
}

static void check_kernel(struct health *l)
{
	struct utsname u;
	const char *why = NULL;

	if (uname(&u) != 0)
		return;
	struct str rest = str_c(u.release);
	uint64_t major = next_number(&rest, '.'), minor = next_number(&rest, '.');

	if (major < 5 || (major == 5 && minor < 10))
		why = arena_printf(&l->c->arena, "this is %s", u.release).p;
	health_add(l, HEALTH_WARNING, "kernel is 5.10 or newer", why, "kvmesh(7), REQUIREMENTS");
}

static void check_cgroups(struct health *l)
{
	bool named = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 ||
		     access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) == 0 ||
		     access("/sys/fs/cgroup/systemd/cgroup.procs", F_OK) == 0;

	health_add(l, HEALTH_WARNING, "cgroups tell which unit a process belongs to",
		  named ? NULL : "no cgroup hierarchy: workloads can only be told apart by user",
		  "kvmesh(7), IDENTITY");
}

static void check_clock(struct health *l)
{
	struct timex t = { 0 };
	int state = adjtimex(&t);

	if (state < 0)
		return;
	health_add(l, HEALTH_WARNING, "clock is synchronised",
		  state == TIME_ERROR || (t.status & STA_UNSYNC) ?
			  "the kernel says it is not; certificates are judged by this clock" : NULL,
		  "timedatectl(1)");
}

static void check_backlog(struct health *l)
{
	struct str rest;
	char *text;
	size_t n;

	if (fs_read("/proc/sys/net/core/somaxconn", 64, &text, &n, NULL) < 0)
		return;
	rest = str_trim(str_c(text));
	uint64_t have = next_number(&rest, '\n');
	const char *why = arena_printf(&l->c->arena, "net.core.somaxconn is %llu",
				       (unsigned long long)have).p;

	health_add(l, HEALTH_WARNING, "kernel lets a listener queue 4096 connections",
		  have < CHECK_BACKLOG ? why : NULL, "sysctl(8)");
	free(text);
}

/* Time the hypervisor gave to others while this machine wanted to run, since boot. */
static void check_steal(struct health *l)
{
	uint64_t v[8] = { 0 }, total = 0;
	char *text;
	size_t n;

	if (fs_read("/proc/stat", 1 << 20, &text, &n, NULL) < 0)
		return;
	struct str rest = str_from(text, n), line;

	if (str_split(&rest, '\n', &line) && str_has_prefix(line, STR("cpu "))) {
		line = str_trim(str_skip(line, 4));
		for (size_t i = 0; i < 8; i++)
			total += v[i] = next_number(&line, ' ');
	}
	free(text);
	double percent = total > 0 ? 100.0 * (double)v[7] / (double)total : 0;

	const char *why = arena_printf(&l->c->arena,
				       "%.1f %% since boot; the slowest requests will suffer",
				       percent).p;

	health_add(l, HEALTH_WARNING, "CPU steal below 2 %", percent >= 2 ? why : NULL,
		  "kvmesh(7), REQUIREMENTS");
}

void health_host(struct health *l)
{
	l->category = "kvmesh-host";
	check_kernel(l);
	check_cgroups(l);
	check_clock(l);
	check_backlog(l);
	check_steal(l);
}

/* ---- configuration --------------------------------------------------------------------------- */

static void check_loads(struct health *l)
{
	struct arena *a = &l->c->arena;
	struct err_list errs;
	struct str why = STR_NULL;
	size_t n_warnings = 0, told = 0;
	struct model *m;

	err_list_init(&errs);
	/* --wait comes here again: the files may have changed */
	model_free(l->c->model);
	l->c->model = NULL;
	findings_load_dir(l->c, true, &m, &errs);
	for (size_t i = 0; i < errs.n; i++) {
		const struct err *e = &errs.v[i];

		n_warnings += e->level == ERR_LEVEL_WARNING;
		if (e->level == ERR_LEVEL_ERROR && told++ < CHECK_TOLD_MAX)
			why = arena_printf(a, "%.*s%s:%u:%u: %s\n", STR_ARG(why), e->file, e->line,
					   e->col, e->text);
	}
	if (errs.n_errors > CHECK_TOLD_MAX)
		why = arena_printf(a, "%.*sand %zu more", STR_ARG(why),
				   errs.n_errors - CHECK_TOLD_MAX);
	l->bad_config = errs.n_errors > 0;
	health_add(l, HEALTH_ERROR, arena_printf(a, "configuration in %s can be used", l->c->etc).p,
		  why.p, "kvmeshctl config test");
	if (errs.n_errors == 0)
		health_add(l, HEALTH_WARNING, "analysis finds nothing to warn of",
			  n_warnings > 0 ? arena_printf(a, "%zu warnings", n_warnings).p : NULL,
			  "kvmeshctl analyze");
	err_list_done(&errs);
}

struct modes {
	struct arena *a;
	struct str writable, readable;  /* one path a line */
	size_t n_writable, n_readable;
};

static void note_path(struct arena *a, struct str *list, size_t *n, const char *path, mode_t mode)
{
	if ((*n)++ < CHECK_TOLD_MAX)
		*list = arena_printf(a, "%.*s%s has mode %04o\n", STR_ARG(*list), path,
				     mode & 07777);
}

static bool is_key(const char *name)
{
	return str_has_suffix(str_c(name), STR(".key")) ||
	       str_has_suffix(str_c(name), STR("-key.pem"));
}

static void walk_modes(struct modes *m, const char *dir, int depth)
{
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));) {
		struct stat st;

		if (load_is_leftover(e->d_name) ||
		    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		/* a link to a file is that file; one to a directory may lead anywhere */
		if (S_ISLNK(st.st_mode) &&
		    (fstatat(dirfd(d), e->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode)))
			continue;
		const char *path = arena_printf(m->a, "%s/%s", dir, e->d_name).p;

		if (st.st_mode & (S_IWGRP | S_IWOTH))
			note_path(m->a, &m->writable, &m->n_writable, path, st.st_mode);
		if (S_ISREG(st.st_mode) && is_key(e->d_name) && (st.st_mode & S_IRWXO))
			note_path(m->a, &m->readable, &m->n_readable, path, st.st_mode);
		if (S_ISDIR(st.st_mode) && depth < CHECK_DEPTH_MAX)
			walk_modes(m, path, depth + 1);
	}
	if (d)
		closedir(d);
}

static void check_modes(struct health *l)
{
	struct modes m = { .a = &l->c->arena };

	walk_modes(&m, l->c->etc, 0);
	health_add(l, HEALTH_WARNING, "only their owners can change the files", m.writable.p,
		  "chmod(1)");
	health_add(l, HEALTH_ERROR, "private keys are not readable by everybody", m.readable.p,
		  "chmod(1)");
}

void health_config(struct health *l)
{
	l->category = "kvmesh-config";
	check_loads(l);
	check_modes(l);
}
