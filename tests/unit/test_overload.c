/* SPDX-License-Identifier: Apache-2.0 */
/* proxy/overload, proxy/gate, the reserve of base/arena: levels, counts, cgroup files. */
#include "proxy/overload.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "proxy/gate.h"
#include "unit.h"

/* ---- levels ---------------------------------------------------------------------------------- */

START_TEST(levels_rise_at_their_marks)
{
	static const struct { uint64_t permille; enum overload_level level; } rows[] = {
		{ 0, OVERLOAD_NONE }, { 699, OVERLOAD_NONE }, { 700, OVERLOAD_TRIM },
		{ 850, OVERLOAD_TIGHT }, { 920, OVERLOAD_SHED }, { 949, OVERLOAD_SHED },
		{ 950, OVERLOAD_FULL }, { 100000, OVERLOAD_FULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_int_eq(overload_next(OVERLOAD_NONE, rows[i].permille), rows[i].level);
}
END_TEST

START_TEST(levels_fall_well_below)
{
	ck_assert_int_eq(overload_next(OVERLOAD_TRIM, 650), OVERLOAD_TRIM);
	ck_assert_int_eq(overload_next(OVERLOAD_TRIM, 649), OVERLOAD_NONE);
	ck_assert_int_eq(overload_next(OVERLOAD_SHED, 870), OVERLOAD_SHED);
	ck_assert_int_eq(overload_next(OVERLOAD_SHED, 869), OVERLOAD_TIGHT);
	ck_assert_int_eq(overload_next(OVERLOAD_FULL, 850), OVERLOAD_FULL);
	ck_assert_int_eq(overload_next(OVERLOAD_FULL, 849), OVERLOAD_TRIM);
}
END_TEST

START_TEST(idle_times_shrink_and_never_grow)
{
	ck_assert_uint_eq(overload_idle_us(OVERLOAD_TRIM, 3600000000), 3600000000);
	ck_assert_uint_eq(overload_idle_us(OVERLOAD_TIGHT, 3600000000), 10000000);
	ck_assert_uint_eq(overload_idle_us(OVERLOAD_FULL, 3600000000), 1000000);
	ck_assert_uint_eq(overload_idle_us(OVERLOAD_FULL, 500), 500);
}
END_TEST

/* ---- cgroup files ---------------------------------------------------------------------------- */

static char root[64];

static void put(const char *dir, const char *file, const char *text)
{
	char *path = kv_asprintf("%s%s", root, dir);

	(void)mkdir(path, 0700);
	free(path);
	path = kv_asprintf("%s%s/%s", root, dir, file);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	free(path);
}

static void make_root(void)
{
	snprintf(root, sizeof(root), "/tmp/test_overload.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
}

static void drop_root(void)
{
	static const char *const names[] = { "/a/b/memory.max", "/a/b/memory.high", "/a/b/memory.stat",
					     "/a/b/memory.current", "/a/b/cgroup.procs", "/a/b",
					     "/a/memory.max", "/a", "" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *path = kv_asprintf("%s%s", root, names[i]);

		(void)remove(path);
		free(path);
	}
}

START_TEST(smallest_limit_on_the_way_up)
{
	make_root();
	put("/a", "memory.max", "5000\n");
	put("/a/b", "memory.max", "max\n");
	ck_assert_uint_eq(overload_memory_limit(root, STR("/a/b")), 5000);
	put("/a/b", "memory.max", "4000\n");
	ck_assert_uint_eq(overload_memory_limit(root, STR("/a/b")), 4000);
	put("/a/b", "memory.high", "3600\n");
	ck_assert_uint_eq(overload_memory_limit(root, STR("/a/b")), 3600);
	ck_assert_uint_eq(overload_memory_limit(root, STR("/c")), 0);
	ck_assert_uint_eq(overload_memory_limit(root, STR("/")), 0);
	ck_assert_uint_eq(overload_memory_limit(root, STR_NULL), 0);
	drop_root();
}
END_TEST

START_TEST(charge_of_the_cgroup_when_alone)
{
	char *me = kv_asprintf("%d\n", (int)getpid()), *two = kv_asprintf("%d\n1\n", (int)getpid());

	make_root();
	put("/a", "memory.max", "max\n");
	put("/a/b", "memory.current", "900000000000\n");
	put("/a/b", "memory.stat", "anon 5\ninactive_file 100\nactive_file 11\nsock 7\n");
	put("/a/b", "cgroup.procs", me);
	ck_assert_uint_eq(overload_memory_used(root, STR("/a/b")), 900000000000 - 111);
	put("/a/b", "cgroup.procs", two);
	uint64_t own = overload_memory_used(root, STR("/a/b"));

	ck_assert(own > 0 && own < 800000000000);
	ck_assert_uint_gt(overload_memory_used(NULL, STR_NULL), 0);
	drop_root();
	free(me);
	free(two);
}
END_TEST

START_TEST(descriptors_are_counted)
{
	uint64_t before = overload_descriptors();
	int fd = dup(0);

	ck_assert_int_ge(fd, 0);
	ck_assert_uint_eq(overload_descriptors(), before + 1);
	close(fd);
	ck_assert_uint_ge(overload_descriptor_limit(), before);
}
END_TEST

/* ---- the gate -------------------------------------------------------------------------------- */

static struct conn from(const char *client, const char *server)
{
	struct sock_addr a, b;

	ck_assert(sock_addr_parse(str_c(client), 1000, &a) && sock_addr_parse(str_c(server), 2000, &b));
	return (struct conn){ .remote = conn_addr_pack(&a), .local = conn_addr_pack(&b) };
}

static struct gate gate;
static struct rng rng;

static unsigned taken(const struct conn *c, unsigned tries)
{
	unsigned n = 0;

	for (unsigned i = 0; i < tries; i++)
		n += gate_take_handshake(&gate, &rng, c) == NULL;
	return n;
}

static void gate_setup(unsigned total, unsigned per_source)
{
	memset(&gate, 0, sizeof(gate));
	gate_init(&gate);
	rng_init(&rng, 1);
	atomic_store(&gate.max_handshakes, total);
	atomic_store(&gate.max_per_source, per_source);
}

START_TEST(a_source_has_its_share)
{
	struct conn a = from("192.0.2.1", "192.0.2.9"), b = from("192.0.2.2", "192.0.2.9");

	gate_setup(1000, 5);
	ck_assert_uint_eq(taken(&a, 20), 5);
	ck_assert_str_eq(gate_take_handshake(&gate, &rng, &a), "handshakes_source");
	ck_assert_uint_eq(taken(&b, 3), 3);
	gate_give_handshake(&gate, &a);
	ck_assert_uint_eq(taken(&a, 20), 1);
	ck_assert_uint_eq(gate.handshakes, 8);
}
END_TEST

START_TEST(ipv6_sources_are_networks)
{
	struct conn a = from("2001:db8:0:1::1", "2001:db8::9"), b = from("2001:db8:0:1::2", "2001:db8::9");
	struct conn c = from("2001:db8:0:2::1", "2001:db8::9");

	gate_setup(1000, 2);
	ck_assert_uint_eq(taken(&a, 1) + taken(&b, 5), 2);
	ck_assert_uint_eq(taken(&c, 5), 2);
}
END_TEST

START_TEST(early_drop_before_the_total)
{
	struct conn a = from("192.0.2.1", "192.0.2.9");

	gate_setup(100, 10000);
	ck_assert_uint_eq(taken(&a, 10), 10);           /* a tenth without any risk */
	unsigned more = taken(&a, 89);

	ck_assert(more > 20 && more < 89);
	ck_assert_uint_le(taken(&a, 100000) + more + 10, 100);
	ck_assert_uint_eq(gate.handshakes, 100);
}
END_TEST

START_TEST(this_host_has_half_and_no_lottery)
{
	struct conn a = from("127.0.0.1", "127.0.0.1"), b = from("192.0.2.2", "127.0.0.1");

	gate_setup(100, 10);
	ck_assert_uint_eq(taken(&a, 200), 50);
	ck_assert_uint_gt(taken(&b, 50), 0);
	for (int i = 0; i < 50; i++)
		gate_give_handshake(&gate, &a);
	ck_assert_uint_eq(taken(&a, 200), 50);
}
END_TEST

START_TEST(connections_in_total)
{
	gate_setup(1, 1);
	atomic_store(&gate.max_conns, 2);
	ck_assert_ptr_null(gate_take_conn(&gate));
	ck_assert_ptr_null(gate_take_conn(&gate));
	ck_assert_str_eq(gate_take_conn(&gate), "connections_total");
	gate_give_conn(&gate);
	ck_assert_ptr_null(gate_take_conn(&gate));
}
END_TEST

/* ---- the reserve ----------------------------------------------------------------------------- */

START_TEST(a_spent_reserve_is_told_once_and_made_again)
{
	ck_assert(kv_reserve(1000));
	ck_assert(!kv_reserve_was_used());
	kv_spend_reserve();
	ck_assert(kv_reserve_was_used());
	ck_assert(!kv_reserve_was_used());
	ck_assert(kv_reserve(1000) && kv_reserve(1000));
	kv_spend_reserve();
}
END_TEST

UNIT_MAIN("overload", levels_rise_at_their_marks, levels_fall_well_below,
	  idle_times_shrink_and_never_grow, smallest_limit_on_the_way_up,
	  charge_of_the_cgroup_when_alone, descriptors_are_counted, a_source_has_its_share,
	  ipv6_sources_are_networks, early_drop_before_the_total, this_host_has_half_and_no_lottery,
	  connections_in_total, a_spent_reserve_is_told_once_and_made_again)
