/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_index: one table of hashes for all kinds of keys, see route_index.h. A path is hashed byte
 * by byte from its front and from its back, and each length that some key has is looked up on the
 * way; its runs of four bytes go through a filter of bits first. Layer core.
 */
#include "core/route_index.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"

#define GRAM 4                          /* bytes of a key that may stand anywhere */
#define FILTER_BITS 2048u

enum kind { KIND_EXACT, KIND_PREFIX, KIND_SUFFIX, KIND_GRAM };

struct bucket {
	uint64_t hash;
	bool used;
	uint32_t *rules;                /* ascending */
	size_t n, cap;
};

/* The lengths that keys of one kind have, distinct, ascending. */
struct lengths {
	uint32_t *v;
	size_t n;
};

struct route_index {
	struct bucket *buckets;
	size_t mask;
	struct lengths prefixes, suffixes;
	bool has_exact, has_grams;
	uint64_t filter[FILTER_BITS / 64];      /* of grams */
};

/* ---- hashes --------------------------------------------------------------------------------- */
#define HASH_START UINT64_C(0xcbf29ce484222325)

static uint32_t fold(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

static uint64_t hash_step(uint64_t h, char c)
{
	return (h ^ fold(c)) * UINT64_C(0x100000001b3);
}

/* The same bytes as keys of two kinds must differ. */
static uint64_t hash_end(uint64_t h, enum kind kind)
{
	h = (h ^ (uint64_t)kind * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xbf58476d1ce4e5b9);
	return h ^ h >> 31;
}

static uint64_t hash_text(struct str s, enum kind kind)
{
	uint64_t h = HASH_START;
	for (size_t i = 0; i < s.n; i++)
		h = hash_step(h, s.p[kind == KIND_SUFFIX ? s.n - 1 - i : i]);
	return hash_end(h, kind);
}

static uint32_t gram_at(const char *p)
{
	return fold(p[0]) << 24 | fold(p[1]) << 16 | fold(p[2]) << 8 | fold(p[3]);
}

static uint32_t filter_bit(uint32_t gram)
{
	return gram * UINT32_C(0x9e3779b1) / (UINT32_MAX / FILTER_BITS + 1);
}

static struct bucket *bucket_of(const struct route_index *x, uint64_t hash)
{
	size_t i = hash & x->mask;
	while (x->buckets[i].used && x->buckets[i].hash != hash)
		i = (i + 1) & x->mask;
	return &x->buckets[i];
}

/* ---- the key of a pattern ------------------------------------------------------------------- */

/* How often each possible key of the patterns is one. */
struct uses {
	struct use { uint64_t hash; uint32_t n; } *v;
	size_t mask;
};

static uint32_t *uses_of(const struct uses *u, uint64_t hash)
{
	size_t i = hash & u->mask;
	while (u->v[i].n > 0 && u->v[i].hash != hash)
		i = (i + 1) & u->mask;
	u->v[i].hash = hash;
	return &u->v[i].n;
}

/* A key and how much is expected of it. */
struct choice {
	uint64_t hash;
	enum kind kind;
	size_t n;
	uint32_t gram;
	int score;
};

/* Longer ones occur in fewer paths, those of many patterns tell less apart. */
static int score_of(size_t n, uint32_t uses)
{
	int bits = 0;
	for (; uses > 1; uses /= 2)
		bits++;
	return n == 0 ? INT_MIN : (int)(n < 8 ? n : 8) - bits;
}

static struct choice end_key(struct str text, enum kind kind)
{
	return (struct choice){ .hash = hash_text(text, kind), .kind = kind, .n = text.n };
}

static struct choice gram_key(const char *p)
{
	uint32_t gram = gram_at(p);
	return (struct choice){
		.hash = hash_end(gram, KIND_GRAM), .kind = KIND_GRAM, .n = GRAM, .gram = gram
	};
}

/* Key number i that the pattern could stand under; false: it has fewer. */
static bool possible_key(const struct regex_literals *l, size_t i, struct choice *ret)
{
	if (i < 2) {
		*ret = i == 0 ? end_key(l->prefix, KIND_PREFIX) : end_key(l->suffix, KIND_SUFFIX);
		return true;
	}
	if (i - 2 + GRAM > l->inner.n)
		return false;
	*ret = gram_key(l->inner.p + i - 2);
	return true;
}

static void count_keys(const struct uses *u, const struct regex_literals *l)
{
	struct choice c;
	for (size_t i = 0; possible_key(l, i, &c); i++)
		++*uses_of(u, c.hash);
}

static struct choice best_key(const struct uses *u, const struct regex_literals *l)
{
	struct choice best = { 0 }, c;
	for (size_t i = 0; possible_key(l, i, &c); i++) {
		c.score = score_of(c.n, *uses_of(u, c.hash));
		if (i == 0 || c.score > best.score)
			best = c;
	}
	return best;
}

static bool is_pattern(const struct route_key *k)
{
	return k->uri && k->uri->kind == SNAP_MATCH_REGEX;
}

static struct uses count_uses(const struct route_key *keys, size_t n)
{
	size_t possible = 0, size = 16;
	for (size_t i = 0; i < n; i++)
		possible += is_pattern(&keys[i]) ? 2 + keys[i].literals.inner.n : 0;
	while (size < possible * 2)
		size *= 2;
	struct uses u = { .v = kv_zalloc(size * sizeof(*u.v)), .mask = size - 1 };
	for (size_t i = 0; i < n; i++)
		if (is_pattern(&keys[i]))
			count_keys(&u, &keys[i].literals);
	return u;
}

/* ---- building ------------------------------------------------------------------------------- */
static void add_length(struct lengths *l, uint32_t n)
{
	size_t i = 0;
	while (i < l->n && l->v[i] < n)
		i++;
	if (i < l->n && l->v[i] == n)
		return;
	memmove(l->v + i + 1, l->v + i, (l->n - i) * sizeof(*l->v));
	l->v[i] = n;
	l->n++;
}

static struct choice key_of(const struct route_key *k, const struct uses *u)
{
	if (is_pattern(k))
		return best_key(u, &k->literals);
	if (!k->uri || k->uri->kind == SNAP_MATCH_PRESENT)
		return end_key(STR(""), KIND_PREFIX);
	return end_key(k->uri->value, k->uri->kind == SNAP_MATCH_EXACT ? KIND_EXACT : KIND_PREFIX);
}

static void note_kind(struct route_index *x, const struct choice *c)
{
	switch (c->kind) {
	case KIND_EXACT:
		x->has_exact = true;
		break;
	case KIND_PREFIX:
		add_length(&x->prefixes, (uint32_t)c->n);
		break;
	case KIND_SUFFIX:
		add_length(&x->suffixes, (uint32_t)c->n);
		break;
	case KIND_GRAM:
		x->has_grams = true;
		x->filter[filter_bit(c->gram) / 64] |= UINT64_C(1) << filter_bit(c->gram) % 64;
		break;
	}
}

static void add_rule(struct route_index *x, uint32_t number, const struct choice *c, struct arena *a)
{
	struct bucket *b = bucket_of(x, c->hash);
	b->hash = c->hash;
	b->used = true;
	*vec_push_arena(a, b->rules, b->n, b->cap) = number;
	note_kind(x, c);
}

const struct route_index *route_index_new(const struct route_key *keys, size_t n, struct arena *a)
{
	struct route_index *x = arena_new(a, struct route_index);
	struct uses u = count_uses(keys, n);
	size_t size = 16;
	while (size < n * 2)
		size *= 2;
	x->mask = size - 1;
	x->buckets = arena_new_n(a, struct bucket, size);
	x->prefixes.v = arena_new_n(a, uint32_t, n + 1);
	x->suffixes.v = arena_new_n(a, uint32_t, n + 1);
	for (size_t i = 0; i < n; i++) {
		struct choice c = key_of(&keys[i], &u);
		add_rule(x, (uint32_t)i, &c, a);
	}
	free(u.v);
	return x;
}

/* ---- looking up ----------------------------------------------------------------------------- */
struct finder {
	const struct route_index *x;
	struct str path;
	struct route_candidates *to;
	bool full;
};

static void add_list(struct finder *f, uint64_t hash)
{
	const struct bucket *b = bucket_of(f->x, hash);
	struct route_candidates *c = f->to;
	if (!b->used)
		return;
	for (size_t i = 0; i < c->n; i++)
		if (c->lists[i].at == b->rules)
			return;                 /* the same four bytes once more */
	if (c->n == ROUTE_LISTS_MAX) {
		f->full = true;
		return;
	}
	c->lists[c->n].at = b->rules;
	c->lists[c->n++].end = b->rules + b->n;
}

static void find_from_front(struct finder *f)
{
	const struct route_index *x = f->x;
	uint64_t h = HASH_START;
	size_t k = 0;
	for (size_t i = 0;; i++) {
		if (k < x->prefixes.n && x->prefixes.v[k] == i) {
			add_list(f, hash_end(h, KIND_PREFIX));
			k++;
		}
		if (i == f->path.n || (k == x->prefixes.n && !x->has_exact))
			break;
		h = hash_step(h, f->path.p[i]);
	}
	if (x->has_exact)
		add_list(f, hash_end(h, KIND_EXACT));
}

static void find_from_back(struct finder *f)
{
	const struct lengths *l = &f->x->suffixes;
	uint64_t h = HASH_START;
	size_t i = 0;
	for (size_t k = 0; k < l->n && l->v[k] <= f->path.n; k++) {
		for (; i < l->v[k]; i++)
			h = hash_step(h, f->path.p[f->path.n - 1 - i]);
		add_list(f, hash_end(h, KIND_SUFFIX));
	}
}

static void find_anywhere(struct finder *f)
{
	uint32_t gram = 0;
	for (size_t i = 0; i < f->path.n; i++) {
		gram = gram << 8 | fold(f->path.p[i]);
		uint32_t bit = filter_bit(gram);
		if ((f->x->filter[bit / 64] >> bit % 64 & 1) != 0 && i + 1 >= GRAM)
			add_list(f, hash_end(gram, KIND_GRAM));
	}
}

bool route_index_find(const struct route_index *x, struct str path, struct route_candidates *ret)
{
	struct finder f = { .x = x, .path = path, .to = ret };
	ret->n = 0;
	find_from_front(&f);
	find_from_back(&f);
	if (x->has_grams)
		find_anywhere(&f);
	return !f.full;
}

size_t route_candidates_next(struct route_candidates *c)
{
	size_t best = SIZE_MAX, from = 0;
	for (size_t i = 0; i < c->n; i++) {
		if (c->lists[i].at < c->lists[i].end && *c->lists[i].at < best) {
			best = *c->lists[i].at;
			from = i;
		}
	}
	if (best != SIZE_MAX)
		c->lists[from].at++;
	return best;
}
