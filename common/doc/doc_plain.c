/* SPDX-License-Identifier: Apache-2.0 */
/* doc_plain: bare YAML scalars as values. Layer doc. */
#include "doc/doc_plain.h"

#include <string.h>

bool doc_plain_is_null(struct str s)
{
	return s.n == 0 || str_eq(s, STR("~")) || str_eq(s, STR("null"));
}

bool doc_plain_to_bool(struct str s, bool *ret)
{
	static const char *const forms[] = { "true", "True", "TRUE", "false", "False", "FALSE" };

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (str_eq(s, str_c(forms[i]))) {
			*ret = i < 3;
			return true;
		}
	}
	return false;
}

bool doc_plain_to_int(struct str s, int64_t *ret)
{
	struct str digits = s;

	if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+'))
		digits = str_skip(s, 1);
	if (digits.n > 1 && digits.p[0] == '0')
		return false;
	return str_to_i64(s.n > 0 && s.p[0] == '+' ? digits : s, ret) && digits.p[0] != '-';
}

bool doc_plain_to_real(struct str s, double *ret)
{
	bool minus = s.n > 0 && s.p[0] == '-';
	struct str rest = minus || (s.n > 0 && s.p[0] == '+') ? str_skip(s, 1) : s;
	char buf[64] = "0";
	double v;

	/* YAML knows ".5", JSON does not. */
	if (rest.n > 0 && rest.p[0] == '.' && rest.n < sizeof(buf) - 1) {
		memcpy(buf + 1, rest.p, rest.n);
		rest = str_from(buf, rest.n + 1);
	}
	if (rest.n == 0 || rest.p[0] == '-' || !str_to_double(rest, &v))
		return false;
	*ret = minus ? -v : v;
	return true;
}

/* Only such characters as numbers, dates and sexagesimals are made of. */
static bool is_number_like(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): a set of characters, no text */
		if (!memchr("0123456789abcdefABCDEFxXoO+-._:, tTzZ", s.p[i], 37))
			return false;
	}
	return true;
}

bool doc_plain_looks_typed(struct str s)
{
	static const char *const words[] = { "y",     "n",    "yes", "no",   "on",   "off", "true",
					     "false", "null", "~",   ".inf", ".nan", "=",   "<<" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (str_ieq(s, str_c(words[i])))
			return true;
	}
	if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+'))
		s = str_skip(s, 1);
	if (str_ieq(s, STR(".inf")) || s.n == 0)
		return true;
	if (s.p[0] == '.')
		s = str_skip(s, 1);
	return s.n == 0 || (s.p[0] >= '0' && s.p[0] <= '9' && is_number_like(s));
}

struct doc *doc_plain_guess(struct arena *a, const struct doc *d)
{
	struct doc *g = doc_copy(a, d);

	g->plain = false;
	if (d->kind != DOC_STR)
		return g;
	if (doc_plain_to_int(d->s, &g->i))
		g->kind = DOC_INT;
	else if (doc_plain_to_real(d->s, &g->r))
		g->kind = DOC_REAL;
	else if (doc_plain_to_bool(d->s, &g->b))
		g->kind = DOC_BOOL;
	return g;
}
