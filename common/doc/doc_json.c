/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc_json: JSON text → doc; the only file that knows jansson. Layer doc.
 * jansson keeps no places of values. Since it keeps the order of members, a walk over the text
 * beside the walk over its tree gives every value and name its line and column.
 */
#include <jansson.h>
#include <string.h>

#include "doc/doc_build.h"
#include "doc/doc_file.h"

struct reader {
	struct doc_builder b;
	struct doc_cursor cursor;
	size_t off; /* how far the text was walked */
};

/* ---- the walk over the text, which jansson has found well-formed --------------------------- */

static void skip_space(struct reader *r)
{
	struct str text = r->cursor.text;

	while (r->off < text.n && strchr(" \t\r\n", text.p[r->off]))
		r->off++;
}

static struct origin here(struct reader *r)
{
	skip_space(r);
	return doc_cursor_at(&r->cursor, r->off);
}

/* Over one of these: [ ] { } , : */
static void skip_mark(struct reader *r)
{
	skip_space(r);
	r->off++;
}

static void skip_string(struct reader *r)
{
	const char *p = r->cursor.text.p;

	for (r->off++; p[r->off] != '"'; r->off++)
		r->off += p[r->off] == '\\';
	r->off++;
}

static void skip_scalar(struct reader *r)
{
	struct str text = r->cursor.text;

	if (text.p[r->off] == '"') {
		skip_string(r);
		return;
	}
	while (r->off < text.n && !strchr(" \t\r\n,]}", text.p[r->off]))
		r->off++;
}

/* ---- jansson's tree → doc ----------------------------------------------------------------- */

static int convert_scalar(struct reader *r, const json_t *j)
{
	static const enum doc_kind kinds[] = {
		[JSON_STRING] = DOC_STR, [JSON_INTEGER] = DOC_INT, [JSON_REAL] = DOC_REAL,
		[JSON_TRUE] = DOC_BOOL,  [JSON_FALSE] = DOC_BOOL,  [JSON_NULL] = DOC_NULL,
	};
	struct doc *d = doc_builder_node(&r->b, kinds[json_typeof(j)], here(r));

	if (!d)
		return KV_ERR_LIMIT;
	if (d->kind == DOC_STR)
		d->s = arena_str(r->b.a, str_from(json_string_value(j), json_string_length(j)));
	else if (d->kind == DOC_INT)
		d->i = json_integer_value(j);
	else if (d->kind == DOC_REAL)
		d->r = json_real_value(j);
	else
		d->b = json_is_true(j);
	doc_builder_put(&r->b, d);
	skip_scalar(r);
	return 0;
}

static int convert(struct reader *r, json_t *j);

static int convert_object(struct reader *r, json_t *j)
{
	const char *key;
	json_t *val;

	json_object_foreach(j, key, val)
	{
		struct origin at = here(r);
		doc_builder_key(&r->b, arena_str(r->b.a, str_c(key)), at);
		skip_string(r);
		skip_mark(r); /* : */
		int rc = convert(r, val);
		if (rc < 0)
			return rc;
		skip_mark(r); /* , or } */
	}
	return 0;
}

static int convert_array(struct reader *r, const json_t *j)
{
	for (size_t i = 0; i < json_array_size(j); i++) {
		int rc = convert(r, json_array_get(j, i));
		if (rc < 0)
			return rc;
		skip_mark(r); /* , or ] */
	}
	return 0;
}

static int convert(struct reader *r, json_t *j)
{
	if (!json_is_object(j) && !json_is_array(j))
		return convert_scalar(r, j);
	bool map = json_is_object(j);
	bool empty = map ? json_object_size(j) == 0 : json_array_size(j) == 0;
	int rc = doc_builder_open(&r->b, map ? DOC_MAP : DOC_LIST, here(r));
	if (rc < 0)
		return rc;
	skip_mark(r);
	rc = map ? convert_object(r, j) : convert_array(r, j);
	if (rc < 0)
		return rc;
	if (empty)
		skip_mark(r);
	doc_builder_close(&r->b);
	return 0;
}

/* NULL when there were findings. */
static struct doc *parse(struct str text, const char *file, size_t n_nodes_max, struct arena *a,
			 struct err_list *errs)
{
	struct reader r = { 0 };
	json_error_t je;
	json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);

	doc_cursor_init(&r.cursor, file, text);
	if (!j) {
		/* jansson tells how far it read: the last byte of what it could not use. */
		size_t off = je.position > 0 ? (size_t)je.position - 1 : 0;
		doc_syntax_err(errs, doc_cursor_at(&r.cursor, off), "not JSON: %s", je.text);
		return NULL;
	}
	doc_builder_init(&r.b, a, errs, n_nodes_max);
	struct doc *root = convert(&r, j) == 0 ? r.b.root : NULL;
	doc_builder_done(&r.b);
	json_decref(j);
	return root;
}

void doc_parse_json(struct doc_file *ret, struct arena *a, struct err_list *errs)
{
	struct doc *root = parse(ret->text, ret->path, DOC_NODES_MAX_FILE, a, errs);

	if (!root)
		return;
	ret->docs = arena_new(a, struct doc *);
	ret->docs[0] = root;
	ret->n = 1;
}

int doc_read_json(struct str text, struct arena *a, struct doc **ret, struct err *err)
{
	struct err_list errs;

	err_list_init(&errs);
	struct doc *root = parse(text, NULL, DOC_NODES_MAX_MESSAGE, a, &errs);
	int rc = errs.n > 0 ? errs.v[0].code : 0;
	if (rc < 0 && err)
		*err = errs.v[0];
	err_list_done(&errs);
	*ret = rc < 0 ? NULL : root;
	return rc;
}
