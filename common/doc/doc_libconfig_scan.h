/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc_libconfig_scan: the pre-scan of the native syntax. Layer doc, private to the native reader.
 * It finds everything that libconfig would answer with "syntax error" or read in silence otherwise
 * than meant, several findings per file, and leaves two things behind for a text without findings:
 * the text with its includes put in, and a mark for each value in the order in which libconfig
 * builds them.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "doc/doc_file.h"

/* libconfig compares each new name with all of its group: beyond this, use a list. */
#define NATIVE_NAMES_MAX 256

struct native_mark {
	struct origin at, key_at;
	enum doc_kind kind;
};

struct native_source {
	char *text; /* NUL-ended, malloc'ed */
	size_t n, cap;
	struct native_mark *marks; /* malloc'ed */
	size_t n_marks, marks_cap;
};

/* False: there are findings and nothing to read. Either way the caller frees text and marks. */
bool native_scan(struct native_source *ret, const char *file, struct str text,
		 const struct doc_include *inc, struct arena *a, struct err_list *errs);
