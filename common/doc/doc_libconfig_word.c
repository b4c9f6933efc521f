/* SPDX-License-Identifier: Apache-2.0 */
/* doc_libconfig_word: what an unquoted word is, and what is wrong with it. Layer doc. */
#include "doc/doc_libconfig_lex.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WORD_SHOWN 40 /* characters of a word in a message */
#define REAL_MAX_CHARS 64

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_bool(struct str s)
{
	return str_ieq(s, STR("true")) || str_ieq(s, STR("false"));
}

bool native_is_name(struct str s)
{
	if (s.n == 0 || is_bool(s) || (!is_letter(s.p[0]) && s.p[0] != '*'))
		return false;
	for (size_t i = 1; i < s.n; i++) {
		if (!is_letter(s.p[i]) && !is_digit(s.p[i]) &&
		    (s.p[i] == '\0' || !strchr("_-*", s.p[i])))
			return false;
	}
	return true;
}

static int shown(struct str word)
{
	return (int)str_take(word, WORD_SHOWN).n;
}

static size_t count_digits(struct str s)
{
	size_t n = 0;

	while (n < s.n && is_digit(s.p[n]))
		n++;
	return n;
}

static struct str without_sign(struct str s)
{
	return s.n > 0 && (s.p[0] == '-' || s.p[0] == '+') ? str_skip(s, 1) : s;
}

static struct str without_suffix(struct str s, bool *ret_long)
{
	*ret_long = s.n > 1 && s.p[s.n - 1] == 'L';
	if (*ret_long)
		s.n -= s.n > 2 && s.p[s.n - 2] == 'L' ? 2 : 1;
	return s;
}

static enum native_type too_large(struct str word, bool fits_64, struct origin at,
				  struct err_list *errs)
{
	if (fits_64)
		doc_syntax_err(errs, at, "%.*s needs more than 32 bits: write %.*sL", shown(word),
			       word.p, shown(word), word.p);
	else
		doc_syntax_err(errs, at, "%.*s does not fit 64 bits", shown(word), word.p);
	return NATIVE_NONE;
}

static enum native_type hex_type(struct str word, struct origin at, struct err_list *errs)
{
	bool is_long;
	struct str digits = str_skip(without_suffix(word, &is_long), 2);
	uint64_t v;

	if (!str_hex_to_u64(digits, &v) || v > INT64_MAX)
		return too_large(word, false, at, errs);
	if (!is_long && v > INT32_MAX)
		return too_large(word, true, at, errs);
	return is_long ? NATIVE_INT64 : NATIVE_INT;
}

static enum native_type int_type(struct str word, struct origin at, struct err_list *errs)
{
	bool is_long;
	struct str s = without_suffix(word, &is_long), digits = without_sign(s);
	int64_t v;

	if (digits.n > 1 && digits.p[0] == '0') {
		doc_syntax_err(errs, at,
			       "%.*s would be read as decimal: leave the zeros out, or put a "
			       "mode in quotes",
			       shown(word), word.p);
		return NATIVE_NONE;
	}
	if (!str_to_i64(s.p[0] == '+' ? digits : s, &v))
		return too_large(word, false, at, errs);
	if (!is_long && (v > INT32_MAX || v < INT32_MIN))
		return too_large(word, true, at, errs);
	return is_long ? NATIVE_INT64 : NATIVE_INT;
}

static enum native_type real_type(struct str word, struct origin at, struct err_list *errs)
{
	char buf[REAL_MAX_CHARS + 1];

	if (word.n > REAL_MAX_CHARS) {
		doc_syntax_err(errs, at, "a number of more than %d characters", REAL_MAX_CHARS);
		return NATIVE_NONE;
	}
	memcpy(buf, word.p, word.n);
	buf[word.n] = '\0';
	if (!isfinite(strtod(buf, NULL))) {
		doc_syntax_err(errs, at, "%.*s is too large", shown(word), word.p);
		return NATIVE_NONE;
	}
	return NATIVE_REAL;
}

static bool is_hex(struct str s)
{
	bool is_long;

	if (!str_has_iprefix(s, STR("0x")))
		return false;
	s = str_skip(without_suffix(s, &is_long), 2);
	for (size_t i = 0; i < s.n; i++) {
		if (!is_digit(s.p[i]) && !((s.p[i] | 0x20) >= 'a' && (s.p[i] | 0x20) <= 'f'))
			return false;
	}
	return s.n > 0;
}

static bool is_int(struct str s)
{
	bool is_long;

	s = without_sign(without_suffix(s, &is_long));
	return s.n > 0 && count_digits(s) == s.n;
}

/* Digits with a dot, an exponent or both; at least one digit before the exponent. */
static bool is_real(struct str s)
{
	s = without_sign(s);
	size_t whole = count_digits(s), frac = 0;
	s = str_skip(s, whole);
	if (s.n > 0 && s.p[0] == '.') {
		frac = count_digits(str_skip(s, 1));
		s = str_skip(s, frac + 1);
		if (s.n == 0)
			return whole + frac > 0;
	}
	if (whole + frac == 0 || s.n == 0 || (s.p[0] | 0x20) != 'e')
		return false;
	s = without_sign(str_skip(s, 1));
	return s.n > 0 && count_digits(s) == s.n;
}

/* A word that is no value: say what was probably meant. */
static void explain(struct str word, struct origin at, struct err_list *errs)
{
	static const char *const yes_no[] = { "yes", "no", "on", "off" };

	for (size_t i = 0; i < sizeof(yes_no) / sizeof(yes_no[0]); i++) {
		if (str_ieq(word, str_c(yes_no[i]))) {
			doc_syntax_err(errs, at, "'%.*s' is no value: write true or false",
				       shown(word), word.p);
			return;
		}
	}
	if (str_ieq(word, STR("null")) || str_eq(word, STR("~")))
		doc_syntax_err(errs, at, "there is no null: leave the setting out");
	else if (is_digit(word.p[0]))
		doc_syntax_err(errs, at,
			       "'%.*s' is no number: put a duration, size or address in "
			       "quotes",
			       shown(word), word.p);
	else
		doc_syntax_err(errs, at, "'%.*s': text must be in double quotes", shown(word),
			       word.p);
}

enum native_type native_word_type(struct str word, struct origin at, struct err_list *errs)
{
	if (is_bool(word))
		return NATIVE_BOOL;
	if (is_hex(word))
		return hex_type(word, at, errs);
	if (is_int(word))
		return int_type(word, at, errs);
	if (is_real(word))
		return real_type(word, at, errs);
	explain(word, at, errs);
	return NATIVE_NONE;
}
