/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load: see load.h. Settings first, because names and namespaces depend on them; then every
 * resource is bound by its table, given its defaults and entered under its identity. Layer config.
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/vec.h"
#include "config/load_parts.h"

/* ---- reading ------------------------------------------------------------------------------- */

/* Findings since from that carry no rule yet get this one. */
static void tag(struct load *l, size_t from, const char *rule)
{
	for (size_t i = from; i < l->errs->n; i++)
		if (l->errs->v[i].rule[0] == '\0')
			memcpy(l->errs->v[i].rule, rule, strlen(rule) + 1);
}

static void keep_source(struct load *l, const struct doc_file *f)
{
	struct model *m = l->m;

	*vec_push_arena(&m->arena, m->sources.v, m->sources.n, l->cap_sources) =
		(struct model_source){ .path = f->path, .text = f->text };
}

static int split(struct load *l, int r, const struct doc_file *f, size_t from)
{
	tag(l, from, "KVM0001");
	if (f->path != NULL && f->text.p != NULL)
		keep_source(l, f);
	if (r < 0)
		return r;
	return load_split(f, &l->m->arena, &l->found, l->errs);
}

/* The files that values came from (@include) are to be trusted as the one that names them. */
static int sources_are_safe(struct load *l, const struct doc *d, const char **last)
{
	int r = 0;

	if (d->at.file != NULL && d->at.file != *last && strcmp(d->at.file, *last) != 0) {
		*last = d->at.file;
		r = load_file_is_safe(l, d->at.file);
	}
	for (size_t i = 0; r == 0 && (d->kind == DOC_MAP || d->kind == DOC_LIST) && i < d->n; i++)
		r = sources_are_safe(l, d->v[i], last);
	return r;
}

static int read_file(struct load *l, const char *path)
{
	struct doc_file f = { 0 };
	const char *last = path;
	size_t from = l->errs->n;
	int r = load_file_is_safe(l, path);

	if (r < 0)
		return r;
	r = doc_read_file(path, l->root, &l->m->arena, &f, l->errs);
	for (size_t i = 0; r == 0 && i < f.n; i++)
		r = sources_are_safe(l, f.docs[i], &last);
	return split(l, r, &f, from);
}

static int read_text(struct load *l, struct str text, const char *path, enum doc_syntax syntax)
{
	struct doc_file f = { 0 };
	size_t from = l->errs->n;
	int r = doc_read_text(text, path, syntax, &l->m->arena, &f, l->errs);

	return split(l, r, &f, from);
}

static int first(int r, int next)
{
	return r < 0 ? r : next;
}

static int read_dir(struct load *l, const char *dir, bool recurse)
{
	struct load_paths paths = { 0 };
	int r = load_paths_scan(l, dir, recurse, &paths);

	for (size_t i = 0; i < paths.n; i++)
		r = first(r, read_file(l, paths.v[i]));
	load_paths_done(&paths);
	return r;
}

/* ---- binding ------------------------------------------------------------------------------- */

static int64_t age_of(struct load *l, const struct load_raw *raw, const struct model_resource *r,
		      const struct model_metadata *md, int *ret_code)
{
	int64_t us = 0;

	*ret_code = 0;
	if (md->creationTimestamp.n > 0) {
		if (load_parse_time(md->creationTimestamp, &us))
			return us;
		*ret_code =
			err_list_add(l->errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0106", raw->at,
				     "metadata.creationTimestamp must be a time like "
				     "2020-12-01T10:00:00Z, is '%.*s'",
				     STR_ARG(md->creationTimestamp));
	}
	if (l->opts->first_seen != NULL)
		us = l->opts->first_seen(l->opts->first_seen_arg, raw->kind->name, r->ns, r->name);
	return us > 0 ? us : MODEL_AGE_UNKNOWN + (int64_t)l->m->n_resources;
}

static int enter(struct load *l, struct model_resource *r)
{
	struct model *m = l->m;
	struct model_resource *old;

	r->id = arena_printf(&m->arena, "%s/%.*s/%.*s", model_kind_name(r->kind), STR_ARG(r->ns),
			     STR_ARG(r->name));
	old = map_get(&m->by_id, r->id);
	if (old != NULL)
		return err_list_add(l->errs, ERR_LEVEL_ERROR, KV_ERR_CHECK, "KVM0005", r->at,
				    "%s is defined a second time; the first is at %s:%u",
				    model_label(r, &m->arena).p,
				    old->at.file != NULL ? old->at.file : "-", old->at.line);
	map_put(&m->by_id, r->id, r);
	m->of[r->kind].n++;
	m->n_resources++;
	return 0;
}

/* Of a status, which is no configuration, this alone means something (2.8.14). */
static bool is_unhealthy(const struct doc *status)
{
	const struct doc *list = doc_get(status, STR("conditions"));

	for (size_t i = 0; list && list->kind == DOC_LIST && i < list->n; i++)
		if (str_eq(doc_get_str(list->v[i], "type", STR("")), STR("Healthy")))
			return str_ieq(doc_get_str(list->v[i], "status", STR("")), STR("False"));
	return false;
}

static int bind_resource(struct load *l, struct load_raw *raw)
{
	struct arena *a = &l->m->arena;
	const struct model_kind_info *k = raw->kind;
	struct model_metadata md = { 0 };
	struct model_resource *r = arena_zalloc(a, k->size);
	int code, age_code;

	code = load_canon(raw, a, l->errs);
	code = first(code, bind_read(&model_metadata_table, raw->metadata,
				     arena_printf(a, "%s.metadata", k->name).p, a, &md, l->errs));
	code = first(code, bind_read(k->table, raw->spec, k->name, a, (char *)r + k->spec_offset,
				     l->errs));
	r->kind = k->kind;
	r->name = md.name;
	r->ns = model_ns(l->m, k->kind == MODEL_KIND_NAMESPACE ? md.name : md.namespace);
	if (k->kind == MODEL_KIND_NAMESPACE)
		r->name = r->ns;
	r->labels = md.labels;
	r->annotations = md.annotations;
	r->at = raw->at;
	r->doc = raw->spec;
	r->metadata = raw->metadata;
	r->syntax = raw->syntax;
	r->unhealthy = is_unhealthy(raw->status);
	r->first_seen_us = age_of(l, raw, r, &md, &age_code);
	if (code < 0)
		return code;
	return first(age_code, first(load_fill(l, r), enter(l, r)));
}

static int bind_all(struct load *l)
{
	size_t from = l->errs->n;
	int r = 0;

	for (size_t i = 0; i < l->found.n_raws; i++) {
		if (i == MODEL_RESOURCES_MAX) {
			r = err_list_add(l->errs, ERR_LEVEL_ERROR, KV_ERR_LIMIT, "KVM0006",
					 l->found.raws[i].at, "more than %d resources",
					 MODEL_RESOURCES_MAX);
			break;
		}
		r = first(r, bind_resource(l, &l->found.raws[i]));
	}
	tag(l, from, "KVM0106");
	return r;
}

static int by_age(const void *a, const void *b)
{
	const struct model_resource *const *x = a, *const *y = b;
	int c;

	if ((*x)->first_seen_us != (*y)->first_seen_us)
		return (*x)->first_seen_us < (*y)->first_seen_us ? -1 : 1;
	c = str_cmp((*x)->name, (*y)->name);
	return c != 0 ? c : str_cmp((*x)->ns, (*y)->ns);
}

/* The lists by kind, oldest first. */
static void make_lists(struct model *m)
{
	for (int k = 0; k < MODEL_KIND__N; k++) {
		m->of[k].v = arena_new_n(&m->arena, struct model_resource *, m->of[k].n + 1);
		m->of[k].n = 0;
	}
	for (struct map_entry *e = map_first(&m->by_id); e != NULL; e = map_next(&m->by_id, e)) {
		struct model_resource *r = e->val;

		m->of[r->kind].v[m->of[r->kind].n++] = r;
	}
	for (int k = 0; k < MODEL_KIND__N; k++)
		if (m->of[k].n > 1)
			qsort(m->of[k].v, m->of[k].n, sizeof(*m->of[k].v), by_age);
	load_resolve(m);
}

static int bind_settings(struct load *l)
{
	size_t from = l->errs->n;
	int r = load_mesh_bind(l);

	tag(l, from, "KVM0106");
	return r;
}

/* ---- entry points -------------------------------------------------------------------------- */

static void begin(struct load *l, const struct model_load_opts *opts, struct err_list *errs)
{
	static const struct model_load_opts none;
	struct model *m = kv_zalloc(sizeof(*m));

	arena_init(&m->arena, 16384);
	map_init(&m->by_id);
	*l = (struct load){ .m = m, .opts = opts != NULL ? opts : &none, .errs = errs };
	load_mesh_defaults(m, l->opts->node_name);
}

/* What a settings file may not hold, and the other way round. */
static int refuse_resources(struct load *l)
{
	int r = 0;

	for (size_t i = 0; i < l->found.n_raws; i++)
		r = err_list_add(l->errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0007",
				 l->found.raws[i].at,
				 "%s belongs into mesh.d, not into a file of settings",
				 l->found.raws[i].kind->name);
	l->found.n_raws = 0;
	return r;
}

static int refuse_settings(struct load *l)
{
	int r = 0;

	for (size_t i = 0; i < l->found.n_settings; i++)
		r = err_list_add(l->errs, ERR_LEVEL_ERROR, KV_ERR_SCHEMA, "KVM0007",
				 l->found.settings[i]->v[0]->key_at,
				 "'%.*s' belongs into kvmesh.conf or conf.d",
				 STR_ARG(l->found.settings[i]->v[0]->key));
	l->found.n_settings = 0;
	return r;
}

static int read_settings(struct load *l, const char *etc)
{
	_cleanup_free_ char *conf = kv_asprintf("%s/kvmesh.conf", etc);
	_cleanup_free_ char *dropins = kv_asprintf("%s/conf.d", etc);
	struct stat st;
	int r = 0;

	if (lstat(conf, &st) == 0)
		r = read_file(l, conf);
	r = first(r, read_dir(l, dropins, false));
	return first(refuse_resources(l), r);
}

/* etc must be a directory; its real path is the border of everything that is read. */
static int open_root(struct load *l, const char *etc)
{
	_cleanup_free_ char *real = realpath(etc, NULL);
	struct origin at = { .file = arena_strdup(&l->m->arena, etc) };
	struct stat st;

	if (real == NULL || stat(real, &st) < 0)
		return err_list_add(l->errs, ERR_LEVEL_ERROR, -errno, "KVM0002", at,
				    "the configuration directory cannot be read: %s",
				    strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_list_add(l->errs, ERR_LEVEL_ERROR, -ENOTDIR, "KVM0002", at,
				    "is not a directory");
	l->root = arena_strdup(&l->m->arena, real);
	return 0;
}

int model_load_dir(const char *etc, const struct model_load_opts *opts, struct model **ret,
		   struct err_list *errs)
{
	static const struct {
		const char *name;
		bool recurse;
	} dirs[] = { { "mesh.d", true }, { "services.d", false }, { "workloads.d", false } };
	struct load l;
	int r;

	begin(&l, opts, errs);
	*ret = l.m;
	r = open_root(&l, etc);
	if (r < 0)
		return r;
	r = read_settings(&l, etc);
	r = first(r, bind_settings(&l));
	l.found.n_settings = 0;
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		_cleanup_free_ char *dir = kv_asprintf("%s/%s", etc, dirs[i].name);

		r = first(r, read_dir(&l, dir, dirs[i].recurse));
	}
	r = first(r, refuse_settings(&l));
	r = first(r, bind_all(&l));
	make_lists(l.m);
	return r;
}

enum doc_syntax load_guess_syntax(struct str text)
{
	struct str rest = text, line;

	while (str_split(&rest, '\n', &line)) {
		struct str name;

		line = str_trim(line);
		if (line.n == 0 || line.p[0] == '#' || str_has_prefix(line, STR("//")))
			continue;
		if (line.p[0] == '{' || line.p[0] == '[')
			return DOC_SYNTAX_JSON;
		if (str_has_prefix(line, STR("/*")) || str_has_prefix(line, STR("@include")))
			return DOC_SYNTAX_NATIVE;
		name = line;
		str_split(&name, '=', &line);
		line = str_trim(line);
		/* "Kind = {"; a line of YAML has a colon before any equals sign. */
		return name.p != NULL && line.n > 0 && str_find(line, ':') < 0 &&
				       str_find(line, ' ') < 0
			       ? DOC_SYNTAX_NATIVE
			       : DOC_SYNTAX_YAML;
	}
	return DOC_SYNTAX_YAML;
}

static int read_path(struct load *l, const char *path, struct str stdin_text)
{
	struct stat st;

	if (strcmp(path, "-") == 0)
		return read_text(l, stdin_text, "-", load_guess_syntax(stdin_text));
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return read_dir(l, path, true);
	return read_file(l, path);
}

int model_load_files(const char *const *paths, size_t n, struct str stdin_text, const char *etc,
		     const struct model_load_opts *opts, struct model **ret, struct err_list *errs)
{
	struct load l;
	int r = 0;

	begin(&l, opts, errs);
	*ret = l.m;
	if (etc != NULL) {
		r = open_root(&l, etc);
		if (r == 0)
			r = read_settings(&l, etc);
		l.root = NULL;
	}
	for (size_t i = 0; i < n; i++)
		r = first(r, read_path(&l, paths[i], stdin_text));
	r = first(r, bind_settings(&l));
	r = first(r, bind_all(&l));
	make_lists(l.m);
	return r;
}

int model_load_text(struct str text, const char *path, enum doc_syntax syntax,
		    const struct model_load_opts *opts, struct model **ret, struct err_list *errs)
{
	struct load l;
	int r;

	begin(&l, opts, errs);
	*ret = l.m;
	r = read_text(&l, text, path, syntax);
	r = first(r, bind_settings(&l));
	r = first(r, bind_all(&l));
	make_lists(l.m);
	return r;
}
