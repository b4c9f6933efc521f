/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc_out: a growing text for the three writers, and how each kind of scalar is spelled where the
 * syntaxes agree. Layer doc, private.
 */
#pragma once

#include "base/arena.h"
#include "base/str.h"
#include "doc/doc.h"

struct doc_out {
	char *p; /* malloc'ed */
	size_t n, cap;
};

void doc_out_init(struct doc_out *o);
/* The text moves to the arena; o is done with. */
struct str doc_out_finish(struct doc_out *o, struct arena *a);

void doc_out_str(struct doc_out *o, struct str s);
static inline void doc_out_c(struct doc_out *o, const char *s)
{
	doc_out_str(o, str_c(s));
}
void doc_out_char(struct doc_out *o, char c);
void doc_out_spaces(struct doc_out *o, size_t n);
void doc_out_fmt(struct doc_out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The shortest form that reads back as the same double, always with a dot or an exponent. */
void doc_out_real(struct doc_out *o, double r);
/* Null, booleans, numbers; null is spelled "null". */
void doc_out_scalar(struct doc_out *o, const struct doc *d);

/*
 * Visit s character by character: the code point and its bytes; a byte that is not UTF-8 comes as
 * U+FFFD with the bytes of that character, so that every text written is UTF-8. False at the end.
 */
bool doc_next_char(struct str *rest, uint32_t *ret_code, struct str *ret_bytes);
