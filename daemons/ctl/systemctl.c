/* SPDX-License-Identifier: Apache-2.0 */
/* systemctl: see systemctl.h. Layer daemons/ctl. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/systemctl.h"

#define WORDS_MAX 16
#define OUTPUT_MAX (1u << 20)

extern char **environ;

bool systemctl_is_here(const struct ctl *c)
{
	struct stat st;

	return !c->root && !c->etc_given && !c->run_given && stat("/run/systemd/system", &st) == 0;
}

static void make_argv(const char *const *words, char *argv[static WORDS_MAX])
{
	size_t n = 0;

	argv[n++] = kv_strdup("systemctl");
	for (; *words && n < WORDS_MAX - 1; words++)
		argv[n++] = kv_strdup(*words);
	argv[n] = NULL;
}

/* The process, or a negative errno. */
static pid_t start(const char *const *words, posix_spawn_file_actions_t *actions)
{
	char *argv[WORDS_MAX];
	pid_t pid;

	make_argv(words, argv);
	int r = posix_spawnp(&pid, "systemctl", actions, NULL, argv, environ);

	for (size_t i = 0; argv[i]; i++)
		free(argv[i]);
	return r != 0 ? -r : pid;
}

/* Its exit code, or -1. */
static int finish(pid_t pid)
{
	int st = 0;

	while (waitpid(pid, &st, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

bool systemctl_run(const char *const *words)
{
	pid_t pid = start(words, NULL);

	if (pid < 0)
		(void)ctl_fail(CTL_EXIT_NO, "systemctl: %s", strerror(-pid));
	return pid >= 0 && finish(pid) == 0;
}

static struct str read_all(struct ctl *c, int fd)
{
	char *text = kv_malloc(OUTPUT_MAX);
	size_t n = 0;
	ssize_t r;

	while ((r = read(fd, text + n, OUTPUT_MAX - n)) != 0) {
		if (r < 0 && errno != EINTR)
			break;
		n += r > 0 ? (size_t)r : 0;
	}
	struct str ret = arena_str(&c->arena, str_from(text, n));

	free(text);
	return ret;
}

int systemctl_read(struct ctl *c, const char *const *words, struct str *ret)
{
	posix_spawn_file_actions_t actions;
	int fds[2], code = -1;

	*ret = STR("");
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	pid_t pid = start(words, &actions);

	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	if (pid >= 0) {
		*ret = read_all(c, fds[0]);
		close(fds[0]);
		code = finish(pid);
	} else {
		close(fds[0]);
	}
	return code;
}

struct str systemctl_value(struct str lines, const char *key)
{
	struct str line, name = str_c(key);

	while (str_split(&lines, '\n', &line))
		if (str_has_prefix(line, name) && line.n > name.n && line.p[name.n] == '=')
			return str_skip(line, name.n + 1);
	return STR("");
}
