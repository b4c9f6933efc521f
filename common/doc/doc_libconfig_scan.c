/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc_libconfig_scan: grammar of the native syntax over the tokens, with recovery. Layer doc.
 * One frame per open bracket. After a finding the rest of that setting or element is passed over;
 * after a bracket that does not fit, or a string whose end is doubtful, nothing more can be said
 * and the scan stops.
 */
#include "doc/doc_libconfig_scan.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/vec.h"
#include "doc/doc_build.h"
#include "doc/doc_libconfig_lex.h"

#define INCLUDES_MAX 64 /* in one configuration file, nested or not */
#define PAIR_HINT "a map with such names is written ( { key = \"...\"; value = ...; } )"

enum want { WANT_NAME, WANT_EQ, WANT_VALUE, WANT_END };

struct frame {
	char open; /* '{' '(' '[', or NUL for the top of the file */
	enum want want;
	bool first;            /* list: no element yet */
	bool after_string;     /* the last value is a string, which another may continue */
	enum native_type type; /* array: of its elements */
	struct origin at;      /* of the bracket */
	struct origin sep_at;  /* list: of the last ',' */
	struct str key;        /* group: the setting being read */
	struct origin key_at;
	uint32_t value_line; /* where the last value ended */
	struct map names;    /* group: name → struct origin */
};

struct scan {
	struct arena *a;
	struct err_list *errs;
	const struct doc_include *inc;
	struct native_source *out;
	struct frame frames[DOC_DEPTH_MAX];
	size_t depth; /* at least 1 while scanning */
	unsigned n_includes, nest;
	bool stop;
	struct origin long_string; /* the last string over several lines … */
	uint32_t long_string_end;  /* … and the line where it ended */
};

/* One file of the scan: the main one or an included one. */
struct source {
	struct scan *s;
	struct native_lexer lex;
	struct native_token tok;
	bool again;        /* the token is to be seen once more */
	size_t base_depth; /* frames of the including file */
	size_t copied;     /* text put into the output so far */
};

static struct frame *top(struct scan *s)
{
	return &s->frames[s->depth - 1];
}

static bool is_group(const struct frame *f)
{
	return f->open == '{' || f->open == '\0';
}

static void next_token(struct source *f)
{
	if (!f->again)
		native_lexer_next(&f->lex, &f->tok);
	f->again = false;
	if (f->tok.kind == NATIVE_TOK_BROKEN)
		f->s->stop = true;
}

/* ---- findings ------------------------------------------------------------------------------- */

/*
 * A finding. When a string over several lines ended in this line, its closing quote is the suspect
 * and what follows is text turned inside out.
 */
__attribute__((format(printf, 3, 4))) static void fail(struct source *f, struct origin at,
						       const char *fmt, ...)
{
	struct scan *s = f->s;
	char text[300], hint[120] = "";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (s->long_string_end != 0 && s->long_string_end == at.line) {
		snprintf(hint, sizeof(hint),
			 " (the string that begins at %u:%u runs to here: is its closing quote "
			 "missing?)",
			 s->long_string.line, s->long_string.col);
		s->stop = true;
	}
	doc_syntax_err(s->errs, at, "%s%s", text, hint);
}

/*
 * Pass over the rest of a setting or element: to its separator, to the bracket that closes what it
 * is in, or, in a group, to a word that begins a line after from_line.
 */
static void recover(struct source *f, uint32_t from_line)
{
	struct frame *fr = top(f->s);
	unsigned nest = 0;

	f->again = true;
	for (;;) {
		next_token(f);
		if (f->s->stop || f->tok.kind == NATIVE_TOK_END)
			break;
		if (f->tok.kind == NATIVE_TOK_OPEN) {
			nest++;
		} else if (f->tok.kind == NATIVE_TOK_CLOSE) {
			if (nest == 0)
				break;
			nest--;
		} else if (nest == 0 && f->tok.kind == NATIVE_TOK_SEP) {
			fr->want = is_group(fr) ? WANT_NAME : WANT_VALUE;
			fr->sep_at = f->tok.at;
			return;
		} else if (nest == 0 && f->tok.kind == NATIVE_TOK_WORD && is_group(fr) &&
			   f->tok.at.line > from_line) {
			break;
		}
	}
	f->again = true;
	fr->want = is_group(fr) ? WANT_NAME : WANT_END;
	fr->after_string = false;
}

/* ---- brackets ------------------------------------------------------------------------------- */

static void push(struct source *f, char open)
{
	struct scan *s = f->s;

	if (s->depth == DOC_DEPTH_MAX) {
		err_list_add(s->errs, ERR_LEVEL_ERROR, KV_ERR_LIMIT, NULL, f->tok.at,
			     "nested deeper than %d levels", DOC_DEPTH_MAX);
		s->stop = true;
		return;
	}
	s->frames[s->depth++] = (struct frame){ .open = open,
						.at = f->tok.at,
						.first = true,
						.want = open == '{' ? WANT_NAME : WANT_VALUE };
	map_init(&top(s)->names);
}

static void pop(struct scan *s)
{
	map_done(&top(s)->names);
	s->depth--;
}

static char closer(char open)
{
	return open == '{' ? '}' : open == '(' ? ')' : ']';
}

static void on_close(struct source *f)
{
	struct scan *s = f->s;
	struct frame *fr = top(s);
	const struct native_token *t = &f->tok;

	if (s->depth == f->base_depth) {
		fail(f, t->at, "'%c' closes nothing%s", t->c,
		     s->nest > 0 ? " that was opened in this file" : "");
		s->stop = true;
		return;
	}
	if (t->c != closer(fr->open)) {
		fail(f, t->at, "'%c' does not close the '%c' of %u:%u", t->c, fr->open, fr->at.line,
		     fr->at.col);
		s->stop = true;
		return;
	}
	if (is_group(fr) && (fr->want == WANT_EQ || fr->want == WANT_VALUE))
		fail(f, t->at, "the value of '%.*s' is missing", STR_ARG(fr->key));
	if (!is_group(fr) && fr->want == WANT_VALUE && !fr->first)
		fail(f, fr->sep_at, "nothing follows this '%c': remove it", ',');
	pop(s);
	fr = top(s);
	fr->want = WANT_END;
	fr->after_string = false;
	fr->value_line = t->end_line;
}

/* ---- values --------------------------------------------------------------------------------- */

static void add_mark(struct source *f, enum doc_kind kind)
{
	struct scan *s = f->s;
	struct frame *fr = top(s);

	if (s->out->n_marks >= DOC_NODES_MAX_FILE) {
		err_list_add(s->errs, ERR_LEVEL_ERROR, KV_ERR_LIMIT, NULL, f->tok.at,
			     "more than %u values", DOC_NODES_MAX_FILE);
		s->stop = true;
		return;
	}
	*vec_push(s->out->marks, s->out->n_marks, s->out->marks_cap) = (struct native_mark){
		.at = f->tok.at,
		.key_at = is_group(fr) ? fr->key_at : (struct origin){ 0 },
		.kind = kind,
	};
}

/* In an array all elements have the type of the first. */
static void check_array(struct source *f, enum native_type type)
{
	static const char *const names[] = {
		[NATIVE_BOOL] = "boolean",         [NATIVE_INT] = "32-bit integer",
		[NATIVE_INT64] = "64-bit integer", [NATIVE_REAL] = "number with a dot",
		[NATIVE_STRING] = "string",
	};
	struct frame *fr = top(f->s);

	if (fr->open != '[')
		return;
	if (fr->type == NATIVE_NONE)
		fr->type = type;
	else if (fr->type != type)
		fail(f, f->tok.at,
		     "all elements of [ ] must be of one type: this is a %s, the first "
		     "is a %s; ( ) may mix them",
		     names[type], names[fr->type]);
}

static enum doc_kind kind_of(enum native_type type)
{
	switch (type) {
	case NATIVE_BOOL:
		return DOC_BOOL;
	case NATIVE_REAL:
		return DOC_REAL;
	case NATIVE_STRING:
		return DOC_STR;
	case NATIVE_NONE:
	case NATIVE_INT:
	case NATIVE_INT64:
		break;
	}
	return DOC_INT;
}

static void value_done(struct source *f, enum native_type type)
{
	struct frame *fr = top(f->s);

	check_array(f, type);
	add_mark(f, kind_of(type));
	fr->want = WANT_END;
	fr->first = false;
	fr->after_string = type == NATIVE_STRING;
	fr->value_line = f->tok.end_line;
}

static void note_string(struct source *f)
{
	if (f->tok.end_line > f->tok.at.line) {
		f->s->long_string = f->tok.at;
		f->s->long_string_end = f->tok.end_line;
	}
}

static void on_word_value(struct source *f)
{
	struct frame *fr = top(f->s);
	char next = native_lexer_peek(&f->lex);
	size_t n_before = f->s->errs->n_errors;

	/* "a =\n b = 5;": the word is the next setting's name. */
	if ((next == '=' || next == ':') && is_group(fr) && f->tok.at.line > fr->key_at.line) {
		fail(f, fr->key_at, "the value of '%.*s' is missing", STR_ARG(fr->key));
		fr->want = WANT_NAME;
		f->again = true;
		return;
	}
	if (next == '=' && !is_group(fr)) {
		fail(f, f->tok.at, "a setting cannot stand in a list: put { } around it");
		recover(f, f->tok.at.line);
		return;
	}
	enum native_type type = native_word_type(f->tok.text, f->tok.at, f->s->errs);
	if (f->s->errs->n_errors > n_before) {
		uint32_t line = f->tok.at.line;
		native_lexer_next(&f->lex, &f->tok);
		fr->first = false;
		recover(f, line);
		return;
	}
	value_done(f, type);
}

static void on_open_value(struct source *f)
{
	struct frame *fr = top(f->s);
	char open = f->tok.c;

	if (fr->open == '[') {
		fail(f, f->tok.at,
		     "[ ] holds plain values only: write ( ) for lists of groups and lists");
		fr->first = false;
		recover(f, f->tok.at.line);
		return;
	}
	add_mark(f, open == '{' ? DOC_MAP : DOC_LIST);
	fr->first = false;
	push(f, open);
}

/* The token stands where a value should. */
static void on_value(struct source *f)
{
	struct frame *fr = top(f->s);

	switch (f->tok.kind) {
	case NATIVE_TOK_WORD:
		on_word_value(f);
		return;
	case NATIVE_TOK_STRING:
		note_string(f);
		value_done(f, NATIVE_STRING);
		return;
	case NATIVE_TOK_OPEN:
		on_open_value(f);
		return;
	case NATIVE_TOK_CLOSE:
		on_close(f);
		return;
	case NATIVE_TOK_SEP:
	case NATIVE_TOK_EQ:
	case NATIVE_TOK_INCLUDE:
	case NATIVE_TOK_END:
	case NATIVE_TOK_BROKEN:
		break;
	}
	if (is_group(fr))
		fail(f, f->tok.at, "the value of '%.*s' is missing", STR_ARG(fr->key));
	else
		fail(f, f->tok.at, "an element is missing before '%.*s'", STR_ARG(f->tok.text));
	if (!is_group(fr) && f->tok.kind == NATIVE_TOK_SEP)
		return;
	recover(f, f->tok.at.line);
}

/* ---- lists ---------------------------------------------------------------------------------- */

/* Behind an element: ',' or the end. */
static void on_element_end(struct source *f)
{
	struct frame *fr = top(f->s);

	if (f->tok.kind == NATIVE_TOK_CLOSE) {
		on_close(f);
		return;
	}
	fr->want = WANT_VALUE;
	fr->sep_at = f->tok.at;
	if (f->tok.kind == NATIVE_TOK_SEP) {
		if (f->tok.c == ';')
			fail(f, f->tok.at, "elements are separated by ',', not by ';'");
		return;
	}
	/* libconfig would join two strings into one: surely not meant in a list. */
	fail(f, f->tok.at, "expected ',' or '%c' in the list that begins at %u:%u",
	     closer(fr->open), fr->at.line, fr->at.col);
	if (f->tok.kind == NATIVE_TOK_STRING || f->tok.kind == NATIVE_TOK_OPEN)
		f->again = true;
	else
		recover(f, f->tok.at.line);
}

/* ---- groups --------------------------------------------------------------------------------- */

static void keep_name(struct source *f)
{
	struct frame *fr = top(f->s);
	const struct origin *first = map_get(&fr->names, f->tok.text);
	struct origin *at;

	if (first)
		fail(f, f->tok.at, "'%.*s' is given twice, first in line %u", STR_ARG(f->tok.text),
		     first->line);
	if (fr->names.n == NATIVE_NAMES_MAX && !first) {
		fail(f, f->tok.at, "more than %d names in one group: use a list", NATIVE_NAMES_MAX);
		f->s->stop = true;
	}
	at = arena_new(f->s->a, struct origin);
	*at = f->tok.at;
	if (!first)
		map_put(&fr->names, f->tok.text, at);
	fr->key = f->tok.text;
	fr->key_at = f->tok.at;
	fr->want = WANT_EQ;
}

static void bad_name(struct source *f)
{
	const struct native_token *t = &f->tok;
	int n = (int)str_take(t->text, 40).n;

	if (t->kind == NATIVE_TOK_WORD && t->text.p[0] == '@')
		fail(f, t->at, "@include must be the first word of its line, between settings");
	else if (t->kind == NATIVE_TOK_WORD)
		fail(f, t->at,
		     "'%.*s' cannot be a name (a letter, then letters, digits, '_', '-'): %s", n,
		     t->text.p, PAIR_HINT);
	else if (t->kind == NATIVE_TOK_STRING)
		fail(f, t->at, "a name cannot be in quotes: %s", PAIR_HINT);
	else if (t->kind == NATIVE_TOK_EQ && t->c == ':')
		fail(f, t->at, "a name cannot begin with ':': %s", PAIR_HINT);
	else
		fail(f, t->at, "expected a name, not '%c'", t->c);
	recover(f, t->at.line);
}

/* The token stands where a setting may begin. */
static void on_name(struct source *f)
{
	if (f->tok.kind == NATIVE_TOK_WORD && native_is_name(f->tok.text))
		keep_name(f);
	else if (f->tok.kind == NATIVE_TOK_CLOSE)
		on_close(f);
	else if (f->tok.kind == NATIVE_TOK_SEP)
		fail(f, f->tok.at, "there is no setting before this '%c'", f->tok.c);
	else
		bad_name(f);
}

static void on_equals(struct source *f)
{
	struct frame *fr = top(f->s);
	uint32_t line = fr->key_at.line;

	if (f->tok.kind == NATIVE_TOK_EQ) {
		fr->want = WANT_VALUE;
		return;
	}
	if (f->tok.kind == NATIVE_TOK_CLOSE) {
		on_close(f);
		return;
	}
	if (fr->value_line == line)
		fail(f, fr->key_at, "'%.*s' follows a value: is the text meant to be in quotes?",
		     STR_ARG(fr->key));
	else
		fail(f, fr->key_at, "'=' is missing after '%.*s'", STR_ARG(fr->key));
	recover(f, line);
}

/* Behind a value: a separator, which is optional, a string that goes on, the next setting. */
static void on_setting_end(struct source *f)
{
	struct frame *fr = top(f->s);
	/* libconfig would let a setting begin here; a missing quote explains it better. */
	bool torn = fr->after_string && f->s->long_string_end == f->tok.at.line;

	if (f->tok.kind == NATIVE_TOK_SEP) {
		fr->want = WANT_NAME;
	} else if (f->tok.kind == NATIVE_TOK_STRING && fr->after_string) {
		note_string(f);
		fr->value_line = f->tok.end_line;
	} else if ((f->tok.kind == NATIVE_TOK_WORD && !torn) || f->tok.kind == NATIVE_TOK_CLOSE) {
		on_name(f);
	} else {
		fail(f, f->tok.at, "expected ';' behind the value of '%.*s'", STR_ARG(fr->key));
		recover(f, f->tok.at.line);
	}
}

/* ---- files ---------------------------------------------------------------------------------- */

static void out_text(struct scan *s, struct str piece)
{
	struct native_source *o = s->out;

	vec_reserve(o->text, o->cap, o->n + piece.n + 1);
	if (piece.n > 0)
		memcpy(o->text + o->n, piece.p, piece.n);
	o->n += piece.n;
	o->text[o->n] = '\0';
}

static void scan_file(struct scan *s, const char *file, struct str text);

static void on_include(struct source *f)
{
	struct scan *s = f->s;
	struct str text;
	char *path;

	out_text(s, str_from(f->lex.text.p + f->copied, f->tok.off - f->copied));
	f->copied = f->tok.end;
	if (s->nest == DOC_INCLUDE_MAX || ++s->n_includes > INCLUDES_MAX) {
		err_list_add(s->errs, ERR_LEVEL_ERROR, KV_ERR_LIMIT, NULL, f->tok.at,
			     s->nest == DOC_INCLUDE_MAX ? "includes are nested deeper than %d files"
							: "more than %d includes",
			     s->nest == DOC_INCLUDE_MAX ? DOC_INCLUDE_MAX : INCLUDES_MAX);
		return;
	}
	if (doc_include_read(s->inc, &f->tok.at, f->tok.text, s->a, &path, &text, s->errs) < 0)
		return;
	if (s->out->n + text.n > DOC_FILE_MAX) {
		err_list_add(s->errs, ERR_LEVEL_ERROR, KV_ERR_LIMIT, NULL, f->tok.at,
			     "with its includes larger than %u bytes", DOC_FILE_MAX);
		s->stop = true;
		return;
	}
	s->nest++;
	scan_file(s, path, text);
	s->nest--;
}

static void on_token(struct source *f)
{
	struct frame *fr = top(f->s);

	if (f->tok.kind == NATIVE_TOK_INCLUDE) {
		if (is_group(fr) && (fr->want == WANT_NAME || fr->want == WANT_END)) {
			fr->want = WANT_NAME;
			on_include(f);
		} else {
			fail(f, f->tok.at, "@include can stand only between settings");
		}
	} else if (is_group(fr)) {
		if (fr->want == WANT_NAME) {
			on_name(f);
		} else if (fr->want == WANT_EQ) {
			on_equals(f);
		} else if (fr->want == WANT_VALUE) {
			on_value(f);
		} else {
			on_setting_end(f);
		}
	} else if (fr->want == WANT_VALUE) {
		on_value(f);
	} else {
		on_element_end(f);
	}
}

/* At the end of a file: everything it opened must be closed and its last setting whole. */
static void check_end(struct source *f)
{
	struct frame *fr = top(f->s);

	if (f->s->depth > f->base_depth) {
		fail(f, fr->at, "the '%c' that begins here is never closed", fr->open);
		f->s->stop = true;
	} else if (fr->want == WANT_EQ || fr->want == WANT_VALUE) {
		fail(f, fr->key_at, "the value of '%.*s' is missing", STR_ARG(fr->key));
		fr->want = WANT_NAME;
	}
}

static void scan_file(struct scan *s, const char *file, struct str text)
{
	struct source f = { .s = s, .base_depth = s->depth };

	native_lexer_init(&f.lex, file, text, s->errs);
	for (;;) {
		next_token(&f);
		if (s->stop || f.tok.kind == NATIVE_TOK_END)
			break;
		on_token(&f);
	}
	if (!s->stop)
		check_end(&f);
	out_text(s, str_skip(text, f.copied));
	/* libconfig's comments need the end of their line. */
	out_text(s, STR("\n"));
}

bool native_scan(struct native_source *ret, const char *file, struct str text,
		 const struct doc_include *inc, struct arena *a, struct err_list *errs)
{
	size_t n_before = errs->n_errors;
	struct scan *s = kv_zalloc(sizeof(*s));

	*ret = (struct native_source){ 0 };
	*s = (struct scan){ .a = a, .errs = errs, .inc = inc, .out = ret, .depth = 1 };
	scan_file(s, file, text);
	while (s->depth > 0)
		pop(s);
	free(s);
	return errs->n_errors == n_before;
}
