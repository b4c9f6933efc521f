/* SPDX-License-Identifier: Apache-2.0 */
/* child: daemons as children, see child.h. Layer daemons/ctl. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "ctl/child.h"

static const char *const programs[] = {
	[CHILD_KIND_ROUTER] = "kvmesh-router",
	[CHILD_KIND_CA] = "kvmesh-ca",
	[CHILD_KIND_METRICS] = "kvmesh-metrics",
	[CHILD_KIND_PROXY] = "kvmesh-proxy",
	[CHILD_KIND_PROBE] = "kvmesh-probe",
};

/* Beside this very program (a build tree, an unpacked archive), else where it was installed. */
int child_find_program(const char *name, char **ret, struct err *err)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = '\0';
		char *slash = strrchr(self, '/');

		*slash = '\0';
		char *beside = kv_asprintf("%s/%s", self, name);

		if (access(beside, X_OK) == 0) {
			*ret = beside;
			return 0;
		}
		free(beside);
	}
	char *installed = kv_asprintf("%s/%s", SBINDIR, name);

	if (access(installed, X_OK) == 0) {
		*ret = installed;
		return 0;
	}
	free(installed);
	return err_set(err, -ENOENT, "%s is neither beside kvmeshctl nor in %s", name, SBINDIR);
}

static const char *child_sock(struct ctl *c, const struct child *ch)
{
	switch (ch->kind) {
	case CHILD_KIND_ROUTER:
		return ctl_sock(c, "router", "router");
	case CHILD_KIND_CA:
		return ctl_sock(c, "ca", "ca");
	case CHILD_KIND_METRICS:
		return ctl_sock(c, "metrics", "metrics");
	case CHILD_KIND_PROXY:
		break;
	case CHILD_KIND_PROBE:
		return NULL;
	}
	return ctl_sock(c, "proxy", ch->instance);
}

static void on_restart(void *arg)
{
	child_start(arg);
}

const char *child_notify_path(struct ctl *c)
{
	return arena_printf(&c->arena, "%s/notify.sock", c->run).p;
}

int child_new(struct ctl *c, struct loop *l, enum child_kind kind, const char *instance,
	      struct child **ret, struct err *err)
{
	char *program;
	int r = child_find_program(programs[kind], &program, err);

	if (r < 0)
		return r;
	struct child *ch = kv_zalloc(sizeof(*ch));

	*ch = (struct child){ .kind = kind, .program = program, .wanted = true, .loop = l };
	ch->instance = instance ? kv_strdup(instance) : NULL;
	ch->name = instance ? kv_asprintf("%s@%s", programs[kind], instance) :
			      kv_strdup(programs[kind]);
	char **a = ch->argv;

	*a++ = program;
	*a++ = kv_strdup("--standalone");
	*a++ = kv_asprintf("--etc=%s", c->etc);
	*a++ = kv_asprintf("--run=%s", c->run);
	*a++ = kv_asprintf("--state=%s", c->state);
	if (instance)
		*a++ = kv_asprintf("--instance=%s", instance);
	ch->notify_path = child_notify_path(c);
	loop_timer_init(&ch->restart, l, on_restart, ch);
	const char *sock = child_sock(c, ch);

	ch->client = sock ? ipc_client_new(l, sock) : NULL;
	*ret = ch;
	return 0;
}

void child_free(struct child *ch)
{
	child_stop_asking(ch);
	loop_timer_done(&ch->restart);
	for (char **a = ch->argv; *a; a++)      /* argv[0] is the program's path */
		free(*a);
	free(ch->instance);
	free(ch->name);
	free(ch);
}

/* What systemd told us is not for the children. */
static const char *const systemd_env[] = { "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID",
					   "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID" };

/* In the child, between fork and exec; we have one thread, so any call is safe here. */
static _Noreturn void become(char *const argv[], const char *notify_path, pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	/* The kernel kills it when we die, however we die. We may be dead already. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(127);
	/* A terminal's ^C is for us; we end the children in order. */
	setpgid(0, 0);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	/* standard output carries our own one line */
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(127);
	close_range(3, ~0U, 0);
	for (size_t i = 0; i < sizeof(systemd_env) / sizeof(systemd_env[0]); i++)
		unsetenv(systemd_env[i]);
	setenv("NOTIFY_SOCKET", notify_path, 1);
	execv(argv[0], argv);
	static const char text[] = "kvmeshctl: cannot execute a daemon\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(126);
	_exit(127);
}

void child_start(struct child *ch)
{
	pid_t self = getpid(), pid = fork();

	if (pid == 0)
		become(ch->argv, ch->notify_path, self);
	ch->started_us = clock_mono_us();
	if (pid < 0) {
		log_err("%s: cannot fork: %s", ch->name, strerror(errno));
		loop_timer_set(&ch->restart, CHILD_BACKOFF_MAX_US);
		return;
	}
	ch->pid = pid;
	log_debug("%s: started as %d", ch->name, (int)pid);
}

void child_kill(const struct child *ch, int signo)
{
	if (ch->pid > 0)
		kill(ch->pid, signo);
}

void child_succeeded(struct child *ch, pid_t pid)
{
	log_info("%s: %d is in the place of %d", ch->name, (int)pid, (int)ch->pid);
	ch->pid = pid;
	ch->started_us = clock_mono_us();
}

static void describe_end(int st, char *buf, size_t n)
{
	if (WIFSIGNALED(st))
		snprintf(buf, n, "was killed by SIG%s", sigabbrev_np(WTERMSIG(st)));
	else
		snprintf(buf, n, "ended with exit code %d", WEXITSTATUS(st));
}

void child_died(struct child *ch, int wait_status, bool again)
{
	uint64_t lived = clock_mono_us() - ch->started_us;
	char how[64];

	describe_end(wait_status, how, sizeof(how));
	ch->pid = 0;
	ch->ready = ch->answered = ch->synced = false;
	if (!again) {
		log_debug("%s %s", ch->name, how);
		return;
	}
	if (lived >= CHILD_STEADY_US)
		ch->deaths = 0;
	if (ch->deaths == 0)
		ch->backoff_us = CHILD_BACKOFF_MIN_US;
	ch->deaths++;
	log_warn("%s %s; starting it again in %u ms", ch->name, how,
		 (unsigned)(ch->backoff_us / 1000));
	loop_timer_set(&ch->restart, ch->backoff_us);
	ch->backoff_us = ch->backoff_us * 2 < CHILD_BACKOFF_MAX_US ? ch->backoff_us * 2 :
								     CHILD_BACKOFF_MAX_US;
}

static void on_status(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct child *ch = arg;

	(void)continues;
	ch->asking = false;
	if (error_name)
		return;
	ch->answered = true;
	ch->ready = ch->kind == CHILD_KIND_PROXY ? doc_get_bool(p, "ready", false) : true;
}

void child_ask(struct child *ch)
{
	if (!ch->client || ch->asking || !ipc_client_is_connected(ch->client))
		return;
	ch->asking = true;
	ipc_client_call(ch->client, "Status", NULL, false, on_status, ch);
}

void child_stop_asking(struct child *ch)
{
	if (ch->client)
		ipc_client_free(ch->client);
	ch->client = NULL;
	ch->asking = false;
}
