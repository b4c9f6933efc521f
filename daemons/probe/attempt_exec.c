/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt_exec: a command whose exit status 0 is healthy. Layer daemons/probe. Owns the processes
 * that it starts and all that they leave behind. No shell, no terminal, an environment of its own;
 * never root: started by root (a try-out), it becomes nobody first.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/list.h"
#include "base/log.h"
#include "probe/attempt.h"
#include "probe/exec.h"

#define ARGS_MAX 256
#define NOBODY 65534

struct command {
	struct list node;
	struct attempt *attempt;
	pid_t pid;
};

static struct list running = LIST_INIT(running);

static char *const environment[] = {
	(char[]){ "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
	(char[]){ "LC_ALL=C.UTF-8" }, (char[]){ "HOME=/" }, NULL,
};
static const char *const folders[] = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
				       "/usr/bin", "/sbin", "/bin" };

/* ---- what is left behind ------------------------------------------------------------------- */

static struct command *find(pid_t pid)
{
	list_for_each(it, &running) {
		struct command *c = list_entry(it, struct command, node);

		if (c->pid == pid)
			return c;
	}
	return NULL;
}

/*
 * Orphans of commands become our children, whatever session they made for themselves. Those that
 * are no command of ours are ended.
 */
static void kill_orphans(void)
{
	_cleanup_free_ char *path = kv_asprintf("/proc/self/task/%d/children", (int)getpid());
	_cleanup_free_ char *text = NULL;
	struct str rest, word;
	uint64_t pid;
	size_t n;

	if (fs_read(path, 64u << 10, &text, &n, NULL) < 0)
		return;
	rest = str_from(text, n);
	while (str_split(&rest, ' ', &word))
		if (str_to_u64(word, &pid) && pid > 1 && pid <= INT32_MAX && !find((pid_t)pid))
			kill((pid_t)pid, SIGKILL);
}

static void describe(struct attempt *a, int st)
{
	if (WIFSIGNALED(st))
		attempt_end(a, false, "exec probe: killed by SIG%s", sigabbrev_np(WTERMSIG(st)));
	else
		attempt_end(a, WEXITSTATUS(st) == 0, "exec probe: exit status %d",
			    WEXITSTATUS(st));
}

void exec_reap(void)
{
	bool any = false;
	int st;
	pid_t pid;

	while ((pid = waitpid(-1, &st, WNOHANG)) > 0) {
		struct command *c = find(pid);

		any = true;
		if (!c)
			continue;
		kill(-pid, SIGKILL);    /* the rest of its group */
		c->pid = 0;
		describe(c->attempt, st);
	}
	if (any)
		kill_orphans();
}

bool exec_init(void)
{
	return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0;
}

/* ---- the child ----------------------------------------------------------------------------- */

static void drop_root(void)
{
	if (geteuid() != 0)
		return;
	if (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) != 0 || geteuid() == 0)
		_exit(126);
}

/* As execvp, but what the kernel does not know how to run is not handed to a shell. */
static void run(char *const argv[])
{
	char path[4096];

	if (strchr(argv[0], '/')) {
		execve(argv[0], argv, environment);
		return;
	}
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		int n = snprintf(path, sizeof(path), "%s/%s", folders[i], argv[0]);

		if (n > 0 && (size_t)n < sizeof(path))
			execve(path, argv, environment);
	}
}

/* Between fork and exec; this program has one thread, so any call is safe. */
static _Noreturn void become(char *const argv[], pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	drop_root();
	/* After the change of user, which clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		_exit(126);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0 || chdir("/") != 0)
		_exit(126);
	close_range(3, ~0U, 0);
	umask(022);
	run(argv);
	_exit(127);
}

/* ---- the attempt --------------------------------------------------------------------------- */

static char **make_argv(struct arena *a, const struct doc *list)
{
	if (!list || list->kind != DOC_LIST || list->n == 0 || list->n > ARGS_MAX)
		return NULL;
	char **argv = arena_new_n(a, char *, list->n + 1);

	for (size_t i = 0; i < list->n; i++) {
		struct str word = list->v[i]->kind == DOC_STR ? list->v[i]->s : STR("");

		argv[i] = arena_alloc(a, word.n + 1);
		memcpy(argv[i], word.p, word.n);
		argv[i][word.n] = '\0';
	}
	return argv[0][0] ? argv : NULL;
}

static void start(struct attempt *a, const struct doc *spec)
{
	struct command *c = arena_new(attempt_arena(a), struct command);
	char **argv = make_argv(attempt_arena(a), doc_get(spec, STR("command")));

	c->attempt = a;
	list_init(&c->node);
	attempt_set_state(a, c);
	if (!argv) {
		attempt_end(a, false, "exec probe: no command");
		return;
	}
	pid_t self = getpid(), pid = fork();

	if (pid == 0)
		become(argv, self);
	if (pid < 0) {
		attempt_end(a, false, "exec probe: cannot fork: %s", strerror(errno));
		return;
	}
	c->pid = pid;
	list_push_back(&running, &c->node);
}

static void stop(struct attempt *a)
{
	struct command *c = attempt_state(a);

	list_del(&c->node);
	if (c->pid == 0)
		return;
	/* Before its setsid the group does not exist yet. Reaped as an orphan. */
	kill(-c->pid, SIGKILL);
	kill(c->pid, SIGKILL);
	c->pid = 0;
}

const struct attempt_method attempt_exec = { "exec", start, stop };
