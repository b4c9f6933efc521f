/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args: the command line of kvmeshctl. Layer daemons/ctl.
 * Options may stand anywhere; those of a command only behind its name. Every global option can be
 * preset as KVMESHCTL_NAME, and the three directories as the daemons read them (KVMESH_ETC, …).
 */
#include "config.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/label.h"
#include "base/vec.h"
#include "ctl/ctl.h"

const struct ctl_option ctl_global_options[] = {
	{ "output", 'o', "FORM", "table, wide, json, yaml or short" },
	{ "json", 0, "HOW", "short (one line), pretty or off: the same as -o json" },
	{ "no-legend", 0, NULL, "no header line and no summary" },
	{ "no-pager", 0, NULL, "never start a pager" },
	{ "quiet", 'q', NULL, "only what was asked for, no remarks" },
	{ "verbose", 'v', NULL, "more remarks" },
	{ "namespace", 'n', "NS", "only this namespace" },
	{ "all-namespaces", 'A', NULL, "every namespace (the default of lists)" },
	{ "selector", 'l', "K=V[,K=V]", "only what carries these labels" },
	{ "timeout", 0, "TIME", "how long to wait for an answer (10s)" },
	{ "color", 0, "WHEN", "auto, always or never" },
	{ "socket", 0, "PATH", "the router's control socket" },
	{ "root", 0, "DIR", "read the files of another system below DIR, ask no daemon" },
	{ "etc", 0, "DIR", "configuration (" SYSCONFDIR "/kvmesh)" },
	{ "run", 0, "DIR", "control sockets (/run/kvmesh)" },
	{ "state", 0, "DIR", "databases and keys (" LOCALSTATEDIR "/lib/kvmesh)" },
	{ "help", 'h', NULL, "this text" },
	{ "version", 'V', NULL, "version of kvmeshctl" },
	{ NULL },
};

bool ctl_command_is(const struct ctl_command *row, const char *word)
{
	if (strcmp(row->name, word) == 0)
		return true;
	struct str rest = str_c(row->aliases), piece;

	while (rest.p && str_split(&rest, ' ', &piece))
		if (str_eq(piece, str_c(word)))
			return true;
	return false;
}

/* The nearest name at most two edits away, or NULL; the tables are short. */
static const char *nearest_command(const struct ctl_command *rows, const char *word)
{
	const char *best = NULL;
	unsigned best_d = 3;

	for (const struct ctl_command *r = rows; r->name; r++) {
		unsigned d = str_distance(str_c(r->name), str_c(word), 3);

		if (d < best_d || (!best && strlen(word) > 2 &&
				   str_has_prefix(str_c(r->name), str_c(word)))) {
			best = r->name;
			best_d = d;
		}
	}
	return best;
}

static int unknown_command(const struct ctl_command *rows, const char *group, const char *word)
{
	const char *near = nearest_command(rows, word);
	const char *gap = group[0] ? " " : "";

	if (near)
		return ctl_fail(CTL_EXIT_USAGE, "unknown command '%s%s%s' (did you mean '%s'?)",
				group, gap, word, near);
	return ctl_fail(CTL_EXIT_USAGE, "unknown command '%s%s%s'; 'kvmeshctl --help' lists them",
			group, gap, word);
}

static const struct ctl_option *find_long(const struct ctl_option *t, struct str name)
{
	for (; t && t->name; t++)
		if (str_eq(str_c(t->name), name))
			return t;
	return NULL;
}

static const struct ctl_option *find_short(const struct ctl_option *t, char letter)
{
	for (; t && t->name; t++)
		if (t->letter && t->letter == letter)
			return t;
	return NULL;
}

static int unknown_option(const struct ctl *c, const char *arg)
{
	struct str name = str_c(arg + 2);
	ptrdiff_t eq = str_find(name, '=');
	const char *best = NULL;
	unsigned best_d = 3;

	if (eq >= 0)
		name = str_take(name, (size_t)eq);
	const struct ctl_option *tables[] = { c->command ? c->command->options : NULL,
					      ctl_global_options };

	for (size_t i = 0; arg[1] == '-' && i < 2; i++)
		for (const struct ctl_option *o = tables[i]; o && o->name; o++) {
			unsigned d = str_distance(str_c(o->name), name, 3);

			if (d < best_d) {
				best = o->name;
				best_d = d;
			}
		}
	if (best)
		return ctl_fail(CTL_EXIT_USAGE, "unknown option '%s' (did you mean '--%s'?)", arg,
				best);
	return ctl_fail(CTL_EXIT_USAGE, "unknown option '%s'", arg);
}

static int give(struct ctl *c, const struct ctl_option *o, const char *value)
{
	if (c->n_given == sizeof(c->given) / sizeof(c->given[0]))
		return ctl_fail(CTL_EXIT_USAGE, "too many options");
	c->given[c->n_given++] = (struct ctl_given){ o, value };
	return 0;
}

/* "--name", "--name=value", "--name value". *i moves over a value of its own. */
static int parse_long(struct ctl *c, char **argv, int argc, int *i)
{
	struct str arg = str_c(argv[*i] + 2);
	ptrdiff_t eq = str_find(arg, '=');
	struct str name = eq >= 0 ? str_take(arg, (size_t)eq) : arg;
	const struct ctl_option *o = c->command ? find_long(c->command->options, name) : NULL;

	if (!o)
		o = find_long(ctl_global_options, name);
	if (!o)
		return unknown_option(c, argv[*i]);
	if (!o->value) {
		if (eq >= 0)
			return ctl_fail(CTL_EXIT_USAGE, "--%s takes no value", o->name);
		return give(c, o, "");
	}
	if (eq >= 0)
		return give(c, o, argv[*i] + 2 + eq + 1);
	/* as in systemd's tools, --json alone is --json=pretty */
	if (strcmp(o->name, "json") == 0)
		return give(c, o, "pretty");
	if (*i + 1 >= argc)
		return ctl_fail(CTL_EXIT_USAGE, "--%s needs %s", o->name, o->value);
	return give(c, o, argv[++*i]);
}

/* "-q", "-qA", "-ojson", "-o json". */
static int parse_short(struct ctl *c, char **argv, int argc, int *i)
{
	for (const char *p = argv[*i] + 1; *p; p++) {
		const struct ctl_option *o =
			c->command ? find_short(c->command->options, *p) : NULL;
		int r;

		if (!o)
			o = find_short(ctl_global_options, *p);
		if (!o)
			return ctl_fail(CTL_EXIT_USAGE, "unknown option '-%c'", *p);
		if (!o->value) {
			if ((r = give(c, o, "")) != 0)
				return r;
			continue;
		}
		if (p[1])
			return give(c, o, p[1] == '=' ? p + 2 : p + 1);
		if (*i + 1 >= argc)
			return ctl_fail(CTL_EXIT_USAGE, "-%c needs %s", o->letter, o->value);
		return give(c, o, argv[++*i]);
	}
	return 0;
}

/* One word: part of the command's name as long as that is not complete, then an argument. */
static int parse_word(struct ctl *c, const struct ctl_command **rows, char *group, size_t group_n,
		      const char *word)
{
	if (*rows) {
		if (*rows == ctl_commands && (strcmp(word, "x") == 0 || strcmp(word, "viz") == 0 ||
					      strcmp(word, "experimental") == 0))
			return 0;
		for (const struct ctl_command *r = *rows; r->name; r++)
			if (ctl_command_is(r, word)) {
				c->command = r;
				*rows = r->subs;
				snprintf(group, group_n, "%s", r->name);
				return 0;
			}
		return unknown_command(*rows, group, word);
	}
	if (c->n_words == sizeof(c->words) / sizeof(c->words[0]))
		return ctl_fail(CTL_EXIT_USAGE, "too many arguments");
	c->words[c->n_words++] = word;
	return 0;
}

bool ctl_has(const struct ctl *c, const char *option)
{
	return ctl_value_at(c, option, 0) != NULL;
}

const char *ctl_value_at(const struct ctl *c, const char *option, unsigned i)
{
	for (unsigned g = 0; g < c->n_given; g++)
		if (strcmp(c->given[g].option->name, option) == 0 && i-- == 0)
			return c->given[g].value;
	return NULL;
}

const char *ctl_value(const struct ctl *c, const char *option, const char *dflt)
{
	for (unsigned g = c->n_given; g > 0; g--)
		if (strcmp(c->given[g - 1].option->name, option) == 0)
			return c->given[g - 1].value;
	return dflt;
}

/* Command line, else KVMESHCTL_NAME, else NULL. A switch set in the environment gives "". */
static const char *global_value(struct ctl *c, const char *name)
{
	const char *v = ctl_value(c, name, NULL);

	if (v)
		return v;
	struct str env = arena_printf(&c->arena, "KVMESHCTL_%s", name);
	char *p = arena_strdup(&c->arena, env.p);

	for (char *q = p; *q; q++)
		*q = *q == '-' ? '_' : (char)(*q >= 'a' && *q <= 'z' ? *q - 'a' + 'A' : *q);
	v = getenv(p);
	return v && v[0] ? v : NULL;
}

static int choose_output(struct ctl *c)
{
	static const char *const forms[CTL_OUTPUT__N] = { "table", "wide", "json", "yaml",
							  "short" };
	const char *o = global_value(c, "output"), *j = global_value(c, "json");

	if (o) {
		c->output = CTL_OUTPUT__N;
		for (int i = 0; i < CTL_OUTPUT__N; i++)
			if (strcmp(o, forms[i]) == 0)
				c->output = (enum ctl_output)i;
		if (strcmp(o, "log") == 0)      /* istioctl's word for the line form */
			c->output = CTL_OUTPUT_TABLE;
		if (c->output == CTL_OUTPUT__N)
			return ctl_fail(CTL_EXIT_USAGE,
					"-o %s: table, wide, json, yaml or short is needed", o);
	}
	if (j && strcmp(j, "off") != 0) {
		if (strcmp(j, "short") != 0 && strcmp(j, "pretty") != 0)
			return ctl_fail(CTL_EXIT_USAGE, "--json=%s: short, pretty or off is needed",
					j);
		c->output = CTL_OUTPUT_JSON;
		c->json_short = strcmp(j, "short") == 0;
	}
	return 0;
}

/* NO_COLOR and TERM=dumb say no; SYSTEMD_COLORS overrides what the terminal suggests. */
static int choose_color(struct ctl *c)
{
	const char *when = global_value(c, "color"), *sd = getenv("SYSTEMD_COLORS");
	const char *term = getenv("TERM"), *no = getenv("NO_COLOR");

	setlocale(LC_CTYPE, "");
	c->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	c->color = isatty(STDOUT_FILENO) && !(no && no[0]) && term && strcmp(term, "dumb") != 0;
	if (sd && sd[0])
		c->color =
			strcmp(sd, "0") != 0 && strcmp(sd, "no") != 0 && strcmp(sd, "false") != 0;
	if (!when || strcmp(when, "auto") == 0)
		return 0;
	if (strcmp(when, "always") != 0 && strcmp(when, "never") != 0)
		return ctl_fail(CTL_EXIT_USAGE, "--color=%s: auto, always or never is needed",
				when);
	c->color = strcmp(when, "always") == 0;
	return 0;
}

static int choose_timeout(struct ctl *c)
{
	const char *t = global_value(c, "timeout");
	int64_t us = 10 * 1000 * 1000;

	if (t && (!str_to_duration_us(str_c(t), &us) || us < 1000 || us > (int64_t)86400 * 1000000))
		return ctl_fail(CTL_EXIT_USAGE,
				"--timeout %s: a time such as 500ms, 10s or 2m is needed", t);
	c->timeout_ms = (int)(us / 1000);
	return 0;
}

static int choose_selector(struct ctl *c)
{
	const char *text = global_value(c, "selector");
	struct str rest = str_c(text), piece;
	size_t cap = 0;

	if (!text)
		return 0;
	c->selector = arena_new(&c->arena, struct labels);
	while (str_split(&rest, ',', &piece)) {
		ptrdiff_t eq = str_find(piece, '=');

		if (eq <= 0)
			return ctl_fail(CTL_EXIT_USAGE, "-l %s: KEY=VALUE[,KEY=VALUE] is needed",
					text);
		struct str val = str_skip(piece, (size_t)eq + 1);

		if (val.n > 0 && val.p[0] == '=')       /* kubectl's "==" */
			val = str_skip(val, 1);
		*vec_push_arena(&c->arena, c->selector->v, c->selector->n, cap) =
			(struct label){ str_take(piece, (size_t)eq), val };
	}
	return 0;
}

/* Daemons want absolute paths; a directory may have to be made first, so no realpath(3). */
static const char *absolute(struct ctl *c, const char *path)
{
	char *cwd;

	if (path[0] == '/' || !(cwd = getcwd(NULL, 0)))
		return path;
	if (path[0] == '.' && path[1] == '/')
		path += 2;
	path = arena_printf(&c->arena, "%s/%s", cwd, path).p;
	free(cwd);
	return path;
}

static const char *choose_dir(struct ctl *c, const char *option, const char *env, const char *dflt,
			      bool *ret_given)
{
	const char *v = global_value(c, option);

	if (!v)
		v = getenv(env);
	*ret_given = v && v[0];
	if (*ret_given)
		return absolute(c, v);
	return c->root ? arena_printf(&c->arena, "%s%s", c->root, dflt).p : dflt;
}

static int settle_globals(struct ctl *c)
{
	bool ignored;
	int r;

	if ((r = choose_output(c)) != 0 || (r = choose_color(c)) != 0 ||
	    (r = choose_timeout(c)) != 0 || (r = choose_selector(c)) != 0)
		return r;
	c->no_legend = global_value(c, "no-legend") != NULL;
	c->no_pager = global_value(c, "no-pager") != NULL;
	c->quiet = global_value(c, "quiet") != NULL;
	c->verbose = global_value(c, "verbose") != NULL;
	c->all_namespaces = global_value(c, "all-namespaces") != NULL;
	c->ns = c->all_namespaces ? NULL : global_value(c, "namespace");
	c->socket = global_value(c, "socket");
	c->root = global_value(c, "root");
	if (c->root)
		c->root = absolute(c, c->root);
	c->etc = choose_dir(c, "etc", "KVMESH_ETC", SYSCONFDIR "/kvmesh", &c->etc_given);
	c->run = choose_dir(c, "run", "KVMESH_RUN", "/run/kvmesh", &c->run_given);
	c->state = choose_dir(c, "state", "KVMESH_STATE", LOCALSTATEDIR "/lib/kvmesh", &ignored);
	return 0;
}

static int check_words(const struct ctl *c, const char *group)
{
	const struct ctl_command *cmd = c->command;

	if (cmd->subs)
		return ctl_fail(CTL_EXIT_USAGE,
				"'%s' needs a sub-command; 'kvmeshctl %s --help' lists them", group,
				group);
	if (c->n_words < cmd->min_words)
		return ctl_fail(CTL_EXIT_USAGE, "%s needs %s", cmd->name, cmd->words);
	if (c->n_words > cmd->max_words)
		return ctl_fail(CTL_EXIT_USAGE, "%s: unexpected argument '%s'", cmd->name,
				c->words[cmd->max_words]);
	return 0;
}

static const struct ctl_command *group_of(const struct ctl_command *cmd)
{
	for (const struct ctl_command *g = ctl_commands; g->name; g++)
		for (const struct ctl_command *s = g->subs; s && s->name; s++)
			if (s == cmd)
				return g;
	return NULL;
}

int ctl_args_parse(struct ctl *c, int argc, char **argv)
{
	const struct ctl_command *rows = ctl_commands;
	bool only_words = false;
	char group[32] = "";
	int r = 0;

	for (int i = 1; i < argc && r == 0; i++) {
		if (!only_words && strcmp(argv[i], "--") == 0)
			only_words = true;
		else if (!only_words && argv[i][0] == '-' && argv[i][1] == '-')
			r = parse_long(c, argv, argc, &i);
		else if (!only_words && argv[i][0] == '-' && argv[i][1])
			r = parse_short(c, argv, argc, &i);
		else
			r = parse_word(c, &rows, group, sizeof(group), argv[i]);
	}
	if (r != 0)
		return r;
	if (ctl_has(c, "help")) {
		ctl_print_help(c->command ? group_of(c->command) : NULL, c->command, stdout);
		return -1;
	}
	if (ctl_has(c, "version") && !c->command) {
		printf("kvmeshctl %s\n", PACKAGE_VERSION);
		return -1;
	}
	if (!c->command) {
		ctl_print_help(NULL, NULL, stderr);
		return CTL_EXIT_USAGE;
	}
	if ((r = check_words(c, group)) != 0)
		return r;
	return settle_globals(c);
}
