/* SPDX-License-Identifier: Apache-2.0 */
/*
 * str: a borrowed run of bytes, passed by value. Layer base.
 * Not NUL-terminated and never owned: whoever made the bytes keeps them alive.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *p;
	size_t n;
};

#define STR(lit) ((struct str){ .p = ("" lit), .n = sizeof(lit) - 1 })
#define STR_NULL ((struct str){ .p = NULL, .n = 0 })
/* printf("%.*s", STR_ARG(s)) */
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_from(const char *p, size_t n)
{
	return (struct str){ .p = p, .n = n };
}

/* The str over a C string; NULL gives the empty str. */
static inline struct str str_c(const char *c)
{
	return (struct str){ .p = c, .n = c ? strlen(c) : 0 };
}

static inline bool str_is_empty(struct str s)
{
	return s.n == 0;
}

static inline bool str_eq(struct str a, struct str b)
{
	/* b last: against a literal the compiler needs no call */
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): a p that is NULL has an n of 0 */
	return a.n == b.n && (b.n == 0 || memcmp(a.p, b.p, b.n) == 0);
}

static inline bool str_has_prefix(struct str s, struct str prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_ieq(struct str a, struct str b); /* ASCII case folded */
int str_cmp(struct str a, struct str b);  /* bytewise, shorter first on a tie */
bool str_has_iprefix(struct str s, struct str prefix);
bool str_has_suffix(struct str s, struct str suffix);
struct str str_trim(struct str s);           /* without SP and HTAB at both ends */
struct str str_skip(struct str s, size_t n); /* without the first min(n, s.n) bytes */
struct str str_take(struct str s, size_t n); /* the first min(n, s.n) bytes */

/* Position of byte c, or -1. */
ptrdiff_t str_find(struct str s, char c);
ptrdiff_t str_rfind(struct str s, char c);
/* Position of needle, or -1; the empty needle is at 0. */
ptrdiff_t str_find_str(struct str s, struct str needle);

/*
 * Cut the piece before the first sep out of *rest and step over sep. False when *rest was
 * already used up (p == NULL). "a,,b" gives "a", "", "b"; "" gives one empty piece.
 */
bool str_split(struct str *rest, char sep, struct str *ret_piece);

/*
 * Length in bytes of the UTF-8 character that s starts with, and its code point; 0 when there is
 * none (s empty, cut short, overlong, a surrogate, beyond U+10FFFF). NUL is a character.
 */
size_t str_utf8(struct str s, uint32_t *ret_code);

/* Whole string is a decimal (or hex) number without sign or space that fits: true. */
bool str_to_u64(struct str s, uint64_t *ret);
bool str_to_i64(struct str s, int64_t *ret); /* one leading '-' allowed */
bool str_hex_to_u64(struct str s, uint64_t *ret);
bool str_to_double(struct str s, double *ret); /* JSON number form, finite */

/* The decimal digits of v, no NUL behind them; returns how many. */
#define STR_U64_MAX 20
size_t str_put_u64(char out[static STR_U64_MAX], uint64_t v);

/*
 * Go duration ("300ms", "1m30s", "1.5h", "0s"; units ns us ms s m h) to microseconds, or false.
 * A leading '-' is accepted and gives a negative value: ranges are the caller's business.
 */
bool str_to_duration_us(struct str s, int64_t *ret_us);

/* Edit distance with transpositions, capped: returns cap when the distance is >= cap. */
unsigned str_distance(struct str a, struct str b, unsigned cap);
