/* SPDX-License-Identifier: Apache-2.0 */
/* doc_libconfig_lex: text of the native syntax → tokens. Layer doc. */
#include "doc/doc_libconfig_lex.h"

#include <string.h>

void native_lexer_init(struct native_lexer *l, const char *file, struct str text,
		       struct err_list *errs)
{
	*l = (struct native_lexer){ .text = text, .errs = errs };
	doc_cursor_init(&l->cursor, file, text);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

/* Moves *off over space and comments; false and *off at its start when a comment has no end. */
static bool pass_blank(struct str text, size_t *off)
{
	while (*off < text.n) {
		struct str rest = str_skip(text, *off);
		ptrdiff_t end;
		if (is_space(rest.p[0])) {
			++*off;
		} else if (rest.p[0] == '#' || str_has_prefix(rest, STR("//"))) {
			end = str_find(rest, '\n');
			*off += end < 0 ? rest.n : (size_t)end;
		} else if (str_has_prefix(rest, STR("/*"))) {
			end = str_find_str(str_skip(rest, 2), STR("*/"));
			if (end < 0)
				return false;
			*off += (size_t)end + 4;
		} else {
			break;
		}
	}
	return true;
}

static bool skip_blank(struct native_lexer *l)
{
	if (pass_blank(l->text, &l->off))
		return true;
	doc_syntax_err(l->errs, doc_cursor_at(&l->cursor, l->off),
		       "the comment that begins here never ends");
	return false;
}

char native_lexer_peek(const struct native_lexer *l)
{
	size_t off = l->off;

	return pass_blank(l->text, &off) && off < l->text.n ? l->text.p[off] : '\0';
}

static struct str rest_of(const struct native_lexer *l)
{
	return str_skip(l->text, l->off);
}

/* A word ends where libconfig has its own marks, comments included. */
static size_t word_length(struct str s)
{
	size_t n = 0;

	while (n < s.n && !is_space(s.p[n]) && !strchr("=:;,{}()[]\"#", s.p[n]) &&
	       !str_has_prefix(str_skip(s, n), STR("//")) &&
	       !str_has_prefix(str_skip(s, n), STR("/*")))
		n++;
	return n;
}

/* \x00 makes libconfig end the text there; other escapes are its business. */
static void check_escape(struct native_lexer *l, size_t off)
{
	struct str esc = str_skip(l->text, off);

	if (str_has_iprefix(esc, STR("\\x00")))
		doc_syntax_err(l->errs, doc_cursor_at(&l->cursor, off),
			       "text cannot hold a NUL character");
}

/* l->off is at the quote; past the closing one. False when there is none. */
static bool skip_string(struct native_lexer *l)
{
	size_t start = l->off++;

	while (l->off < l->text.n && l->text.p[l->off] != '"') {
		if (l->text.p[l->off] == '\\') {
			check_escape(l, l->off);
			l->off++;
		}
		l->off++;
	}
	if (l->off >= l->text.n) {
		doc_syntax_err(l->errs, doc_cursor_at(&l->cursor, start),
			       "the string that begins here never ends (closing quote missing?)");
		return false;
	}
	l->off++;
	return true;
}

/* libconfig knows @include only as the first thing on its line. */
static bool at_include(const struct native_lexer *l)
{
	size_t i = l->off;

	if (!str_has_prefix(rest_of(l), STR("@include")))
		return false;
	while (i > 0 && (l->text.p[i - 1] == ' ' || l->text.p[i - 1] == '\t'))
		i--;
	return i == 0 || l->text.p[i - 1] == '\n';
}

static bool take_include(struct native_lexer *l, struct native_token *t)
{
	size_t start = l->off;

	l->off += STR("@include").n;
	while (l->off < l->text.n && (l->text.p[l->off] == ' ' || l->text.p[l->off] == '\t'))
		l->off++;
	size_t quote = l->off;
	if (quote >= l->text.n || l->text.p[quote] != '"') {
		doc_syntax_err(l->errs, doc_cursor_at(&l->cursor, start),
			       "@include needs a file name in quotes");
		return false;
	}
	if (!skip_string(l))
		return false;
	t->kind = NATIVE_TOK_INCLUDE;
	t->text = str_from(l->text.p + quote + 1, l->off - quote - 2);
	return true;
}

static void take_mark(struct native_lexer *l, struct native_token *t)
{
	t->c = l->text.p[l->off];
	l->off++;
	if (t->c == '=' || t->c == ':')
		t->kind = NATIVE_TOK_EQ;
	else if (t->c == ';' || t->c == ',')
		t->kind = NATIVE_TOK_SEP;
	else
		t->kind = strchr("{([", t->c) ? NATIVE_TOK_OPEN : NATIVE_TOK_CLOSE;
}

/* Over the token at l->off. False: told, and the rest cannot be read. */
static bool take_token(struct native_lexer *l, struct native_token *t)
{
	if (l->text.p[l->off] == '"') {
		t->kind = NATIVE_TOK_STRING;
		return skip_string(l);
	}
	if (at_include(l))
		return take_include(l, t);
	size_t n = word_length(rest_of(l));
	if (n == 0) {
		take_mark(l, t);
		return true;
	}
	t->kind = NATIVE_TOK_WORD;
	l->off += n;
	return true;
}

void native_lexer_next(struct native_lexer *l, struct native_token *ret)
{
	bool ok = skip_blank(l);

	*ret = (struct native_token){ .kind = NATIVE_TOK_BROKEN, .off = l->off };
	ret->at = doc_cursor_at(&l->cursor, l->off);
	if (ok && l->off >= l->text.n)
		ret->kind = NATIVE_TOK_END;
	else if (!ok || !take_token(l, ret))
		ret->kind = NATIVE_TOK_BROKEN;
	ret->end = l->off < l->text.n ? l->off : l->text.n;
	ret->end_line = doc_cursor_at(&l->cursor, ret->end).line;
	if (!ret->text.p)
		ret->text = str_from(l->text.p + ret->off, ret->end - ret->off);
}
