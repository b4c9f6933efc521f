/* SPDX-License-Identifier: Apache-2.0 */
/* memory: allocators of OpenSSL and libevent, see memory.h. Layer io. */
#include "config.h"

#include <event2/event.h>
#include <openssl/crypto.h>

#include "base/arena.h"
#include "base/err.h"
#include "io/memory.h"

static void *ssl_malloc(size_t n, const char *file, int line)
{
	(void)file, (void)line;
	return n > 0 ? kv_try_malloc(n) : NULL;
}

static void *ssl_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file, (void)line;
	if (n > 0)
		return kv_try_realloc(p, n);
	free(p);
	return NULL;
}

static void ssl_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	free(p);
}

void memory_use_reserve(void)
{
	kv_assert(CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free) == 1);
	event_set_mem_functions(kv_try_malloc, kv_try_realloc, free);
}
