/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash: stable 64-bit hash, the same on every machine and in every version, so that consistent
 * hashing and snapshot comparison survive upgrades. Layer base. Not for untrusted keys: map.h
 * seeds.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);
/* SipHash-2-4: for tables whose keys a peer may choose. */
uint64_t hash_keyed(const void *p, size_t n, const uint64_t key[2]);
static inline uint64_t hash_str(struct str s)
{
	return hash_bytes(s.p, s.n, 0);
}
