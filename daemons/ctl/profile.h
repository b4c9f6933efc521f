/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile: presets of a node: a directory each, whose files "install" writes below /etc/kvmesh
 * under the same names. Layer daemons/ctl. A file so written begins with a line that holds a digest
 * of the rest: as long as that fits nobody has changed it, and it may be replaced or taken away.
 */
#pragma once

#include "ctl/ctl.h"

struct profile_file {
	const char *path; /* "conf.d/00-profile.conf" */
	struct str text;  /* as it is written, first line included */
};
struct profile {
	const char *name;
	struct str description;
	const struct doc *components; /* list of words */
	struct profile_file *files;
	size_t n_files;
};

/* All that are installed, by name; 0 or an exit code with the reason printed. In c's arena. */
int profile_all(struct ctl *c, struct profile **ret, size_t *ret_n);
/* One of them; NULL, with the reason printed, when there is none of that name. */
const struct profile *profile_find(const struct profile *v, size_t n, const char *name);
const struct profile_file *profile_file_of(const struct profile *p, const char *path);
bool profile_has(const struct profile *p, const char *component);
/* First line of the files (changes.h). */
#define PROFILE_SIGN                                                                               \
	"# Written by \"kvmeshctl install\" from a profile; your own settings go into other "      \
	"files. "
/* All files one after the other, each behind "# ---- PATH". */
struct str profile_text(struct arena *a, const struct profile *p);
