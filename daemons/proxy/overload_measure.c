/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overload_measure: what the kernel says about memory and descriptors, see overload.h. Layer proxy.
 * Read four times a second by the control thread: small files of /proc and of the own cgroup.
 */
#include "config.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "io/cgroup.h"
#include "proxy/overload.h"

#define FILE_MAX_BYTES 65536
#define DESCRIPTORS_UNKNOWN 65536       /* what the unit file sets */

static char *read_text(const char *path, struct str *ret)
{
	char *text;
	size_t n;

	if (fs_read(path, FILE_MAX_BYTES, &text, &n, NULL) < 0)
		return NULL;
	*ret = str_from(text, n);
	return text;
}

static char *read_of(const char *root, struct str dir, const char *file, struct str *ret)
{
	_cleanup_free_ char *path = kv_asprintf("%s%.*s/%s", root, STR_ARG(dir), file);

	return read_text(path, ret);
}

/* The number in a file of a cgroup; 0: "max", or no such file. */
static uint64_t number_in(const char *root, struct str dir, const char *file)
{
	struct str text, line;
	_cleanup_free_ char *owned = read_of(root, dir, file, &text);
	uint64_t n;

	return owned && str_split(&text, '\n', &line) && str_to_u64(line, &n) ? n : 0;
}

/* "key 123" in memory.stat. */
static uint64_t stat_in(struct str text, struct str key)
{
	struct str line, word;
	uint64_t n;

	while (str_split(&text, '\n', &line))
		if (str_split(&line, ' ', &word) && str_eq(word, key))
			return str_to_u64(line, &n) ? n : 0;
	return 0;
}

/* ---- memory ---------------------------------------------------------------------------------- */

char *overload_own_cgroup(void)
{
	struct str text, line;
	_cleanup_free_ char *owned = read_text("/proc/self/cgroup", &text);

	while (owned && str_split(&text, '\n', &line))
		if (str_has_prefix(line, STR("0::/")))
			return kv_asprintf("%.*s", (int)line.n - 3, line.p + 3);
	return NULL;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a == 0 || (b > 0 && b < a) ? b : a;
}

uint64_t overload_memory_limit(const char *root, struct str own)
{
	uint64_t best = 0;

	while (own.n > 1) {
		best = smaller(best, number_in(root, own, "memory.max"));
		best = smaller(best, number_in(root, own, "memory.high"));
		while (own.n > 1 && own.p[--own.n] != '/')
			;
	}
	return best;
}

/* Nobody else: then what the cgroup is charged for is ours, all of it. */
static bool is_alone(const char *root, struct str own)
{
	struct str text, line;
	_cleanup_free_ char *owned = read_of(root, own, "cgroup.procs", &text);
	uint64_t pid;

	return owned && str_split(&text, '\n', &line) && str_to_u64(line, &pid) &&
	       pid == (uint64_t)getpid() && text.n == 0;
}

/* Pages of files are taken back by the kernel whenever it likes. */
static uint64_t charged(const char *root, struct str own)
{
	struct str stat;
	_cleanup_free_ char *owned = read_of(root, own, "memory.stat", &stat);
	uint64_t now = number_in(root, own, "memory.current");
	uint64_t files = owned ? stat_in(stat, STR("inactive_file")) + stat_in(stat, STR("active_file"))
			       : 0;

	return now > files ? now - files : 0;
}

static uint64_t resident(void)
{
	struct str text, word;
	_cleanup_free_ char *owned = read_text("/proc/self/statm", &text);
	uint64_t pages;

	if (!owned || !str_split(&text, ' ', &word) || !str_split(&text, ' ', &word) ||
	    !str_to_u64(word, &pages))
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t overload_memory_used(const char *root, struct str own)
{
	uint64_t n = root && own.n > 1 && is_alone(root, own) ? charged(root, own) : 0;

	return n > 0 ? n : resident();
}

/* ---- descriptors ----------------------------------------------------------------------------- */

/* Linux 6.2 and later tell the number by the directory's size. */
uint64_t overload_descriptors(void)
{
	struct stat st;
	uint64_t n = 0;

	if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
		return (uint64_t)st.st_size;
	DIR *d = opendir("/proc/self/fd");

	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n >= 3 ? n - 3 : 0;      /* "." and ".." and the one that reads */
}

uint64_t overload_descriptor_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
		return DESCRIPTORS_UNKNOWN;
	if (lim.rlim_cur < lim.rlim_max) {
		struct rlimit more = { .rlim_cur = lim.rlim_max, .rlim_max = lim.rlim_max };

		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			return more.rlim_cur;
	}
	return lim.rlim_cur;
}
