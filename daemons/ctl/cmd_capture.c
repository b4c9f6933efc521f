/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capture: the rules by which injected workloads' traffic comes to the proxy: on trial, for good, off. Layer daemons/ctl.
 * kvmesh-nft does it; what stays over a reboot is that its unit is enabled.
 */
#include "config.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/child.h"
#include "ctl/systemctl.h"

#define UNIT "kvmesh-nft.service"
#define NFT_WORDS_MAX 16

extern char **environ;

static void add_word(char **argv, size_t *n, const char *word)
{
	kv_assert(*n + 1 < NFT_WORDS_MAX);
	argv[(*n)++] = kv_strdup(word);
	argv[*n] = NULL;
}

static void add_pair(char **argv, size_t *n, const char *option, const char *value)
{
	if (!value)
		return;
	add_word(argv, n, option);
	add_word(argv, n, value);
}

static int finish(pid_t pid)
{
	int st = 0;

	while (waitpid(pid, &st, 0) < 0)
		if (errno != EINTR)
			return CTL_EXIT_NO;
	return WIFEXITED(st) ? WEXITSTATUS(st) : CTL_EXIT_NO;
}

/* kvmesh-nft COMMAND [ARGUMENT]; its exit code is ours. */
static int run_nft(struct ctl *c, const char *command, const char *argument)
{
	char *argv[NFT_WORDS_MAX], *program;
	struct err err = { 0 };
	size_t n = 0;
	pid_t pid;

	if (child_find_program("kvmesh-nft", &program, &err) < 0)
		return ctl_fail_err(&err);
	add_word(argv, &n, program);
	add_word(argv, &n, command);
	if (argument)
		add_word(argv, &n, argument);
	add_pair(argv, &n, "--etc", c->etc);
	add_pair(argv, &n, "--run", c->run);
	add_pair(argv, &n, "--state", c->state);
	add_pair(argv, &n, "--proxy-user", ctl_value(c, "proxy-user", NULL));
	add_pair(argv, &n, "--log-level", "warning");
	int r = posix_spawn(&pid, program, NULL, NULL, argv, environ);
	int code = r != 0 ? ctl_fail(CTL_EXIT_NO, "%s: %s", program, strerror(r)) : finish(pid);

	for (size_t i = 0; i < n; i++)
		free(argv[i]);
	free(program);
	return code;
}

/* The kernel's rules are the administrator's. */
static int may_change(const struct ctl *c)
{
	if (c->root)
		return ctl_fail(CTL_EXIT_USAGE, "capture is of this node's kernel: there is none below --root");
	if (geteuid() != 0)
		return ctl_fail(CTL_EXIT_NO_PERMISSION, "the kernel's rules are root's to change");
	return 0;
}

/* At boot as well from now on, or no more. */
static int keep(const struct ctl *c, bool on)
{
	static const char *const enable[] = { "enable", "--quiet", UNIT, NULL },
				 *const start[] = { "start", UNIT, NULL },
				 *const disable[] = { "disable", "--quiet", "--now", UNIT, NULL };

	if (!systemctl_is_here(c))
		return 0;
	return (on ? systemctl_run(enable) && systemctl_run(start) : systemctl_run(disable)) ? 0 : CTL_EXIT_NO;
}

int cmd_capture_status(struct ctl *c)
{
	return run_nft(c, "status", c->output == CTL_OUTPUT_JSON ? "json" : NULL);
}

int cmd_capture_on(struct ctl *c)
{
	int code = may_change(c);

	if (code == 0 && !ctl_has(c, "yes"))
		return run_nft(c, "try", ctl_value(c, "seconds", NULL));
	if (code == 0)
		code = run_nft(c, "load", NULL);
	return code == 0 ? keep(c, true) : code;
}

int cmd_capture_confirm(struct ctl *c)
{
	int code = may_change(c);

	if (code == 0)
		code = run_nft(c, "confirm", NULL);
	return code == 0 ? keep(c, true) : code;
}

int cmd_capture_off(struct ctl *c)
{
	int code = may_change(c);

	if (code == 0)
		code = keep(c, false);
	/* Also what no unit has loaded. */
	return code == 0 ? run_nft(c, "unload", NULL) : code;
}

int cmd_capture_repair(struct ctl *c)
{
	int code = may_change(c);

	return code == 0 ? run_nft(c, "load", NULL) : code;
}
