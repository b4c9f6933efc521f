/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc_emit_yaml: doc → YAML text in block style. Layer doc.
 * A string goes without quotes only where every YAML reader, of 1.1 or 1.2, sees the same string.
 */
#include <string.h>

#include "doc/doc_out.h"
#include "doc/doc_plain.h"

#define STEP 2
#define SIMPLE_KEY_MAX 900 /* YAML allows 1024 characters, escapes included, before ':' */

/* ---- strings --------------------------------------------------------------------------------- */

/* The text can stand bare in block style, whatever it then means. */
static bool fits_bare(struct str s)
{
	if (s.n == 0 || s.p[0] == ' ' || s.p[s.n - 1] == ' ' || s.p[s.n - 1] == ':')
		return false;
	/* Indicators, and what could be taken for a document mark. */
	if (strchr("?:,[]{}#&*!|>'\"%@`=<", s.p[0]) || str_has_prefix(s, STR("---")) ||
	    str_has_prefix(s, STR("...")))
		return false;
	if (s.p[0] == '-' && (s.n == 1 || s.p[1] == ' '))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool marks = (c == ':' && s.p[i + 1 < s.n ? i + 1 : i] == ' ') ||
			     (c == '#' && s.p[i - 1] == ' ');
		if (c < 0x20 || c >= 0x7f || marks)
			return false;
	}
	return true;
}

/* Between single quotes everything stands for itself, but lines would be folded. */
static bool fits_single(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if ((unsigned char)s.p[i] < 0x20 || (unsigned char)s.p[i] >= 0x7f)
			return false;
	}
	return true;
}

static void emit_single(struct doc_out *o, struct str s)
{
	doc_out_char(o, '\'');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\'')
			doc_out_char(o, '\'');
		doc_out_char(o, s.p[i]);
	}
	doc_out_char(o, '\'');
}

/* Characters that libyaml refuses as they are, or that would end a line. */
static bool must_escape(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff ||
	       c == 0xfffe || c == 0xffff;
}

static void emit_double(struct doc_out *o, struct str s)
{
	struct str bytes;
	uint32_t c;

	doc_out_char(o, '"');
	while (doc_next_char(&s, &c, &bytes)) {
		if (c == '\n')
			doc_out_c(o, "\\n");
		else if (c == '\t')
			doc_out_c(o, "\\t");
		else if (c == '"' || c == '\\')
			doc_out_fmt(o, "\\%c", (char)c);
		else if (must_escape(c))
			doc_out_fmt(o, c < 0x100 ? "\\x%02X" : "\\u%04X", (unsigned)c);
		else
			doc_out_str(o, bytes);
	}
	doc_out_char(o, '"');
}

/* bare: it was without quotes when it was read, and must be so again to mean the same. */
static void emit_string(struct doc_out *o, struct str s, bool bare)
{
	if (fits_bare(s) && (bare || !doc_plain_looks_typed(s)))
		doc_out_str(o, s);
	else if (fits_single(s) && (str_find(s, '"') >= 0 || str_find(s, '\\') >= 0))
		emit_single(o, s);
	else
		emit_double(o, s);
}

/* ---- structure ------------------------------------------------------------------------------- */

static bool is_block(const struct doc *d)
{
	return (d->kind == DOC_MAP || d->kind == DOC_LIST) && d->n > 0;
}

static void emit_inline(struct doc_out *o, const struct doc *d)
{
	if (d->kind == DOC_STR)
		emit_string(o, d->s, d->plain);
	else if (d->kind == DOC_MAP)
		doc_out_c(o, "{}");
	else if (d->kind == DOC_LIST)
		doc_out_c(o, "[]");
	else
		doc_out_scalar(o, d);
}

static void emit_block(struct doc_out *o, const struct doc *d, size_t indent);

/* Behind "- ", "? " or ": ", where column indent has been reached already. */
static void emit_here(struct doc_out *o, const struct doc *d, size_t indent)
{
	if (is_block(d)) {
		emit_block(o, d, indent);
		return;
	}
	emit_inline(o, d);
	doc_out_char(o, '\n');
}

static void emit_member(struct doc_out *o, const struct doc *d, size_t indent)
{
	size_t start = o->n;

	emit_string(o, d->key, false);
	if (o->n - start > SIMPLE_KEY_MAX) {
		o->n = start;
		doc_out_c(o, "? ");
		emit_string(o, d->key, false);
		doc_out_char(o, '\n');
		doc_out_spaces(o, indent);
		doc_out_c(o, ": ");
		emit_here(o, d, indent + STEP);
		return;
	}
	doc_out_char(o, ':');
	if (!is_block(d)) {
		doc_out_char(o, ' ');
		emit_here(o, d, indent);
		return;
	}
	doc_out_char(o, '\n');
	/* As Istio's own samples: the dashes of a list stand under its name. */
	size_t in = indent + (d->kind == DOC_MAP ? STEP : 0);
	doc_out_spaces(o, in);
	emit_block(o, d, in);
}

/* Column indent has been reached for the first member. */
static void emit_block(struct doc_out *o, const struct doc *d, size_t indent)
{
	for (size_t i = 0; i < d->n; i++) {
		if (i > 0)
			doc_out_spaces(o, indent);
		if (d->kind == DOC_MAP) {
			emit_member(o, d->v[i], indent);
		} else {
			doc_out_c(o, "- ");
			emit_here(o, d->v[i], indent + STEP);
		}
	}
}

struct str doc_to_yaml(const struct doc *d, struct arena *a)
{
	struct doc_out o;

	doc_out_init(&o);
	emit_here(&o, d, 0);
	return doc_out_finish(&o, a);
}
