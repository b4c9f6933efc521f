/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_jwks: the keys of a RequestAuthentication that stand in a file (jwksUri = "file:///…"), read
 * with the configuration. A file that is not there is a finding of the check, not of the load: a
 * resource can be read and converted where its keys are not. Layer config.
 */
#include <stdlib.h>

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

static void read_keys(struct load *l, struct model_jwt_rule *j)
{
	struct arena *a = &l->m->arena;
	struct str path = arena_str(a, str_skip(j->jwksUri, sizeof(SCHEME) - 1));
	struct err err = { 0 };
	char *text = NULL;
	size_t n = 0;

	if (read_file(l, path.p, &text, &n, &err) < 0)
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
