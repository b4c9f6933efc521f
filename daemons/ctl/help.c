/* SPDX-License-Identifier: Apache-2.0 */
/* help: --help of the program, a group, a command, from the table. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "ctl/ctl.h"

static void print_options(const struct ctl_option *t, FILE *out)
{
	for (; t && t->name; t++) {
		char left[64];
		int n = snprintf(left, sizeof(left), "  %c%c%s --%s%s%s", t->letter ? '-' : ' ',
				 t->letter ? t->letter : ' ', t->letter ? "," : " ", t->name,
				 t->value ? " " : "", t->value ? t->value : "");

		fprintf(out, "%-30s%s%s\n", left, n >= 30 ? " " : "", t->help);
	}
}

static void print_row(const struct ctl_command *r, FILE *out)
{
	fprintf(out, "  %-16s %s\n", r->name, r->help);
}

static void print_all(FILE *out)
{
	fputs("kvmeshctl [OPTION…] COMMAND …\nOperate a kvmesh node.\n", out);
	for (const struct ctl_command *r = ctl_commands; r->name; r++) {
		bool seen = false;

		for (const struct ctl_command *p = ctl_commands; p < r; p++)
			seen = seen || strcmp(p->category, r->category) == 0;
		if (seen)
			continue;
		fprintf(out, "\n%s:\n", r->category);
		for (const struct ctl_command *q = r; q->name; q++)
			if (strcmp(q->category, r->category) == 0)
				print_row(q, out);
	}
	fputs("\nOptions of every command:\n", out);
	print_options(ctl_global_options, out);
	fputs("\nExit codes: 0 yes, 1 no, 3 not running, 4 no such thing, 64 usage, 65 bad input "
	      "file,\n"
	      "69 no answer, 75 timed out, 77 not permitted, 78 bad configuration, 79 findings.\n"
	      "'kvmeshctl COMMAND --help' tells more; so does kvmeshctl(1).\n",
	      out);
}

static void print_usage(const struct ctl_command *group, const struct ctl_command *cmd, FILE *out)
{
	fprintf(out, "kvmeshctl %s%s%s%s%s%s\n", group ? group->name : "", group ? " " : "",
		cmd->name, cmd->options ? " [OPTION…]" : "", cmd->words ? " " : "",
		cmd->words ? cmd->words : "");
}

void ctl_print_help(const struct ctl_command *group, const struct ctl_command *cmd, FILE *out)
{
	if (!cmd) {
		print_all(out);
		return;
	}
	if (cmd->subs) {
		fprintf(out, "kvmeshctl %s COMMAND …\n%s.\n\n", cmd->name, cmd->help);
		for (const struct ctl_command *s = cmd->subs; s->name; s++)
			print_row(s, out);
		return;
	}
	print_usage(group, cmd, out);
	fprintf(out, "%s.\n", cmd->help);
	if (cmd->aliases)
		fprintf(out, "Also: %s\n", cmd->aliases);
	if (cmd->options) {
		fputs("\nOptions:\n", out);
		print_options(cmd->options, out);
	}
	fputs("\nOptions of every command: see 'kvmeshctl --help'.\n", out);
}
