/* SPDX-License-Identifier: Apache-2.0 */
/*
 * label: labels of a namespace, as kubectl sets them; istio-injection is the one that does
 * something. Layer daemons/ctl. They are in a file of their own below mesh.d.
 */
#include "config.h"

#include <string.h>

#include "base/vec.h"
#include "config/inject.h"
#include "ctl/changes.h"
#include "ctl/draft.h"
#include "ctl/findings.h"
#include "ctl/injected.h"
#include "ctl/print.h"
#include "ctl/systemctl.h"

#define SIGN "# Written by \"kvmeshctl label\". "

struct job {
	struct ctl *c;
	struct str ns;
	const char *path;
	struct labels labels;
	size_t cap;
};

/* ---- which labels ----------------------------------------------------------------------------- */

static struct label *find_label(struct job *j, struct str key)
{
	for (size_t i = 0; i < j->labels.n; i++)
		if (str_eq(j->labels.v[i].key, key))
			return &j->labels.v[i];
	return NULL;
}

static void remove_label(struct job *j, struct str key)
{
	struct label *l = find_label(j, key);

	if (!l)
		return;
	memmove(l, l + 1, (size_t)(j->labels.v + j->labels.n - (l + 1)) * sizeof(*l));
	j->labels.n--;
}

static int change_label(struct job *j, struct str word)
{
	ptrdiff_t eq = str_find(word, '=');

	if (eq < 0 && str_has_suffix(word, STR("-")) && word.n > 1) {
		remove_label(j, str_take(word, word.n - 1));
		return 0;
	}
	if (eq <= 0 || str_find(word, '"') >= 0 || str_find(word, '\\') >= 0)
		return ctl_fail(CTL_EXIT_USAGE, "%.*s: must be KEY=VALUE, or KEY- to remove it",
				STR_ARG(word));
	struct str key = str_take(word, (size_t)eq), value = str_skip(word, (size_t)eq + 1);
	struct label *l = find_label(j, key);

	if (!l) {
		l = vec_push_arena(&j->c->arena, j->labels.v, j->labels.n, j->cap);
		*l = (struct label){ key, value };
		return 0;
	}
	if (!str_eq(l->val, value) && !ctl_has(j->c, "overwrite"))
		return ctl_fail(CTL_EXIT_NO,
				"label %.*s has the value %.*s already; --overwrite replaces it",
				STR_ARG(key), STR_ARG(l->val));
	l->val = value;
	return 0;
}

/* What our file says so far; a Namespace that somebody else wrote is his. */
static int read_labels(struct job *j, const struct model *m)
{
	const struct model_resource *r = model_find(m, MODEL_KIND_NAMESPACE, j->ns, j->ns);

	if (!r)
		return 0;
	if (!r->at.file || strcmp(r->at.file, j->path) != 0)
		return ctl_fail(CTL_EXIT_NO, "%s:%u describes namespace %.*s: change its labels there",
				r->at.file ? r->at.file : "-", (unsigned)r->at.line, STR_ARG(j->ns));
	for (size_t i = 0; i < r->labels.n; i++)
		*vec_push_arena(&j->c->arena, j->labels.v, j->labels.n, j->cap) = (struct label){
			arena_str(&j->c->arena, r->labels.v[i].key),
			arena_str(&j->c->arena, r->labels.v[i].val),
		};
	return 0;
}

static struct str file_text(struct job *j)
{
	struct arena *a = &j->c->arena;
	struct str list = STR("");

	if (j->labels.n == 0)
		return STR_NULL;
	for (size_t i = 0; i < j->labels.n; i++)
		list = arena_printf(a, "%.*s%s \"%.*s=%.*s\"", STR_ARG(list), i > 0 ? "," : "",
				    STR_ARG(j->labels.v[i].key), STR_ARG(j->labels.v[i].val));
	return changes_signed(a, SIGN,
			      arena_printf(a,
					   "Namespace = { name = \"%.*s\"; labels = [%.*s ]; };\n",
					   STR_ARG(j->ns), STR_ARG(list)));
}

/* ---- what that does to units ------------------------------------------------------------------ */

struct before {
	struct str id;
	bool injected;
};

static size_t remember(struct job *j, const struct model *m, struct before **ret)
{
	size_t n = 0, cap = 0;

	*ret = NULL;
	model_for_each(m, MODEL_KIND_WORKLOAD, r)
		if (str_eq(r->ns, j->ns))
			*vec_push_arena(&j->c->arena, *ret, n, cap) = (struct before){
				arena_str(&j->c->arena, r->id), model_as_workload(r)->injected
			};
	return n;
}

static bool was_injected(const struct before *v, size_t n, struct str id)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(v[i].id, id))
			return v[i].injected;
	return false;
}

static void show(struct job *j, const struct change *file, const struct before *v, size_t n)
{
	struct arena *a = &j->c->arena;
	struct doc *out = doc_new_map(a), *rows = doc_set(a, out, "units", doc_new_list(a));

	doc_set_str(a, out, "namespace", j->ns);
	doc_set_str(a, out, "file", str_c(j->path));
	doc_set_str(a, out, "action", str_c(change_names[file ? file->kind : CHANGE_SAME]));
	model_for_each(j->c->model, MODEL_KIND_WORKLOAD, r) {
		const struct model_workload *w = model_as_workload(r);

		if (!str_eq(r->ns, j->ns) || w->injected == was_injected(v, n, r->id) || !w->unit.n)
			continue;
		struct doc *row = doc_add(a, rows, doc_new_map(a));

		doc_set_str(a, row, "unit", arena_str(a, w->unit));
		doc_set_bool(a, row, "injected", w->injected);
	}
	if (print_wants_doc(j->c)) {
		print_doc(j->c, out);
		return;
	}
	fprintf(j->c->out, "%-10s%s\n", change_names[file ? file->kind : CHANGE_SAME], j->path);
	for (size_t i = 0; i < rows->n; i++) {
		struct str unit = doc_get_str(rows->v[i], "unit", STR(""));

		fprintf(j->c->out, "%-10s%.*s  (next: systemctl restart %.*s)\n",
			doc_get_bool(rows->v[i], "injected", false) ? "in" : "out", STR_ARG(unit),
			STR_ARG(unit));
	}
}

/* ---- the command ------------------------------------------------------------------------------ */

static bool is_namespace_word(const char *word)
{
	static const char *const words[] = { "namespace", "namespaces", "ns" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(word, words[i]) == 0)
			return true;
	return false;
}

/* A name that is fit for a file's, too. */
static bool is_name(const char *s)
{
	return *s && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(s) &&
	       strlen(s) <= 63;
}

static int plan(struct job *j, struct changes *files, struct change **ret)
{
	int code = 0;

	for (unsigned i = 2; i < j->c->n_words && code == 0; i++)
		code = change_label(j, str_c(j->c->words[i]));
	return code != 0 ? code : changes_plan(files, j->path, file_text(j), ret);
}

int cmd_label(struct ctl *c)
{
	struct changes files = { .c = c, .sign = SIGN };
	struct job j = { .c = c };
	struct change *file;
	struct before *v;
	struct model *m;
	int code;

	if (!is_namespace_word(c->words[0]))
		return ctl_fail(CTL_EXIT_USAGE, "'label %s': only namespaces have labels here; "
						"those of a Workload are in its file",
				c->words[0]);
	if (!is_name(c->words[1]))
		return ctl_fail(CTL_EXIT_USAGE, "%s: no name of a namespace", c->words[1]);
	if ((code = findings_load_or_fail(c, &m)) != 0)
		return code;
	j.ns = model_ns(m, str_c(c->words[1]));
	j.ns = arena_str(&c->arena, j.ns);
	j.path = arena_printf(&c->arena, "%s/mesh.d/namespace-%.*s.conf", c->etc, STR_ARG(j.ns)).p;
	if ((code = read_labels(&j, m)) != 0 || (code = plan(&j, &files, &file)) != 0)
		return code;
	if (changes_kept(&files))
		return ctl_fail(CTL_EXIT_NO, "%s was changed by hand: change the label there",
				j.path);
	size_t n = remember(&j, m, &v);

	if (ctl_has(c, "dry-run")) {
		struct str text = file_text(&j);

		fprintf(c->out, "# %s (would be %s)\n%.*s", j.path,
			change_names[file ? file->kind : CHANGE_SAME], STR_ARG(text));
		return CTL_EXIT_OK;
	}
	if (changes_any(&files) &&
	    ((code = changes_do(&files)) != 0 || (code = injected_settle(c)) != 0))
		return code;
	show(&j, file, v, n);
	return CTL_EXIT_OK;
}
