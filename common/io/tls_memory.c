/* SPDX-License-Identifier: Apache-2.0 */
/* tls_memory: where OpenSSL gets its memory, see tls_use_reserve in tls.h. Layer io. */
#include "config.h"

#include <openssl/crypto.h>

#include "base/arena.h"
#include "io/tls.h"

static void *take_memory(size_t n, const char *file, int line)
{
	(void)file, (void)line;
	return n > 0 ? kv_try_malloc(n) : NULL;
}

static void *resize(void *p, size_t n, const char *file, int line)
{
	(void)file, (void)line;
	if (n > 0)
		return kv_try_realloc(p, n);
	free(p);
	return NULL;
}

static void give_memory(void *p, const char *file, int line)
{
	(void)file, (void)line;
	free(p);
}

void tls_use_reserve(void)
{
	kv_assert(CRYPTO_set_mem_functions(take_memory, resize, give_memory) == 1);
}
