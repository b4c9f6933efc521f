/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvmesh-nft: one table of the kernel's packet filter: load, replace, remove. Layer daemons/nft. It runs and ends; the
 * one capability that it needs is CAP_NET_ADMIN. It never touches a rule outside its table.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "ipc/daemon.h"
#include "nft/nft.h"
#include "nft/status.h"
#include "nft/trial.h"
#include "nft/want.h"

#define TRIAL_SECONDS 60
#define TRIAL_SECONDS_MAX 3600

static const struct daemon_program program = {
	.name = "kvmesh-nft",
	.summary = "leads the traffic of workloads through the proxy\n\n"
		   "  load               replace the table by what the configuration asks for\n"
		   "  refresh            the same, if there is a table\n"
		   "  unload             remove the table\n"
		   "  print              the rules that would be loaded, in the language of nft(8)\n"
		   "  status [json]      what is captured\n"
		   "  try [SECONDS]      load, and go back after so long (60) unless confirmed\n"
		   "  confirm            keep what is on trial\n\n"
		   "  --proxy-user NAME  the proxy runs as this user, besides kvmesh-proxy",
};

struct run {
	struct daemon_options o;
	struct want_options want;
	const char *argument;           /* of the command, NULL none */
};

/* ---- what is wanted -------------------------------------------------------------------------- */

static void print_findings(const struct err_list *errs, const struct want *w)
{
	for (size_t i = 0; i < errs->n; i++) {
		const struct err *e = &errs->v[i];
		struct str text = w->model && e->file[0] ? model_source_text(w->model, e->file) : STR_NULL;

		if (e->level == ERR_LEVEL_ERROR || !e->file[0])         /* what analyze says is its business */
			err_print(stderr, e, text);
	}
}

/* Calls fn with what is wanted now. */
static int with_want(const struct run *run, int (*fn)(const struct run *run, const struct want *w))
{
	struct err_list errs;
	struct want w;

	err_list_init(&errs);
	int code, r = want_make(&run->want, &w, &errs);

	print_findings(&errs, &w);
	if (w.kept)
		fprintf(stderr, "kvmesh-nft: the configuration in %s is unusable: what was loaded last holds\n",
			run->want.etc_dir);
	if (r < 0) {
		fprintf(stderr, "kvmesh-nft: the configuration in %s is unusable: the rules stay as they are\n",
			run->want.etc_dir);
		code = DAEMON_EXIT_CONFIG;
	} else {
		code = fn(run, &w);
	}
	err_list_done(&errs);
	want_done(&w);
	return code;
}

static int done(int r, const struct err *err)
{
	if (r < 0)
		log_err("%s", err->text);
	return r < 0 ? DAEMON_EXIT_FAILED : DAEMON_EXIT_OK;
}

/* ---- commands -------------------------------------------------------------------------------- */

/* Chains of another make (an older version's) are in the way: then the whole table goes in the same transaction. */
static int replace(struct str rules, struct err *err)
{
	struct arena a;

	if (nft_run(rules, err) == 0)
		return 0;
	arena_init(&a, 0);
	int r = nft_run(arena_printf(&a, "%.*s%.*s", STR_ARG(rules_none()), STR_ARG(rules)), err);

	arena_done(&a);
	return r;
}

static int load_want(const struct run *run, const struct want *w)
{
	struct err err = { 0 }, why = { 0 };
	int r = replace(w->rules, &err);

	if (r == 0 && want_keep(&run->want, w, &why) < 0)
		log_warn("the plan cannot be kept for a start with an unusable configuration: %s", why.text);
	if (r == 0)
		log_info("%zu rules for %zu workloads", rules_count(w->rules), w->plan.workloads.n);
	return done(r, &err);
}

static int print_want(const struct run *run, const struct want *w)
{
	(void)run;
	printf("%.*s", STR_ARG(w->rules));
	return DAEMON_EXIT_OK;
}

static int try_want(const struct run *run, const struct want *w)
{
	struct trial_options t = { .run_dir = run->o.run_dir, .seconds = TRIAL_SECONDS };
	struct err err = { 0 };
	uint64_t n;

	if (run->argument) {
		if (!str_to_u64(str_c(run->argument), &n) || n < 1 || n > TRIAL_SECONDS_MAX) {
			fprintf(stderr, "kvmesh-nft: seconds are 1 to %d, not %s\n", TRIAL_SECONDS_MAX, run->argument);
			return DAEMON_EXIT_USAGE;
		}
		t.seconds = (unsigned)n;
	}
	int r = trial_begin(&t, w->rules, &err);

	if (r == 0)
		printf("capture is on for %u s; it goes back then unless you confirm: kvmeshctl capture confirm\n", t.seconds);
	return done(r, &err);
}

static int show_status(const struct run *run, const struct want *w)
{
	struct err err = { 0 };
	enum status_state state;
	struct doc *d;
	struct arena a;

	arena_init(&a, 0);
	int r = status_make(w, run->o.run_dir, &a, &d, &state, &err);

	if (r == 0 && run->argument)
		printf("%.*s\n", STR_ARG(doc_to_json(d, &a, true)));
	else if (r == 0)
		status_print(d);
	arena_done(&a);
	if (r < 0)
		return done(r, &err);
	return state == STATUS_STALE || state == STATUS_DAMAGED ? DAEMON_EXIT_FAILED : DAEMON_EXIT_OK;
}

static int cmd_load(const struct run *run)
{
	return with_want(run, load_want);
}

static int cmd_refresh(const struct run *run)
{
	struct err err = { 0 };
	struct str none;
	struct arena a;

	arena_init(&a, 0);
	int r = nft_list_counters(&a, &none, &err);

	arena_done(&a);
	/* Nobody can have captured anything either, where root may not ask (a container). */
	if (r == KV_ERR_NOT_FOUND || r == -EPERM || r == -EOPNOTSUPP)
		return DAEMON_EXIT_OK;
	return r < 0 ? done(r, &err) : cmd_load(run);
}

static int cmd_unload(const struct run *run)
{
	struct err err = { 0 };
	int r = nft_run(rules_none(), &err);

	if (r == 0)
		trial_forget(run->o.run_dir);
	return done(r, &err);
}

static int cmd_print(const struct run *run)
{
	return with_want(run, print_want);
}

static int cmd_try(const struct run *run)
{
	return with_want(run, try_want);
}

static int cmd_status(const struct run *run)
{
	return with_want(run, show_status);
}

static int cmd_confirm(const struct run *run)
{
	struct err err = { 0 };

	return done(trial_confirm(run->o.run_dir, &err), &err);
}

/* TOKEN: what the dead-man's switch calls. */
static int cmd_revert(const struct run *run)
{
	struct err err = { 0 };

	return done(trial_revert(run->o.run_dir, run->argument ? run->argument : "", &err), &err);
}

static const struct {
	const char *name;
	int (*fn)(const struct run *run);
	bool takes_argument;
} commands[] = {
	{ "load", cmd_load, false },   { "refresh", cmd_refresh, false }, { "unload", cmd_unload, false },
	{ "print", cmd_print, false }, { "status", cmd_status, true },    { "try", cmd_try, true },
	{ "confirm", cmd_confirm, false }, { "revert", cmd_revert, true },
};

/* ---- arguments ------------------------------------------------------------------------------- */

/* Takes "COMMAND [ARGUMENT]" and our own option out of argv; what is left is every daemon's. */
static const char *take_own(struct run *run, int *argc, char **argv)
{
	const char *command = NULL;
	int n = 1;

	for (int i = 1; i < *argc; i++) {
		if (strcmp(argv[i], "--proxy-user") == 0 && i + 1 < *argc)
			run->want.proxy_user = argv[++i];
		else if (argv[i][0] != '-' && !command)
			command = argv[i];
		else if (argv[i][0] != '-' && !run->argument)
			run->argument = argv[i];
		else {
			argv[n++] = argv[i];
			if (strncmp(argv[i], "--", 2) == 0 && !strchr(argv[i], '=') && i + 1 < *argc)
				argv[n++] = argv[++i];
		}
	}
	argv[n] = NULL;
	*argc = n;
	return command;
}

int main(int argc, char **argv)
{
	struct run run = { 0 };
	const char *command = take_own(&run, &argc, argv);
	int code = daemon_args(&program, argc, argv, &run.o);

	if (code != DAEMON_GO_ON)
		return code;
	log_init(program.name);
	log_set_level(run.o.log_level);
	run.want.etc_dir = run.o.etc_dir;
	run.want.run_dir = run.o.run_dir;
	run.want.state_dir = run.o.state_dir;
	for (size_t i = 0; command && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(command, commands[i].name) == 0 && (commands[i].takes_argument || !run.argument))
			return commands[i].fn(&run);
	fprintf(stderr, "kvmesh-nft: say load, refresh, unload, print, status, try or confirm (see kvmesh-nft --help)\n");
	return DAEMON_EXIT_USAGE;
}
