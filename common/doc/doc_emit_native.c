/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc_emit_native: doc → text of the native syntax (grammar of libconfig 1.5). Layer doc.
 * What fits goes in one line, the rest one member per line, as the samples in the manual. Nulls
 * have no word there and are left out.
 */
#include <inttypes.h>

#include "base/err.h"
#include "doc/doc_libconfig_lex.h"
#include "doc/doc_libconfig_scan.h"
#include "doc/doc_out.h"

#define STEP 2
#define LINE_MAX_COLS 96

/* ---- scalars --------------------------------------------------------------------------------- */

static void emit_string(struct doc_out *o, struct str s)
{
	struct str bytes;
	uint32_t c;

	doc_out_char(o, '"');
	while (doc_next_char(&s, &c, &bytes)) {
		if (c == '\n')
			doc_out_c(o, "\\n");
		else if (c == '\r')
			doc_out_c(o, "\\r");
		else if (c == '\t')
			doc_out_c(o, "\\t");
		else if (c == '"' || c == '\\')
			doc_out_fmt(o, "\\%c", (char)c);
		else if (c < 0x20 || c == 0x7f)
			doc_out_fmt(o, "\\x%02X", (unsigned)c);
		else
			doc_out_str(o, bytes);
	}
	doc_out_char(o, '"');
}

static bool is_wide(const struct doc *d)
{
	return d->kind == DOC_INT && (d->i > INT32_MAX || d->i < INT32_MIN);
}

static void emit_scalar(struct doc_out *o, const struct doc *d, bool wide)
{
	if (d->kind == DOC_STR)
		emit_string(o, d->s);
	else
		doc_out_scalar(o, d);
	if (wide && d->kind == DOC_INT)
		doc_out_char(o, 'L');
}

/* ---- what a list or map is written as ---------------------------------------------------- */

/* Scalars of one kind: [ ]. *ret_wide: libconfig wants all integers alike, so all get the L. */
static bool is_array(const struct doc *d, bool *ret_wide)
{
	*ret_wide = false;
	for (size_t i = 0; i < d->n; i++) {
		const struct doc *e = d->v[i];
		if (e->kind != d->v[0]->kind || e->kind == DOC_MAP || e->kind == DOC_LIST ||
		    e->kind == DOC_NULL)
			return false;
		*ret_wide |= is_wide(e);
	}
	return d->n > 0;
}

/* A map whose names the grammar does not allow, or too many of them, becomes a list of pairs. */
static bool is_pairs(const struct doc *d)
{
	if (d->kind != DOC_MAP)
		return false;
	for (size_t i = 0; i < d->n; i++) {
		if (!native_is_name(d->v[i]->key))
			return true;
	}
	return d->n > NATIVE_NAMES_MAX;
}

/* ---- structure ------------------------------------------------------------------------------- */

/* How members stand: in one line, or each in a line of its own at column indent. */
struct layout {
	bool flat;
	size_t indent;
};

typedef void emit_fn(struct doc_out *o, const struct doc *d, struct layout l);
static emit_fn emit_value;

static struct layout inner(struct layout l)
{
	return (struct layout){ .flat = l.flat, .indent = l.indent + STEP };
}

static void gap(struct doc_out *o, struct layout l)
{
	if (l.flat) {
		doc_out_char(o, ' ');
		return;
	}
	doc_out_char(o, '\n');
	doc_out_spaces(o, l.indent);
}

static size_t column(const struct doc_out *o)
{
	size_t i = o->n;

	while (i > 0 && o->p[i - 1] != '\n')
		i--;
	return o->n - i;
}

/* Whether d is small enough to be tried in one line: a bound on the text it makes, cheaply. */
static bool may_fit(const struct doc *d, size_t *left)
{
	size_t cost = 3 + d->key.n + (d->kind == DOC_STR ? d->s.n : 0);

	if (cost > *left)
		return false;
	*left -= cost;
	if (d->kind != DOC_MAP && d->kind != DOC_LIST)
		return true;
	for (size_t i = 0; i < d->n; i++) {
		if (!may_fit(d->v[i], left))
			return false;
	}
	return true;
}

/* In one line when that is short enough, else as the layout says. */
static void emit_fitting(struct doc_out *o, const struct doc *d, struct layout l, emit_fn *emit)
{
	size_t start = o->n, left = LINE_MAX_COLS;

	if (!l.flat && may_fit(d, &left)) {
		emit(o, d, (struct layout){ .flat = true });
		if (column(o) < LINE_MAX_COLS)
			return;
		o->n = start;
	}
	emit(o, d, l);
}

static void emit_array(struct doc_out *o, const struct doc *d, bool wide, struct layout l)
{
	doc_out_char(o, '[');
	for (size_t i = 0; i < d->n; i++) {
		if (i > 0)
			doc_out_char(o, ',');
		gap(o, inner(l));
		emit_scalar(o, d->v[i], wide);
	}
	gap(o, l);
	doc_out_char(o, ']');
}

static void emit_pair(struct doc_out *o, const struct doc *d, struct layout l)
{
	doc_out_char(o, '{');
	gap(o, inner(l));
	doc_out_c(o, "key = ");
	emit_string(o, d->key);
	doc_out_char(o, ';');
	if (d->kind != DOC_NULL) {
		gap(o, inner(l));
		doc_out_c(o, "value = ");
		emit_value(o, d, inner(l));
		doc_out_char(o, ';');
	}
	gap(o, l);
	doc_out_char(o, '}');
}

/* Elements of a list, or the members of a map as pairs. */
static void emit_list(struct doc_out *o, const struct doc *d, struct layout l)
{
	bool pairs = d->kind == DOC_MAP, first = true;

	doc_out_char(o, '(');
	for (size_t i = 0; i < d->n; i++) {
		if (!pairs && d->v[i]->kind == DOC_NULL)
			continue;
		if (!first)
			doc_out_char(o, ',');
		first = false;
		gap(o, inner(l));
		if (pairs)
			emit_fitting(o, d->v[i], inner(l), emit_pair);
		else
			emit_value(o, d->v[i], inner(l));
	}
	gap(o, l);
	doc_out_char(o, ')');
}

static void emit_setting(struct doc_out *o, const struct doc *d, struct layout l)
{
	doc_out_str(o, d->key);
	doc_out_c(o, " = ");
	emit_value(o, d, l);
	doc_out_char(o, ';');
}

static void emit_group(struct doc_out *o, const struct doc *d, struct layout l)
{
	doc_out_char(o, '{');
	for (size_t i = 0; i < d->n; i++) {
		if (d->v[i]->kind == DOC_NULL)
			continue;
		gap(o, inner(l));
		emit_setting(o, d->v[i], inner(l));
	}
	gap(o, l);
	doc_out_char(o, '}');
}

static void emit_box(struct doc_out *o, const struct doc *d, struct layout l)
{
	bool wide;

	if (d->n == 0)
		doc_out_c(o, d->kind == DOC_MAP ? "{ }" : "[ ]");
	else if (d->kind == DOC_LIST && is_array(d, &wide))
		emit_array(o, d, wide, l);
	else if (d->kind == DOC_LIST || is_pairs(d))
		emit_list(o, d, l);
	else
		emit_group(o, d, l);
}

static void emit_value(struct doc_out *o, const struct doc *d, struct layout l)
{
	if (d->kind == DOC_MAP || d->kind == DOC_LIST)
		emit_fitting(o, d, l, emit_box);
	else
		emit_scalar(o, d, is_wide(d));
}

/* A resource or section always opens its lines, however short. */
static void emit_top(struct doc_out *o, const struct doc *d)
{
	struct layout l = { .flat = false, .indent = 0 };
	bool resources = d->kind == DOC_LIST && d->n > 0 && d->v[0]->kind == DOC_MAP;

	kv_assert(native_is_name(d->key));
	doc_out_str(o, d->key);
	doc_out_c(o, " = ");
	if ((d->kind == DOC_MAP && d->n > 0) || resources)
		emit_box(o, d, l);
	else
		emit_value(o, d, l);
	doc_out_c(o, ";\n");
}

static void emit_mark(struct doc_out *o, const struct doc *d)
{
	doc_out_c(o, "# from ");
	/* A file name with a line feed must not become a setting. */
	for (const char *p = d->at.file; *p != '\0'; p++)
		doc_out_char(o, (unsigned char)*p < 0x20 ? '?' : *p);
	doc_out_fmt(o, ":%u\n", d->key_at.line > 0 ? d->key_at.line : d->at.line);
}

struct str doc_to_native(const struct doc *d, struct arena *a, bool marks)
{
	struct doc_out o;

	kv_assert(d->kind == DOC_MAP);
	doc_out_init(&o);
	for (size_t i = 0; i < d->n; i++) {
		const struct doc *m = d->v[i];
		if (m->kind == DOC_NULL)
			continue;
		if (marks && m->at.file)
			emit_mark(&o, m);
		emit_top(&o, m);
	}
	return doc_out_finish(&o, a);
}
