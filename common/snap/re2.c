/* SPDX-License-Identifier: Apache-2.0 */
/*
 * re2: a recursive-descent reader of RE2's grammar. Layer snap. It refuses what RE2 refuses
 * (look-around, back-references, possessive, atomic, recursive, conditional parts, callouts,
 * verbs), what PCRE2 would read differently (\v, \h, x{,3}), and what would not fit into a compiled
 * program. Each part reports an upper estimate of its compiled size in code units; PCRE2 writes
 * repeated groups out.
 */
#include "snap/re2.h"

#define REPEAT_MAX 1000                 /* RE2's, also for the product of nested ones */
#define DEPTH_MAX 100
#define NAMES_MAX 32
#define NAME_MAX_BYTES 32
#define SIZE_MAX_UNITS 50000            /* PCRE2's own end is 65535 */

#define SIZE_CHAR 4
#define SIZE_CLASS 80
#define SIZE_GROUP 12

struct re2 {
	struct str all;
	size_t at;
	unsigned depth;
	struct err *err;
	struct str names[NAMES_MAX];
	size_t n_names;
};

/* What was read last: may a quantifier follow, and does PCRE2 write it out when repeated? */
struct atom {
	bool repeatable, group;
	int64_t size;                   /* code units */
	int64_t repeat;                 /* largest product of repetitions inside */
};

#define TRY(call) do { int _r = (call); if (_r < 0) return _r; } while (0)

static int refuse(struct re2 *re, size_t from, const char *why)
{
	struct str part = str_take(str_skip(re->all, from), 24);
	return err_set(re->err, KV_ERR_SCHEMA, "regular expression: %s at '%.*s' (byte %zu)", why,
		       STR_ARG(part), from + 1);
}

static int peek(const struct re2 *re, size_t ahead)
{
	return re->at + ahead < re->all.n ? (unsigned char)re->all.p[re->at + ahead] : -1;
}

static bool looking_at(const struct re2 *re, const char *text)
{
	return str_has_prefix(str_skip(re->all, re->at), str_c(text));
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool is_alpha(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int hex_value(int c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int read_char(struct re2 *re, uint32_t *ret)
{
	size_t n = str_utf8(str_skip(re->all, re->at), ret);
	if (n == 0 || *ret == 0)
		return refuse(re, re->at, "a byte that is not UTF-8 text");
	re->at += n;
	return 0;
}

/* \xHH or \x{H…}; at is behind the x. */
static int read_hex(struct re2 *re, size_t from, uint32_t *ret)
{
	uint32_t v = 0;
	if (peek(re, 0) != '{') {
		int hi = hex_value(peek(re, 0)), lo = hex_value(peek(re, 1));
		if (hi < 0 || lo < 0)
			return refuse(re, from, "\\x needs two hexadecimal digits or {…}");
		re->at += 2;
		*ret = (uint32_t)(hi * 16 + lo);
		return 0;
	}
	re->at++;
	size_t n = 0;
	for (int d; n <= 6 && (d = hex_value(peek(re, 0))) >= 0; n++, re->at++)
		v = v * 16 + (uint32_t)d;
	if (n == 0 || n > 6 || peek(re, 0) != '}' || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
		return refuse(re, from, "\\x{…} is no Unicode character");
	re->at++;
	*ret = v;
	return 0;
}

static bool is_property(struct str name)
{
	static const char *const known[] = {
		"Any",      "C",      "Cc",       "Cf",      "Co",     "L",        "Ll",
		"Lm",       "Lo",     "Lt",       "Lu",      "M",      "Mc",       "Me",
		"Mn",       "N",      "Nd",       "Nl",      "No",     "P",        "Pc",
		"Pd",       "Pe",     "Pf",       "Pi",      "Po",     "Ps",       "S",
		"Sc",       "Sk",     "Sm",       "So",      "Z",      "Zl",       "Zp",
		"Zs",       "Arabic", "Armenian", "Bengali", "Common", "Cyrillic", "Devanagari",
		"Georgian", "Greek",  "Han",      "Hangul",  "Hebrew", "Hiragana", "Inherited",
		"Katakana", "Latin",  "Tamil",    "Thai",
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (str_eq(name, str_c(known[i])))
			return true;
	}
	return false;
}

/* \pL or \p{^Greek}; at is behind the p. */
static int read_property(struct re2 *re, size_t from)
{
	struct str name = str_take(str_skip(re->all, re->at), 1);
	if (peek(re, 0) == '{') {
		struct str rest = str_skip(re->all, re->at + 1);
		ptrdiff_t end = str_find(rest, '}');
		if (end < 0)
			return refuse(re, from, "missing '}'");
		name = str_take(rest, (size_t)end);
		re->at += name.n + 2;
		if (name.n > 0 && name.p[0] == '^')
			name = str_skip(name, 1);
	} else {
		re->at += name.n;
	}
	return is_property(name) ? 0 : refuse(re, from, "an unknown Unicode class");
}

static const char *escape_refused(int c)
{
	if (c >= '1' && c <= '9')
		return "back-references are not part of RE2";
	switch (c) {
	case 'k': case 'g':
		return "back-references are not part of RE2";
	case 'v':
		return "\\v means different things; write \\x0b";
	case 'C':
		return "single bytes are not supported";
	case -1:
		return "a backslash with nothing behind it";
	default:
		return "an escape that RE2 does not know";
	}
}

/* An escape that stands for one character; at is behind the backslash. */
static int read_escaped_char(struct re2 *re, size_t from, uint32_t *ret)
{
	static const char letters[] = "aftnr", values[] = "\a\f\t\n\r";
	int c = peek(re, 0);
	const char *hit = c > 0 ? strchr(letters, c) : NULL;
	*ret = (uint32_t)c;
	if (hit) {
		*ret = (unsigned char)values[hit - letters];
	} else if (c == '0') {
		*ret = 0;
		for (int i = 0; i < 2 && peek(re, 1) >= '0' && peek(re, 1) <= '7'; i++, re->at++)
			*ret = *ret * 8 + (uint32_t)(peek(re, 1) - '0');
	} else if (c == 'x') {
		re->at++;
		return read_hex(re, from, ret);
	} else if (c < 0 || c >= 0x80 || is_alpha(c) || is_digit(c)) {
		return refuse(re, from, escape_refused(c));
	}
	re->at++;
	return 0;
}

static bool is_class_letter(int c)
{
	return c > 0 && strchr("dDsSwW", c) != NULL;
}

/* ---- [classes] ------------------------------------------------------------------------------ */
static int read_posix_class(struct re2 *re)
{
	static const char *const known[] = { "alnum", "alpha", "ascii", "blank", "cntrl",
					     "digit", "graph", "lower", "print", "punct",
					     "space", "upper", "word",  "xdigit" };
	size_t from = re->at;
	struct str rest = str_skip(re->all, re->at + 2);
	ptrdiff_t end = str_find_str(rest, STR(":]"));
	struct str name = str_take(rest, end < 0 ? 0 : (size_t)end);
	re->at += name.n + 4;
	if (name.n > 0 && name.p[0] == '^')
		name = str_skip(name, 1);
	for (size_t i = 0; end >= 0 && i < sizeof(known) / sizeof(known[0]); i++) {
		if (str_eq(name, str_c(known[i])))
			return 0;
	}
	re->at = from;
	return refuse(re, from, "an unknown character class");
}

/* One item of a class: *ret_set tells whether it is a set (\d, [:alpha:]) and no end of a range. */
static int read_class_item(struct re2 *re, uint32_t *ret, bool *ret_set)
{
	size_t from = re->at;
	*ret_set = false;
	if (looking_at(re, "[:")) {
		*ret_set = true;
		return read_posix_class(re);
	}
	if (looking_at(re, "[.") || looking_at(re, "[="))
		return refuse(re, from, "collating elements are not part of RE2");
	if (peek(re, 0) != '\\')
		return read_char(re, ret);
	re->at++;
	int c = peek(re, 0);
	if (is_class_letter(c)) {
		re->at++;
		*ret_set = true;
		return 0;
	}
	if (c == 'p' || c == 'P') {
		re->at++;
		*ret_set = true;
		return read_property(re, from);
	}
	return read_escaped_char(re, from, ret);
}

/* Would PCRE2 take "[:…:]", "[.….]" or "[=…=]" at at for a named class? */
static bool is_named_class(const struct re2 *re)
{
	int end = peek(re, 1);
	if (end != ':' && end != '.' && end != '=')
		return false;
	for (size_t i = 2; peek(re, i + 1) >= 0; i++) {
		int c = peek(re, i), next = peek(re, i + 1);
		if (c == '\\' && (next == ']' || next == '\\'))
			i++;
		else if (c == ']' || (c == '[' && next == end))
			return false;
		else if (c == end && next == ']')
			return true;
	}
	return false;
}

static int read_class(struct re2 *re, struct atom *a)
{
	size_t open = re->at, n = 0;
	if (is_named_class(re))
		return refuse(re, open, "a named class needs a second pair of brackets");
	re->at++;
	if (peek(re, 0) == '^')
		re->at++;
	for (bool first = true; first || peek(re, 0) != ']'; first = false) {
		size_t from = re->at;
		uint32_t lo = 0, hi = 0;
		bool set = false;
		if (peek(re, 0) < 0)
			return refuse(re, open, "missing ']'");
		TRY(read_class_item(re, &lo, &set));
		n++;
		if (peek(re, 0) != '-' || peek(re, 1) == ']' || peek(re, 1) < 0)
			continue;
		if (set)
			return refuse(re, from, "a range cannot begin with a class");
		re->at++;
		TRY(read_class_item(re, &hi, &set));
		if (set || hi < lo)
			return refuse(re, from, "a range that does not ascend");
	}
	re->at++;
	*a = (struct atom){ .repeatable = true, .size = SIZE_CLASS + (int64_t)n * 10, .repeat = 1 };
	return 0;
}

/* ---- (groups) ------------------------------------------------------------------------------- */
static int read_alternatives(struct re2 *re, struct atom *ret);

static int read_group_name(struct re2 *re, size_t from)
{
	size_t n = 0;
	for (int c; (c = peek(re, n)) == '_' || is_digit(c) || is_alpha(c);)
		n++;
	struct str name = str_take(str_skip(re->all, re->at), n);
	if (n == 0 || n > NAME_MAX_BYTES || peek(re, n) != '>' || is_digit(peek(re, 0)))
		return refuse(re, from, "a group name that RE2 does not take");
	for (size_t i = 0; i < re->n_names; i++) {
		if (str_eq(re->names[i], name))
			return refuse(re, from, "a group name that is there twice");
	}
	if (re->n_names == NAMES_MAX)
		return refuse(re, from, "too many named groups");
	re->names[re->n_names++] = name;
	re->at += n + 1;
	return 0;
}

/* (?imsU-imsU) or (?imsU-imsU:…); *ret_flags_only: the first form, already closed. */
static int read_flags(struct re2 *re, size_t from, bool *ret_flags_only)
{
	size_t on = 0, off = 0;
	bool minus = false;
	for (int c; (c = peek(re, 0)) > 0 && strchr("imsU-", c); re->at++) {
		if (c == '-' && minus)
			return refuse(re, from, "flags with two minus signs");
		minus = minus || c == '-';
		on += c != '-' && !minus;
		off += c != '-' && minus;
	}
	int end = peek(re, 0);
	if ((end != ':' && end != ')') || (minus && off == 0) || on + off == 0)
		return refuse(re, from, "flags that RE2 does not know");
	re->at++;
	*ret_flags_only = end == ')';
	return 0;
}

static const char *group_refused(const struct re2 *re)
{
	static const struct { const char *begin, *why;
	} kinds[] = {
		{ "?=", "look-ahead is not part of RE2" },
		{ "?!", "look-ahead is not part of RE2" },
		{ "?<=", "look-behind is not part of RE2" },
		{ "?<!", "look-behind is not part of RE2" },
		{ "?>", "atomic groups are not part of RE2" },
		{ "?|", "branch reset groups are not part of RE2" },
		{ "?(", "conditions are not part of RE2" },
		{ "?C", "callouts are not part of RE2" },
		{ "?#", "comments are not part of RE2" },
		{ "?R", "recursion is not part of RE2" },
		{ "?&", "recursion is not part of RE2" },
		{ "?+", "recursion is not part of RE2" },
		{ "?P>", "recursion is not part of RE2" },
		{ "?P=", "back-references are not part of RE2" },
		{ "*", "verbs are not part of RE2" },
	};
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (looking_at(re, kinds[i].begin))
			return kinds[i].why;
	}
	if (peek(re, 0) == '?' && is_digit(peek(re, 1)))
		return "recursion is not part of RE2";
	return NULL;
}

static int read_group(struct re2 *re, struct atom *a)
{
	size_t from = re->at++;
	const char *why = group_refused(re);
	if (why)
		return refuse(re, from, why);
	if (looking_at(re, "?P<") || looking_at(re, "?<")) {
		re->at += looking_at(re, "?P<") ? 3 : 2;
		TRY(read_group_name(re, from));
	} else if (looking_at(re, "?:")) {
		re->at += 2;
	} else if (peek(re, 0) == '?') {
		bool flags_only = false;
		re->at++;
		TRY(read_flags(re, from, &flags_only));
		if (flags_only) {
			*a = (struct atom){ .size = 0, .repeat = 1 };
			return 0;
		}
	}
	if (++re->depth > DEPTH_MAX)
		return refuse(re, from, "groups nested too deep");
	TRY(read_alternatives(re, a));
	re->depth--;
	if (peek(re, 0) != ')')
		return refuse(re, from, "missing ')'");
	re->at++;
	a->repeatable = a->group = true;
	a->size += SIZE_GROUP;
	return 0;
}

/* ---- atoms and quantifiers ------------------------------------------------------------------ */
static bool read_number(struct re2 *re, int64_t *ret)
{
	size_t n = 0;
	*ret = 0;
	for (; is_digit(peek(re, 0)); re->at++, n++)
		*ret = n < 6 ? *ret * 10 + (peek(re, 0) - '0') : INT32_MAX;
	return n > 0;
}

/* {n}, {n,}, {n,m}; *ret 0: the brace is an ordinary character. at stays then. */
static int read_braces(struct re2 *re, int64_t *ret)
{
	size_t from = re->at, n = 1;
	*ret = 0;
	if (peek(re, 0) != '{')
		return 0;
	for (int c; (c = peek(re, n)) == ',' || c == ' ' || is_digit(c);)
		n++;
	if (n == 1 || peek(re, n) != '}')
		return 0;
	re->at++;
	int64_t lo, hi;
	bool ok = read_number(re, &lo);
	hi = lo;
	if (ok && peek(re, 0) == ',') {
		re->at++;
		if (!read_number(re, &hi))
			hi = lo;
	}
	if (!ok || peek(re, 0) != '}')
		return refuse(re, from, "write {n}, {n,} or {n,m}, or a brace as \\{");
	re->at++;
	if (lo > REPEAT_MAX || hi > REPEAT_MAX || hi < lo)
		return refuse(re, from, "a repetition beyond 1000, or not ascending");
	*ret = hi > 0 ? hi : 1;
	return 0;
}

static int read_escape(struct re2 *re, struct atom *a)
{
	size_t from = re->at++;
	int c = peek(re, 0);
	uint32_t v;
	*a = (struct atom){ .repeatable = true, .size = SIZE_CHAR, .repeat = 1 };
	if (is_class_letter(c)) {
		re->at++;
		return 0;
	}
	if (c > 0 && strchr("AzbB", c)) {
		re->at++;
		a->repeatable = false;
		return 0;
	}
	if (c == 'p' || c == 'P') {
		re->at++;
		return read_property(re, from);
	}
	if (c != 'Q')
		return read_escaped_char(re, from, &v);
	size_t n = 0;
	for (re->at++; re->at < re->all.n && !looking_at(re, "\\E"); n++)
		TRY(read_char(re, &v));
	re->at += looking_at(re, "\\E") ? 2 : 0;
	a->repeatable = n > 0;
	a->size = (int64_t)n * SIZE_CHAR;
	return 0;
}

static int read_atom(struct re2 *re, struct atom *a)
{
	uint32_t v;
	int64_t times;
	size_t from = re->at;
	switch (peek(re, 0)) {
	case '(':
		return read_group(re, a);
	case '[':
		return read_class(re, a);
	case '\\':
		return read_escape(re, a);
	case '*': case '+': case '?':
		return refuse(re, from, "nothing to repeat");
	case '^': case '$':
		re->at++;
		*a = (struct atom){ .size = SIZE_CHAR, .repeat = 1 };
		return 0;
	default:
		TRY(read_braces(re, &times));
		if (times > 0)
			return refuse(re, from, "nothing to repeat");
		*a = (struct atom){ .repeatable = true, .size = SIZE_CHAR, .repeat = 1 };
		return read_char(re, &v);
	}
}

/* The quantifier behind an atom, if there is one. */
static int read_quantifier(struct re2 *re, struct atom *a)
{
	size_t from = re->at;
	int64_t times = 1;
	int c = peek(re, 0);
	if (c == '*' || c == '+' || c == '?')
		re->at++;
	else
		TRY(read_braces(re, &times));
	if (re->at == from)
		return 0;
	if (!a->repeatable)
		return refuse(re, from, "nothing to repeat");
	if (peek(re, 0) == '?')
		re->at++;
	c = peek(re, 0);
	int64_t again = 0;
	size_t second = re->at;
	TRY(read_braces(re, &again));
	if (c == '*' || c == '+' || c == '?' || again > 0)
		return refuse(re, second, "a repetition of a repetition");
	a->repeat *= times;
	if (a->repeat > REPEAT_MAX)
		return refuse(re, from, "nested repetitions beyond 1000");
	a->size = a->group ? a->size * (times + 1) : a->size * 2 + 8;
	return 0;
}

static int read_alternatives(struct re2 *re, struct atom *ret)
{
	size_t begin = re->at;
	*ret = (struct atom){ .size = SIZE_GROUP, .repeat = 1 };
	for (int c; (c = peek(re, 0)) >= 0 && c != ')';) {
		if (c == '|') {
			re->at++;
			ret->size += SIZE_GROUP;
			continue;
		}
		struct atom a;
		TRY(read_atom(re, &a));
		TRY(read_quantifier(re, &a));
		ret->size += a.size;
		ret->repeat = a.repeat > ret->repeat ? a.repeat : ret->repeat;
		if (ret->size > SIZE_MAX_UNITS)
			return refuse(re, begin, "too large once its repetitions are written out");
	}
	return 0;
}

int re2_check(struct str pattern, struct err *err)
{
	struct re2 re = { .all = pattern, .err = err };
	struct atom all;
	if (pattern.n > RE2_PATTERN_MAX)
		return err_set(err, KV_ERR_SCHEMA,
			       "regular expression: %zu bytes long, more than %d", pattern.n,
			       RE2_PATTERN_MAX);
	TRY(read_alternatives(&re, &all));
	return re.at == pattern.n ? 0 : refuse(&re, re.at, "a ')' that was not opened");
}
