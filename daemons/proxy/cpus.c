/* SPDX-License-Identifier: Apache-2.0 */
/* cpus: CPU quota and affinity, see cpus.h. Layer proxy. */
#include "config.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "proxy/cpus.h"

#define FILE_MAX_BYTES 65536

static unsigned by_affinity(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return 1;
	int n = CPU_COUNT(&set);

	return n > 0 ? (unsigned)n : 1;
}

/* "100000 100000" or "max 100000": CPUs rounded up, 0 without a limit. */
static unsigned quota_in(struct str text)
{
	struct str quota, period;
	uint64_t q, p;

	if (!str_split(&text, ' ', &quota) || !str_split(&text, '\n', &period))
		return 0;
	if (!str_to_u64(quota, &q) || !str_to_u64(period, &p) || p == 0)
		return 0;
	return (unsigned)((q + p - 1) / p);
}

static unsigned quota_of(const char *root, struct str dir)
{
	char *path = kv_asprintf("%s%.*s/cpu.max", root, STR_ARG(dir));
	_cleanup_free_ char *text = NULL;
	size_t n;
	int r = fs_read(path, FILE_MAX_BYTES, &text, &n, NULL);

	free(path);
	return r < 0 ? 0 : quota_in(str_from(text, n));
}

static unsigned smaller(unsigned a, unsigned b)
{
	return a == 0 || (b > 0 && b < a) ? b : a;
}

unsigned cpus_by_quota(const char *cgroup_file, const char *cgroup_root)
{
	_cleanup_free_ char *text = NULL;
	size_t n;
	unsigned best = 0;

	if (fs_read(cgroup_file, FILE_MAX_BYTES, &text, &n, NULL) < 0)
		return 0;
	for (struct str rest = str_from(text, n), line; str_split(&rest, '\n', &line);) {
		if (!str_has_prefix(line, STR("0::/")))
			continue;
		struct str dir = str_skip(line, 3);

		while (dir.n > 1) {
			best = smaller(best, quota_of(cgroup_root, dir));
			while (dir.n > 1 && dir.p[--dir.n] != '/')
				;
		}
	}
	return best;
}

unsigned cpus_available(void)
{
	return smaller(by_affinity(), cpus_by_quota("/proc/self/cgroup", "/sys/fs/cgroup"));
}
