/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab: small blocks kept by size, see slab.h. Layer proxy.
 * Each block remembers its size class in front of itself. Under AddressSanitizer nothing is kept,
 * so that a use after free is seen.
 */
#include "config.h"

#include "proxy/slab.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"

#ifdef __SANITIZE_ADDRESS__
#define KEPT_BYTES 0u
#else
#define KEPT_BYTES SLAB_KEPT_BYTES
#endif

#define STEP 64u                        /* a class every so many bytes */
#define CLASSES 16u                     /* class c holds up to c * STEP bytes; 0 is malloc's */

struct block {
	union {
		struct block *next;     /* while it is kept */
		size_t n;               /* while it is used: room */
	};
	size_t class;
	alignas(max_align_t) char data[];
};

struct slab {
	struct block *kept[CLASSES + 1];
	size_t kept_bytes, used_bytes;  /* of blocks that have a class */
	size_t used;
};

static struct block *block_of(void *p)
{
	return (struct block *)(void *)((char *)p - offsetof(struct block, data));
}

struct slab *slab_new(void)
{
	return kv_zalloc(sizeof(struct slab));
}

void slab_free(struct slab *s)
{
	if (!s)
		return;
	kv_assert(s->used == 0);
	for (size_t c = 0; c <= CLASSES; c++) {
		while (s->kept[c]) {
			struct block *b = s->kept[c];

			s->kept[c] = b->next;
			free(b);
		}
	}
	free(s);
}

void *slab_take(struct slab *s, size_t n)
{
	size_t class = n <= CLASSES * STEP ? (n + STEP - 1) / STEP : 0;
	struct block *b = s->kept[class];

	if (b) {
		s->kept[class] = b->next;
		s->kept_bytes -= class * STEP;
	} else {
		b = kv_malloc(sizeof(*b) + (class > 0 ? class * STEP : n));
		b->class = class;
	}
	b->n = class > 0 ? class * STEP : n;
	s->used++;
	s->used_bytes += class * STEP;
	return b->data;
}

void *slab_take_zeroed(struct slab *s, size_t n)
{
	void *p = slab_take(s, n);

	if (n > 0)
		memset(p, 0, n);
	return p;
}

static size_t keeps(const struct slab *s)
{
	return KEPT_BYTES > 0 ? KEPT_BYTES + s->used_bytes : 0;
}

static void drop_kept(struct slab *s, size_t class)
{
	struct block *b = s->kept[class];

	if (!b)
		return;
	s->kept[class] = b->next;
	s->kept_bytes -= class * STEP;
	free(b);
}

void slab_give(struct slab *s, void *p)
{
	if (!p)
		return;
	struct block *b = block_of(p);
	size_t class = b->class;

	s->used--;
	s->used_bytes -= class * STEP;
	if (class == 0) {
		free(b);
		return;
	}
	s->kept_bytes += class * STEP;
	b->next = s->kept[class];
	s->kept[class] = b;
	/* Two go for each that comes back: what was kept on the way down from a burst goes too. */
	for (int i = 0; i < 2 && s->kept_bytes > keeps(s); i++)
		drop_kept(s, class);
}

void *slab_resize(struct slab *s, void *p, size_t n)
{
	if (p && n <= block_of(p)->n)
		return p;
	void *to = slab_take(s, n);

	if (p) {
		memcpy(to, p, block_of(p)->n);
		slab_give(s, p);
	}
	return to;
}

size_t slab_kept_bytes(const struct slab *s)
{
	return s->kept_bytes;
}
