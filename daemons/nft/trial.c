/* SPDX-License-Identifier: Apache-2.0 */
/* trial: the dead-man's switch, see trial.h. Layer daemons/nft. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/rng.h"
#include "nft/nft.h"
#include "nft/rules.h"
#include "nft/trial.h"

#define FILE_MAX (4u << 20)
#define TOKEN_N 16
#define UNIT "kvmesh-capture-revert"

extern char **environ;

/* ---- files ----------------------------------------------------------------------------------- */

static char *path_of(const char *run_dir, const char *name)
{
	return kv_asprintf("%s/nft/%s", run_dir, name);
}

static int put_file(const char *run_dir, const char *name, struct str text, struct err *err)
{
	_cleanup_free_ char *dir = kv_asprintf("%s/nft", run_dir), *path = path_of(run_dir, name);
	int r = fs_mkdir(dir, 0755, err);

	return r < 0 ? r : fs_write(path, text.p, text.n, 0600, err);
}

static void drop_file(const char *run_dir, const char *name)
{
	_cleanup_free_ char *path = path_of(run_dir, name);

	if (unlink(path) < 0 && errno != ENOENT)
		log_warn("cannot remove %s: %s", path, err_code_name(-errno));
}

static int64_t boot_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec;
}

/* "TOKEN SECONDS": until when, since the boot. */
static bool read_pending(const char *run_dir, char token[static TOKEN_N + 1], int64_t *ret_until)
{
	_cleanup_free_ char *path = path_of(run_dir, "pending"), *text = NULL;
	struct str rest, first;
	size_t n;

	if (fs_read(path, 256, &text, &n, NULL) < 0)
		return false;
	rest = str_from(text, n);
	if (!str_split(&rest, ' ', &first) || first.n != TOKEN_N || !str_to_i64(str_trim(rest), ret_until))
		return false;
	memcpy(token, first.p, TOKEN_N);
	token[TOKEN_N] = '\0';
	return true;
}

bool trial_is_pending(const char *run_dir, int64_t *ret_seconds)
{
	char token[TOKEN_N + 1];
	int64_t until;

	if (!read_pending(run_dir, token, &until))
		return false;
	*ret_seconds = until > boot_seconds() ? until - boot_seconds() : 0;
	return true;
}

/* Not confirmed, not taken back, and no other trial has come after it. */
static bool is_pending(const char *run_dir, const char *token)
{
	char now[TOKEN_N + 1];
	int64_t until;

	return read_pending(run_dir, now, &until) && strcmp(now, token) == 0;
}

/* ---- who waits ------------------------------------------------------------------------------- */

/* Runs one of systemd's own programs; false too where there is no systemd. */
static bool run_quietly(char *const argv[])
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status = 0;

	if (access("/run/systemd/system", F_OK) < 0)
		return false;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	int r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);

	posix_spawn_file_actions_destroy(&actions);
	while (r == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return r == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* systemd's timer: it outlives the session, whatever becomes of its processes. */
static bool ask_systemd(const struct trial_options *o, const char *self, char *token)
{
	_cleanup_free_ char *after = kv_asprintf("--on-active=%us", o->seconds), *program = kv_strdup(self),
			    *unit = kv_asprintf("--unit=%s-%s", UNIT, token), *run_dir = kv_strdup(o->run_dir);
	char systemd_run[] = "systemd-run", quiet[] = "--quiet", collect[] = "--collect",
	     accuracy[] = "--timer-property=AccuracySec=1s", revert[] = "revert", run[] = "--run";

	return run_quietly((char *[]){ systemd_run, quiet, collect, unit, after, accuracy, program, revert, token, run, run_dir, NULL });
}

void trial_forget(const char *run_dir)
{
	char token[TOKEN_N + 1], systemctl[] = "systemctl", stop[] = "stop";
	int64_t until;

	if (read_pending(run_dir, token, &until)) {
		_cleanup_free_ char *timer = kv_asprintf("%s-%s.timer", UNIT, token);

		(void)run_quietly((char *[]){ systemctl, stop, timer, NULL });
	}
	drop_file(run_dir, "pending");
	drop_file(run_dir, "before.nft");
}

static void wait_and_revert(const struct trial_options *o, const char *token)
{
	int64_t until = boot_seconds() + o->seconds;
	struct err err = { 0 };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	signal(SIGHUP, SIG_IGN);
	if (chdir("/") < 0)
		_exit(1);
	while (boot_seconds() < until) {
		if (!is_pending(o->run_dir, token))
			_exit(0);
		sleep(1);
	}
	_exit(trial_revert(o->run_dir, token, &err) < 0);
}

/* A process that is nobody's child, in a session of its own. */
static int fork_guard(const struct trial_options *o, const char *token, struct err *err)
{
	pid_t pid = fork();

	if (pid == 0) {
		setsid();
		pid = fork();
		if (pid == 0)
			wait_and_revert(o, token);
		_exit(pid < 0);
	}
	int status = 0;

	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid < 0 || status != 0)
		return err_set(err, -EAGAIN, "nothing was changed: the process that would take it back cannot be started");
	return 0;
}

static int start_guard(const struct trial_options *o, char *token, struct err *err)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0)
		self[n] = '\0';
	if (n > 0 && ask_systemd(o, self, token))
		return 0;
	return fork_guard(o, token, err);
}

/* ---- trials ---------------------------------------------------------------------------------- */

/* What leads back to the table as it is now. */
static int way_back(struct arena *a, struct str *ret, struct err *err)
{
	struct str now = STR_NULL;
	int r = nft_show_table(a, &now, err);

	if (r < 0 && r != KV_ERR_NOT_FOUND)
		return r;
	*ret = arena_printf(a, "%.*s%.*s", STR_ARG(rules_none()), STR_ARG(now));
	return 0;
}

static int prepare(const struct trial_options *o, struct arena *a, char token[static TOKEN_N + 1], struct err *err)
{
	struct str back = STR_NULL;
	int64_t left;
	struct rng rng;
	int r = 0;

	if (!trial_is_pending(o->run_dir, &left)) {
		r = way_back(a, &back, err);
		if (r == 0)
			r = put_file(o->run_dir, "before.nft", back, err);
	}
	if (r < 0)
		return r;
	rng_init_random(&rng);
	snprintf(token, TOKEN_N + 1, "%016" PRIx64, rng_next(&rng));
	struct str line = arena_printf(a, "%s %" PRId64, token, boot_seconds() + o->seconds);

	return put_file(o->run_dir, "pending", line, err);
}

int trial_begin(const struct trial_options *o, struct str rules, struct err *err)
{
	char token[TOKEN_N + 1];
	struct arena a;

	arena_init(&a, 0);
	int r = nft_try(rules, err);

	if (r == 0)
		r = prepare(o, &a, token, err);
	if (r == 0)
		r = start_guard(o, token, err);
	if (r == 0)
		r = nft_run(rules, err);
	arena_done(&a);
	return r;
}

int trial_confirm(const char *run_dir, struct err *err)
{
	int64_t left;

	if (!trial_is_pending(run_dir, &left))
		return err_set(err, KV_ERR_NOT_FOUND, "nothing waits for a confirmation");
	trial_forget(run_dir);
	return 0;
}

/* What cannot be had again (a cgroup that has gone) must not keep the rules of the trial. */
static int go_back(const char *run_dir, struct err *err)
{
	_cleanup_free_ char *path = path_of(run_dir, "before.nft"), *text = NULL;
	size_t n;

	if (fs_read(path, FILE_MAX, &text, &n, err) == 0 && nft_run(str_from(text, n), err) == 0)
		return 0;
	log_err("what was before cannot be loaded, capture is off: %s", err->text);
	return nft_run(rules_none(), err);
}

int trial_revert(const char *run_dir, const char *token, struct err *err)
{
	char pending[TOKEN_N + 1];
	int64_t until;

	if (!read_pending(run_dir, pending, &until) || strcmp(pending, token) != 0)
		return 0;
	int r = go_back(run_dir, err);

	if (r == 0)
		trial_forget(run_dir);
	return r;
}
