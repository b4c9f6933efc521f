/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_files: which files make a configuration, in which order, and whether they may be trusted
 * (security-model 5.6). Layer config.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/vec.h"
#include "config/load_parts.h"

#define DEPTH_MAX 8             /* of directories below etc */

bool load_is_leftover(const char *name)
{
	static const char *const suffixes[] = { "~",       ".swp",     ".swo", ".bak",
						".orig",   ".rej",     ".tmp", ".rpmsave",
						".rpmnew", ".rpmorig", NULL };
	struct str s = str_c(name);

	if (s.n == 0 || s.p[0] == '.' || s.p[0] == '#' || str_find_str(s, STR(".dpkg-")) >= 0 ||
	    str_find_str(s, STR(".ucf-")) >= 0)
		return true;
	for (size_t i = 0; suffixes[i] != NULL; i++)
		if (str_has_suffix(s, str_c(suffixes[i])))
			return true;
	return false;
}

void load_paths_done(struct load_paths *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->v[i]);
	free(p->v);
	*p = (struct load_paths){ 0 };
}

static struct origin file_at(struct load *l, const char *path)
{
	return (struct origin){ .file = arena_strdup(&l->m->arena, path) };
}

static int refuse(struct load *l, const char *path, const char *why)
{
	return err_list_add(l->errs, ERR_LEVEL_ERROR, KV_ERR_REFUSED, "KVM0002", file_at(l, path),
			    "%s", why);
}

/* The place that path leads to is below root. */
static bool is_below_root(const struct load *l, const char *path)
{
	_cleanup_free_ char *real = realpath(path, NULL);
	size_t n = strlen(l->root);

	if (real == NULL)
		return false;
	if (strcmp(l->root, "/") == 0)
		return true;
	return strncmp(real, l->root, n) == 0 && (real[n] == '/' || real[n] == '\0');
}

static int is_safe(struct load *l, const char *path, const struct stat *st)
{
	if (l->root != NULL && !is_below_root(l, path))
		return refuse(l, path,
			      "refused: the link leads out of the configuration directory");
	if (l->opts->any_owner)
		return 0;
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return refuse(l, path, "refused: it must belong to root");
	if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return refuse(l, path, "refused: group or others may write to it (chmod go-w)");
	return 0;
}

int load_file_is_safe(struct load *l, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_list_add(l->errs, ERR_LEVEL_ERROR, -errno, "KVM0002", file_at(l, path),
				    "cannot be read: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return refuse(l, path, "refused: it is not a regular file");
	return is_safe(l, path, &st);
}

static int by_path(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

static int scan(struct load *l, const char *dir, bool recurse, unsigned depth,
		struct load_paths *ret);

/* One directory entry: a file to read, a directory to go into, or nothing of ours. */
static int scan_entry(struct load *l, const char *dir, const char *name, bool recurse,
		      unsigned depth, struct load_paths *ret)
{
	_cleanup_free_ char *path = kv_asprintf("%s/%s", dir, name);
	enum doc_syntax syntax;
	struct stat st;

	if (load_is_leftover(name))
		return 0;
	if (stat(path, &st) < 0)
		return err_list_add(l->errs, ERR_LEVEL_ERROR, -errno, "KVM0002", file_at(l, path),
				    "cannot be read: %s", strerror(errno));
	if (S_ISDIR(st.st_mode))
		return recurse ? scan(l, path, recurse, depth + 1, ret) : 0;
	if (!doc_syntax_of(name, &syntax))
		return 0;
	if (ret->n >= MODEL_FILES_MAX)
		return err_list_add(l->errs, ERR_LEVEL_ERROR, KV_ERR_LIMIT, "KVM0006",
				    file_at(l, path), "more than %d files", MODEL_FILES_MAX);
	*vec_push(ret->v, ret->n, ret->cap) = take(&path);
	return 0;
}

static int scan_open(struct load *l, const char *dir, DIR **ret)
{
	struct stat st;

	*ret = opendir(dir);
	if (*ret == NULL && errno == ENOENT)
		return 0;
	if (*ret == NULL || fstat(dirfd(*ret), &st) < 0)
		return err_list_add(l->errs, ERR_LEVEL_ERROR, -errno, "KVM0002", file_at(l, dir),
				    "cannot be read: %s", strerror(errno));
	return is_safe(l, dir, &st);
}

static int scan(struct load *l, const char *dir, bool recurse, unsigned depth,
		struct load_paths *ret)
{
	DIR *d = NULL;
	struct dirent *e;
	int r;

	if (depth > DEPTH_MAX)
		return err_list_add(l->errs, ERR_LEVEL_ERROR, KV_ERR_LIMIT, "KVM0006",
				    file_at(l, dir), "directories are nested deeper than %d",
				    DEPTH_MAX);
	r = scan_open(l, dir, &d);
	while (r == 0 && d != NULL && (e = readdir(d)) != NULL)
		r = scan_entry(l, dir, e->d_name, recurse, depth, ret);
	if (d != NULL)
		closedir(d);
	return r;
}

int load_paths_scan(struct load *l, const char *dir, bool recurse, struct load_paths *ret)
{
	int r = scan(l, dir, recurse, 0, ret);

	if (ret->n > 1)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_path);
	return r;
}
