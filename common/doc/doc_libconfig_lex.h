/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc_libconfig_lex: the native syntax as tokens with places, and what an unquoted word is.
 * Layer doc, private to the native reader. Stricter than libconfig: what it would read otherwise
 * than it looks (octal, wrapped integers, "." as a number) is an error here.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "doc/doc.h"
#include "doc/doc_file.h"

enum native_tok {
	NATIVE_TOK_END,
	NATIVE_TOK_WORD,    /* name, number, true, false, or anything else without quotes */
	NATIVE_TOK_STRING,  /* text: with its quotes */
	NATIVE_TOK_EQ,      /* = or : */
	NATIVE_TOK_SEP,     /* ; or , */
	NATIVE_TOK_OPEN,    /* { ( [ */
	NATIVE_TOK_CLOSE,   /* } ) ] */
	NATIVE_TOK_INCLUDE, /* @include "PATH"; text: the path as written */
	NATIVE_TOK_BROKEN,  /* told already; nothing after it can be trusted */
};

struct native_token {
	enum native_tok kind;
	char c; /* the character of EQ, SEP, OPEN, CLOSE */
	struct str text;
	size_t off, end; /* in the file's text */
	struct origin at;
	uint32_t end_line;
};

struct native_lexer {
	struct str text;
	size_t off;
	struct doc_cursor cursor;
	struct err_list *errs;
};

void native_lexer_init(struct native_lexer *l, const char *file, struct str text,
		       struct err_list *errs);
void native_lexer_next(struct native_lexer *l, struct native_token *ret);
/* The first character of the token to come, or NUL. */
char native_lexer_peek(const struct native_lexer *l);

/* Letter or "*", then letters, digits, "_", "-", "*"; not true or false in any case. */
bool native_is_name(struct str s);

/* What array elements must share: libconfig keeps 32- and 64-bit integers apart. */
enum native_type { NATIVE_NONE, NATIVE_BOOL, NATIVE_INT, NATIVE_INT64, NATIVE_REAL, NATIVE_STRING };
/* The type of an unquoted value; NATIVE_NONE and a finding when it is none. */
enum native_type native_word_type(struct str word, struct origin at, struct err_list *errs);
