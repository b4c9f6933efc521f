/* SPDX-License-Identifier: Apache-2.0 */
/* doc_test: text in, doc or findings out, for the tests of layer doc. */
#pragma once

#include <stdio.h>

#include "base/arena.h"
#include "base/err.h"
#include "doc/doc.h"

#include "unit.h"

/* One arena and one list for a whole test program: each test runs in a process of its own. */
static struct arena ta;
static struct err_list terrs;

/* All findings as "LINE:COL TEXT\n" in order of place. */
static inline const char *findings(void)
{
	struct str all = STR("");

	err_list_sort(&terrs);
	for (size_t i = 0; i < terrs.n; i++)
		all = arena_printf(&ta, "%.*s%u:%u %s\n", STR_ARG(all), terrs.v[i].line,
				   terrs.v[i].col, terrs.v[i].text);
	return arena_str(&ta, all).p;
}

static inline struct doc_file read_text(const char *text, enum doc_syntax syntax)
{
	struct doc_file f;

	if (!ta.block_bytes)
		arena_init(&ta, 0);
	err_list_done(&terrs);
	int rc = doc_read_text(str_c(text), "test", syntax, &ta, &f, &terrs);
	ck_assert_int_eq(rc, terrs.n_errors > 0 ? terrs.v[0].code : 0);
	return f;
}

/* The one doc of a text that has no findings. */
static inline struct doc *good(const char *text, enum doc_syntax syntax)
{
	struct doc_file f = read_text(text, syntax);

	ck_assert_msg(terrs.n == 0, "unexpected: %s", findings());
	ck_assert_uint_eq(f.n, 1);
	return f.docs[0];
}

/* The findings of a text must be exactly these. */
static inline void bad(const char *text, enum doc_syntax syntax, const char *want)
{
	read_text(text, syntax);
	ck_assert_str_eq(findings(), want);
}

/* Some finding must contain the words. */
static inline void bad_with(const char *text, enum doc_syntax syntax, const char *words)
{
	read_text(text, syntax);
	ck_assert_msg(strstr(findings(), words) != NULL, "no '%s' in: %s", words, findings());
}

static inline const char *json_of(const struct doc *d)
{
	return doc_to_json(d, &ta, false).p;
}

/* text reads as this JSON. */
static inline void reads(const char *text, enum doc_syntax syntax, const char *json)
{
	ck_assert_str_eq(json_of(good(text, syntax)), json);
}
