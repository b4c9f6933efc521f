/* SPDX-License-Identifier: Apache-2.0 */
/* router: what it remembers (store) and how it notices changes of files (watchfs). */
#include "config.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "router/store.h"
#include "router/watchfs.h"
#include "unit.h"

static char dir[64];

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/kvmesh-router-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
	_cleanup_free_ char *cmd = NULL;
	static const char *const files[] = {
		"db",       "db-wal", "db-shm",       "a.conf", "b.conf",    "sub/deep/c.conf",
		"sub/deep", "sub",    "moved/x.conf", "moved",  "link.conf", "#x.conf#",
		"x.conf~",
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		cmd = kv_asprintf("%s/%s", dir, files[i]);
		if (unlink(cmd) != 0)
			(void)rmdir(cmd);
		free(take(&cmd));
	}
	rmdir(dir);
}

static struct store *open_store(void)
{
	_cleanup_free_ char *path = kv_asprintf("%s/db", dir);
	struct store *s = NULL;
	struct err err = { 0 };

	ck_assert_msg(store_open(path, &s, &err) == 0, "%s", err.text);
	return s;
}

static void commit(struct store *s, int64_t generation, int64_t at_us, const char *digest,
		   const char *names)
{
	struct store_key keys[16];
	struct str rest = str_c(names), name;
	struct err err = { 0 };
	size_t n = 0;

	while (rest.n > 0 && str_split(&rest, ' ', &name))
		keys[n++] = (struct store_key){ .kind = "Service",
						.ns = STR("default"),
						.name = name };
	const struct store_load l = {
		.generation = generation,
		.at_us = at_us,
		.by = STR("start"),
		.ok = true,
		.digest = str_c(digest),
		.changed = STR("[]"),
		.error = STR(""),
	};

	ck_assert_msg(store_commit(s, &l, keys, n, &err) == 0, "%s", err.text);
}

static int64_t seen(const struct store *s, const char *name)
{
	return store_first_seen(s, "Service", STR("default"), str_c(name));
}

START_TEST(ages_survive_and_the_gone_are_forgotten)
{
	setup();
	struct store *s = open_store();

	ck_assert_int_eq(store_generation(s), 0);
	ck_assert_int_eq(seen(s, "a"), 0);
	commit(s, 1, 1000, "d1", "b a");
	ck_assert_int_eq(seen(s, "b"), 1000);
	ck_assert_int_eq(seen(s, "a"), 1001);
	commit(s, 2, 5000, "d2", "a b c");
	ck_assert_int_eq(seen(s, "b"), 1000);
	ck_assert_int_eq(seen(s, "c"), 5002);
	store_close(s);
	s = open_store();
	ck_assert_int_eq(store_generation(s), 2);
	ck_assert_str_eq(store_digest(s), "d2");
	ck_assert_int_eq(seen(s, "a"), 1001);
	commit(s, 3, 9000, "d3", "c");
	ck_assert_int_eq(seen(s, "a"), 0);
	/* Removed and added again: young. */
	commit(s, 4, 9500, "d4", "a c");
	ck_assert_int_eq(seen(s, "a"), 9500);
	ck_assert_int_eq(seen(s, "c"), 5002);
	/* The clock was set back: what is new is still younger than all that is known. */
	commit(s, 5, 100, "d5", "a c e");
	ck_assert_int_eq(seen(s, "e"), 9503);
	store_close(s);
	teardown();
}
END_TEST

static void count_rows(void *arg, const struct store_load *l)
{
	int64_t *last = arg;

	/* Newest first, one by one. */
	ck_assert(*last == 0 || l->at_us == *last - 1);
	*last = l->at_us;
}

START_TEST(history_is_capped)
{
	struct err err = { 0 };
	int64_t last = 0;

	setup();
	struct store *s = open_store();

	for (int64_t i = 1; i <= STORE_HISTORY_MAX + 50; i++) {
		const struct store_load l = {
			.generation = 1, .at_us = i, .by = STR("file change"), .digest = STR("d"),
			.changed = STR("[]"), .error = STR("a.conf:1: wrong"),
		};

		ck_assert_int_eq(store_note(s, &l, &err), 0);
	}
	ck_assert_int_eq(store_history(s, 100000, count_rows, &last, &err), 0);
	ck_assert_int_eq(last, 51);
	ck_assert_int_eq(store_generation(s), 0);
	store_close(s);
	teardown();
}
END_TEST

/* ---- watchfs ------------------------------------------------------------------------------- */

struct watching {
	struct loop *loop;
	struct watchfs *w;
	struct loop_timer timer;
	int told, step;
};

static bool ignored(const char *name)
{
	size_t n = strlen(name);

	return name[0] == '#' || (n > 0 && name[n - 1] == '~');
}

static void put(const char *name, const char *text)
{
	_cleanup_free_ char *path = kv_asprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void make(const char *name)
{
	_cleanup_free_ char *path = kv_asprintf("%s/%s", dir, name);
	struct err err;

	ck_assert_int_eq(fs_mkdir(path, 0755, &err), 0);
}

static void shift(const char *from, const char *to)
{
	_cleanup_free_ char *a = kv_asprintf("%s/%s", dir, from),
			    *b = kv_asprintf("%s/%s", dir, to);

	ck_assert_int_eq(rename(a, b), 0);
}

static void on_told(void *arg)
{
	struct watching *x = arg;

	x->told++;
	loop_stop(x->loop);
}

static void on_time(void *arg)
{
	struct watching *x = arg;

	loop_stop(x->loop);
}

/* True when told before the time is over. */
static bool told_within(struct watching *x, uint64_t us)
{
	int before = x->told;

	loop_timer_set(&x->timer, us);
	loop_run(x->loop);
	loop_timer_stop(&x->timer);
	return x->told > before;
}

static void start(struct watching *x)
{
	struct err err = { 0 };

	*x = (struct watching){ .loop = loop_new() };
	loop_timer_init(&x->timer, x->loop, on_time, x);
	ck_assert_msg(watchfs_new(x->loop, dir, ignored, on_told, x, &x->w, &err) == 0, "%s",
		      err.text);
}

static void stop(struct watching *x)
{
	watchfs_free(x->w);
	loop_timer_done(&x->timer);
	loop_free(x->loop);
}

#define LONG_US (30u * 1000 * 1000)
#define SHORT_US (400u * 1000)

START_TEST(changes_are_told)
{
	struct watching x;
	_cleanup_free_ char *link = NULL, *a = NULL;

	setup();
	put("a.conf", "1");
	start(&x);
	put("a.conf", "2");
	ck_assert_msg(told_within(&x, LONG_US), "a file was written");
	shift("a.conf", "b.conf");
	ck_assert_msg(told_within(&x, LONG_US), "a file was renamed");
	link = kv_asprintf("%s/link.conf", dir);
	ck_assert_int_eq(symlink("b.conf", link), 0);
	ck_assert_msg(told_within(&x, LONG_US), "a link was made");
	a = kv_asprintf("%s/b.conf", dir);
	ck_assert_int_eq(chmod(a, 0600), 0);
	ck_assert_msg(told_within(&x, LONG_US), "a mode was changed");
	ck_assert_int_eq(unlink(a), 0);
	ck_assert_msg(told_within(&x, LONG_US), "a file was removed");
	stop(&x);
	teardown();
}
END_TEST

START_TEST(new_directories_are_followed)
{
	struct watching x;

	setup();
	start(&x);
	make("sub/deep");
	ck_assert(told_within(&x, LONG_US));
	put("sub/deep/c.conf", "1");
	ck_assert_msg(told_within(&x, LONG_US), "a file in a new directory");
	shift("sub", "moved");
	ck_assert(told_within(&x, LONG_US));
	make("sub");
	ck_assert(told_within(&x, LONG_US));
	put("moved/x.conf", "1");
	ck_assert_msg(told_within(&x, LONG_US), "a file in a moved directory");
	stop(&x);
	shift("moved/deep/c.conf", "a.conf");
	_cleanup_free_ char *deep = kv_asprintf("%s/moved/deep", dir);

	rmdir(deep);
	teardown();
}
END_TEST

START_TEST(leftovers_and_unfinished_files_are_not_told)
{
	struct watching x;

	setup();
	start(&x);
	put("#x.conf#", "1");
	put("x.conf~", "1");
	/* Open for writing: nobody should read it yet. */
	_cleanup_free_ char *path = kv_asprintf("%s/a.conf", dir);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs("half", f);
	fflush(f);
	ck_assert(!told_within(&x, SHORT_US));
	fclose(f);
	ck_assert(told_within(&x, LONG_US));
	stop(&x);
	teardown();
}
END_TEST

START_TEST(a_burst_is_told_once)
{
	struct watching x;

	setup();
	start(&x);
	for (int i = 0; i < 50; i++)
		put(i % 2 == 0 ? "a.conf" : "b.conf", "x");
	ck_assert(told_within(&x, LONG_US));
	ck_assert(!told_within(&x, SHORT_US));
	stop(&x);
	teardown();
}
END_TEST

START_TEST(the_directory_itself_is_replaced)
{
	struct watching x;
	char away[96];

	setup();
	put("a.conf", "1");
	start(&x);
	snprintf(away, sizeof(away), "%s.old", dir);
	ck_assert_int_eq(rename(dir, away), 0);
	ck_assert(told_within(&x, LONG_US));
	ck_assert_int_eq(rename(away, dir), 0);
	ck_assert_msg(told_within(&x, LONG_US), "it is back");
	put("a.conf", "2");
	ck_assert(told_within(&x, LONG_US));
	stop(&x);
	teardown();
}
END_TEST

UNIT_MAIN("router_parts", ages_survive_and_the_gone_are_forgotten, history_is_capped,
	  changes_are_told, new_directories_are_followed,
	  leftovers_and_unfinished_files_are_not_told, a_burst_is_told_once,
	  the_directory_itself_is_replaced)
