/* SPDX-License-Identifier: Apache-2.0 */
/* doc_build: open, key, value, close → tree. Layer doc. */
#include "doc/doc_build.h"

#define INDEX_FROM 16 /* members from which a map is worth an index */

void doc_builder_init(struct doc_builder *b, struct arena *a, struct err_list *errs,
		      size_t n_nodes_max)
{
	*b = (struct doc_builder){ .a = a, .errs = errs, .n_nodes_max = n_nodes_max };
}

static struct doc_frame *top(struct doc_builder *b)
{
	return b->depth > 0 ? &b->frames[b->depth - 1] : NULL;
}

static void frame_done(struct doc_frame *f)
{
	if (f->indexed)
		map_done(&f->index);
	f->indexed = false;
}

void doc_builder_reset(struct doc_builder *b)
{
	while (b->depth > 0)
		frame_done(&b->frames[--b->depth]);
	b->root = NULL;
}

void doc_builder_done(struct doc_builder *b)
{
	doc_builder_reset(b);
}

struct doc *doc_builder_node(struct doc_builder *b, enum doc_kind kind, struct origin at)
{
	if (b->n_nodes >= b->n_nodes_max) {
		err_list_add(b->errs, ERR_LEVEL_ERROR, KV_ERR_LIMIT, NULL, at,
			     "more than %zu values", b->n_nodes_max);
		return NULL;
	}
	b->n_nodes++;
	struct doc *d = arena_new(b->a, struct doc);
	d->kind = kind;
	d->at = at;
	return d;
}

void doc_builder_put(struct doc_builder *b, struct doc *d)
{
	struct doc_frame *f = top(b);

	if (!f) {
		b->root = d;
		return;
	}
	if (f->box->kind == DOC_MAP) {
		d->key = f->key;
		d->key_at = f->key_at;
		f->key = STR_NULL;
		if (f->drop)
			return;
		if (f->indexed)
			map_put(&f->index, d->key, d);
	}
	doc_append(b->a, f->box, d);
}

int doc_builder_open(struct doc_builder *b, enum doc_kind kind, struct origin at)
{
	struct doc *d;

	if (b->depth == DOC_DEPTH_MAX)
		return err_list_add(b->errs, ERR_LEVEL_ERROR, KV_ERR_LIMIT, NULL, at,
				    "nested deeper than %d levels", DOC_DEPTH_MAX);
	d = doc_builder_node(b, kind, at);
	if (!d)
		return KV_ERR_LIMIT;
	doc_builder_put(b, d);
	b->frames[b->depth++] = (struct doc_frame){ .box = d };
	return 0;
}

bool doc_builder_wants_key(const struct doc_builder *b)
{
	const struct doc_frame *f = b->depth > 0 ? &b->frames[b->depth - 1] : NULL;

	return f && f->box->kind == DOC_MAP && !f->key.p;
}

void doc_builder_close(struct doc_builder *b)
{
	kv_assert(b->depth > 0);
	frame_done(&b->frames[--b->depth]);
}

static const struct doc *frame_find(struct doc_frame *f, struct str key)
{
	if (f->indexed)
		return map_get(&f->index, key);
	return doc_get(f->box, key);
}

static void frame_index(struct doc_frame *f)
{
	map_init(&f->index);
	f->indexed = true;
	for (size_t i = 0; i < f->box->n; i++)
		map_put(&f->index, f->box->v[i]->key, f->box->v[i]);
}

void doc_builder_key(struct doc_builder *b, struct str key, struct origin at)
{
	struct doc_frame *f = top(b);

	kv_assert(f && f->box->kind == DOC_MAP);
	if (!f->indexed && f->box->n >= INDEX_FROM)
		frame_index(f);
	const struct doc *first = frame_find(f, key);
	f->key = key;
	f->key_at = at;
	f->drop = first != NULL;
	if (first)
		err_list_add(b->errs, ERR_LEVEL_ERROR, KV_ERR_SYNTAX, NULL, at,
			     "'%.*s' is given twice, first in line %u", STR_ARG(key),
			     first->key_at.line);
}
