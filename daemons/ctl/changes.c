/* SPDX-License-Identifier: Apache-2.0 */
/* changes: see changes.h. Layer daemons/ctl. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/hash.h"
#include "base/vec.h"
#include "ctl/changes.h"
#include "ctl/findings.h"
#include "ctl/snapshot.h"

const char *const change_names[CHANGE__N] = {
	[CHANGE_WRITE] = "written",  [CHANGE_SAME] = "unchanged", [CHANGE_REPLACE] = "replaced",
	[CHANGE_REMOVE] = "removed", [CHANGE_KEEP] = "kept",
};

/* ---- the first line -------------------------------------------------------------------------- */

struct str changes_signed(struct arena *a, const char *sign, struct str body)
{
	return arena_printf(a, "%s%016llx\n%.*s", sign, (unsigned long long)hash_str(body),
			    STR_ARG(body));
}

bool changes_is_signed(struct str text, const char *sign)
{
	struct str line, first = str_c(sign);
	uint64_t digest;

	return str_split(&text, '\n', &line) && text.p && str_has_prefix(line, first) &&
	       str_hex_to_u64(str_skip(line, first.n), &digest) && digest == hash_str(text);
}

/* ---- planning -------------------------------------------------------------------------------- */

/* STR_NULL: there is no such file. */
static int read_old(struct ctl *c, const char *path, struct str *ret)
{
	struct err err;
	char *text;
	size_t n;
	int r = fs_read(path, DOC_FILE_MAX, &text, &n, &err);

	*ret = STR_NULL;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return ctl_fail_err(&err);
	*ret = arena_str(&c->arena, str_from(text, n));
	free(text);
	return 0;
}

static enum change_kind decide(const struct changes *p, struct str old, struct str new)
{
	if (!old.p)
		return new.p ? CHANGE_WRITE : CHANGE_SAME;
	if (new.p && str_eq(old, new))
		return CHANGE_SAME;
	if (!changes_is_signed(old, p->sign) && !p->force)
		return CHANGE_KEEP;
	return new.p ? CHANGE_REPLACE : CHANGE_REMOVE;
}

int changes_plan(struct changes *p, const char *path, struct str new, struct change **ret)
{
	struct str old;
	int code;

	if (ret)
		*ret = NULL;
	for (size_t i = 0; i < p->n; i++)
		if (strcmp(p->v[i].path, path) == 0)
			return 0;
	if ((code = read_old(p->c, path, &old)) != 0 || (!old.p && !new.p))
		return code;
	struct change *it = vec_push_arena(&p->c->arena, p->v, p->n, p->cap);

	*it = (struct change){ path, decide(p, old, new), new, old };
	if (ret)
		*ret = it;
	return 0;
}

/* ---- doing ----------------------------------------------------------------------------------- */

static int put(const char *path, struct str text, struct err *err)
{
	if (!text.p)
		return unlink(path) < 0 && errno != ENOENT
			       ? err_set(err, -errno, "cannot remove %s: %s", path, strerror(errno))
			       : 0;
	_cleanup_free_ char *dir = kv_strdup(path);

	*strrchr(dir, '/') = '\0';
	int r = fs_mkdir(dir, 0755, err);

	return r < 0 ? r : fs_write(path, text.p, text.n, 0644, err);
}

static bool is_change(const struct change *it)
{
	return it->kind != CHANGE_SAME && it->kind != CHANGE_KEEP;
}

bool changes_any(const struct changes *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (is_change(&p->v[i]))
			return true;
	return false;
}

bool changes_kept(const struct changes *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].kind == CHANGE_KEEP)
			return true;
	return false;
}

static void take_back(const struct changes *p, size_t n)
{
	struct err err;

	for (size_t i = 0; i < n; i++)
		if (is_change(&p->v[i]) && put(p->v[i].path, p->v[i].old, &err) < 0)
			(void)ctl_fail_err(&err);
}

static int write_files(const struct changes *p)
{
	struct err err;

	for (size_t i = 0; i < p->n; i++) {
		if (is_change(&p->v[i]) && put(p->v[i].path, p->v[i].new, &err) < 0) {
			int code = ctl_fail_err(&err);

			take_back(p, i);
			return code;
		}
	}
	return 0;
}

static int check_result(const struct changes *p)
{
	struct err_list errs;
	struct model *m;
	int code = 0;

	err_list_init(&errs);
	/* What was read before the change is of no use any more. */
	model_free(p->c->model);
	p->c->model = NULL;
	if (findings_load_dir(p->c, true, &m, &errs) != 0 || errs.n_errors > 0) {
		findings_print(&errs, m, ERR_LEVEL_ERROR);
		take_back(p, p->n);
		code = ctl_fail(CTL_EXIT_CONFIG, "the configuration could not be used with this "
						 "change; every file is as it was");
	}
	err_list_done(&errs);
	return code;
}

int changes_do(const struct changes *p)
{
	int code = write_files(p);

	return code != 0 ? code : check_result(p);
}

int changes_reload(struct ctl *c)
{
	struct doc *reply;
	struct err err;

	if (snapshot_is_of_files(c))
		return 0;
	if (ctl_reload(c, false, &reply, &err) == 0)
		return doc_get_bool(reply, "ok", false)
			       ? 0
			       : ctl_fail(CTL_EXIT_CONFIG, "the router refuses the files; "
							   "'kvmeshctl config test' tells why");
	if (!ctl_is_unanswered(&err))
		return ctl_fail_err(&err);
	ctl_note(c, "the router does not run: it will read the files when it starts");
	return 0;
}
