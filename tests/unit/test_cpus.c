/* SPDX-License-Identifier: Apache-2.0 */
/* cpus: the number of workers follows the quota of the cgroup and those above it. */
#define _GNU_SOURCE
#include "config.h"

#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "proxy/cpus.h"
#include "unit.h"

static char root[] = "/tmp/kvmesh-cpus-XXXXXX";

static void write_file(const char *name, const char *text)
{
	_cleanup_free_ char *path = kv_asprintf("%s/%s", root, name);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void make_dir(const char *name)
{
	_cleanup_free_ char *path = kv_asprintf("%s/%s", root, name);

	ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void drop(const char *name)
{
	_cleanup_free_ char *path = kv_asprintf("%s/%s", root, name);

	ck_assert_int_eq(remove(path), 0);
}

static unsigned quota(const char *cgroup)
{
	_cleanup_free_ char *path = kv_asprintf("%s/self", root);

	write_file("self", cgroup);
	return cpus_by_quota(path, root);
}

START_TEST(the_smallest_quota_on_the_way_counts)
{
	ck_assert_ptr_nonnull(mkdtemp(root));
	make_dir("mesh.slice");
	make_dir("mesh.slice/proxy.service");
	ck_assert_uint_eq(quota("0::/mesh.slice/proxy.service\n"), 0);
	write_file("mesh.slice/proxy.service/cpu.max", "max 100000\n");
	ck_assert_uint_eq(quota("0::/mesh.slice/proxy.service\n"), 0);
	write_file("mesh.slice/cpu.max", "400000 100000\n");
	ck_assert_uint_eq(quota("0::/mesh.slice/proxy.service\n"), 4);
	write_file("mesh.slice/proxy.service/cpu.max", "150000 100000\n");
	ck_assert_uint_eq(quota("0::/mesh.slice/proxy.service\n"), 2);
	ck_assert_uint_eq(quota("12:cpu:/old\n0::/mesh.slice/proxy.service\n"), 2);
	write_file("mesh.slice/proxy.service/cpu.max", "20000 100000\n");
	ck_assert_uint_eq(quota("0::/mesh.slice/proxy.service\n"), 1);
	write_file("mesh.slice/proxy.service/cpu.max", "nonsense\n");
	ck_assert_uint_eq(quota("0::/mesh.slice/proxy.service\n"), 4);
	ck_assert_uint_eq(quota("0::/\n"), 0);
	ck_assert_uint_eq(quota(""), 0);
	ck_assert_uint_eq(cpus_by_quota("/nonexistent", root), 0);
	drop("mesh.slice/proxy.service/cpu.max");
	drop("mesh.slice/proxy.service");
	drop("mesh.slice/cpu.max");
	drop("mesh.slice");
	drop("self");
	drop("");
}
END_TEST

START_TEST(never_more_than_the_affinity_allows)
{
	cpu_set_t one;
	cpu_set_t before;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(before), &before), 0);
	ck_assert_uint_ge(cpus_available(), 1);
	ck_assert_uint_le(cpus_available(), (unsigned)CPU_COUNT(&before));
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &before))
			CPU_SET(i, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	ck_assert_uint_eq(cpus_available(), 1);
}
END_TEST

UNIT_MAIN("cpus", the_smallest_quota_on_the_way_counts, never_more_than_the_affinity_allows)
