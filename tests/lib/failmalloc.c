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
static void (*real_free)(void *);

/*
 * Until the constructor has run nothing below is ready to be asked: not dlsym, which wants memory
 * itself, and not a sanitizer's allocator. Each block has its size in front of it.
 */
static char early[1 << 20] __attribute__((aligned(16)));
static size_t early_used;
static int ready;

static void *from_early(size_t n)
{
	char *p = early + early_used;

	if (n > sizeof(early) - early_used - 32)
		_exit(99);
	early_used += 16 + (n + 15) / 16 * 16;
	memcpy(p, &n, sizeof(n));
	return p + 16;
}

static size_t early_size(const void *p)
{
	size_t n;

	memcpy(&n, (const char *)p - 16, sizeof(n));
	return n;
}

static int is_early(const void *p)
{
	return (const char *)p >= early && (const char *)p < early + sizeof(early);
}

static void open_plan(void)
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

void *malloc(size_t n)
{
	if (!ready)
		return from_early(n);
	return must_fail(n) ? NULL : real_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	if (!ready)
		return from_early(n * size);
	return must_fail(n * size) ? NULL : real_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	if (ready && !is_early(p))
		return must_fail(n) ? NULL : real_realloc(p, n);
	void *q = malloc(n);

	if (p && q)
		memcpy(q, p, early_size(p) < n ? early_size(p) : n);
	return q;
}

void free(void *p)
{
	if (p && real_free && !is_early(p))
		real_free(p);
}

__attribute__((constructor)) static void start(void)
{
	*(void **)&real_calloc = dlsym(RTLD_NEXT, "calloc");
	*(void **)&real_realloc = dlsym(RTLD_NEXT, "realloc");
	*(void **)&real_free = dlsym(RTLD_NEXT, "free");
	*(void **)&real_malloc = dlsym(RTLD_NEXT, "malloc");
	if (!real_malloc || !real_calloc || !real_realloc || !real_free)
		_exit(98);
	ready = 1;
	open_plan();
}
