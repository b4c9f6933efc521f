/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text: a growing run of bytes for replies and log lines, with the two escapes they need. Layer
 * proxy. Values come from peers: both escapes leave nothing but printable ASCII.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct text {
	char *p;                        /* not NUL-ended */
	size_t n, cap;
};

void text_done(struct text *t);
void text_bytes(struct text *t, const void *p, size_t n);
void text_add(struct text *t, struct str s);
void text_char(struct text *t, char c);
void text_u64(struct text *t, uint64_t v);
void text_i64(struct text *t, int64_t v);
/* "0.25", "1500"; an exponent only from 1e15 on. v is finite. */
void text_real(struct text *t, double v);
/*
 * A JSON string with its quotes. UTF-8 becomes \uXXXX; a byte that is no UTF-8, and NUL, which our
 * readers refuse, become the four characters \xHH.
 */
void text_json(struct text *t, struct str s);
/* As in nginx's logs: bytes outside printable ASCII, the quote and the backslash become \xHH. */
void text_plain(struct text *t, struct str s);

#define text_lit(t, lit) text_bytes((t), (lit), sizeof(lit) - 1)
