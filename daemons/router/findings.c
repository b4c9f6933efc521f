/* SPDX-License-Identifier: Apache-2.0 */
/* findings: see findings.h. Layer daemons/router. */
#include "config.h"

#include "router/findings.h"

static const char *level_name(enum err_level level)
{
	switch (level) {
	case ERR_LEVEL_ERROR:
		return "error";
	case ERR_LEVEL_WARNING:
		return "warning";
	case ERR_LEVEL_INFO:
		break;
	}
	return "info";
}

static struct doc *finding_doc(const struct err *e, struct arena *a)
{
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "level", str_c(level_name(e->level)));
	doc_set_str(a, d, "code", str_c(err_code_name(e->code)));
	doc_set_str(a, d, "rule", str_c(e->rule));
	doc_set_str(a, d, "file", str_c(e->file));
	doc_set_int(a, d, "line", e->line);
	doc_set_int(a, d, "col", e->col);
	doc_set_str(a, d, "text", str_c(e->text));
	return d;
}

struct doc *findings_doc(const struct err_list *errs, struct arena *a)
{
	struct doc *list = doc_new_list(a);

	/* Errors first: a reply is cut before they are. */
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < errs->n && list->n < FINDINGS_TOLD; i++)
			if ((errs->v[i].level == ERR_LEVEL_ERROR) == (pass == 0))
				doc_add(a, list, finding_doc(&errs->v[i], a));
	return list;
}

void findings_print(FILE *out, const struct err_list *errs, const struct model *m)
{
	for (size_t i = 0; i < errs->n; i++)
		err_print(out, &errs->v[i], m ? model_source_text(m, errs->v[i].file) : STR_NULL);
	if (errs->n_dropped > 0)
		fprintf(out, "… and %zu more\n", errs->n_dropped);
}

struct str findings_first(const struct err_list *errs, struct arena *a)
{
	for (size_t i = 0; i < errs->n; i++) {
		const struct err *e = &errs->v[i];

		if (e->level != ERR_LEVEL_ERROR)
			continue;
		if (e->file[0] && e->line > 0)
			return arena_printf(a, "%s:%u: %s", e->file, (unsigned)e->line, e->text);
		return arena_str(a, str_c(e->text));
	}
	return STR("");
}
