/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_h1: what the HTTP/1 targets share. The first byte of an input chooses limits and where the
 * message is cut; however it is cut, the outcome is the same. Pieces are exact allocations, so that
 * a byte read too far is noticed.
 */
#pragma once

#include <string.h>

#include "fuzz.h"
#include "http/h1.h"

struct fuzz_parsed {
	struct arena arena;
	struct head head;
	struct h1_parser parser;
	enum h1_result result;
	size_t used;
};

typedef enum h1_result (*fuzz_parse_fn)(struct fuzz_parsed *p, const struct h1_limits *lim,
					struct str in);

static const struct h1_limits fuzz_small = { .line_max = 64, .head_max = 200, .fields_max = 6 };

static inline const struct h1_limits *fuzz_limits(uint8_t choice)
{
	return (choice & 1) != 0 ? &fuzz_small : &h1_limits_default;
}

static inline struct str fuzz_copy(struct str s)
{
	char *p = kv_malloc(s.n > 0 ? s.n : 1);

	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return str_from(p, s.n);
}

static inline void fuzz_free(struct str s)
{
	free((void *)(uintptr_t)s.p);
}

/* In one piece, or in two with the cut behind byte cut, or (cut 0) one byte at a time. */
static inline void fuzz_parse(struct fuzz_parsed *p, const struct h1_limits *lim, struct str in,
			      size_t cut, fuzz_parse_fn parse)
{
	memset(p, 0, sizeof(*p));
	arena_init(&p->arena, 0);
	head_init(&p->head, &p->arena);
	h1_parser_init(&p->parser);
	p->result = H1_MORE;
	for (size_t n = cut == 0 ? 1 : cut; n <= in.n && p->result == H1_MORE;
	     n = cut == 0 ? n + 1 : in.n) {
		struct str piece = fuzz_copy(str_take(in, n));

		p->result = parse(p, lim, piece);
		fuzz_free(piece);
		if (n == in.n)
			break;
	}
}

static inline bool fuzz_text_eq(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static inline bool fuzz_head_eq(const struct head *a, const struct head *b)
{
	bool same = str_eq(a->method, b->method) && str_eq(a->scheme, b->scheme) &&
		    str_eq(a->authority, b->authority) && str_eq(a->path, b->path) &&
		    a->status == b->status && str_eq(a->reason, b->reason) && a->body == b->body &&
		    a->content_length == b->content_length && str_eq(a->upgrade, b->upgrade) &&
		    a->expect_continue == b->expect_continue && a->te_trailers == b->te_trailers &&
		    a->n == b->n;

	for (size_t i = 0; same && i < a->n; i++)
		same = str_eq(a->fields[i].name, b->fields[i].name) &&
		       str_eq(a->fields[i].value, b->fields[i].value) &&
		       a->fields[i].id == b->fields[i].id;
	return same;
}

static inline void fuzz_same(const struct fuzz_parsed *a, const struct fuzz_parsed *b)
{
	fuzz_assert(a->result == b->result);
	fuzz_assert(a->used == b->used);
	if (a->result == H1_BAD) {
		fuzz_assert(a->parser.status == b->parser.status);
		fuzz_assert(fuzz_text_eq(a->parser.reason, b->parser.reason));
	}
	if (a->result == H1_DONE) {
		fuzz_assert(a->head.version == b->head.version);
		fuzz_assert(a->head.keep_alive == b->head.keep_alive);
		fuzz_assert(fuzz_head_eq(&a->head, &b->head));
	}
}

/* What a head never holds, whatever came in. */
static inline void fuzz_check_fields(const struct head *h)
{
	for (size_t i = 0; i < h->n; i++) {
		const struct head_field *f = &h->fields[i];

		fuzz_assert(head_is_token(f->name) && head_is_value(f->value));
		fuzz_assert(str_trim(f->value).n == f->value.n);
		fuzz_assert(f->id == head_id_of(f->name));
		for (size_t k = 0; k < f->name.n; k++)
			fuzz_assert(f->name.p[k] < 'A' || f->name.p[k] > 'Z');
		fuzz_assert(f->id != HEAD_ID_HOST && f->id != HEAD_ID_TRANSFER_ENCODING &&
			    f->id != HEAD_ID_CONNECTION && f->id != HEAD_ID_UPGRADE &&
			    f->id != HEAD_ID_TE && f->id != HEAD_ID_KEEP_ALIVE &&
			    f->id != HEAD_ID_EXPECT);
	}
}
