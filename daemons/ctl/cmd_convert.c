/* SPDX-License-Identifier: Apache-2.0 */
/* convert: Istio YAML ⇄ native syntax ⇄ JSON, without losing a field. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "config/convert.h"
#include "config/load.h"
#include "ctl/findings.h"

/* -1: the other one of native and YAML. */
static int choose_syntax(struct ctl *c, int *ret)
{
	const char *to = ctl_value(c, "to", NULL);

	if (!to && c->output == CTL_OUTPUT_YAML)
		to = "yaml";
	else if (!to && c->output == CTL_OUTPUT_JSON)
		to = "json";
	if (!to)
		*ret = -1;
	else if (strcmp(to, "conf") == 0 || strcmp(to, "native") == 0)
		*ret = DOC_SYNTAX_NATIVE;
	else if (strcmp(to, "yaml") == 0)
		*ret = DOC_SYNTAX_YAML;
	else if (strcmp(to, "json") == 0)
		*ret = DOC_SYNTAX_JSON;
	else
		return ctl_fail(CTL_EXIT_USAGE, "--to %s: conf, yaml or json is needed", to);
	return 0;
}

static enum doc_syntax other_syntax(enum doc_syntax from)
{
	return from == DOC_SYNTAX_NATIVE ? DOC_SYNTAX_YAML : DOC_SYNTAX_NATIVE;
}

static int read_input(struct ctl *c, const char *path, struct doc_file *f, struct err_list *errs)
{
	struct str text;
	int r;

	if (strcmp(path, "-") != 0)
		return doc_read_file(path, NULL, &c->arena, f, errs);
	r = findings_read_stdin(c, &text, errs);
	return r < 0 ? r
		     : doc_read_text(text, "stdin", load_guess_syntax(text), &c->arena, f, errs);
}

static void print_errors(const struct err_list *errs, const struct doc_file *f)
{
	for (size_t i = 0; i < errs->n; i++)
		err_print(stderr, &errs->v[i],
			  f->path && strcmp(errs->v[i].file, f->path) == 0 ? f->text : STR_NULL);
}

static int convert_one(struct ctl *c, const char *path, int to)
{
	struct convert_opts opts = { .pretty = !c->json_short, .marks = !ctl_has(c, "no-marks") };
	struct doc_file f = { 0 };
	struct err_list errs;
	struct str text = STR_NULL;
	int r, code = CTL_EXIT_OK;

	err_list_init(&errs);
	r = read_input(c, path, &f, &errs);
	opts.to = to >= 0 ? (enum doc_syntax)to : other_syntax(f.syntax);
	if (r == 0)
		r = convert_file(&f, &opts, &c->arena, &text, &errs);
	if (r != 0) {
		code = CTL_EXIT_DATA;
	} else if (ctl_has(c, "check")) {
		code = convert_check(&f, &opts, &c->arena, &errs) == 0 ? CTL_EXIT_OK : CTL_EXIT_NO;
		if (code == CTL_EXIT_OK)
			ctl_note(c, "%s: nothing is lost on the way there and back", path);
	} else {
		fwrite(text.p, 1, text.n, c->out);
		if (text.n > 0 && text.p[text.n - 1] != '\n')
			fputc('\n', c->out);
	}
	print_errors(&errs, &f);
	err_list_done(&errs);
	return code;
}

int cmd_convert(struct ctl *c)
{
	int worst, to;

	if ((worst = choose_syntax(c, &to)) != 0)
		return worst;
	for (unsigned i = 0; i < c->n_words; i++) {
		/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): choose_syntax has set it, else it said no */
		int code = convert_one(c, c->words[i], to);

		if (code != CTL_EXIT_OK)
			worst = code;
	}
	return worst;
}
