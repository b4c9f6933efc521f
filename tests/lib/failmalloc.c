/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failmalloc: preloaded into a daemon under test, fails chosen allocations. Test code only.
 * $FAILMALLOC names a file of five 64-bit words that the test maps as well: allocations counted so
 * far, the first one to fail (0: none), how many fail in a row, how many have failed, smallest size
 * that counts. $FAILMALLOC_PROGRAM: the program that it is meant for; others are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct plan {
	_Atomic uint64_t counted, first, n, failed, smallest;
};

static struct plan *plan;
static void *(*real_malloc)(size_t), *(*real_calloc)(size_t, size_t), *(*real_realloc)(void *, size_t);

/* dlsym itself may ask for memory before it can answer. */
static char early[65536] __attribute__((aligned(16)));
static size_t early_used;

static void *from_early(size_t n)
{
	void *p = early + early_used;

	early_used += (n + 15) / 16 * 16;
	if (early_used > sizeof(early))
		_exit(99);
	return p;
}

static int is_early(const void *p)
{
	return (const char *)p >= early && (const char *)p < early + sizeof(early);
}

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("FAILMALLOC"), *name = getenv("FAILMALLOC_PROGRAM");
	int fd;

	if (!path || (name && strcmp(program_invocation_short_name, name) != 0))
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	void *p = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	if (p != MAP_FAILED)
		plan = p;
}

static int must_fail(size_t size)
{
	if (!plan || size < atomic_load(&plan->smallest))
		return 0;
	uint64_t now = atomic_fetch_add(&plan->counted, 1) + 1, first = atomic_load(&plan->first);

	if (first == 0 || now < first || now >= first + atomic_load(&plan->n))
		return 0;
	atomic_fetch_add(&plan->failed, 1);
	errno = ENOMEM;
	return 1;
}

static void *next(const char *name)
{
	static _Thread_local int inside;

	if (inside)
		return NULL;
	inside = 1;
	void *p = dlsym(RTLD_NEXT, name);

	inside = 0;
	return p;
}

void *malloc(size_t n)
{
	if (!real_malloc)
		*(void **)&real_malloc = next("malloc");
	if (!real_malloc)
		return from_early(n);
	return must_fail(n) ? NULL : real_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	if (!real_calloc)
		*(void **)&real_calloc = next("calloc");
	if (!real_calloc)
		return from_early(n * size);
	return must_fail(n * size) ? NULL : real_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	if (!real_realloc)
		*(void **)&real_realloc = next("realloc");
	if (!real_realloc || is_early(p))
		return p ? NULL : malloc(n);
	return must_fail(n) ? NULL : real_realloc(p, n);
}

void free(void *p)
{
	static void (*real_free)(void *);

	if (!p || is_early(p))
		return;
	if (!real_free)
		*(void **)&real_free = next("free");
	if (real_free)
		real_free(p);
}
