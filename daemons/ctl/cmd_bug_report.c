/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bug-report: what somebody who helps wants to know, in one archive, without what is secret. Layer daemons/ctl. Every
 * part is the output of a program, kvmeshctl itself mostly: what is given away can be looked at first.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "ctl/ctl.h"
#include "ctl/redact.h"

#define PART_BYTES (16u << 20)          /* what is behind that of one part is not kept */
#define PART_MS (30 * 1000)             /* one that takes longer is ended */
#define WORDS_MAX 24

extern char **environ;

struct part {
	const char *file;
	const char *words[10];          /* "kvmeshctl": this program, on the same directories */
};

static const struct part parts[] = {
	{ "version.txt", { "kvmeshctl", "version" } },
	{ "status.txt", { "kvmeshctl", "status", "-o", "wide" } },
	{ "status.json", { "kvmeshctl", "status", "-o", "json" } },
	{ "check.txt", { "kvmeshctl", "check" } },
	{ "analyze.txt", { "kvmeshctl", "analyze" } },
	{ "config.yaml", { "kvmeshctl", "config", "dump", "-o", "yaml" } },
	{ "resources.yaml", { "kvmeshctl", "get", "all", "-A", "-o", "yaml" } },
	{ "config-history.txt", { "kvmeshctl", "config", "history" } },
	{ "proxy-status.json", { "kvmeshctl", "proxy-status", "-o", "json" } },
	{ "clusters.json", { "kvmeshctl", "proxy-config", "cluster", "-o", "json" } },
	{ "endpoints.json", { "kvmeshctl", "proxy-config", "endpoint", "-o", "json" } },
	{ "listeners.json", { "kvmeshctl", "proxy-config", "listener", "-o", "json" } },
	{ "edges.json", { "kvmeshctl", "edges", "-o", "json" } },
	{ "tls-check.txt", { "kvmeshctl", "authn", "tls-check" } },
	{ "identity.txt", { "kvmeshctl", "identity" } },
	{ "ca.json", { "kvmeshctl", "ca", "status", "-o", "json" } },
	{ "capture.txt", { "kvmeshctl", "capture", "status" } },
	{ "journal.txt", { "journalctl", "--no-pager", "-q", "-o", "short-iso-precise", "-n", "20000", "-u", "kvmesh-*" } },
	{ "units.txt", { "systemctl", "--no-pager", "--full", "status", "kvmesh-*" } },
	{ "units-properties.txt", { "systemctl", "--no-pager", "show", "kvmesh-*" } },
	{ "sockets.txt", { "ss", "-tlnpe" } },
	{ "nft.txt", { "nft", "list", "table", "inet", "kvmesh" } },
	{ "kernel.txt", { "uname", "-a" } },
	{ "memory.txt", { "cat", "/proc/meminfo" } },
	{ "pressure.txt", { "grep", "", "/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io" } },
	{ "os-release.txt", { "cat", "/etc/os-release" } },
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

struct report {
	struct ctl *c;
	const char *dir, *name;         /* DIR/NAME holds the parts */
	struct redact *redact;
	size_t removed;
	struct str summary;
};

/* argv in the arena: kvmeshctl looks where this one looks. */
static char **make_argv(struct ctl *c, const struct part *p)
{
	struct arena *a = &c->arena;
	char **v = arena_new_n(a, char *, WORDS_MAX);
	size_t n = 0;

	for (size_t i = 0; p->words[i]; i++)
		v[n++] = arena_strdup(a, p->words[i]);
	if (strcmp(v[0], "kvmeshctl") != 0)
		return v;
	v[n++] = arena_strdup(a, arena_printf(a, "--etc=%s", c->etc).p);
	v[n++] = arena_strdup(a, arena_printf(a, "--run=%s", c->run).p);
	v[n++] = arena_strdup(a, arena_printf(a, "--state=%s", c->state).p);
	return v;
}

static pid_t start(char **argv, int to)
{
	posix_spawn_file_actions_t actions;
	bool own = strcmp(argv[0], "kvmeshctl") == 0;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, to, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, to, STDERR_FILENO);
	int r = own ? posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ) :
		      posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);

	posix_spawn_file_actions_destroy(&actions);
	return r == 0 ? pid : -r;
}

/* What the program prints until it ends, or its time is over. */
static struct str read_until_end(int from, int64_t end_us, bool *ret_late)
{
	char *text = kv_malloc(PART_BYTES);
	size_t n = 0;

	*ret_late = false;
	for (;;) {
		struct pollfd p = { .fd = from, .events = POLLIN };
		int64_t left = end_us - (int64_t)clock_mono_us();

		if (left <= 0 || poll(&p, 1, (int)(left / 1000) + 1) == 0) {
			*ret_late = true;
			break;
		}
		ssize_t r = read(from, text + n, PART_BYTES - n);

		if (r == 0 || (r < 0 && errno != EINTR))
			break;
		n += r > 0 ? (size_t)r : 0;
		if (n == PART_BYTES)
			break;
	}
	return str_from(text, n);
}

/* The output, malloc'ed; how it went, in words. */
static struct str run(char **argv, struct arena *a, struct str *ret_how)
{
	int fds[2], status = 0;
	bool late;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		*ret_how = STR("cannot be run");
		return STR_NULL;
	}
	pid_t pid = start(argv, fds[1]);

	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		*ret_how = STR("not installed");
		return STR_NULL;
	}
	struct str text = read_until_end(fds[0], (int64_t)clock_mono_us() + PART_MS * 1000ll, &late);

	close(fds[0]);
	if (late)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*ret_how = late ? STR("took too long") :
		   WIFEXITED(status) ? arena_printf(a, "exit %d", WEXITSTATUS(status)) : STR("was killed");
	return text;
}

static int add_file(struct report *r, const char *file, struct str text, struct err *err)
{
	struct arena *a = &r->c->arena;
	const char *path = arena_printf(a, "%s/%s/%s", r->dir, r->name, file).p;

	return fs_write(path, text.n > 0 ? text.p : "", text.n, 0600, err);
}

static int add_part(struct report *r, const struct part *p, struct err *err)
{
	struct arena *a = &r->c->arena;
	char **argv = make_argv(r->c, p);
	size_t removed;
	struct str how, text = run(argv, a, &how), clean = redact_text(r->redact, text, a, &removed);

	r->removed += removed;
	r->summary = arena_printf(a, "%.*s%-24s %8zu bytes, %zu places removed, %.*s\n", STR_ARG(r->summary), p->file, clean.n,
				  removed, STR_ARG(how));
	free((void *)(uintptr_t)text.p);
	return clean.n > 0 ? add_file(r, p->file, clean, err) : 0;
}

static int gather(struct report *r, struct err *err)
{
	int code = 0;

	for (size_t i = 0; i < PARTS && code == 0; i++)
		code = add_part(r, &parts[i], err);
	return code < 0 ? code : add_file(r, "SUMMARY.txt", r->summary, err);
}

static int archive(const struct report *r, const char *to, struct err *err)
{
	char *argv[] = { (char[]){ "tar" }, (char[]){ "-C" }, kv_strdup(r->dir), (char[]){ "-czf" }, kv_strdup(to), kv_strdup(r->name),
			 NULL };
	struct arena a;
	struct str how;

	arena_init(&a, 0);
	struct str said = run(argv, &a, &how);
	bool ok = str_eq(how, STR("exit 0"));

	if (!ok)
		(void)err_set(err, -EIO, "tar: %.*s %.*s", STR_ARG(how), STR_ARG(said));
	free((void *)(uintptr_t)said.p);
	arena_done(&a);
	free(argv[2]);
	free(argv[4]);
	free(argv[5]);
	return ok ? 0 : err->code;
}

static void clear(const struct report *r)
{
	struct arena *a = &r->c->arena;

	for (size_t i = 0; i < PARTS; i++)
		(void)unlink(arena_printf(a, "%s/%s/%s", r->dir, r->name, parts[i].file).p);
	(void)unlink(arena_printf(a, "%s/%s/SUMMARY.txt", r->dir, r->name).p);
	(void)rmdir(arena_printf(a, "%s/%s", r->dir, r->name).p);
	(void)rmdir(r->dir);
}

static int write_report(struct report *r, const char *to)
{
	struct err err = { 0 };
	int code = fs_mkdir(arena_printf(&r->c->arena, "%s/%s", r->dir, r->name).p, 0700, &err);

	if (code == 0)
		code = gather(r, &err);
	if (code == 0)
		code = archive(r, to, &err);
	if (code < 0)
		return ctl_fail_err(&err);
	fprintf(r->c->out, "%s: %zu places that looked secret were removed; look at it before you give it away\n", to, r->removed);
	return CTL_EXIT_OK;
}

int cmd_bug_report(struct ctl *c)
{
	char stamp[32], dir[] = "/tmp/kvmesh-bug-report-XXXXXX";
	time_t now = (time_t)(clock_real_us() / 1000000);
	struct tm tm;
	struct report r = { .c = c, .summary = STR("") };

	gmtime_r(&now, &tm);
	(void)strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	umask(077);
	r.name = arena_printf(&c->arena, "kvmesh-%s", stamp).p;
	r.dir = mkdtemp(dir);
	if (!r.dir)
		return ctl_fail(CTL_EXIT_NO, "cannot make %s: %s", dir, err_code_name(-errno));
	r.redact = redact_new();
	int code = write_report(&r, ctl_value(c, "out", arena_printf(&c->arena, "%s.tar.gz", r.name).p));

	redact_free(r.redact);
	clear(&r);
	return code;
}
