/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config: test, dump, reload, history: the configuration of a node as a whole. Layer daemons/ctl.
 * test and dump read the files with the daemons' code; reload and history ask the router.
 */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "ctl/findings.h"
#include "ctl/print.h"
#include "ipc/ipc.h"

/* ---- test ------------------------------------------------------------------------------------ */

int cmd_config_test(struct ctl *c)
{
	struct model *m;
	struct err_list errs;
	int code = CTL_EXIT_OK;

	err_list_init(&errs);
	findings_load_dir(c, true, &m, &errs);
	findings_print(&errs, m, c->quiet ? ERR_LEVEL_ERROR : ERR_LEVEL_WARNING);
	if (errs.n_errors > 0)
		code = ctl_fail(CTL_EXIT_CONFIG, "the configuration in %s is unusable: %zu error%s",
				c->etc, errs.n_errors, errs.n_errors == 1 ? "" : "s");
	else
		ctl_note(c, "the configuration in %s is valid: %zu resources in %zu files", c->etc,
			 m->n_resources, m->sources.n);
	err_list_done(&errs);
	return code;
}

/* ---- dump ------------------------------------------------------------------------------------ */

/* Is this a value to print on one line? */
static bool is_leaf(const struct doc *d)
{
	if (d->kind == DOC_MAP)
		return d->n == 0;
	if (d->kind != DOC_LIST)
		return true;
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i]->kind == DOC_MAP || d->v[i]->kind == DOC_LIST)
			return false;
	return true;
}

static void add_setting(struct arena *a, struct doc *rows, const char *path, const struct doc *d)
{
	struct doc *row = doc_add(a, rows, doc_new_map(a));

	doc_set_str(a, row, "key", str_c(path));
	doc_set(a, row, "value", doc_copy(a, d));
	doc_set_str(a, row, "origin",
		    d->at.file ? arena_printf(a, "%s:%u", d->at.file, d->at.line) : STR("default"));
}

static void add_settings(struct arena *a, struct doc *rows, const char *path, const struct doc *d)
{
	if (is_leaf(d)) {
		add_setting(a, rows, path, d);
		return;
	}
	for (size_t i = 0; i < d->n; i++) {
		const struct doc *v = d->v[i];
		struct str sub = d->kind == DOC_LIST ? arena_printf(a, "%s[%zu]", path, i) :
				 path[0] ? arena_printf(a, "%s.%.*s", path, STR_ARG(v->key)) :
					   arena_printf(a, "%.*s", STR_ARG(v->key));

		add_settings(a, rows, sub.p, v);
	}
}

static struct str value_cell(struct arena *a, const struct doc *row)
{
	return doc_to_json(doc_get(row, STR("value")), a, false);
}

static const struct print_column setting_columns[] = {
	{ .head = "SETTING", .key = "key" },
	{ .head = "VALUE", .cell = value_cell },
	{ .head = "ORIGIN", .key = "origin" },
	{ NULL },
};

int cmd_config_dump(struct ctl *c)
{
	struct arena *a = &c->arena;
	struct doc *rows = doc_new_list(a);
	struct model *m;
	int code = findings_load_or_fail(c, &m);

	if (code != CTL_EXIT_OK)
		return code;
	add_settings(a, rows, "", model_mesh_doc(m, a));
	print_list(c, rows, setting_columns, "settings");
	return CTL_EXIT_OK;
}

/* ---- reload ---------------------------------------------------------------------------------- */

static int tell_reload(struct ctl *c, const struct doc *reply)
{
	bool ok = doc_get_bool(reply, "ok", false);
	struct err_list errs;

	err_list_init(&errs);
	findings_from_doc(doc_get(reply, STR("findings")), &errs);
	if (print_wants_doc(c))
		print_doc(c, reply);
	else
		findings_print(&errs, NULL, ok && c->quiet ? ERR_LEVEL_ERROR : ERR_LEVEL_WARNING);
	err_list_done(&errs);
	if (!ok)
		return ctl_fail(CTL_EXIT_CONFIG,
				"the new configuration is unusable, generation %lld keeps serving",
				(long long)doc_get_int(reply, "generation", 0));
	ctl_note(c, "generation %lld is in force%s", (long long)doc_get_int(reply, "generation", 0),
		 doc_get(reply, STR("changed")) && !doc_get_bool(reply, "changed", true) ?
			 ", nothing changed" : "");
	return CTL_EXIT_OK;
}

/* It did not come to every proxy: did one say no, or is one late? */
static bool is_refused(struct ctl *c)
{
	struct doc *st;
	struct err err;

	if (ctl_call_router(c, "Status", NULL, &st, &err) < 0)
		return false;
	const struct doc *proxies = doc_get(st, STR("proxies"));

	for (size_t i = 0; proxies && proxies->kind == DOC_LIST && i < proxies->n; i++)
		if (doc_get_str(proxies->v[i], "error", STR("")).n > 0)
			return true;
	return false;
}

int cmd_config_reload(struct ctl *c)
{
	bool wait = ctl_has(c, "wait");
	struct doc *reply;
	struct err err;

	if (ctl_reload(c, wait, &reply, &err) == 0)
		return tell_reload(c, reply);
	if (wait && !ctl_is_unanswered(&err) && err.code != KV_ERR_REFUSED && !is_refused(c))
		return ctl_fail(CTL_EXIT_TIMEOUT, "%s", err.text);
	return ctl_fail_err(&err);
}

/* ---- history --------------------------------------------------------------------------------- */

static struct str changed_cell(struct arena *a, const struct doc *row)
{
	const struct doc *changed = doc_get(row, STR("changed"));

	if (!changed || changed->kind != DOC_LIST || changed->n <= 3)
		return print_value(a, changed);
	return arena_printf(a, "%.*s,%.*s and %zu more", STR_ARG(print_value(a, changed->v[0])),
			    STR_ARG(print_value(a, changed->v[1])), changed->n - 2);
}

static struct str state_cell(struct arena *a, const struct doc *row)
{
	(void)a;
	return doc_get_bool(row, "ok", false) ? STR("loaded") : STR("refused");
}

static enum print_style state_style(const struct doc *row)
{
	return doc_get_bool(row, "ok", false) ? PRINT_PLAIN : PRINT_BAD;
}

static const struct print_column history_columns[] = {
	{ .head = "GENERATION", .key = "generation", .right = true },
	{ .head = "TIME", .key = "at" },
	{ .head = "BY", .key = "by" },
	{ .head = "CHANGED", .cell = changed_cell },
	{ .head = "STATE", .cell = state_cell, .style = state_style },
	{ .head = "DIGEST", .key = "digest", .wide = true },
	{ .head = "ERROR", .key = "error", .wide = true },
	{ NULL },
};

int cmd_config_history(struct ctl *c)
{
	const char *limit = ctl_value(c, "limit", "20");
	struct doc *params = doc_new_map(&c->arena), *reply;
	struct err err;
	uint64_t n;

	if (!str_to_u64(str_c(limit), &n) || n == 0 || n > 10000)
		return ctl_fail(CTL_EXIT_USAGE, "--limit %s: a number from 1 to 10000 is needed",
				limit);
	doc_set_int(&c->arena, params, "limit", (int64_t)n);
	if (ctl_call_router(c, "History", params, &reply, &err) < 0)
		return ctl_fail_err(&err);
	const struct doc *entries = doc_get(reply, STR("entries"));

	print_list(c, entries ? entries : doc_new_list(&c->arena), history_columns, "generations");
	return CTL_EXIT_OK;
}
