/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash: stable hash for consistent hashing, keyed hash (SipHash-2-4) for tables with untrusted
 * keys. Layer base. Both read their input as little-endian words, so that every machine gives one
 * result.
 */
#include "base/hash.h"

#include <endian.h>

static uint64_t load_word(const unsigned char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return le64toh(w);
}

/* The last n < 8 bytes. */
static uint64_t load_le(const unsigned char *p, size_t n)
{
	uint64_t w = 0;

	for (size_t i = 0; i < n; i++)
		w |= (uint64_t)p[i] << (8 * i);
	return w;
}

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

/* A bijection in which each input bit moves about half of the output bits. */
static uint64_t avalanche(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* Frozen: consistent hashing and the hashes in stored snapshots depend on every constant. */
uint64_t hash_bytes(const void *data, size_t n, uint64_t seed)
{
	const unsigned char *p = data;
	uint64_t h = avalanche(seed ^ 0x9e3779b97f4a7c15u) ^ (uint64_t)n;

	for (; n >= 8; p += 8, n -= 8)
		h = rotl(h ^ avalanche(load_word(p)), 29) * 0x9e3779b97f4a7c15u +
		    0x632be59bd9b4e019u;
	if (n > 0)
		h = rotl(h ^ avalanche(load_le(p, n)), 29) * 0x9e3779b97f4a7c15u;
	return avalanche(h);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t m)
{
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
}

uint64_t hash_keyed(const void *data, size_t n, const uint64_t key[2])
{
	const unsigned char *p = data;
	uint64_t last = (uint64_t)n << 56;
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
			  key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u };

	for (; n >= 8; p += 8, n -= 8)
		sip_word(v, load_word(p));
	sip_word(v, last | load_le(p, n));
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
