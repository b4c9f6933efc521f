/* SPDX-License-Identifier: Apache-2.0 */
/*
 * install: write a profile's files below /etc/kvmesh, have them read, and have systemd run the
 * gateways it asks for. Layer daemons/ctl.
 * What an operator has changed stays as it is, unless --force; nothing is done twice; what the
 * configuration would not load with is taken back.
 */
#include "config.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/vec.h"
#include "ctl/findings.h"
#include "ctl/print.h"
#include "ctl/profile.h"
#include "ctl/snapshot.h"

extern char **environ;

enum action { ACTION_WRITE, ACTION_SAME, ACTION_REPLACE, ACTION_REMOVE, ACTION_KEEP, ACTION__N };

static const char *const action_names[ACTION__N] = {
	[ACTION_WRITE] = "written",  [ACTION_SAME] = "unchanged", [ACTION_REPLACE] = "replaced",
	[ACTION_REMOVE] = "removed", [ACTION_KEEP] = "kept",
};

struct item {
	const char *path; /* whole */
	enum action action;
	struct str new, old; /* p == NULL: no file */
};
struct unit {
	const char *name;
	bool start; /* else it is stopped */
	bool failed;
};
struct plan {
	struct ctl *c;
	const struct profile *profile;
	struct item *v;
	size_t n, cap;
	struct unit *units; /* in this order */
	size_t n_units, cap_units;
};

/* ---- planning -------------------------------------------------------------------------------- */

/* STR_NULL: there is no such file. */
static int read_old(struct ctl *c, const char *path, struct str *ret)
{
	struct err err;
	char *text;
	size_t n;
	int r = fs_read(path, DOC_FILE_MAX, &text, &n, &err);

	*ret = STR_NULL;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return ctl_fail_err(&err);
	*ret = arena_str(&c->arena, str_from(text, n));
	free(text);
	return 0;
}

static enum action decide(const struct ctl *c, struct str old, struct str new)
{
	if (!old.p)
		return new.p ? ACTION_WRITE : ACTION_SAME;
	if (new.p && str_eq(old, new))
		return ACTION_SAME;
	if (!profile_is_ours(old) && !ctl_has(c, "force"))
		return ACTION_KEEP;
	return new.p ? ACTION_REPLACE : ACTION_REMOVE;
}

static bool is_planned(const struct plan *p, const char *path)
{
	for (size_t i = 0; i < p->n; i++)
		if (strcmp(p->v[i].path, path) == 0)
			return true;
	return false;
}

static int plan_file(struct plan *p, const char *name, struct str new)
{
	const char *path = arena_printf(&p->c->arena, "%s/%s", p->c->etc, name).p;
	struct str old;
	int code = 0;

	if (is_planned(p, path) || (code = read_old(p->c, path, &old)) != 0)
		return code;
	if (old.p || new.p)
		*vec_push_arena(&p->c->arena, p->v, p->n, p->cap) =
			(struct item){ path, decide(p->c, old, new), new, old };
	return 0;
}

/* "ingressgateway" of its Workload's file. */
static const char *gateway_of(struct ctl *c, const char *path)
{
	struct str s = str_c(path), head = STR("workloads.d/00-"), tail = STR(".conf");

	if (!str_has_prefix(s, head) || !str_has_suffix(s, tail))
		return NULL;
	return arena_str(&c->arena, str_take(str_skip(s, head.n), s.n - head.n - tail.n)).p;
}

static void add_unit(struct plan *p, const char *instance, const char *kind, bool start)
{
	*vec_push_arena(&p->c->arena, p->units, p->n_units, p->cap_units) = (struct unit){
		.name = arena_printf(&p->c->arena, "kvmesh-proxy@%s.%s", instance, kind).p,
		.start = start,
	};
}

/*
 * A gateway for clients outside has ports below 1024, which its socket unit binds; that is started
 * first and stopped last.
 */
static void plan_units(struct plan *p, const char *path, bool start)
{
	const char *name = gateway_of(p->c, path);
	bool outside = name && strcmp(name, "ingressgateway") == 0;

	if (!name)
		return;
	if (outside && start)
		add_unit(p, name, "socket", start);
	add_unit(p, name, "service", start);
	if (outside && !start)
		add_unit(p, name, "socket", start);
}

/* The profile's files, then those of other profiles that an earlier install has left. */
static int make_plan(struct plan *p, const struct profile *all, size_t n)
{
	int code = 0;

	for (size_t i = 0; i < p->profile->n_files && code == 0; i++) {
		const struct profile_file *f = &p->profile->files[i];

		code = plan_file(p, f->path, f->text);
		plan_units(p, f->path, true);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < all[i].n_files && code == 0; k++) {
			const char *path = all[i].files[k].path;
			size_t before = p->n;

			code = plan_file(p, path, STR_NULL);
			if (p->n > before && p->v[before].action == ACTION_REMOVE)
				plan_units(p, path, false);
		}
	return code;
}

/* ---- doing ----------------------------------------------------------------------------------- */

static int put(const char *path, struct str text, struct err *err)
{
	if (!text.p)
		return unlink(path) < 0 && errno != ENOENT
			       ? err_set(err, -errno, "cannot remove %s: %s", path, strerror(errno))
			       : 0;
	_cleanup_free_ char *dir = kv_strdup(path);

	*strrchr(dir, '/') = '\0';
	int r = fs_mkdir(dir, 0755, err);

	return r < 0 ? r : fs_write(path, text.p, text.n, 0644, err);
}

static bool changes(const struct item *it)
{
	return it->action != ACTION_SAME && it->action != ACTION_KEEP;
}

static void take_back(const struct plan *p, size_t n)
{
	struct err err;

	for (size_t i = 0; i < n; i++)
		if (changes(&p->v[i]) && put(p->v[i].path, p->v[i].old, &err) < 0)
			(void)ctl_fail_err(&err);
}

static int write_files(const struct plan *p)
{
	struct err err;

	for (size_t i = 0; i < p->n; i++) {
		if (changes(&p->v[i]) && put(p->v[i].path, p->v[i].new, &err) < 0) {
			int code = ctl_fail_err(&err);

			take_back(p, i);
			return code;
		}
	}
	return 0;
}

static int check_result(const struct plan *p)
{
	struct err_list errs;
	struct model *m;
	int code = 0;

	err_list_init(&errs);
	if (findings_load_dir(p->c, true, &m, &errs) != 0 || errs.n_errors > 0) {
		findings_print(&errs, m, ERR_LEVEL_ERROR);
		take_back(p, p->n);
		code = ctl_fail(CTL_EXIT_CONFIG, "the configuration could not be used with this "
						 "profile; every file is as it was");
	}
	err_list_done(&errs);
	return code;
}

static int reload(struct ctl *c)
{
	struct doc *reply;
	struct err err;

	if (snapshot_is_of_files(c))
		return 0;
	if (ctl_reload(c, false, &reply, &err) == 0)
		return doc_get_bool(reply, "ok", false)
			       ? 0
			       : ctl_fail(CTL_EXIT_CONFIG, "the router refuses the files; "
							   "'kvmeshctl config test' tells why");
	if (!ctl_is_unanswered(&err))
		return ctl_fail_err(&err);
	ctl_note(c, "the router does not run: it will read the files when it starts");
	return 0;
}

/* ---- systemd --------------------------------------------------------------------------------- */

static bool has_systemd(const struct ctl *c)
{
	struct stat st;

	return !c->root && !c->etc_given && !c->run_given && stat("/run/systemd/system", &st) == 0;
}

static bool systemctl(const char *verb, const char *unit)
{
	_cleanup_free_ char *of_verb = kv_strdup(verb), *of_unit = kv_strdup(unit);
	char *argv[] = { (char[]){ "systemctl" },
			 (char[]){ "--quiet" },
			 (char[]){ "--now" },
			 of_verb,
			 of_unit,
			 NULL };
	pid_t pid;
	int st = 0, r = posix_spawnp(&pid, "systemctl", NULL, NULL, argv, environ);

	if (r == 0)
		while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
			;
	if (r != 0)
		(void)ctl_fail(CTL_EXIT_NO, "systemctl: %s", strerror(r));
	return r == 0 && st == 0;
}

/* One that fails does not hold up the others: a port may be another server's. */
static void run_units(struct plan *p)
{
	for (size_t i = 0; has_systemd(p->c) && i < p->n_units; i++)
		p->units[i].failed =
			!systemctl(p->units[i].start ? "enable" : "disable", p->units[i].name);
}

/* ---- showing --------------------------------------------------------------------------------- */

static void add_row(struct arena *a, struct doc *rows, const char *what, struct str name,
		    const char *action)
{
	struct doc *d = doc_add(a, rows, doc_new_map(a));

	doc_set_str(a, d, "what", str_c(what));
	doc_set_str(a, d, "name", name);
	doc_set_str(a, d, "action", str_c(action));
}

static const char *unit_action(const struct plan *p, const struct unit *u)
{
	if (!has_systemd(p->c))
		return "not touched";
	return u->failed ? "failed" : u->start ? "enabled" : "disabled";
}

static struct doc *plan_rows(const struct plan *p)
{
	struct arena *a = &p->c->arena;
	struct doc *rows = doc_new_list(a);

	for (size_t i = 0; i < p->n; i++)
		add_row(a, rows, "file", str_c(p->v[i].path), action_names[p->v[i].action]);
	for (size_t i = 0; i < p->n_units; i++)
		add_row(a, rows, "unit", str_c(p->units[i].name), unit_action(p, &p->units[i]));
	return rows;
}

static enum print_style style_of(const struct doc *row)
{
	struct str action = doc_get_str(row, "action", STR(""));

	if (str_eq(action, STR("failed")))
		return PRINT_BAD;
	return str_eq(action, STR("kept")) || str_eq(action, STR("not touched")) ? PRINT_WARN
										 : PRINT_GOOD;
}

static void show_row(struct ctl *c, const struct doc *row, const char *would)
{
	enum print_style s = style_of(row);
	struct str name = doc_get_str(row, "name", STR("")),
		   action = doc_get_str(row, "action", STR(""));

	if (s == PRINT_WARN)
		would = "";
	fprintf(c->out, "%s%s%s %.*s %s%.*s\n", print_esc(c, s), print_glyph(c, s),
		print_esc(c, PRINT_PLAIN), STR_ARG(name), would, STR_ARG(action));
}

static void show_plan(const struct plan *p, bool dry_run)
{
	struct ctl *c = p->c;
	const struct doc *rows = plan_rows(p);

	if (print_wants_doc(c)) {
		print_doc(c, rows);
		return;
	}
	if (dry_run)
		fprintf(c->out, "%.*s\n", STR_ARG(profile_text(&c->arena, p->profile)));
	for (size_t i = 0; i < rows->n; i++)
		show_row(c, rows->v[i], dry_run ? "would be " : "");
}

static bool is_kept(const struct plan *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].action == ACTION_KEEP)
			return true;
	return false;
}

/* On a terminal people are asked, as istioctl does. */
static bool may_proceed(const struct plan *p)
{
	char answer[16];

	if (ctl_has(p->c, "yes") || !isatty(STDIN_FILENO))
		return true;
	fprintf(stderr, "This writes profile %s into %s. Proceed? (y/N) ", p->profile->name,
		p->c->etc);
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* ---- the command ----------------------------------------------------------------------------- */

/* --profile NAME, or istioctl's --set profile=NAME. */
static int chosen_name(struct ctl *c, const char **ret)
{
	*ret = ctl_value(c, "profile", NULL);
	for (unsigned i = 0; ctl_value_at(c, "set", i); i++) {
		const char *pair = ctl_value_at(c, "set", i);

		if (strncmp(pair, "profile=", 8) != 0)
			return ctl_fail(CTL_EXIT_USAGE,
					"--set %s: only profile=NAME can be set here; write other "
					"settings to %s/conf.d",
					pair, c->etc);
		*ret = pair + 8;
	}
	if (!*ret)
		*ret = "default";
	return 0;
}

static bool has_failed(const struct plan *p)
{
	for (size_t i = 0; i < p->n_units; i++)
		if (p->units[i].failed)
			return true;
	return false;
}

static int carry_out(struct plan *p)
{
	int code;

	if ((code = write_files(p)) != 0 || (code = check_result(p)) != 0 ||
	    (code = reload(p->c)) != 0)
		return code;
	run_units(p);
	show_plan(p, false);
	if (has_failed(p))
		return ctl_fail(CTL_EXIT_NO, "a unit failed: 'systemctl status UNIT' tells why (a "
					     "port that another server has?)");
	if (!is_kept(p))
		return CTL_EXIT_OK;
	return ctl_fail(CTL_EXIT_NO,
			"files that were changed by hand stay as they are; --force replaces them");
}

int cmd_install(struct ctl *c)
{
	struct plan p = { .c = c };
	struct profile *all;
	const char *name;
	size_t n;
	int code;

	if ((code = chosen_name(c, &name)) != 0 || (code = profile_all(c, &all, &n)) != 0)
		return code;
	if (!(p.profile = profile_find(all, n, name)))
		return CTL_EXIT_NOT_FOUND;
	if ((code = make_plan(&p, all, n)) != 0)
		return code;
	if (ctl_has(c, "dry-run")) {
		show_plan(&p, true);
		return CTL_EXIT_OK;
	}
	return may_proceed(&p) ? carry_out(&p) : ctl_fail(CTL_EXIT_NO, "nothing was changed");
}
