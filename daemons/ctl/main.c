/* SPDX-License-Identifier: Apache-2.0 */
/* main: the table of commands, and nothing else. Layer daemons/ctl. */
#include "config.h"

#include <signal.h>

#include "ctl/ctl.h"
#include "ctl/print.h"

static const struct ctl_option run_options[] = {
	{ "ready-fd", 0, "N", "write \"ready\" to this descriptor once everything serves" },
	{ NULL },
};

const struct ctl_command ctl_commands[] = {
	{ .name = "run", .category = "Run", .options = run_options, .run = cmd_run,
	  .help = "The whole suite in the foreground, without systemd" },
	{ NULL },
};

int main(int argc, char **argv)
{
	struct ctl c = { 0 };
	int r;

	signal(SIGPIPE, SIG_IGN);
	arena_init(&c.arena, 64 << 10);
	r = ctl_args_parse(&c, argc, argv);
	if (r == 0) {
		print_open(&c);
		r = print_close(&c, c.command->run(&c));
	} else if (r < 0) {
		r = CTL_EXIT_OK;
	}
	arena_done(&c.arena);
	return r;
}
