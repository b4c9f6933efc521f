/* SPDX-License-Identifier: Apache-2.0 */
/*
 * analyze, validate: what is wrong with a configuration, before or after it is installed.
 * Layer daemons/ctl. The form of the lines, the thresholds and the exit codes are istioctl's.
 */
#include "config.h"

#include <fnmatch.h>
#include <string.h>

#include "config/check.h"
#include "ctl/findings.h"
#include "ctl/print.h"

struct analysis {
	struct ctl *c;
	struct model *m;
	struct err_list errs;
	enum err_level output, failure; /* thresholds: this level and what is graver */
	size_t n_failing;
	bool unparsable;
};

/* "VirtualService my-app.default" of a finding, or NULL. */
static const char *label_of(struct analysis *an, const struct err *e)
{
	const struct model_resource *r = findings_resource(an->m, e);

	return r ? model_label(r, &an->c->arena).p : NULL;
}

/* The finding's sentence; who it is about is already said by label_of. */
static const char *text_of(struct analysis *an, const struct err *e)
{
	const char *label = label_of(an, e);
	struct str text = str_c(e->text);

	if (label && str_has_prefix(text, str_c(label)) &&
	    str_has_prefix(str_skip(text, strlen(label)), STR(": ")))
		return e->text + strlen(label) + 2;
	return e->text;
}

/* -S CODE=Kind name.namespace, with wildcards; "CODE" alone is every resource. Errors stay. */
static bool is_suppressed(struct analysis *an, const struct err *e)
{
	const char *s;

	if (e->rule[0] == '\0' || e->level == ERR_LEVEL_ERROR)
		return false;
	for (unsigned i = 0; (s = ctl_value_at(an->c, "suppress", i)); i++) {
		struct str code = str_c(s);
		ptrdiff_t eq = str_find(code, '=');
		const char *pattern = eq >= 0 ? s + eq + 1 : "*", *label = label_of(an, e);

		if (eq >= 0)
			code = str_take(code, (size_t)eq);
		const struct check_rule *rule = check_rule_find(str_c(e->rule));
		bool same = str_eq(code, str_c(e->rule)) || str_eq(code, STR("*")) ||
			    (rule && str_eq(code, str_c(rule->istio)));

		if (same && fnmatch(pattern, label ? label : "", 0) == 0)
			return true;
	}
	return false;
}

static bool is_elsewhere(struct analysis *an, const struct err *e)
{
	const struct model_resource *r = an->c->ns ? findings_resource(an->m, e) : NULL;

	return r && !str_eq(r->ns, str_c(an->c->ns));
}

static void print_line(struct analysis *an, const struct err *e)
{
	static const enum print_style styles[] = { PRINT_BAD, PRINT_WARN, PRINT_PLAIN };
	struct ctl *c = an->c;
	const char *label = label_of(an, e);
	bool styled = styles[e->level] != PRINT_PLAIN;

	fprintf(c->out, "%s%s%s", styled ? print_esc(c, styles[e->level]) : "",
		findings_level_name(e->level), styled ? print_esc(c, PRINT_PLAIN) : "");
	if (e->rule[0])
		fprintf(c->out, " [%s]", e->rule);
	fprintf(c->out, " (%s%s%s", label ? label : "", label ? " " : "",
		e->file[0] ? e->file : "-");
	if (e->line > 0)
		fprintf(c->out, ":%u", e->line);
	fprintf(c->out, ") %s\n", text_of(an, e));
}

static void add_doc(struct analysis *an, struct doc *list, const struct err *e)
{
	struct arena *a = &an->c->arena;
	struct doc *d = doc_add(a, list, doc_new_map(a));
	const struct check_rule *rule = check_rule_find(str_c(e->rule));
	const char *label = label_of(an, e);

	doc_set_str(a, d, "code", str_c(e->rule));
	doc_set_str(a, d, "level", str_c(findings_level_name(e->level)));
	doc_set_str(a, d, "origin", str_c(label ? label : ""));
	doc_set_str(a, d, "reference", arena_printf(a, "%s:%u", e->file, e->line));
	doc_set_str(a, d, "file", str_c(e->file));
	doc_set_int(a, d, "line", e->line);
	doc_set_int(a, d, "col", e->col);
	doc_set_str(a, d, "message", str_c(text_of(an, e)));
	if (rule && rule->istio[0])
		doc_set_str(a, d, "istio", str_c(rule->istio));
}

static void show(struct analysis *an)
{
	struct doc *list = doc_new_list(&an->c->arena);

	for (size_t i = 0; i < an->errs.n; i++) {
		const struct err *e = &an->errs.v[i];

		an->unparsable = an->unparsable || findings_is_unreadable(e);
		if (is_suppressed(an, e) || is_elsewhere(an, e))
			continue;
		if (e->level <= an->failure)
			an->n_failing++;
		if (e->level > an->output)
			continue;
		if (print_wants_doc(an->c))
			add_doc(an, list, e);
		else
			print_line(an, e);
	}
	if (print_wants_doc(an->c))
		print_doc(an->c, list);
}

static int threshold(struct ctl *c, const char *option, enum err_level dflt, enum err_level *ret)
{
	const char *text = ctl_value(c, option, NULL);

	*ret = dflt;
	if (text && !findings_level_parse(text, ret))
		return ctl_fail(CTL_EXIT_USAGE, "--%s %s: Info, Warning or Error is needed", option,
				text);
	return 0;
}

static const struct print_column rule_columns[] = {
	{ .head = "CODE", .key = "code" },
	{ .head = "LEVEL", .key = "level" },
	{ .head = "NAME", .key = "name" },
	{ .head = "ISTIO", .key = "istio" },
	{ .head = "ABOUT", .key = "help" },
	{ NULL },
};

static int list_rules(struct ctl *c)
{
	struct arena *a = &c->arena;
	struct doc *list = doc_new_list(a);

	for (const struct check_rule *r = check_rules; r->code; r++) {
		struct doc *d = doc_add(a, list, doc_new_map(a));

		doc_set_str(a, d, "code", str_c(r->code));
		doc_set_str(a, d, "level", str_c(findings_level_name(r->level)));
		doc_set_str(a, d, "name", str_c(r->title));
		doc_set_str(a, d, "istio", str_c(r->istio));
		doc_set_str(a, d, "help", str_c(r->help));
	}
	print_list(c, list, rule_columns, "rules");
	return CTL_EXIT_OK;
}

static int verdict(struct analysis *an, const char *what)
{
	if (an->unparsable)
		return CTL_EXIT_DATA;
	if (an->n_failing > 0) {
		ctl_note(an->c, "%zu issue%s found when analyzing %s", an->n_failing,
			 an->n_failing == 1 ? "" : "s", what);
		return CTL_EXIT_FINDINGS;
	}
	if (an->errs.n == 0)
		ctl_note(an->c, "%s No validation issues found when analyzing %s",
			 an->c->utf8 ? "✔" : "ok", what);
	return CTL_EXIT_OK;
}

static int is_alone(struct ctl *c, bool *ret)
{
	struct str text = str_c(ctl_value(c, "use-kube", "true"));

	*ret = str_eq(text, STR("false"));
	if (!*ret && !str_eq(text, STR("true")))
		return ctl_fail(CTL_EXIT_USAGE, "--use-kube %s: true or false is needed", text.p);
	return 0;
}

int cmd_analyze(struct ctl *c)
{
	struct analysis an = { .c = c };
	bool alone;
	int r;

	if (ctl_has(c, "list-analyzers"))
		return list_rules(c);
	if ((r = threshold(c, "output-threshold", ERR_LEVEL_INFO, &an.output)) != 0 ||
	    (r = threshold(c, "failure-threshold", ERR_LEVEL_ERROR, &an.failure)) != 0 ||
	    (r = is_alone(c, &alone)) != 0)
		return r;
	err_list_init(&an.errs);
	if (c->n_words > 0 && alone)
		findings_load_files(c, c->words, c->n_words, true, &an.m, &an.errs);
	else if (c->n_words > 0)
		findings_load_over(c, c->words, c->n_words, &an.m, &an.errs);
	else
		findings_load_dir(c, true, &an.m, &an.errs);
	show(&an);
	r = verdict(&an, c->n_words == 0 ? c->etc : c->n_words == 1 ? c->words[0] : "the files");
	err_list_done(&an.errs);
	return r;
}

/* What one file alone can tell: syntax, fields, and the rules inside a resource. */
static bool is_local_finding(const struct err *e)
{
	const struct check_rule *rule = check_rule_find(str_c(e->rule));

	if (findings_is_unreadable(e) || e->code == KV_ERR_SCHEMA)
		return true;
	return !rule || strcmp(rule->istio, "IST0106") == 0 || strcmp(rule->istio, "IST0133") == 0;
}

int cmd_validate(struct ctl *c)
{
	const char *paths[64];
	size_t n = 0, n_errors = 0;
	struct model *m;
	struct err_list errs, local;
	bool syntax = false;

	for (unsigned i = 0; n < 64 && ctl_value_at(c, "filename", i); i++)
		paths[n++] = ctl_value_at(c, "filename", i);
	for (unsigned i = 0; n < 64 && i < c->n_words; i++)
		paths[n++] = c->words[i];
	if (n == 0)
		return ctl_fail(CTL_EXIT_USAGE, "validate needs -f FILE");
	err_list_init(&errs);
	err_list_init(&local);
	findings_load_files(c, paths, n, true, &m, &errs);
	for (size_t i = 0; i < errs.n; i++) {
		if (!is_local_finding(&errs.v[i]))
			continue;
		syntax = syntax || findings_is_unreadable(&errs.v[i]);
		n_errors += errs.v[i].level == ERR_LEVEL_ERROR;
		err_list_push(&local, &errs.v[i]);
	}
	findings_print(&local, m, ERR_LEVEL_WARNING);
	if (n_errors == 0)
		for (size_t i = 0; i < n; i++)
			ctl_note(c, "\"%s\" is valid", paths[i]);
	err_list_done(&errs);
	err_list_done(&local);
	return n_errors == 0 ? CTL_EXIT_OK : syntax ? CTL_EXIT_DATA : CTL_EXIT_FINDINGS;
}
