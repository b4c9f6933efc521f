/* SPDX-License-Identifier: Apache-2.0 */
/*
 * findings: configuration read without a daemon, by the daemons' own code, and what it found, in
 * the forms people know: compilers' "file:line:col: error:" with the line, istioctl's one-line
 * form, JSON. Layer daemons/ctl.
 */
#pragma once

#include "config/model.h"
#include "ctl/ctl.h"

/*
 * Read c->etc (once per command); check: rules across resources too. *ret is what could be read,
 * in any case; it lives until the command ends. errs must be initialised. Returns 0 or the first
 * error's code.
 */
int findings_load_dir(struct ctl *c, bool check, struct model **ret, struct err_list *errs);
/* The same for files, directories or "-" on the command line. */
int findings_load_files(struct ctl *c, const char *const *paths, size_t n, bool check,
			struct model **ret, struct err_list *errs);
/*
 * The same, always checked, with the files as they would be once installed: over the resources of
 * c->etc, of which those of the same kind, namespace and name count as replaced. The files are
 * judged alone when they have errors themselves, when nothing is installed, and, with a remark,
 * when what is installed cannot be read.
 */
int findings_load_over(struct ctl *c, const char *const *paths, size_t n, struct model **ret,
		       struct err_list *errs);
/* All of standard input, at most as long as a file may be. */
int findings_read_stdin(struct ctl *c, struct str *ret, struct err_list *errs);
/*
 * For a command that needs what the files say, whether or not it fits together: prints what could
 * not be read, returns 0 or CTL_EXIT_CONFIG.
 */
int findings_load_or_fail(struct ctl *c, struct model **ret);

/* Compilers' form on stderr, with the offending line: from m, or from the file when m is NULL. */
void findings_print(const struct err_list *errs, const struct model *m, enum err_level up_to);
const char *findings_level_name(enum err_level level);          /* "Error", "Warning", "Info" */
bool findings_level_parse(const char *text, enum err_level *ret);
/* The input could not even be read: no such file, no such syntax. */
bool findings_is_unreadable(const struct err *e);
/* The resource that a finding lies in, or NULL. */
const struct model_resource *findings_resource(const struct model *m, const struct err *e);
/* A daemon's {level, code, rule, file, line, col, text} as a finding. */
void findings_from_doc(const struct doc *list, struct err_list *errs);
