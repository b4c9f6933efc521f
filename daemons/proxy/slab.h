/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab: small blocks of memory that come and go with every request, kept by size for the next one.
 * What libnghttp2 and codec_h2 take for an exchange. Layer proxy; one thread; owns what is kept.
 */
#pragma once

#include <stddef.h>

/* About what is kept besides as much as is in use; more goes back to the system, so a burst is not kept. */
#define SLAB_KEPT_BYTES (256u << 10)

struct slab;
struct slab *slab_new(void);
/* What was handed out must have been given back. */
void slab_free(struct slab *s);
/* Aligned for any type, not zeroed. Larger than a slab keeps: malloc. */
void *slab_take(struct slab *s, size_t n);
void *slab_take_zeroed(struct slab *s, size_t n);
void *slab_resize(struct slab *s, void *p, size_t n);   /* as realloc */
void slab_give(struct slab *s, void *p);                /* as free */
size_t slab_kept_bytes(const struct slab *s);
