/* SPDX-License-Identifier: Apache-2.0 */
/* profile: see profile.h. Layer daemons/ctl. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/vec.h"
#include "ctl/changes.h"
#include "ctl/profile.h"

#define FILE_MAX_BYTES 65536
/* ---- reading --------------------------------------------------------------------------------- */

static const char *profiles_dir(struct ctl *c)
{
	return ctl_value(c, "profiles", VENDORDIR "/profiles");
}

static int by_text(const void *x, const void *y)
{
	const char *const *a = x, *const *b = y;

	return strcmp(*a, *b);
}

/* Entries of a directory but hidden ones, sorted; none when there is no such directory. */
static size_t list_dir(struct ctl *c, const char *path, const char ***ret)
{
	size_t n = 0, cap = 0;
	DIR *d = opendir(path);

	*ret = NULL;
	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.')
			*vec_push_arena(&c->arena, *ret, n, cap) =
				arena_strdup(&c->arena, e->d_name);
	if (d)
		closedir(d);
	if (n > 1)
		qsort(*ret, n, sizeof(**ret), by_text);
	return n;
}

static int read_text(struct ctl *c, const char *path, struct str *ret)
{
	struct err err;
	char *text;
	size_t n;

	if (fs_read(path, FILE_MAX_BYTES, &text, &n, &err) < 0)
		return ctl_fail_err(&err);
	*ret = arena_str(&c->arena, str_from(text, n));
	free(text);
	return 0;
}

static int read_about(struct ctl *c, const char *dir, struct profile *p)
{
	const char *path = arena_printf(&c->arena, "%s/about.conf", dir).p;
	struct err_list errs;
	struct doc_file f;
	int code = 0;

	err_list_init(&errs);
	if (doc_read_file(path, NULL, &c->arena, &f, &errs) < 0 || f.n == 0)
		code = ctl_fail(CTL_EXIT_DATA, "%s: %s", path,
				errs.n > 0 ? errs.v[0].text : "it is empty");
	err_list_done(&errs);
	if (code != 0)
		return code;
	p->description = doc_get_str(f.docs[0], "description", STR(""));
	p->components = doc_get(f.docs[0], STR("components"));
	return 0;
}

static int read_files(struct ctl *c, const char *dir, const char *sub, struct profile *p,
		      size_t *cap)
{
	const char **names, *in = arena_printf(&c->arena, "%s/%s", dir, sub).p;
	size_t n = list_dir(c, in, &names);
	int code = 0;

	for (size_t i = 0; i < n && code == 0; i++) {
		struct str body;

		code = read_text(c, arena_printf(&c->arena, "%s/%s", in, names[i]).p, &body);
		if (code != 0)
			break;
		*vec_push_arena(&c->arena, p->files, p->n_files, *cap) = (struct profile_file){
			.path = arena_printf(&c->arena, "%s/%s", sub, names[i]).p,
			/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): read_text has set it, else code is not 0 */
			.text = changes_signed(&c->arena, PROFILE_SIGN, body),
		};
	}
	return code;
}

static int read_profile(struct ctl *c, const char *name, struct profile *ret)
{
	static const char *const subs[] = { "conf.d", "mesh.d", "services.d", "workloads.d" };
	const char *dir = arena_printf(&c->arena, "%s/%s", profiles_dir(c), name).p;
	size_t cap = 0;
	int code;

	*ret = (struct profile){ .name = name };
	code = read_about(c, dir, ret);
	for (size_t i = 0; code == 0 && i < sizeof(subs) / sizeof(subs[0]); i++)
		code = read_files(c, dir, subs[i], ret, &cap);
	return code;
}

int profile_all(struct ctl *c, struct profile **ret, size_t *ret_n)
{
	const char **names;
	size_t n = list_dir(c, profiles_dir(c), &names);
	int code = 0;

	if (n == 0)
		return ctl_fail(CTL_EXIT_DATA, "%s: there are no profiles", profiles_dir(c));
	*ret = arena_new_n(&c->arena, struct profile, n);
	for (*ret_n = 0; *ret_n < n && code == 0; ++*ret_n)
		code = read_profile(c, names[*ret_n], &(*ret)[*ret_n]);
	return code;
}

/* ---- looking --------------------------------------------------------------------------------- */

const struct profile *profile_find(const struct profile *v, size_t n, const char *name)
{
	const char *best = NULL;
	unsigned best_d = 4;

	for (size_t i = 0; i < n; i++) {
		unsigned d = str_distance(str_c(v[i].name), str_c(name), 4);

		if (d == 0)
			return &v[i];
		if (d < best_d) {
			best = v[i].name;
			best_d = d;
		}
	}
	if (best)
		ctl_fail(CTL_EXIT_NOT_FOUND, "no profile '%s' (did you mean '%s'?)", name, best);
	else
		ctl_fail(CTL_EXIT_NOT_FOUND, "no profile '%s'; 'kvmeshctl profile list' tells",
			 name);
	return NULL;
}

const struct profile_file *profile_file_of(const struct profile *p, const char *path)
{
	for (size_t i = 0; i < p->n_files; i++)
		if (strcmp(p->files[i].path, path) == 0)
			return &p->files[i];
	return NULL;
}

bool profile_has(const struct profile *p, const char *component)
{
	for (size_t i = 0; p->components && p->components->kind == DOC_LIST && i < p->components->n;
	     i++)
		if (p->components->v[i]->kind == DOC_STR &&
		    str_eq(p->components->v[i]->s, str_c(component)))
			return true;
	return false;
}

struct str profile_text(struct arena *a, const struct profile *p)
{
	struct str s = STR("");

	for (size_t i = 0; i < p->n_files; i++)
		s = arena_printf(a, "%.*s%s# ---- %s\n%.*s", STR_ARG(s), i > 0 ? "\n" : "",
				 p->files[i].path, STR_ARG(p->files[i].text));
	return s;
}
