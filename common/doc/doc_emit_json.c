/* SPDX-License-Identifier: Apache-2.0 */
/* doc_emit_json: doc → JSON text. Layer doc. Our own: order, numbers and bytes are certain. */
#include "doc/doc_out.h"

#define PRETTY_STEP 2

static void emit_string(struct doc_out *o, struct str s)
{
	static const char shorts[] = {
		['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'
	};
	struct str bytes;
	uint32_t c;

	doc_out_char(o, '"');
	while (doc_next_char(&s, &c, &bytes)) {
		if (c == '"' || c == '\\')
			doc_out_char(o, '\\');
		if (c < sizeof(shorts) && shorts[c] != '\0')
			doc_out_fmt(o, "\\%c", shorts[c]);
		else if (c < 0x20 || c == 0x7f)
			doc_out_fmt(o, "\\u%04x", (unsigned)c);
		else
			doc_out_str(o, bytes);
	}
	doc_out_char(o, '"');
}

static void newline(struct doc_out *o, bool pretty, size_t depth)
{
	if (!pretty)
		return;
	doc_out_char(o, '\n');
	doc_out_spaces(o, depth * PRETTY_STEP);
}

static void emit(struct doc_out *o, const struct doc *d, bool pretty, size_t depth)
{
	bool map = d->kind == DOC_MAP;

	if (d->kind == DOC_STR) {
		emit_string(o, d->s);
		return;
	}
	if (!map && d->kind != DOC_LIST) {
		doc_out_scalar(o, d);
		return;
	}
	doc_out_char(o, map ? '{' : '[');
	for (size_t i = 0; i < d->n; i++) {
		if (i > 0)
			doc_out_char(o, ',');
		newline(o, pretty, depth + 1);
		if (map) {
			emit_string(o, d->v[i]->key);
			doc_out_c(o, pretty ? ": " : ":");
		}
		emit(o, d->v[i], pretty, depth + 1);
	}
	if (d->n > 0)
		newline(o, pretty, depth);
	doc_out_char(o, map ? '}' : ']');
}

struct str doc_to_json(const struct doc *d, struct arena *a, bool pretty)
{
	struct doc_out o;

	doc_out_init(&o);
	emit(&o, d, pretty, 0);
	if (pretty)
		doc_out_char(&o, '\n');
	return doc_out_finish(&o, a);
}
