/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc_file: what the readers of the three syntaxes share: places in a text, findings of syntax, the
 * first check of the bytes; and the readers themselves. Layer doc, private.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "doc/doc.h"

/* Byte offset → line and column, cheap when asked in rising order. */
struct doc_cursor {
	const char *file;
	struct str text;
	size_t off, line_start;
	uint32_t line;
};

void doc_cursor_init(struct doc_cursor *c, const char *file, struct str text);
struct origin doc_cursor_at(struct doc_cursor *c, size_t off);

/* A finding of syntax; returns KV_ERR_SYNTAX. */
int doc_syntax_err(struct err_list *errs, struct origin at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Size, control characters, UTF-8. A byte order mark is cut off. 0 or a code and a finding. */
int doc_check_bytes(struct str *text, const char *file, struct err_list *errs);

/* One reader per syntax. Append to ret->docs what was well-formed; findings to errs. */
void doc_parse_json(struct doc_file *ret, struct arena *a, struct err_list *errs);
void doc_parse_yaml(struct doc_file *ret, struct arena *a, struct err_list *errs);

/* How the native reader may follow @include. */
struct doc_include {
	bool allowed;
	const char *root; /* NULL: anywhere */
};
/*
 * Read the file that an @include names, relative to the file of *at, below the root, with checked
 * bytes. 0, or a code and a finding at *at.
 */
int doc_include_read(const struct doc_include *inc, const struct origin *at, struct str name,
		     struct arena *a, char **ret_path, struct str *ret_text, struct err_list *errs);
void doc_parse_native(struct doc_file *ret, const struct doc_include *inc, struct arena *a,
		      struct err_list *errs);
