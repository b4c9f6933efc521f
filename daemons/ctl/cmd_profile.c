/* SPDX-License-Identifier: Apache-2.0 */
/* profile list, dump, diff: the presets that "install" can write. Layer daemons/ctl. */
#include "config.h"

#include "base/vec.h"
#include "ctl/print.h"
#include "ctl/profile.h"

/* ---- list ------------------------------------------------------------------------------------ */

static const struct print_column list_columns[] = {
	{ .head = "NAME", .key = "name" },
	{ .head = "COMPONENTS", .key = "components" },
	{ .head = "DESCRIPTION", .key = "description" },
	{ NULL },
};

static struct doc *profile_doc(struct arena *a, const struct profile *p)
{
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "name", str_c(p->name));
	doc_set(a, d, "components", p->components ? doc_copy(a, p->components) : doc_new_list(a));
	doc_set_str(a, d, "description", p->description);
	return d;
}

int cmd_profile_list(struct ctl *c)
{
	struct doc *rows = doc_new_list(&c->arena);
	struct profile *v;
	size_t n;
	int code = profile_all(c, &v, &n);

	for (size_t i = 0; code == 0 && i < n; i++)
		doc_add(&c->arena, rows, profile_doc(&c->arena, &v[i]));
	if (code == 0)
		print_list(c, rows, list_columns, "profiles");
	return code;
}

/* ---- dump ------------------------------------------------------------------------------------ */

int cmd_profile_dump(struct ctl *c)
{
	struct profile *v;
	size_t n;
	int code = profile_all(c, &v, &n);
	const struct profile *p =
		code == 0 ? profile_find(v, n, c->n_words > 0 ? c->words[0] : "default") : NULL;

	if (!p)
		return code != 0 ? code : CTL_EXIT_NOT_FOUND;
	if (!print_wants_doc(c)) {
		fprintf(c->out, "%.*s", STR_ARG(profile_text(&c->arena, p)));
		return CTL_EXIT_OK;
	}
	struct doc *d = profile_doc(&c->arena, p);
	struct doc *files = doc_set(&c->arena, d, "files", doc_new_list(&c->arena));

	for (size_t i = 0; i < p->n_files; i++) {
		struct doc *f = doc_add(&c->arena, files, doc_new_map(&c->arena));

		doc_set_str(&c->arena, f, "path", str_c(p->files[i].path));
		doc_set_str(&c->arena, f, "text", p->files[i].text);
	}
	print_doc(c, d);
	return CTL_EXIT_OK;
}

/* ---- diff ------------------------------------------------------------------------------------ */

struct lines {
	struct str *v;
	size_t n, cap;
};

static struct lines split(struct ctl *c, struct str text)
{
	struct lines l = { 0 };
	struct str line;

	while (str_split(&text, '\n', &line))
		if (text.p || line.n > 0)
			*vec_push_arena(&c->arena, l.v, l.n, l.cap) = line;
	return l;
}

/* Longest common subsequence; profiles have some dozen lines. */
static unsigned *common_lengths(struct ctl *c, const struct lines *a, const struct lines *b)
{
	size_t w = b->n + 1;
	unsigned *t = arena_new_n(&c->arena, unsigned, (a->n + 1) * w);

	for (size_t i = a->n; i-- > 0;)
		for (size_t k = b->n; k-- > 0;) {
			unsigned down = t[(i + 1) * w + k], right = t[i * w + k + 1];

			t[i * w + k] = str_eq(a->v[i], b->v[k]) ? t[(i + 1) * w + k + 1] + 1
				       : down > right           ? down
								: right;
		}
	return t;
}

static void print_diff(struct ctl *c, const struct lines *a, const struct lines *b)
{
	const unsigned *t = common_lengths(c, a, b);
	size_t i = 0, k = 0, w = b->n + 1;

	fprintf(c->out, "@@ -%d,%zu +%d,%zu @@\n", a->n > 0, a->n, b->n > 0, b->n);
	while (i < a->n || k < b->n)
		if (i < a->n && k < b->n && str_eq(a->v[i], b->v[k])) {
			fprintf(c->out, " %.*s\n", STR_ARG(a->v[i]));
			i++;
			k++;
		} else if (i < a->n && (k == b->n || t[(i + 1) * w + k] >= t[i * w + k + 1])) {
			fprintf(c->out, "-%.*s\n", STR_ARG(a->v[i]));
			i++;
		} else {
			fprintf(c->out, "+%.*s\n", STR_ARG(b->v[k]));
			k++;
		}
}

int cmd_profile_diff(struct ctl *c)
{
	struct profile *v;
	size_t n;
	int code = profile_all(c, &v, &n);
	const struct profile *a = code == 0 ? profile_find(v, n, c->words[0]) : NULL;
	const struct profile *b = a ? profile_find(v, n, c->words[1]) : NULL;

	if (!b)
		return code != 0 ? code : CTL_EXIT_NOT_FOUND;
	struct str x = profile_text(&c->arena, a), y = profile_text(&c->arena, b);

	if (str_eq(x, y))
		return CTL_EXIT_OK;
	const struct lines from = split(c, x), to = split(c, y);

	fprintf(c->out, "--- %s\n+++ %s\n", a->name, b->name);
	print_diff(c, &from, &to);
	return CTL_EXIT_NO;
}
