/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden: every directory beside this file is a case. Layer test.
 *   in*.conf in*.yaml in*.json   inputs; all inputs of a case must give the same model
 *   etc/                         instead: a configuration directory
 *   model.ok                     the resources as loaded, canonical JSON, keys sorted
 *   snap.PROXY.ok                the snapshot of that proxy instance, for cases with one input
 *   err.ok, INPUT.ok             findings of load and check; INPUT.ok where a case has several
 * Without an .ok file the output must be empty (but snapshots: only those that have a file are
 * compared). GOLDEN_UPDATE=1 writes the files instead of comparing; arguments name the cases to
 * run. Every input that loads must also survive bind_write and conversion into each syntax and
 * back; one that passes its check compiles.
 */
#include "config.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/vec.h"
#include "config/check.h"
#include "config/compile.h"
#include "config/convert.h"
#include "config/load.h"

static int n_failed, n_cases;
static bool update;

/* ---- files --------------------------------------------------------------------------------- */

static char *slurp(const char *path)
{
	char *text = NULL;
	size_t n;

	return fs_read(path, DOC_FILE_MAX, &text, &n, NULL) == 0 ? text : kv_strdup("");
}

static void fail(const char *name, const char *what)
{
	printf("FAIL %s: %s\n", name, what);
	n_failed++;
}

/* The first line in which two texts differ. */
static void show_difference(const char *want, const char *got)
{
	struct str w = str_c(want), g = str_c(got), wl, gl;

	for (int line = 1;; line++) {
		bool has_w = str_split(&w, '\n', &wl), has_g = str_split(&g, '\n', &gl);

		if (has_w && has_g && str_eq(wl, gl))
			continue;
		printf("  line %d\n  want: %.*s\n  got:  %.*s\n", line, has_w ? (int)wl.n : 5,
		       has_w ? wl.p : "(end)", has_g ? (int)gl.n : 5, has_g ? gl.p : "(end)");
		return;
	}
}

static void expect(const char *name, const char *path, const char *got)
{
	_cleanup_free_ char *want = slurp(path);
	struct err e = { 0 };

	if (strcmp(want, got) == 0)
		return;
	if (!update) {
		fail(name, path);
		show_difference(want, got);
	} else if (got[0] == '\0') {
		unlink(path);
	} else if (fs_write(path, got, strlen(got), 0644, &e) < 0) {
		fail(name, e.text);
	}
}

/* ---- what is compared ---------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
	const struct doc *const *x = a, *const *y = b;

	return str_cmp((*x)->key, (*y)->key);
}

static void sort_keys(struct doc *d)
{
	if (d->kind != DOC_MAP && d->kind != DOC_LIST)
		return;
	if (d->kind == DOC_MAP && d->n > 1)
		qsort(d->v, d->n, sizeof(struct doc *), by_key);
	for (size_t i = 0; i < d->n; i++)
		sort_keys(d->v[i]);
}

static struct doc *resource_doc(const struct model_resource *r, struct arena *a)
{
	struct doc *d = doc_new_map(a), *md = doc_copy(a, r->metadata);

	doc_set_str(a, md, "namespace", r->ns);
	doc_set_str(a, d, "kind", str_c(model_kind_name(r->kind)));
	doc_set(a, d, "metadata", md);
	doc_set(a, d, "spec", doc_copy(a, r->doc));
	sort_keys(d);
	return d;
}

static char *model_text(const struct model *m)
{
	struct arena a;
	struct doc *all;
	char *text;

	arena_init(&a, 0);
	all = doc_new_map(&a);
	if (m->mesh.doc->n > 0) {
		struct doc *settings = doc_copy(&a, m->mesh.doc);

		sort_keys(settings);
		doc_set(&a, all, "settings", settings);
	}
	if (m->n_resources > 0) {
		struct doc *list = doc_set(&a, all, "resources", doc_new_list(&a));

		for (int k = 0; k < MODEL_KIND__N; k++)
			model_for_each(m, k, r)
				doc_add(&a, list, resource_doc(r, &a));
	}
	text = all->n > 0 ? kv_asprintf("%s\n", arena_str(&a, doc_to_json(all, &a, true)).p)
			  : kv_strdup("");
	arena_done(&a);
	return text;
}

/* Cut "DIR/" out of s wherever it stands: the tree may be anywhere. */
static void cut_dir(char *s, const char *dir)
{
	size_t n = strlen(dir);

	for (char *at = strstr(s, dir); at != NULL; at = strstr(at, dir))
		if (at[n] == '/')
			memmove(at, at + n + 1, strlen(at + n + 1) + 1);
		else
			at += n;
}

static char *findings_text(const struct err_list *errs, const struct model *m, const char *dir)
{
	size_t size = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);

	kv_assert(out != NULL);
	for (size_t i = 0; i < errs->n; i++) {
		struct err e = errs->v[i];
		struct str source = m != NULL ? model_source_text(m, e.file) : STR_NULL;

		cut_dir(e.file, dir);
		cut_dir(e.text, dir);
		err_print(out, &e, source);
	}
	fclose(out);
	return text;
}

/* ---- what must hold for every good input --------------------------------------------------- */

/* Write a resource from its struct, read that, write again: the same. */
static void check_rewrite(const char *name, const struct model_resource *r)
{
	const struct model_kind_info *k = model_kind_info(r->kind);
	struct err_list errs;
	struct arena a;
	struct doc *once, *twice;
	const char *spec = (const char *)r + k->spec_offset;
	char *copy;

	arena_init(&a, 0);
	err_list_init(&errs);
	copy = arena_zalloc(&a, k->size);
	once = bind_write(k->table, spec, &a);
	if (bind_read(k->table, once, k->name, &a, copy + k->spec_offset, &errs) < 0)
		fail(name, errs.v[0].text);
	twice = bind_write(k->table, copy + k->spec_offset, &a);
	if (!doc_eq(once, twice))
		fail(name, "bind_write and bind_read do not agree");
	err_list_done(&errs);
	arena_done(&a);
}

static void check_conversions(const char *name, const char *path)
{
	static const char *const words[] = { "native", "YAML", "JSON" };

	for (int to = DOC_SYNTAX_NATIVE; to <= DOC_SYNTAX_JSON; to++) {
		struct convert_opts opts = { .to = (enum doc_syntax)to, .marks = true };
		struct doc_file f = { 0 };
		struct err_list errs;
		struct arena a;

		arena_init(&a, 0);
		err_list_init(&errs);
		if (doc_read_file(path, NULL, &a, &f, &errs) == 0 &&
		    convert_check(&f, &opts, &a, &errs) < 0 &&
		    strcmp(errs.v[errs.n - 1].rule, "KVM0007") != 0) {
			fail(name, words[to]);
			printf("  %s\n", errs.v[errs.n - 1].text);
		}
		err_list_done(&errs);
		arena_done(&a);
	}
}

/* ---- snapshots ----------------------------------------------------------------------------- */

/* The snapshot as text, without the directory of the case. */
static char *snapshot_text(const struct snap *snap, const char *dir)
{
	struct arena a;
	char *text, *at;
	_cleanup_free_ char *prefix = kv_asprintf("\"%s/", dir);
	size_t n = strlen(prefix);

	arena_init(&a, 0);
	text = kv_asprintf("%s\n", arena_str(&a, snap_dump(snap, &a, true)).p);
	arena_done(&a);
	while ((at = strstr(text, prefix)) != NULL)
		memmove(at + 1, at + n, strlen(at + n) + 1);
	return text;
}

static void check_snapshot(const char *name, const char *dir, const struct model *m,
			   struct str proxy)
{
	_cleanup_free_ char *path = kv_asprintf("%s/snap.%.*s.ok", dir, STR_ARG(proxy));
	struct err_list errs;
	struct snap *snap = NULL;

	err_list_init(&errs);
	if (snap_compile(m, proxy, NULL, &snap, &errs) < 0) {
		fail(name, errs.n > 0 ? errs.v[0].text : "does not compile and says nothing");
	} else if (access(path, F_OK) == 0) {
		_cleanup_free_ char *text = snapshot_text(snap, dir);

		expect(name, path, text);
	}
	snap_unref(snap);
	err_list_done(&errs);
}

static void check_snapshots(const char *name, const char *dir, const struct model *m)
{
	struct arena a;
	struct str_list proxies;

	arena_init(&a, 0);
	proxies = compile_proxies(m, &a);
	for (size_t i = 0; i < proxies.n; i++)
		check_snapshot(name, dir, m, proxies.v[i]);
	arena_done(&a);
}

/* ---- cases --------------------------------------------------------------------------------- */

/* One input, or the configuration directory (path NULL), against the case's files. */
static void run_input(const char *name, const char *dir, const char *path, bool alone)
{
	struct model_load_opts opts = { .node_name = "node-1", .any_owner = true };
	_cleanup_free_ char *etc = kv_asprintf("%s/etc", dir);
	_cleanup_free_ char *model_ok = kv_asprintf("%s/model.ok", dir);
	_cleanup_free_ char *err_ok =
		alone ? kv_asprintf("%s/err.ok", dir) : kv_asprintf("%s.ok", path);
	struct model *m = NULL;
	struct err_list errs;
	int r;

	err_list_init(&errs);
	r = path != NULL ? model_load_files(&path, 1, STR_NULL, NULL, &opts, &m, &errs) :
			   model_load_dir(etc, &opts, &m, &errs);
	if (r == 0)
		r = model_check(m, &errs);
	err_list_sort(&errs);
	_cleanup_free_ char *model = model_text(m);
	_cleanup_free_ char *findings = findings_text(&errs, m, dir);

	if ((r < 0) != (errs.n_errors > 0))
		fail(name, "the return value does not say what the findings say");
	expect(name, model_ok, model);
	expect(name, err_ok, findings);
	for (int k = 0; k < MODEL_KIND__N; k++)
		model_for_each(m, k, res)
			check_rewrite(name, res);
	if (path != NULL && errs.n_errors == 0)
		check_conversions(name, path);
	if (errs.n_errors == 0)
		check_snapshots(name, dir, m);
	err_list_done(&errs);
	model_free(m);
}

struct names {
	char **v;
	size_t n, cap;
};

static int by_name(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

static struct names list(const char *dir)
{
	struct names l = { 0 };
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			*vec_push(l.v, l.n, l.cap) = kv_strdup(e->d_name);
	if (d != NULL)
		closedir(d);
	if (l.n > 1)
		qsort(l.v, l.n, sizeof(*l.v), by_name);
	return l;
}

static void names_free(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
}

static bool is_input(const char *file)
{
	enum doc_syntax syntax;

	return strncmp(file, "in", 2) == 0 && doc_syntax_of(file, &syntax);
}

static void run_case(const char *root, const char *name)
{
	_cleanup_free_ char *dir = kv_asprintf("%s/%s", root, name);
	_cleanup_free_ char *etc = kv_asprintf("%s/etc", dir);
	struct names files = list(dir);
	size_t n_inputs = 0;

	for (size_t i = 0; i < files.n; i++)
		n_inputs += is_input(files.v[i]);
	for (size_t i = 0; i < files.n; i++) {
		_cleanup_free_ char *path = kv_asprintf("%s/%s", dir, files.v[i]);

		if (is_input(files.v[i]))
			run_input(name, dir, path, n_inputs == 1);
	}
	if (n_inputs == 0 && access(etc, F_OK) == 0)
		run_input(name, dir, NULL, true);
	else if (n_inputs == 0)
		fail(name, "no input");
	n_cases++;
	names_free(&files);
}

/*
 * Every rule has a case in which it is broken. Some need more than a small text file (a file's
 * mode, a certificate, a body of 1 MiB) and are broken by other tests.
 */
static void check_coverage(const char *root, const struct names *cases)
{
	for (const struct check_rule *rule = check_rules; rule->code != NULL; rule++) {
		_cleanup_free_ char *tag = kv_asprintf("[%s]", rule->code);
		bool found =
			strcmp(rule->code, "KVM0002") == 0 ||
			strcmp(rule->code, "KVM0161") == 0 || strcmp(rule->code, "KVM0331") == 0;

		for (size_t i = 0; i < cases->n && !found; i++) {
			_cleanup_free_ char *path = kv_asprintf("%s/%s/err.ok", root, cases->v[i]);
			_cleanup_free_ char *text = slurp(path);

			found = strstr(text, tag) != NULL;
		}
		if (!found)
			fail(rule->code, "no case breaks this rule");
	}
}

int main(int argc, char **argv)
{
	const char *srcdir = getenv("srcdir");
	_cleanup_free_ char *root = kv_asprintf("%s/tests/golden", srcdir != NULL ? srcdir : ".");
	struct names cases = list(root);

	update = getenv("GOLDEN_UPDATE") != NULL;
	for (size_t i = 0; i < cases.n; i++) {
		_cleanup_free_ char *dir = kv_asprintf("%s/%s", root, cases.v[i]);
		bool wanted = argc < 2;
		struct stat st;

		for (int k = 1; k < argc && !wanted; k++)
			wanted = strcmp(argv[k], cases.v[i]) == 0;
		if (wanted && stat(dir, &st) == 0 && S_ISDIR(st.st_mode))
			run_case(root, cases.v[i]);
	}
	if (argc < 2)
		check_coverage(root, &cases);
	names_free(&cases);
	printf("%d cases, %d failed\n", n_cases, n_failed);
	return n_failed > 0 || n_cases == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
