/* SPDX-License-Identifier: Apache-2.0 */
/*
 * install: write a profile's files below /etc/kvmesh, have them read, and have systemd run the
 * gateways it asks for. Layer daemons/ctl.
 * What an operator has changed stays as it is, unless --force; nothing is done twice; what the
 * configuration would not load with is taken back.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/vec.h"
#include "ctl/changes.h"
#include "ctl/print.h"
#include "ctl/profile.h"
#include "ctl/systemctl.h"

struct unit {
	const char *name;
	bool start; /* else it is stopped */
	bool failed;
};
struct plan {
	struct ctl *c;
	const struct profile *profile;
	struct changes files;
	struct unit *units; /* in this order */
	size_t n_units, cap_units;
};

/* ---- planning -------------------------------------------------------------------------------- */

static int plan_file(struct plan *p, const char *name, struct str new, struct change **ret)
{
	return changes_plan(&p->files, arena_printf(&p->c->arena, "%s/%s", p->c->etc, name).p, new,
			    ret);
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

		code = plan_file(p, f->path, f->text, NULL);
		plan_units(p, f->path, true);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < all[i].n_files && code == 0; k++) {
			const char *path = all[i].files[k].path;
			struct change *it;

			code = plan_file(p, path, STR_NULL, &it);
			if (code == 0 && it && it->kind == CHANGE_REMOVE)
				plan_units(p, path, false);
		}
	return code;
}

/* ---- systemd --------------------------------------------------------------------------------- */

/* One that fails does not hold up the others: a port may be another server's. */
static void run_units(struct plan *p)
{
	for (size_t i = 0; systemctl_is_here(p->c) && i < p->n_units; i++) {
		const char *verb = p->units[i].start ? "enable" : "disable";
		const char *words[] = { "--quiet", "--now", verb, p->units[i].name, NULL };

		p->units[i].failed = !systemctl_run(words);
	}
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
	if (!systemctl_is_here(p->c))
		return "not touched";
	return u->failed ? "failed" : u->start ? "enabled" : "disabled";
}

static struct doc *plan_rows(const struct plan *p)
{
	struct arena *a = &p->c->arena;
	struct doc *rows = doc_new_list(a);

	for (size_t i = 0; i < p->files.n; i++)
		add_row(a, rows, "file", str_c(p->files.v[i].path),
			change_names[p->files.v[i].kind]);
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

	if ((code = changes_do(&p->files)) != 0 || (code = changes_reload(p->c)) != 0)
		return code;
	run_units(p);
	show_plan(p, false);
	if (has_failed(p))
		return ctl_fail(CTL_EXIT_NO, "a unit failed: 'systemctl status UNIT' tells why (a "
					     "port that another server has?)");
	if (!changes_kept(&p->files))
		return CTL_EXIT_OK;
	return ctl_fail(CTL_EXIT_NO,
			"files that were changed by hand stay as they are; --force replaces them");
}

int cmd_install(struct ctl *c)
{
	struct plan p = {
		.c = c,
		.files = { .c = c, .sign = PROFILE_SIGN, .force = ctl_has(c, "force") },
	};
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
