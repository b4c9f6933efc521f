/* SPDX-License-Identifier: Apache-2.0 */
/* findings: see findings.h. Layer daemons/ctl. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/fs.h"
#include "config/check.h"
#include "config/load.h"
#include "ctl/credentials.h"
#include "ctl/findings.h"

static struct model_load_opts load_opts(struct ctl *c, bool any_owner)
{
	char host[256] = "localhost";

	if (gethostname(host, sizeof(host) - 1) != 0)
		host[0] = '\0';
	return (struct model_load_opts){ .node_name = arena_strdup(&c->arena, host),
					 .any_owner = any_owner,
					 .keys_dir = arena_printf(&c->arena, "%s/jwks", c->state).p };
}

static int run_rules(struct ctl *c, const struct model *m, struct err_list *errs)
{
	int r = model_check(m, errs);

	credentials_check(c->root ? NULL : c->etc, m, errs);
	return r;
}

int findings_load_dir(struct ctl *c, bool check, struct model **ret, struct err_list *errs)
{
	struct model_load_opts opts = load_opts(c, c->root != NULL);
	int r = model_load_dir(c->etc, &opts, ret, errs);

	kv_assert(!c->model);
	c->model = *ret;

	/* Rules across resources mean nothing while some could not be read. */
	if (check && r == 0 && errs->n_errors == 0)
		r = run_rules(c, *ret, errs);
	err_list_sort(errs);
	return r;
}

int findings_read_stdin(struct ctl *c, struct str *ret, struct err_list *errs)
{
	char *buf = arena_alloc(&c->arena, DOC_FILE_MAX + 1);
	size_t n = 0;
	ssize_t got;

	while (n <= DOC_FILE_MAX &&
	       (got = read(STDIN_FILENO, buf + n, DOC_FILE_MAX + 1 - n)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_list_add(errs, ERR_LEVEL_ERROR, -errno, NULL,
					    (struct origin){ 0 }, "cannot read standard input: %s",
					    strerror(errno));
		n += (size_t)got;
	}
	if (n > DOC_FILE_MAX)
		return err_list_add(errs, ERR_LEVEL_ERROR, KV_ERR_LIMIT, NULL, (struct origin){ 0 },
				    "standard input has more than %u bytes", DOC_FILE_MAX);
	*ret = str_from(buf, n);
	return 0;
}

static int read_files(struct ctl *c, const char *const *paths, size_t n, struct str text,
		      const struct model_load_opts *opts, struct err_list *errs)
{
	/* The node's own settings matter (root namespace, domain) when this machine has any. */
	const char *etc = access(c->etc, R_OK | X_OK) == 0 ? c->etc : NULL;

	kv_assert(!c->model);
	return model_load_files(paths, n, text, etc, opts, &c->model, errs);
}

/* The text of "-", when that is among the paths. */
static int read_dash(struct ctl *c, const char *const *paths, size_t n, struct str *ret,
		     struct err_list *errs)
{
	*ret = STR_NULL;
	for (size_t i = 0; i < n; i++)
		if (strcmp(paths[i], "-") == 0)
			return findings_read_stdin(c, ret, errs);
	return 0;
}

static int finish(struct ctl *c, bool check, int r, struct model **ret, struct err_list *errs)
{
	if (check && r == 0 && errs->n_errors == 0)
		r = run_rules(c, c->model, errs);
	err_list_sort(errs);
	*ret = c->model;
	return r;
}

int findings_load_files(struct ctl *c, const char *const *paths, size_t n, bool check,
			struct model **ret, struct err_list *errs)
{
	struct model_load_opts opts = load_opts(c, true);
	struct str text;
	int r;

	*ret = NULL;
	r = read_dash(c, paths, n, &text, errs);
	if (r < 0)
		return r;
	return finish(c, check, read_files(c, paths, n, text, &opts, errs), ret, errs);
}

/* ---- files over what is installed ------------------------------------------------------------ */

#define N_WORDS_MAX   (sizeof(((struct ctl *)NULL)->words) / sizeof(char *))
#define N_RESOURCE_DIRS 3

struct over {                           /* the files by themselves */
	const struct model *files;
	struct arena *arena;
	int64_t n_young;
};

static const struct model_resource *find_in_files(const struct over *o, const char *kind,
						  struct str ns, struct str name)
{
	return map_get(&o->files->by_id, arena_printf(o->arena, "%s/%.*s/%.*s", kind, STR_ARG(ns),
						      STR_ARG(name)));
}

/* What is not installed yet is younger than all that is. */
static int64_t age_over(void *arg, const char *kind, struct str ns, struct str name)
{
	struct over *o = arg;

	return find_in_files(o, kind, ns, name) ?
		       MODEL_AGE_UNKNOWN + MODEL_RESOURCES_MAX + o->n_young++ :
		       0;
}

/* "KIND NAME.NS is defined a second time" of a resource in the files: the installed one yields. */
static bool is_replaced(struct over *o, const struct err *e)
{
	if (strcmp(e->rule, "KVM0005") != 0)
		return false;
	for (int k = 0; k < MODEL_KIND__N; k++)
		model_for_each(o->files, (enum model_kind)k, r) {
			struct str label = model_label(r, o->arena), text = str_c(e->text);

			if (str_has_prefix(text, label) &&
			    str_has_prefix(str_skip(text, label.n), STR(" is defined a second")))
				return true;
		}
	return false;
}

/* The files first, so that they win. Returns 0 when all was read; errs has the rest. */
static int read_over(struct ctl *c, struct over *o, const char *const *paths, size_t n,
		     struct str text, struct err_list *errs)
{
	static const char *const dirs[N_RESOURCE_DIRS] = { "mesh.d", "services.d", "workloads.d" };
	struct model_load_opts opts = load_opts(c, true);
	const char *all[N_WORDS_MAX + N_RESOURCE_DIRS];
	struct err_list found;
	size_t n_all = n;

	kv_assert(n <= N_WORDS_MAX);
	memcpy(all, paths, n * sizeof(*paths));
	for (size_t i = 0; i < N_RESOURCE_DIRS; i++) {
		all[n_all] = arena_printf(&c->arena, "%s/%s", c->etc, dirs[i]).p;
		n_all += access(all[n_all], F_OK) == 0;
	}
	opts.first_seen = age_over;
	opts.first_seen_arg = o;
	err_list_init(&found);
	read_files(c, all, n_all, text, &opts, &found);
	for (size_t i = 0; i < found.n; i++)
		if (!is_replaced(o, &found.v[i]))
			err_list_push(errs, &found.v[i]);
	err_list_done(&found);
	return errs->n_errors == 0 ? 0 : KV_ERR_CHECK;
}

int findings_load_over(struct ctl *c, const char *const *paths, size_t n, struct model **ret,
		       struct err_list *errs)
{
	struct model_load_opts opts = load_opts(c, true);
	struct err_list over_errs;
	struct str text;
	int r;

	*ret = NULL;
	r = read_dash(c, paths, n, &text, errs);
	if (r < 0)
		return r;
	r = read_files(c, paths, n, text, &opts, errs);
	if (r < 0 || errs->n_errors > 0 || access(c->etc, F_OK) < 0)
		return finish(c, true, r, ret, errs);

	struct over o = { .files = c->model, .arena = &c->arena };
	struct model *alone = c->model, *unused;

	c->model = NULL;
	err_list_init(&over_errs);
	r = read_over(c, &o, paths, n, text, &over_errs);
	if (r < 0) {
		ctl_note(c, "the configuration in %s cannot be read, see kvmeshctl config test; "
			    "the files are judged without it", c->etc);
		unused = c->model;
		c->model = alone;
	} else {
		unused = alone;
		err_list_done(errs);
		err_list_init(errs);
		for (size_t i = 0; i < over_errs.n; i++)
			err_list_push(errs, &over_errs.v[i]);
	}
	model_free(unused);
	err_list_done(&over_errs);
	return finish(c, true, 0, ret, errs);
}

int findings_load_or_fail(struct ctl *c, struct model **ret)
{
	struct err_list errs;
	int r;

	err_list_init(&errs);
	r = findings_load_dir(c, false, ret, &errs);
	if (r != 0 || errs.n_errors > 0) {
		findings_print(&errs, *ret, ERR_LEVEL_ERROR);
		ctl_fail(CTL_EXIT_CONFIG, "the configuration in %s cannot be used", c->etc);
		r = CTL_EXIT_CONFIG;
	}
	err_list_done(&errs);
	return r;
}

/* The text of a file that only a daemon has read, for the line in question; malloc'ed, NULL when
 * not readable. */
static char *read_source(const char *path, size_t *ret_n)
{
	char *text = NULL;

	*ret_n = 0;
	return path[0] == '/' && fs_read(path, DOC_FILE_MAX, &text, ret_n, NULL) == 0 ? text : NULL;
}

static void print_one(const struct err *e, const struct model *m)
{
	size_t n = 0;
	_cleanup_free_ char *text = m ? NULL : read_source(e->file, &n);

	err_print(stderr, e, m ? model_source_text(m, e->file) : str_from(text, n));
}

void findings_print(const struct err_list *errs, const struct model *m, enum err_level up_to)
{
	for (size_t i = 0; i < errs->n; i++)
		if (errs->v[i].level <= up_to)
			print_one(&errs->v[i], m);
	if (errs->n_dropped > 0)
		fprintf(stderr, "… and %zu more\n", errs->n_dropped);
}

static const char *const level_names[] = { "Error", "Warning", "Info" };

const char *findings_level_name(enum err_level level)
{
	return level_names[level];
}

bool findings_level_parse(const char *text, enum err_level *ret)
{
	for (int i = 0; i <= ERR_LEVEL_INFO; i++)
		if (strcasecmp(text, level_names[i]) == 0) {
			*ret = (enum err_level)i;
			return true;
		}
	return false;
}

bool findings_is_unreadable(const struct err *e)
{
	return e->code == KV_ERR_SYNTAX || e->code == KV_ERR_LIMIT ||
	       (e->code < 0 && e->code > -1000);
}

const struct model_resource *findings_resource(const struct model *m, const struct err *e)
{
	const struct model_resource *best = NULL;

	if (!m || e->line == 0)
		return NULL;
	for (int k = 0; k < MODEL_KIND__N; k++)
		model_for_each(m, (enum model_kind)k, r) {
			if (!r->at.file || strcmp(r->at.file, e->file) != 0 || r->at.line > e->line)
				continue;
			if (!best || r->at.line > best->at.line)
				best = r;
		}
	return best;
}

void findings_from_doc(const struct doc *list, struct err_list *errs)
{
	for (size_t i = 0; list && list->kind == DOC_LIST && i < list->n; i++) {
		const struct doc *d = list->v[i];
		enum err_level level = ERR_LEVEL_ERROR;
		struct str name = doc_get_str(d, "level", STR("error"));
		struct str file = doc_get_str(d, "file", STR(""));
		struct str text = doc_get_str(d, "text", STR(""));
		struct str rule = doc_get_str(d, "rule", STR(""));
		struct err e = { .code = KV_ERR_CHECK,
				 .line = (uint32_t)doc_get_int(d, "line", 0),
				 .col = (uint32_t)doc_get_int(d, "col", 0) };

		if (str_ieq(name, STR("warning")))
			level = ERR_LEVEL_WARNING;
		else if (str_ieq(name, STR("info")))
			level = ERR_LEVEL_INFO;
		e.level = level;
		snprintf(e.file, sizeof(e.file), "%.*s", STR_ARG(file));
		snprintf(e.text, sizeof(e.text), "%.*s", STR_ARG(text));
		snprintf(e.rule, sizeof(e.rule), "%.*s", STR_ARG(rule));
		err_list_push(errs, &e);
	}
}
