/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc_yaml: YAML text → docs; the only file that knows libyaml. Layer doc.
 * Anchors, aliases and tags beyond the core ones are refused (security-model §5.6). Findings inside
 * one document do not hide those of the next: after a syntax error reading goes on at the next
 * "---".
 */
#include <string.h>
#include <yaml.h>

#include "base/vec.h"
#include "doc/doc_build.h"
#include "doc/doc_file.h"
#include "doc/doc_plain.h"

#define RESTARTS_MAX 100

#define GIVE_UP 1 /* this document, and go on with the next */

struct reader {
	yaml_parser_t parser;
	struct doc_builder b;
	struct doc_file *file;
	struct err_list *errs;
	size_t docs_cap;
	struct doc_cursor cursor;
	size_t from;      /* where in the text the parser was started */
	size_t mark_char; /* libyaml counts characters: this one … */
	size_t mark_byte; /* … is at this byte of the text */
	bool skip;        /* the rest of this document cannot be made a tree of */
	unsigned skipped; /* levels that are open in what is skipped */
	bool bad;         /* this document holds what is refused */
};

/* ---- places ------------------------------------------------------------------------------- */

static size_t byte_of(struct reader *r, size_t index)
{
	struct str text = r->file->text;

	if (index < r->mark_char) {
		r->mark_char = 0;
		r->mark_byte = r->from;
	}
	while (r->mark_char < index && r->mark_byte < text.n) {
		uint32_t code;
		r->mark_byte += str_utf8(str_skip(text, r->mark_byte), &code);
		r->mark_char++;
	}
	return r->mark_byte;
}

static struct origin place(struct reader *r, const yaml_mark_t *mark)
{
	return doc_cursor_at(&r->cursor, byte_of(r, mark->index));
}

/* ---- what one node may carry ----------------------------------------------------------------- */

static void refuse_anchor(struct reader *r, const yaml_char_t *anchor, struct origin at)
{
	if (!anchor)
		return;
	r->bad = true;
	doc_syntax_err(r->errs, at,
		       "anchors and aliases are refused ('&%.40s'): write the value out",
		       (const char *)anchor);
}

/* A core tag behind "tag:yaml.org,2002:", "" for none; NULL and a finding for others. */
static const char *core_tag(struct reader *r, const yaml_char_t *tag, const char *const *allowed,
			    struct origin at)
{
	static const char prefix[] = "tag:yaml.org,2002:";
	const char *t = (const char *)tag;

	if (!t || strcmp(t, "!") == 0)
		return "";
	if (strncmp(t, prefix, sizeof(prefix) - 1) == 0) {
		t += sizeof(prefix) - 1;
		for (; *allowed; allowed++) {
			if (strcmp(t, *allowed) == 0)
				return *allowed;
		}
	}
	r->bad = true;
	doc_syntax_err(r->errs, at, "the tag '%.60s' is refused here", t);
	return NULL;
}

/* ---- scalars --------------------------------------------------------------------------------- */

static bool set_typed(struct doc *d, const char *tag, struct str s)
{
	if (strcmp(tag, "null") == 0)
		return doc_plain_is_null(s);
	if (strcmp(tag, "bool") == 0) {
		d->kind = DOC_BOOL;
		return doc_plain_to_bool(s, &d->b);
	}
	if (strcmp(tag, "int") == 0) {
		d->kind = DOC_INT;
		return doc_plain_to_int(s, &d->i);
	}
	if (strcmp(tag, "float") == 0) {
		d->kind = DOC_REAL;
		return doc_plain_to_real(s, &d->r);
	}
	d->kind = DOC_STR;
	d->s = s;
	return true;
}

static void set_untagged(struct doc *d, struct str s, bool plain)
{
	d->plain = plain;
	if (plain && doc_plain_is_null(s))
		return;
	d->kind = DOC_STR;
	d->s = s;
}

static int on_value(struct reader *r, const yaml_event_t *e, struct str s, struct origin at)
{
	static const char *const allowed[] = { "str", "int", "float", "bool", "null", NULL };
	struct doc *d = doc_builder_node(&r->b, DOC_NULL, at);
	const char *tag = core_tag(r, e->data.scalar.tag, allowed, at);

	if (!d)
		return KV_ERR_LIMIT;
	if (tag && tag[0] != '\0' && !set_typed(d, tag, s)) {
		r->bad = true;
		doc_syntax_err(r->errs, at, "'%.*s' is no !!%s", (int)(s.n < 60 ? s.n : 60), s.p,
			       tag);
	}
	if (tag && tag[0] == '\0')
		set_untagged(d, s, e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE);
	doc_builder_put(&r->b, d);
	return 0;
}

static int on_scalar(struct reader *r, const yaml_event_t *e)
{
	struct origin at = place(r, &e->start_mark);
	struct str raw = str_from((const char *)e->data.scalar.value, e->data.scalar.length);

	refuse_anchor(r, e->data.scalar.anchor, at);
	if (str_find(raw, '\0') >= 0) {
		r->bad = true;
		doc_syntax_err(r->errs, at, "text cannot hold a NUL character");
	}
	if (!doc_builder_wants_key(&r->b))
		return on_value(r, e, arena_str(r->b.a, raw), at);
	if (raw.n == 0 && e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
		r->bad = true;
		doc_syntax_err(r->errs, at, "the name before ':' is missing");
	}
	doc_builder_key(&r->b, arena_str(r->b.a, raw), at);
	return 0;
}

static int on_alias(struct reader *r, const yaml_event_t *e)
{
	struct origin at = place(r, &e->start_mark);

	r->bad = true;
	doc_syntax_err(r->errs, at,
		       "anchors and aliases are refused ('*%.40s'): write the value out",
		       (const char *)e->data.alias.anchor);
	if (doc_builder_wants_key(&r->b)) {
		r->skip = true;
		return 0;
	}
	struct doc *d = doc_builder_node(&r->b, DOC_NULL, at);
	if (!d)
		return KV_ERR_LIMIT;
	doc_builder_put(&r->b, d);
	return 0;
}

/* ---- structure ------------------------------------------------------------------------------- */

static int on_open(struct reader *r, const yaml_event_t *e)
{
	static const char *const map_tags[] = { "map", NULL }, *const seq_tags[] = { "seq", NULL };
	bool map = e->type == YAML_MAPPING_START_EVENT;
	struct origin at = place(r, &e->start_mark);

	refuse_anchor(r, map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor, at);
	core_tag(r, map ? e->data.mapping_start.tag : e->data.sequence_start.tag,
		 map ? map_tags : seq_tags, at);
	if (doc_builder_wants_key(&r->b)) {
		doc_syntax_err(r->errs, at, "a name must be text, not a %s", map ? "map" : "list");
		r->bad = r->skip = true;
		return 0;
	}
	if (doc_builder_open(&r->b, map ? DOC_MAP : DOC_LIST, at) < 0)
		r->bad = r->skip = true;
	return 0;
}

static void on_document_start(struct reader *r)
{
	doc_builder_reset(&r->b);
	r->skip = r->bad = false;
	r->skipped = 0;
}

static bool is_open_event(const yaml_event_t *e)
{
	return e->type == YAML_MAPPING_START_EVENT || e->type == YAML_SEQUENCE_START_EVENT;
}

static bool is_close_event(const yaml_event_t *e)
{
	return e->type == YAML_MAPPING_END_EVENT || e->type == YAML_SEQUENCE_END_EVENT;
}

/*
 * What is skipped is still looked at for its syntax, but not at any depth: libyaml's time grows with
 * the square of it.
 */
static int skip_event(struct reader *r, const yaml_event_t *e)
{
	if (is_open_event(e) && ++r->skipped > DOC_DEPTH_MAX)
		return GIVE_UP;
	if (is_close_event(e) && r->skipped > 0)
		r->skipped--;
	return 0;
}

/* Empty documents ("---" at the end, comments alone, a null) are nothing. */
static void on_document_end(struct reader *r)
{
	struct doc *root = r->b.root;

	if (r->bad || !root || root->kind == DOC_NULL)
		return;
	*vec_push_arena(r->b.a, r->file->docs, r->file->n, r->docs_cap) = root;
}

static int on_event(struct reader *r, const yaml_event_t *e)
{
	if (e->type == YAML_DOCUMENT_START_EVENT)
		on_document_start(r);
	if (e->type == YAML_DOCUMENT_END_EVENT)
		on_document_end(r);
	if (r->skip)
		return skip_event(r, e);
	if (e->type == YAML_SCALAR_EVENT)
		return on_scalar(r, e);
	if (e->type == YAML_ALIAS_EVENT)
		return on_alias(r, e);
	if (is_open_event(e))
		return on_open(r, e);
	if (is_close_event(e))
		doc_builder_close(&r->b);
	return 0;
}

/* ---- syntax errors --------------------------------------------------------------------------- */

/* What libyaml's words mean for the person who typed, or "". */
static const char *advice(const char *problem, char c)
{
	if (strstr(problem, "cannot start any token")) {
		if (c == '\t')
			return ": a tab cannot indent, use spaces";
		return c == '@' || c == '`' ? ": put the text in quotes" : "";
	}
	if (strstr(problem, "mapping values are not allowed"))
		return ": text that holds ': ' must be in quotes";
	return "";
}

/* Tell the parser's error; returns the byte where it stands. */
static size_t report(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	struct str text = r->file->text;
	const char *problem = p->problem ? p->problem : "not YAML";
	size_t at = p->error == YAML_READER_ERROR ? r->from + p->problem_offset
						  : byte_of(r, p->problem_mark.index);
	char c = at < text.n ? text.p[at] : '\0';
	uint32_t since = p->context ? place(r, &p->context_mark).line : 0;
	struct origin o = doc_cursor_at(&r->cursor, at);

	if (p->context && since < o.line)
		doc_syntax_err(r->errs, o, "%s %s that began in line %u%s", problem, p->context,
			       since, advice(problem, c));
	else if (p->context)
		doc_syntax_err(r->errs, o, "%s %s%s", problem, p->context, advice(problem, c));
	else
		doc_syntax_err(r->errs, o, "%s%s", problem, advice(problem, c));
	return at;
}

/* The next line from byte off on that begins a document, or the end. */
static size_t next_document(struct str text, size_t off)
{
	while (off < text.n) {
		ptrdiff_t eol = str_find(str_skip(text, off), '\n');
		if (eol < 0)
			break;
		off += (size_t)eol + 1;
		struct str rest = str_skip(text, off);
		if (str_has_prefix(rest, STR("---")) &&
		    (rest.n == 3 || strchr(" \t\r\n", rest.p[3])))
			return off;
	}
	return text.n;
}

/* Parse from byte from on; the byte from which to go on, text.n at the end. */
static size_t parse_from(struct reader *r, size_t from)
{
	struct str rest = str_skip(r->file->text, from);
	size_t next = r->file->text.n;
	bool done = false;

	kv_assert(yaml_parser_initialize(&r->parser) == 1);
	yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r->parser, (const unsigned char *)rest.p, rest.n);
	r->from = r->mark_byte = from;
	r->mark_char = 0;
	while (!done) {
		yaml_event_t e;
		if (yaml_parser_parse(&r->parser, &e) == 0) {
			next = next_document(r->file->text, report(r));
			break;
		}
		int rc = on_event(r, &e);
		if (rc == GIVE_UP)
			next = next_document(r->file->text, byte_of(r, e.start_mark.index));
		done = rc != 0 || e.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&r->parser);
	return next;
}

void doc_parse_yaml(struct doc_file *ret, struct arena *a, struct err_list *errs)
{
	struct reader r = { .file = ret, .errs = errs };
	size_t from = 0;

	doc_cursor_init(&r.cursor, ret->path, ret->text);
	doc_builder_init(&r.b, a, errs, DOC_NODES_MAX_FILE);
	for (int i = 0; i < RESTARTS_MAX; i++) {
		from = parse_from(&r, from);
		if (from >= ret->text.n)
			break;
	}
	doc_builder_done(&r.b);
}
