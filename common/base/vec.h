/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vec: growing arrays as two or three plain fields. Layer base.
 *     struct thing *v; size_t n, cap;
 *     *vec_push(v, n, cap) = (struct thing){ … };
 * Memory is from kv_realloc; the owner frees v.
 */
#pragma once

#include "base/arena.h"

#define vec_reserve(v, cap, want)                                                                  \
	do {                                                                                       \
		if ((want) > (cap)) {                                                              \
			size_t _c = (cap) ? (cap) : 8;                                             \
			while (_c < (want))                                                        \
				_c *= 2;                                                           \
			(v) = kv_realloc((v), _c * sizeof(*(v)));                                  \
			(cap) = _c;                                                                \
		}                                                                                  \
	} while (0)

/* Address of a new last element, uninitialised. */
#define vec_push(v, n, cap)                                                                        \
	({                                                                                         \
		vec_reserve(v, cap, (n) + 1);                                                      \
		&(v)[(n)++];                                                                       \
	})

/* The same in an arena: old arrays stay until the arena goes. */
#define vec_push_arena(a, v, n, cap)                                                               \
	({                                                                                         \
		if ((n) == (cap)) {                                                                \
			size_t _c = (cap) ? (cap)*2 : 4;                                           \
			(v) = arena_grow((a), (v), (n) * sizeof(*(v)), _c * sizeof(*(v)));         \
			(cap) = _c;                                                                \
		}                                                                                  \
		&(v)[(n)++];                                                                       \
	})
