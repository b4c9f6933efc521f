/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc: any parsed file or message as one kind of tree, each value with its place. Layer doc.
 * libconfig, YAML and JSON readers all end here; nothing above this layer knows the syntax a value
 * came from. A doc lives in the arena it was made in.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum doc_kind { DOC_NULL, DOC_BOOL, DOC_INT, DOC_REAL, DOC_STR, DOC_LIST, DOC_MAP };

/* How a file is written. */
enum doc_syntax { DOC_SYNTAX_NATIVE, DOC_SYNTAX_YAML, DOC_SYNTAX_JSON };

struct doc {
	enum doc_kind kind;
	/*
	 * A YAML scalar without quotes: its type is decided by the field it is bound to, never by
	 * guessing ("version: on" stays text). Its kind is DOC_STR, or DOC_NULL for "", "~",
	 * "null".
	 */
	bool plain;
	struct str key;       /* name inside a DOC_MAP parent, else STR_NULL */
	struct origin at;     /* of the value */
	struct origin key_at; /* of the name, when there is one */
	union {
		bool b;
		int64_t i;
		double r;
		struct str s;
		struct {
			struct doc *
				*v; /* members in order of appearance; keys are unique in a map */
			size_t n;
		};
	};
};

/* Caps on one file, security-model §5.6. */
#define DOC_FILE_MAX (4u << 20)
#define DOC_DEPTH_MAX 32
#define DOC_INCLUDE_MAX 4 /* nested @include of the native syntax */

/* ---- reading ---------------------------------------------------------------------------- */

/*
 * A file as it was read: one doc per YAML document, one for native or JSON. text is kept for
 * messages that show the offending line. Everything lives in the arena given to doc_read_*.
 */
struct doc_file {
	const char *path;
	enum doc_syntax syntax;
	struct str text;
	struct doc **docs;
	size_t n;
};

/* Syntax by file name: .conf native, .yaml .yml YAML, .json JSON. False: none of them. */
bool doc_syntax_of(const char *path, enum doc_syntax *ret);

/*
 * Read and parse. Every finding goes to errs with its place; the return value is 0 or the code of
 * the first error. Duplicate keys, too deep nesting, YAML aliases and anchors beyond the caps,
 * files over DOC_FILE_MAX are errors. @include paths (native) are relative to the including file
 * and must stay below include_root when that is not NULL.
 */
int doc_read_file(const char *path, const char *include_root, struct arena *a, struct doc_file *ret,
		  struct err_list *errs);
/* The same from memory; path is used in messages only and is copied. Includes are refused. */
int doc_read_text(struct str text, const char *path, enum doc_syntax syntax, struct arena *a,
		  struct doc_file *ret, struct err_list *errs);
/* One JSON value from a message; strict: duplicate members, trailing bytes are errors. */
int doc_read_json(struct str text, struct arena *a, struct doc **ret, struct err *err);

/* ---- looking ---------------------------------------------------------------------------- */

struct doc *doc_get(const struct doc *map, struct str key); /* NULL when absent or no map */
/* Convenience over trusted or already checked docs: default when absent or of another kind. */
struct str doc_get_str(const struct doc *map, const char *key, struct str dflt);
int64_t doc_get_int(const struct doc *map, const char *key, int64_t dflt);
bool doc_get_bool(const struct doc *map, const char *key, bool dflt);
double doc_get_real(const struct doc *map, const char *key, double dflt); /* int counts */
const char *doc_kind_name(enum doc_kind kind); /* "map", "string", … for messages */

/* ---- building --------------------------------------------------------------------------- */

struct doc *doc_new_map(struct arena *a);
struct doc *doc_new_list(struct arena *a);
struct doc *doc_new_str(struct arena *a, struct str s); /* copies */
struct doc *doc_new_int(struct arena *a, int64_t i);
struct doc *doc_new_real(struct arena *a, double r);
struct doc *doc_new_bool(struct arena *a, bool b);
struct doc *doc_new_null(struct arena *a);
/* Append to a list, or set in a map (replaces an equal key; key copied). Return the child. */
struct doc *doc_add(struct arena *a, struct doc *list, struct doc *child);
struct doc *doc_set(struct arena *a, struct doc *map, const char *key, struct doc *child);
struct doc *doc_set_str(struct arena *a, struct doc *map, const char *key, struct str s);
struct doc *doc_set_int(struct arena *a, struct doc *map, const char *key, int64_t i);
struct doc *doc_set_bool(struct arena *a, struct doc *map, const char *key, bool b);
struct doc *doc_set_real(struct arena *a, struct doc *map, const char *key, double r);
struct doc *doc_copy(struct arena *a, const struct doc *d); /* deep; origins kept */
bool doc_eq(const struct doc *x, const struct doc *y);      /* values; origins ignored */

/* ---- writing ---------------------------------------------------------------------------- */

/* JSON in one line; with pretty: indented by two. The str lives in the arena. */
struct str doc_to_json(const struct doc *d, struct arena *a, bool pretty);
/* One YAML document body (no "---"). Strings that would read as another type are quoted. */
struct str doc_to_yaml(const struct doc *d, struct arena *a);
/*
 * Native syntax (libconfig 1.5 grammar). d must be a map with names of that grammar; a nested map
 * with other names ("8080", ":authority") is written as a pair list ( { key = …; value = …; } ).
 * marks != NULL: "# from FILE:LINE" before each top-level setting whose origin is known.
 */
struct str doc_to_native(const struct doc *d, struct arena *a, bool marks);
