/* SPDX-License-Identifier: Apache-2.0 */
/*
 * changes: files below /etc/kvmesh that a command writes or removes, all or none. Layer daemons/ctl.
 * A file that we write begins with a line that says so and ends in a digest of the rest: what an
 * operator has changed since stays as it is, unless --force; nothing is done twice; what the
 * configuration would not load with is taken back.
 */
#pragma once

#include "ctl/ctl.h"

enum change_kind {
	CHANGE_WRITE, CHANGE_SAME, CHANGE_REPLACE, CHANGE_REMOVE,
	CHANGE_KEEP,                    /* somebody's own: left alone */
	CHANGE__N
};
extern const char *const change_names[CHANGE__N];       /* "written", "unchanged", … */

struct change {
	const char *path; /* whole */
	enum change_kind kind;
	struct str new, old; /* p == NULL: no file */
};
struct changes {
	struct ctl *c;
	const char *sign;               /* beginning of the first line of files that are ours */
	bool force;
	struct change *v;
	size_t n, cap;
};

/* The text of a file with its first line: sign, digest. */
struct str changes_signed(struct arena *a, const char *sign, struct str body);
bool changes_is_signed(struct str text, const char *sign);      /* and not changed since */

/*
 * path shall hold new (STR_NULL: shall not be). A path that is planned already, or that is not
 * there and shall not be, adds nothing. *ret, which may be NULL, is the change or NULL. Returns 0
 * or an exit code, with the message printed.
 */
int changes_plan(struct changes *p, const char *path, struct str new, struct change **ret);
/*
 * Do them, read the whole configuration as it is then, and take everything back when it is unusable.
 * Returns 0 or an exit code with the message printed.
 */
int changes_do(const struct changes *p);
bool changes_any(const struct changes *p);      /* does changes_do change a file? */
bool changes_kept(const struct changes *p);     /* is something left alone? */
/*
 * Have the router read the files: not when only files were named; a remark when no router runs.
 * Returns 0 or an exit code with the message printed.
 */
int changes_reload(struct ctl *c);
