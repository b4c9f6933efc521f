/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regex_literals: a walk over the grammar of snap/re2.h that keeps, for each part, what all its
 * matches begin with, end with and hold. Whatever it does not follow counts as "anything"; flags
 * and quoted text end the walk without a word about the pattern. Layer core.
 */
#include "core/regex_literals.h"

#include <string.h>

#define DEPTH_MAX 100                   /* re2_check's */
#define TEXT_MAX 64

struct text {
	size_t n;
	char p[TEXT_MAX];
};

struct facts {
	bool exact;                     /* prefix is all that it matches */
	struct text prefix, suffix, inner;
};

struct walk {
	struct str all;
	size_t at;
	unsigned depth;
	bool lost;                      /* nothing is certain */
};

/* ---- facts ---------------------------------------------------------------------------------- */

static struct facts nothing_certain(void)
{
	return (struct facts){ .exact = false };
}

static struct facts exactly(struct str s)
{
	struct facts f = { .exact = true };

	f.prefix.n = s.n;
	if (s.n > 0)
		memcpy(f.prefix.p, s.p, s.n);
	f.suffix = f.inner = f.prefix;
	return f;
}

/* a and b behind each other; of too much the first or the last bytes are kept. */
static struct text joined(const struct text *a, const struct text *b, bool keep_last)
{
	char both[2 * TEXT_MAX];
	size_t n = a->n + b->n, skip = keep_last && n > TEXT_MAX ? n - TEXT_MAX : 0;
	struct text t = { .n = n < TEXT_MAX ? n : TEXT_MAX };

	memcpy(both, a->p, a->n);
	memcpy(both + a->n, b->p, b->n);
	memcpy(t.p, both + skip, t.n);
	return t;
}

static const struct text *longer(const struct text *a, const struct text *b)
{
	return b->n > a->n ? b : a;
}

static struct facts then(const struct facts *a, const struct facts *b)
{
	struct text middle = joined(&a->suffix, &b->prefix, false);

	return (struct facts){
		.exact = a->exact && b->exact && a->prefix.n + b->prefix.n <= TEXT_MAX,
		.prefix = a->exact ? joined(&a->prefix, &b->prefix, false) : a->prefix,
		.suffix = b->exact ? joined(&a->suffix, &b->suffix, true) : b->suffix,
		.inner = *longer(longer(&a->inner, &b->inner), &middle),
	};
}

static bool is_same(const struct text *a, const struct text *b)
{
	return a->n == b->n && memcmp(a->p, b->p, a->n) == 0;
}

static struct facts either(const struct facts *a, const struct facts *b)
{
	struct facts f = nothing_certain();
	size_t most = a->prefix.n < b->prefix.n ? a->prefix.n : b->prefix.n, n = 0;

	while (n < most && a->prefix.p[n] == b->prefix.p[n])
		n++;
	f.prefix.n = n;
	memcpy(f.prefix.p, a->prefix.p, n);
	most = a->suffix.n < b->suffix.n ? a->suffix.n : b->suffix.n;
	for (n = 0; n < most && a->suffix.p[a->suffix.n - 1 - n] == b->suffix.p[b->suffix.n - 1 - n];)
		n++;
	f.suffix.n = n;
	memcpy(f.suffix.p, a->suffix.p + a->suffix.n - n, n);
	f.inner = is_same(&a->inner, &b->inner) ? a->inner : *longer(&f.prefix, &f.suffix);
	f.exact = a->exact && b->exact && is_same(&a->prefix, &b->prefix);
	return f;
}

/* ---- the grammar ---------------------------------------------------------------------------- */

static int peek(const struct walk *w, size_t ahead)
{
	return w->at + ahead < w->all.n ? (unsigned char)w->all.p[w->at + ahead] : -1;
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static struct facts give_up(struct walk *w)
{
	w->lost = true;
	w->at = w->all.n;
	return nothing_certain();
}

/* One character, all its bytes: a quantifier takes the whole of it. */
static struct facts character(struct walk *w)
{
	size_t n = 1;

	while (n < 4 && (peek(w, n) & 0xc0) == 0x80 && peek(w, n) >= 0)
		n++;
	w->at += n;
	return exactly(str_from(w->all.p + w->at - n, n));
}

/* "{…}" or that many characters. */
static void skip_braced(struct walk *w, size_t otherwise)
{
	if (peek(w, 0) != '{') {
		w->at += otherwise;
		return;
	}
	while (peek(w, 0) >= 0 && peek(w, 0) != '}')
		w->at++;
	w->at++;
}

static struct facts escape(struct walk *w)
{
	int c = peek(w, 1);

	w->at++;
	if (c > 0 && c < 0x80 && strchr("AzbB", c)) {
		w->at++;
		return exactly(STR(""));
	}
	if (c > 0 && c < 0x80 && strchr("dDsSwWaftnr", c)) {
		w->at++;
		return nothing_certain();
	}
	if (c == 'p' || c == 'P' || c == 'x') {
		w->at++;
		skip_braced(w, c == 'x' ? 2 : 1);
		return nothing_certain();
	}
	bool is_word = is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

	return c < 0 || c >= 0x80 || is_word ? give_up(w) : character(w);
}

static struct facts class(struct walk *w)
{
	w->at++;
	w->at += peek(w, 0) == '^';
	for (bool first = true; first || peek(w, 0) != ']'; first = false) {
		if (peek(w, 0) < 0)
			return give_up(w);
		if (peek(w, 0) == '[' && peek(w, 1) == ':') {
			ptrdiff_t end = str_find_str(str_skip(w->all, w->at), STR(":]"));

			w->at += end < 0 ? 1 : (size_t)end + 2;
		} else {
			w->at += peek(w, 0) == '\\' ? 2 : 1;
		}
	}
	w->at++;
	return nothing_certain();
}

static struct facts alternatives(struct walk *w);

static struct facts group(struct walk *w)
{
	w->at++;
	if (peek(w, 0) == '?' && peek(w, 1) == ':') {
		w->at += 2;
	} else if (peek(w, 0) == '?') {
		w->at += peek(w, 1) == 'P' ? 2 : 1;
		if (peek(w, 0) != '<')
			return give_up(w);      /* flags */
		while (peek(w, 0) >= 0 && peek(w, 0) != '>')
			w->at++;
		w->at++;
	}
	if (++w->depth > DEPTH_MAX)
		return give_up(w);
	struct facts f = alternatives(w);

	w->depth--;
	if (peek(w, 0) != ')')
		return give_up(w);
	w->at++;
	return f;
}

static struct facts atom(struct walk *w)
{
	switch (peek(w, 0)) {
	case '(':
		return group(w);
	case '[':
		return class(w);
	case '\\':
		return escape(w);
	case '^': case '$':
		w->at++;
		return exactly(STR(""));
	case '.':
		w->at++;
		return nothing_certain();
	case '*': case '+': case '?':
		return give_up(w);
	default:
		return character(w);
	}
}

/* {n}, {n,}, {n,m}: at least *ret_least, and is it once at most? False: an ordinary brace. */
static bool braces(struct walk *w, unsigned *ret_least, bool *ret_once)
{
	size_t n = 1, digits = 0;

	while (is_digit(peek(w, n)) || peek(w, n) == ',' || peek(w, n) == ' ')
		n++;
	if (peek(w, 0) != '{' || n == 1 || peek(w, n) != '}')
		return false;
	*ret_least = 0;
	for (; is_digit(peek(w, 1 + digits)) && digits < 4; digits++)
		*ret_least = *ret_least * 10 + (unsigned)(peek(w, 1 + digits) - '0');
	*ret_once = *ret_least == 1 && n == 1 + digits;
	w->at += n + 1;
	return true;
}

static void quantified(struct walk *w, struct facts *f)
{
	unsigned least = 0;
	bool once = false;
	int c = peek(w, 0);

	if (c == '*' || c == '+' || c == '?') {
		w->at++;
		least = c == '+';
	} else if (!braces(w, &least, &once)) {
		return;
	}
	w->at += peek(w, 0) == '?';
	if (least == 0)
		*f = nothing_certain();
	f->exact = f->exact && once;
}

static struct facts alternatives(struct walk *w)
{
	struct facts all = exactly(STR("")), one = all;
	bool first = true;

	for (int c; (c = peek(w, 0)) >= 0 && c != ')';) {
		if (c == '|') {
			all = first ? one : either(&all, &one);
			one = exactly(STR(""));
			first = false;
			w->at++;
			continue;
		}
		struct facts f = atom(w);

		quantified(w, &f);
		one = then(&one, &f);
	}
	return first ? one : either(&all, &one);
}

struct regex_literals regex_literals(struct str pattern, struct arena *a)
{
	struct walk w = { .all = pattern };
	struct facts f = alternatives(&w);

	if (w.lost || w.at < pattern.n)
		return (struct regex_literals){ .prefix = STR("") };
	return (struct regex_literals){
		.prefix = arena_str(a, str_from(f.prefix.p, f.prefix.n)),
		.suffix = arena_str(a, str_from(f.suffix.p, f.suffix.n)),
		.inner = arena_str(a, str_from(f.inner.p, f.inner.n)),
	};
}
