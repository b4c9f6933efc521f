/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert: resources from one syntax into another without loss of fields (comments are lost,
 * places may be kept as "# from FILE:LINE"). Layer config. Works on documents, not on the model:
 * what is written in is written out, in canonical form, whether or not it would pass a check.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/err.h"
#include "doc/doc.h"

struct convert_opts {
	enum doc_syntax to;
	bool marks; /* "# from FILE:LINE" before each resource (native and YAML) */
	bool pretty;                    /* JSON: indented */
};
/*
 * Convert every resource (and settings group) of f. *ret lives in the arena. Unknown kinds and
 * unknown fields are errors, as for load.
 */
int convert_file(const struct doc_file *f, const struct convert_opts *opts, struct arena *a,
		 struct str *ret, struct err_list *errs);
/*
 * Convert, read the result back and compare field by field: KV_ERR_CHECK names the first
 * difference.
 */
int convert_check(const struct doc_file *f, const struct convert_opts *opts, struct arena *a,
		  struct err_list *errs);
