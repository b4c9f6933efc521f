/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena: memory that is freed all at once, and the malloc family that aborts. Layer base.
 * Blocks double up to BLOCK_MAX; a request larger than a quarter of the next block gets a block of
 * its own, so that the rest of the current one is not lost. Under AddressSanitizer the unused part
 * of every block is poisoned and allocations are kept apart, so that overruns inside an arena are
 * seen.
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define RED_ZONE 16u
#define poison(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define RED_ZONE 0u
#define poison(p, n) ((void)(p), (void)(n))
#define unpoison(p, n) ((void)(p), (void)(n))
#endif

#define ALIGN alignof(max_align_t)
#define BLOCK_DEFAULT 4096u
#define BLOCK_MAX (256u * 1024)

struct arena_block {
	struct arena_block *next; /* older */
	size_t size;              /* of data */
	bool whole;               /* serves one large request */
	alignas(max_align_t) char data[];
};

static _Atomic(void *) reserve;
static atomic_bool reserve_used;

static void oom(void)
{
	fputs("kvmesh: out of memory\n", stderr);
	abort();
}

/* Another thread may have just given it back: the second try is worth it in any case. */
void kv_spend_reserve(void)
{
	free(atomic_exchange(&reserve, NULL));
	atomic_store(&reserve_used, true);
}

bool kv_reserve(size_t bytes)
{
	void *p, *none = NULL;

	if (atomic_load(&reserve))
		return true;
	p = malloc(bytes);
	if (!p)
		return false;
	if (!atomic_compare_exchange_strong(&reserve, &none, p))
		free(p);
	return true;
}

bool kv_reserve_was_used(void)
{
	return atomic_exchange(&reserve_used, false);
}

void *kv_try_malloc(size_t n)
{
	void *p = malloc(n > 0 ? n : 1);

	if (p)
		return p;
	kv_spend_reserve();
	return malloc(n > 0 ? n : 1);
}

void *kv_try_realloc(void *p, size_t n)
{
	void *q = realloc(p, n > 0 ? n : 1);

	if (q)
		return q;
	kv_spend_reserve();
	return realloc(p, n > 0 ? n : 1);
}

void *kv_malloc(size_t n)
{
	void *p = kv_try_malloc(n);

	if (!p)
		oom();
	return p;
}

void *kv_zalloc(size_t n)
{
	void *p = calloc(1, n > 0 ? n : 1);

	if (p)
		return p;
	kv_spend_reserve();
	p = calloc(1, n > 0 ? n : 1);
	if (!p)
		oom();
	return p;
}

void *kv_realloc(void *p, size_t n)
{
	void *q = kv_try_realloc(p, n);

	if (!q)
		oom();
	return q;
}

char *kv_strdup(const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(kv_malloc(n), s, n);
}

char *kv_asprintf(const char *fmt, ...)
{
	va_list ap, ap2;
	va_start(ap, fmt);
	va_copy(ap2, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	kv_assert(n >= 0);
	char *s = kv_malloc((size_t)n + 1);
	vsnprintf(s, (size_t)n + 1, fmt, ap2);
	va_end(ap2);
	return s;
}

void arena_init(struct arena *a, size_t block_bytes)
{
	*a = (struct arena){ .block_bytes = block_bytes > 0 ? block_bytes : BLOCK_DEFAULT };
}

static void block_free(struct arena *a, struct arena_block *b)
{
	a->total_bytes -= sizeof(*b) + b->size;
	unpoison(b->data, b->size);
	free(b);
}

void arena_done(struct arena *a)
{
	while (a->head) {
		struct arena_block *b = a->head;
		a->head = b->next;
		block_free(a, b);
	}
	a->pos = a->end = NULL;
}

void arena_clear(struct arena *a)
{
	struct arena_block *first = NULL;

	for (struct arena_block *b = a->head; b; b = b->next) {
		if (!b->whole)
			first = b;
	}
	while (a->head) {
		struct arena_block *b = a->head;
		a->head = b->next;
		if (b != first)
			block_free(a, b);
	}
	a->pos = a->end = NULL;
	if (first) {
		first->next = NULL;
		a->head = first;
		a->pos = first->data;
		a->end = first->data + first->size;
		a->block_bytes = first->size;
		poison(first->data, first->size);
	}
}

static struct arena_block *block_new(struct arena *a, size_t size, bool whole)
{
	if (size > SIZE_MAX - sizeof(struct arena_block))
		oom();
	struct arena_block *b = kv_malloc(sizeof(*b) + size);

	b->size = size;
	b->whole = whole;
	b->next = NULL;
	a->total_bytes += sizeof(*b) + size;
	poison(b->data, size);
	return b;
}

/* A block for this request alone, linked behind the current one. */
static void *alloc_whole(struct arena *a, size_t n)
{
	struct arena_block *b = block_new(a, n, true);

	if (a->head) {
		b->next = a->head->next;
		a->head->next = b;
	} else {
		a->head = b;
	}
	unpoison(b->data, n);
	return b->data;
}

static void block_push(struct arena *a)
{
	struct arena_block *b = block_new(a, a->block_bytes, false);

	b->next = a->head;
	a->head = b;
	a->pos = b->data;
	a->end = b->data + b->size;
	if (a->block_bytes < BLOCK_MAX)
		a->block_bytes *= 2;
}

static size_t padded(size_t n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN + RED_ZONE;
}

/* What the current block has no room for. */
static __attribute__((noinline)) void *alloc_block(struct arena *a, size_t n)
{
	if (n > SIZE_MAX / 2)
		oom();
	if (padded(n) > a->block_bytes / 4)
		return alloc_whole(a, n);
	block_push(a);
	return arena_alloc(a, n);
}

void *arena_alloc(struct arena *a, size_t n)
{
	size_t room = (size_t)(a->end - a->pos);

	if (n > room || padded(n) > room)
		return alloc_block(a, n);
	void *p = a->pos;
	a->pos += padded(n);
	unpoison(p, n);
	return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);

	if (n > 0)
		memset(p, 0, n);
	return p;
}

void *arena_zalloc_n(struct arena *a, size_t n, size_t item_bytes)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, item_bytes, &bytes))
		oom();
	return arena_zalloc(a, bytes);
}

void *arena_grow(struct arena *a, const void *old, size_t n_old, size_t n_new)
{
	void *p = arena_alloc(a, n_new);

	if (n_old > 0)
		memcpy(p, old, n_old < n_new ? n_old : n_new);
	return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
	if (!s)
		return NULL;
	size_t n = strlen(s) + 1;
	return memcpy(arena_alloc(a, n), s, n);
}

struct str arena_str(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);

	if (s.n > 0)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return str_from(p, s.n);
}

struct str arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
	va_list ap2;

	va_copy(ap2, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	kv_assert(n >= 0);
	char *p = arena_alloc(a, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, fmt, ap2);
	va_end(ap2);
	return str_from(p, (size_t)n);
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	struct str s = arena_vprintf(a, fmt, ap);
	va_end(ap);
	return s;
}
