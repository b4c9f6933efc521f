/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena: memory that is freed all at once. Layer base.
 * Allocation never fails: the process aborts when there is no memory, so every size that a peer
 * controls is capped before it gets here.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/str.h"

struct arena_block;

struct arena {
	struct arena_block *head;
	char *pos, *end;
	size_t total_bytes; /* asked from malloc so far, for accounting */
	size_t block_bytes; /* size of the next block */
};

void arena_init(struct arena *a, size_t block_bytes); /* 0: a default of 4 KiB */
void arena_done(struct arena *a);
/* Frees all but the first ordinary block; everything handed out before is gone. */
void arena_clear(struct arena *a);

void *arena_alloc(struct arena *a, size_t n); /* aligned for any type, not zeroed */
void *arena_zalloc(struct arena *a, size_t n);
/* n items of that size, zeroed; aborts when the product overflows. */
void *arena_zalloc_n(struct arena *a, size_t n, size_t item_bytes);
/* A grown copy: old n_old bytes are copied, the old place stays allocated until the end. */
void *arena_grow(struct arena *a, const void *old, size_t n_old, size_t n_new);

char *arena_strdup(struct arena *a, const char *s); /* NULL gives NULL */
/* Copy with a NUL behind it that is not counted. */
struct str arena_str(struct arena *a, struct str s);
struct str arena_printf(struct arena *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
struct str arena_vprintf(struct arena *a, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

#define arena_new(a, type) ((type *)arena_zalloc((a), sizeof(type)))
#define arena_new_n(a, type, n) ((type *)arena_zalloc_n((a), (n), sizeof(type)))

/* malloc, calloc, realloc, strdup that abort instead of failing. */
void *kv_malloc(size_t n) __attribute__((malloc));
void *kv_zalloc(size_t n) __attribute__((malloc));
void *kv_realloc(void *p, size_t n);
char *kv_strdup(const char *s) __attribute__((malloc));
/* The same, but NULL when the reserve is gone too: for libraries that can do without. */
void *kv_try_malloc(size_t n) __attribute__((malloc));
void *kv_try_realloc(void *p, size_t n);
/*
 * Memory put aside: an allocation that fails gives it back and is tried once more, so that there is
 * time to refuse work before the process must abort. Makes it when it is gone; false: there is no
 * memory for it.
 */
bool kv_reserve(size_t bytes);
void kv_spend_reserve(void);            /* an allocation elsewhere failed */
bool kv_reserve_was_used(void);         /* since the last question */
char *kv_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* _cleanup_free_ char *x = NULL; ... *ret = take(&x); */
static inline void kv_freep(void *pp)
{
	void *p;
	memcpy(&p, pp, sizeof(p));
	free(p);
}
/*
 * The compiler clears what it does not see initialised; for scratch that is written before it is
 * read, on the way of every request.
 */
#define _scratch_ __attribute__((uninitialized))
#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define _cleanup_free_ _cleanup_(kv_freep)
#define take(pp)                                                                                   \
	({                                                                                         \
		__typeof__(*(pp)) *_pp = (pp);                                                     \
		__typeof__(*(pp)) _v = *_pp;                                                       \
		*_pp = NULL;                                                                       \
		_v;                                                                                \
	})
