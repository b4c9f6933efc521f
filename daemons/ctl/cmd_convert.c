/* SPDX-License-Identifier: Apache-2.0 */
/* convert: Istio YAML ⇄ native syntax ⇄ JSON, without losing a field. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "config/convert.h"
#include "config/load.h"
#include "ctl/findings.h"

static int choose_syntax(struct ctl *c, enum doc_syntax from, enum doc_syntax *ret)
{
	const char *to = ctl_value(c, "to", NULL);

	if (!to && c->output == CTL_OUTPUT_YAML)
		to = "yaml";
	else if (!to && c->output == CTL_OUTPUT_JSON)
		to = "json";
	if (!to)
		*ret = from == DOC_SYNTAX_NATIVE ? DOC_SYNTAX_YAML : DOC_SYNTAX_NATIVE;
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

static int read_input(struct ctl *c, const char *path, struct doc_file *f, struct err_list *errs)
{
	struct str text;
	int r;

	if (strcmp(path, "-") != 0)
		return doc_read_file(path, NULL, &c->arena, f, errs);
	r = findings_read_stdin(c, &text, errs);
	return r < 0 ? r : doc_read_text(text, "stdin", load_guess_syntax(text), &c->arena, f, errs);
}

static void print_errors(const struct err_list *errs, const struct doc_file *f)
{
	for (size_t i = 0; i < errs->n; i++)
		err_print(stderr, &errs->v[i],
			  f->path && strcmp(errs->v[i].file, f->path) == 0 ? f->text : STR_NULL);
}

static int convert_one(struct ctl *c, const char *path)
{
	struct convert_opts opts = { .pretty = !c->json_short, .marks = !ctl_has(c, "no-marks") };
	struct doc_file f = { 0 };
	struct err_list errs;
	struct str text = STR_NULL;
	int r, code = CTL_EXIT_OK;

	err_list_init(&errs);
	r = read_input(c, path, &f, &errs);
	if (r == 0 && (code = choose_syntax(c, f.syntax, &opts.to)) == 0)
		r = convert_file(&f, &opts, &c->arena, &text, &errs);
	if (code == 0 && r == 0 && ctl_has(c, "check")) {
		code = convert_check(&f, &opts, &c->arena, &errs) == 0 ? CTL_EXIT_OK : CTL_EXIT_NO;
		if (code == CTL_EXIT_OK)
			ctl_note(c, "%s: nothing is lost on the way there and back", path);
	} else if (code == 0 && r == 0) {
		fwrite(text.p, 1, text.n, c->out);
		if (text.n > 0 && text.p[text.n - 1] != '\n')
			fputc('\n', c->out);
	}
	print_errors(&errs, &f);
	err_list_done(&errs);
	return code != 0 ? code : r != 0 ? CTL_EXIT_DATA : CTL_EXIT_OK;
}

int cmd_convert(struct ctl *c)
{
	int worst = CTL_EXIT_OK;

	for (unsigned i = 0; i < c->n_words; i++) {
		int code = convert_one(c, c->words[i]);

		if (code == CTL_EXIT_USAGE)
			return code;
		if (code != CTL_EXIT_OK)
			worst = code;
	}
	return worst;
}
