/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_jwks: the keys of a RequestAuthentication that stand in a file (jwksUri = "file:///…"), read
 * with the configuration. A file that is not there is a finding of the check, not of the load: a
 * resource can be read and converted where its keys are not. Layer config.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "config/load_parts.h"

#define JWKS_BYTES_MAX (1u << 20)       /* security-model L13 */
#define SCHEME "file://"

static int read_file(struct load *l, const char *path, char **ret, size_t *ret_n, struct err *err)
{
	struct err_list *errs = l->errs, own;

	err_list_init(&own);
	l->errs = &own;
	int r = load_file_is_safe(l, path);

	l->errs = errs;
	if (r < 0 && own.n > 0)
		err_set(err, r, "%s: %s", path, own.v[0].text);
	err_list_done(&own);
	return r < 0 ? r : fs_read(path, JWKS_BYTES_MAX, ret, ret_n, err);
}

/* Directly in the directory of the CA's keys. */
static bool is_of_ca(const struct load *l, struct str path)
{
	struct str dir = str_c(l->opts->keys_dir);

	return dir.n > 0 && str_has_prefix(path, dir) && path.p[dir.n] == '/' &&
	       str_rfind(path, '/') == (ptrdiff_t)dir.n;
}

static bool is_anybodys(const struct stat *st)
{
	return (st->st_mode & (S_IWGRP | S_IWOTH)) != 0;
}

/* The service manager made the directory for the CA: what the CA puts there is as good as that. */
static int ca_file_is_safe(const struct load *l, const char *path, struct err *err)
{
	struct stat dir, file;

	if (lstat(l->opts->keys_dir, &dir) != 0 || lstat(path, &file) != 0)
		return err_set(err, -errno, "%s: cannot be read: %s", path, strerror(errno));
	if (!S_ISREG(file.st_mode) || !S_ISDIR(dir.st_mode) || is_anybodys(&file) || is_anybodys(&dir))
		return err_set(err, KV_ERR_REFUSED,
			       "%s: refused: it must be a file that only its owner can write or replace",
			       path);
	if (!l->opts->any_owner && file.st_uid != 0 && file.st_uid != geteuid() &&
	    file.st_uid != dir.st_uid)
		return err_set(err, KV_ERR_REFUSED,
			       "%s: refused: it belongs neither to root nor to its directory's owner",
			       path);
	return 0;
}

/* A CA that has not been started yet has signed nothing: no key, and every token is refused. */
static int read_ca_file(const struct load *l, const char *path, char **ret, size_t *ret_n,
			struct err *err)
{
	int r = ca_file_is_safe(l, path, err);

	if (r == -ENOENT) {
		*ret = kv_strdup("{\"keys\":[]}");
		*ret_n = strlen(*ret);
		return 0;
	}
	return r < 0 ? r : fs_read(path, JWKS_BYTES_MAX, ret, ret_n, err);
}

static void read_keys(struct load *l, struct model_jwt_rule *j)
{
	struct arena *a = &l->m->arena;
	struct str path = arena_str(a, str_skip(j->jwksUri, sizeof(SCHEME) - 1));
	struct err err = { 0 };
	char *text = NULL;
	size_t n = 0;
	int r = is_of_ca(l, path) ? read_ca_file(l, path.p, &text, &n, &err)
				  : read_file(l, path.p, &text, &n, &err);

	if (r < 0)
		j->keys_problem = arena_str(a, str_c(err.text));
	else
		j->keys = arena_str(a, str_from(text, n));
	free(text);
}

void load_jwks(struct load *l, struct model_request_authentication *ra)
{
	for (size_t i = 0; i < ra->jwtRules.n; i++) {
		struct model_jwt_rule *j = &ra->jwtRules.v[i];

		j->keys = j->jwks;
		if (j->jwks.n == 0 && str_has_prefix(j->jwksUri, STR(SCHEME "/")))
			read_keys(l, j);
	}
}
