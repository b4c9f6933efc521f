/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_unit: one message, every way to split it. The parser sees each prefix as a fresh allocation of
 * exactly that size, so that a sanitizer notices the first byte read too far.
 */
#pragma once

#include <stdio.h>

#include "http/h1.h"

#include "unit.h"

struct parsed {
	struct arena arena;
	struct head head;
	struct h1_parser parser;
	enum h1_result result;
	size_t used;
};

typedef enum h1_result (*parse_fn)(struct parsed *p, const struct h1_limits *lim, struct str in);

static inline enum h1_result parse_copy(struct parsed *p, const struct h1_limits *lim,
					struct str in, parse_fn parse)
{
	char *copy = kv_malloc(in.n > 0 ? in.n : 1);

	if (in.n > 0)
		memcpy(copy, in.p, in.n);
	p->result = parse(p, lim, str_from(copy, in.n));
	free(copy);
	return p->result;
}

static inline void parsed_init(struct parsed *p)
{
	arena_init(&p->arena, 0);
	head_init(&p->head, &p->arena);
	h1_parser_init(&p->parser);
}

static inline void parsed_done(struct parsed *p)
{
	arena_done(&p->arena);
}

static inline bool reason_eq(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static inline void same_head(const struct head *a, const struct head *b)
{
	ck_assert(str_eq(a->method, b->method) && str_eq(a->path, b->path));
	ck_assert(str_eq(a->authority, b->authority) && str_eq(a->scheme, b->scheme));
	ck_assert(str_eq(a->reason, b->reason) && str_eq(a->upgrade, b->upgrade));
	ck_assert(a->version == b->version && a->status == b->status && a->body == b->body);
	ck_assert(a->content_length == b->content_length && a->keep_alive == b->keep_alive);
	ck_assert(a->expect_continue == b->expect_continue && a->te_trailers == b->te_trailers);
	ck_assert_uint_eq(a->n, b->n);
	for (size_t i = 0; i < a->n; i++)
		ck_assert(str_eq(a->fields[i].name, b->fields[i].name) &&
			  str_eq(a->fields[i].value, b->fields[i].value) &&
			  a->fields[i].id == b->fields[i].id);
}

/*
 * The outcome when all of in is there at once is what any two pieces give, and one byte at a time.
 */
static inline void same_for_every_split(struct str in, const struct h1_limits *lim, parse_fn parse,
					const struct parsed *whole)
{
	for (size_t cut = 0; cut <= in.n; cut++) {
		struct parsed p;

		parsed_init(&p);
		enum h1_result r =
			cut == in.n ? H1_MORE : parse_copy(&p, lim, str_take(in, cut), parse);

		for (size_t n = 1; cut == in.n && r == H1_MORE && n < in.n; n++)
			r = parse_copy(&p, lim, str_take(in, n), parse);
		if (r == H1_MORE)
			r = parse_copy(&p, lim, in, parse);
		ck_assert_msg(r == whole->result, "cut at %zu of \"%.*s\": %d, not %d", cut,
			      STR_ARG(in), (int)r, (int)whole->result);
		ck_assert_uint_eq(p.used, whole->used);
		ck_assert_uint_eq(p.parser.status, whole->parser.status);
		ck_assert_msg(reason_eq(p.parser.reason, whole->parser.reason), "cut at %zu: %s",
			      cut, p.parser.reason);
		ck_assert(p.parser.fragment == whole->parser.fragment);
		if (r == H1_DONE)
			same_head(&p.head, &whole->head);
		parsed_done(&p);
	}
}

/* "name: value\n" of each field, in order. */
static inline struct str fields_text(struct parsed *p)
{
	struct str out = STR("");

	for (size_t i = 0; i < p->head.n; i++)
		out = arena_printf(&p->arena, "%.*s%.*s: %.*s\n", STR_ARG(out),
				   STR_ARG(p->head.fields[i].name),
				   STR_ARG(p->head.fields[i].value));
	return out;
}
