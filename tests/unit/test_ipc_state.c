/* SPDX-License-Identifier: Apache-2.0 */
/* ipc: what daemons keep on disk (kept, db) and how they are started (daemon_args). */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fs.h"
#include "ipc/daemon.h"
#include "ipc/db.h"
#include "ipc/kept.h"
#include "unit.h"

static char dir[64], path[96];

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/kvmesh-state-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/x", dir);
}

static void teardown(void)
{
	static const char *const ends[] = { "", ".prev", "-wal", "-shm", "-journal" };

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		char p[128];

		snprintf(p, sizeof(p), "%s%s", path, ends[i]);
		unlink(p);
	}
	rmdir(dir);
}

static void expect_kept(const char *text)
{
	_cleanup_free_ char *got = NULL;
	struct err err = { 0 };
	size_t n = 0;

	ck_assert_msg(kept_load(path, 1000, &got, &n, &err) == 0, "%s", err.text);
	unit_str_eq(str_from(got, n), text);
}

static void overwrite(const char *file, long at, char byte)
{
	FILE *f = fopen(file, "r+");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fseek(f, at, SEEK_END), 0);
	ck_assert_int_ne(fputc(byte, f), EOF);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(kept_survives_damage)
{
	struct err err = { 0 };
	char *got = NULL;
	size_t n;

	setup();
	ck_assert_int_eq(kept_load(path, 1000, &got, &n, &err), -ENOENT);
	ck_assert_int_eq(kept_save(path, STR("one"), &err), 0);
	expect_kept("one");
	ck_assert_int_eq(kept_save(path, STR("two\nlines\n"), &err), 0);
	expect_kept("two\nlines\n");
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0600);
	overwrite(path, -2, '#');
	expect_kept("one");
	/* A torn file: the length does not fit. */
	ck_assert_int_eq(kept_save(path, STR("three"), &err), 0);
	ck_assert_int_eq(truncate(path, 30), 0);
	_cleanup_free_ char *prev = kv_asprintf("%s.prev", path);

	ck_assert_int_eq(unlink(prev), 0);
	ck_assert_int_eq(kept_load(path, 1000, &got, &n, &err), KV_ERR_SYNTAX);
	ck_assert_int_eq(kept_save(path, STR(""), &err), 0);
	expect_kept("");
	teardown();
}
END_TEST

START_TEST(kept_has_a_cap)
{
	struct err err = { 0 };
	static char big[3000];
	char *got = NULL;
	size_t n;

	setup();
	memset(big, 'b', sizeof(big));
	ck_assert_int_eq(kept_save(path, str_from(big, sizeof(big)), &err), 0);
	ck_assert_int_eq(kept_load(path, 1000, &got, &n, &err), KV_ERR_LIMIT);
	teardown();
}
END_TEST

enum statement { STATEMENT_PUT, STATEMENT_ALL, STATEMENT_COUNT, STATEMENT__N };
static const char *const statements[STATEMENT__N] = {
	[STATEMENT_PUT] = "INSERT INTO t (k, v) VALUES (?1, ?2)",
	[STATEMENT_ALL] = "SELECT k, v FROM t WHERE ?1 IS NULL OR k = ?1 ORDER BY k",
	[STATEMENT_COUNT] = "SELECT count(*) FROM t",
};
static const struct db_spec spec = {
	.schema = "CREATE TABLE t (k TEXT PRIMARY KEY, v INTEGER NOT NULL)",
	.version = 3,
	.full_sync = true,
	.what = "start an empty one",
	.statements = statements,
	.n_statements = STATEMENT__N,
};

static int put(struct db *d, const char *k, int64_t v, struct err *err)
{
	const struct db_value values[] = { DB_V_TEXT(str_c(k)), DB_V_INT(v) };

	return db_run(d, STATEMENT_PUT, values, 2, err);
}

static void append_row(void *arg, const struct db_row *row)
{
	char *text = arg;
	size_t n = strlen(text);

	snprintf(text + n, 200 - n, "%.*s=%lld;", STR_ARG(db_row_text(row, 0)),
		 (long long)db_row_int(row, 1));
}

static void expect_rows(struct db *d, const char *want)
{
	const struct db_value all = DB_V_NULL;
	struct err err = { 0 };
	char text[200] = "";

	ck_assert_msg(db_each(d, STATEMENT_ALL, &all, 1, append_row, text, &err) == 0, "%s",
		      err.text);
	ck_assert_str_eq(text, want);
}

START_TEST(db_keeps_whole_transactions)
{
	struct db *d;
	struct err err = { 0 };
	int64_t n = 0;

	setup();
	ck_assert_int_eq(db_check(path, &spec, &err), 0);
	ck_assert_msg(db_open(path, &spec, &d, &err) == 0, "%s", err.text);
	ck_assert_int_eq(put(d, "a'; DROP TABLE t; --", 1, &err), 0);
	ck_assert_int_eq(db_begin(d, &err), 0);
	ck_assert_int_eq(put(d, "b", 2, &err), 0);
	/* The second of two fails: neither stays. */
	ck_assert_int_lt(db_end(d, put(d, "b", 3, &err), &err), 0);
	expect_rows(d, "a'; DROP TABLE t; --=1;");
	ck_assert_int_eq(db_begin(d, &err), 0);
	ck_assert_int_eq(db_end(d, put(d, "b", 2, &err), &err), 0);
	db_close(d);
	ck_assert_int_eq(db_check(path, &spec, &err), 0);
	ck_assert_int_eq(db_open(path, &spec, &d, &err), 0);
	ck_assert_int_eq(db_get_int(d, STATEMENT_COUNT, -1, &n, &err), 0);
	ck_assert_int_eq(n, 2);
	db_close(d);
	teardown();
}
END_TEST

START_TEST(db_refuses_what_it_does_not_understand)
{
	struct db_spec older = spec;
	struct db *d;
	struct err err = { 0 };

	setup();
	ck_assert_int_eq(db_open(path, &spec, &d, &err), 0);
	db_close(d);
	older.version = 2;
	ck_assert_int_eq(db_open(path, &older, &d, &err), KV_ERR_DB);
	ck_assert_ptr_nonnull(strstr(err.text, "newer version"));
	ck_assert_int_eq(
		fs_write(path, "this is no database at all, not even nearly", 43, 0600, &err), 0);
	ck_assert_int_eq(db_open(path, &spec, &d, &err), KV_ERR_DB);
	ck_assert_ptr_nonnull(strstr(err.text, "is damaged"));
	ck_assert_ptr_nonnull(strstr(err.text, "restore it from a backup"));
	ck_assert_int_eq(db_check(path, &spec, &err), KV_ERR_DB);
	teardown();
}
END_TEST

START_TEST(db_finds_damaged_pages)
{
	struct db *d;
	struct err err = { 0 };

	setup();
	ck_assert_int_eq(db_open(path, &spec, &d, &err), 0);
	for (int i = 0; i < 500; i++) {
		char k[64];

		snprintf(k, sizeof(k), "key number %d with some length to it", i);
		ck_assert_int_eq(put(d, k, i, &err), 0);
	}
	db_close(d);
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	for (long at = 4096; at < st.st_size; at += 4096)
		for (long i = 0; i < 16; i++)
			overwrite(path, -(long)st.st_size + at + i, (char)0xee);
	ck_assert_int_eq(db_check(path, &spec, &err), KV_ERR_DB);
	ck_assert_int_eq(db_open(path, &spec, &d, &err), KV_ERR_DB);
	teardown();
}
END_TEST

/*
 * A file size limit stands for the full disk: the write fails with an error, and nothing is
 * recorded.
 */
START_TEST(db_full_disk_records_nothing)
{
	struct rlimit old, tiny;
	struct db *d;
	struct err err = { 0 };
	int64_t n = -1;

	setup();
	ck_assert_int_eq(db_open(path, &spec, &d, &err), 0);
	ck_assert_int_eq(put(d, "before", 1, &err), 0);
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	tiny = (struct rlimit){ .rlim_cur = 100, .rlim_max = old.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &tiny), 0);
	ck_assert_int_lt(put(d, "during", 1, &err), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	ck_assert_int_eq(db_get_int(d, STATEMENT_COUNT, -1, &n, &err), 0);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(put(d, "after", 1, &err), 0);
	db_close(d);
	teardown();
}
END_TEST

static const struct daemon_program program = {
	.name = "kvmesh-test", .summary = "a test", .flags = DAEMON_HAS_TEST | DAEMON_HAS_INSTANCE,
};

/* Options borrow from argv, which in a program lives as long as the process. */
static int parse(struct daemon_options *o, const char *line)
{
	static char words[256];
	char *argv[16] = { NULL };
	int argc = 0;

	snprintf(words, sizeof(words), "kvmesh-test %s", line);
	for (char *p = words; p && argc < 15; argc++) {
		argv[argc] = p;
		p = strchr(p, ' ');
		if (p)
			*p++ = '\0';
	}
	return daemon_args(&program, argc, argv, o);
}

START_TEST(daemon_options_are_read)
{
	struct daemon_options o;

	setenv("KVMESH_ETC", "/e", 1);
	setenv("KVMESH_RUN", "/r", 1);
	ck_assert_int_eq(parse(&o, "--instance node --run /r2 --standalone -t --ready-fd=5"),
			 DAEMON_GO_ON);
	ck_assert_str_eq(o.etc_dir, "/e");
	ck_assert_str_eq(o.run_dir, "/r2");
	ck_assert_str_eq(o.state_dir, LOCALSTATEDIR "/lib/kvmesh");
	ck_assert_str_eq(o.instance, "node");
	ck_assert_int_eq(o.ready_fd, 5);
	ck_assert(o.standalone && o.test && !o.print);
}
END_TEST

START_TEST(daemon_usage_errors)
{
	struct daemon_options o;

	ck_assert_int_eq(parse(&o, "-t"), DAEMON_EXIT_USAGE);
	ck_assert_int_eq(parse(&o, "--instance ../x"), DAEMON_EXIT_USAGE);
	ck_assert_int_eq(parse(&o, "--instance n -T"), DAEMON_EXIT_USAGE);
	ck_assert_int_eq(parse(&o, "--instance n --no-such"), DAEMON_EXIT_USAGE);
	ck_assert_int_eq(parse(&o, "--instance n word"), DAEMON_EXIT_USAGE);
	ck_assert_int_eq(parse(&o, "--instance n --log-level loud"), DAEMON_EXIT_USAGE);
	ck_assert_int_eq(parse(&o, "--etc"), DAEMON_EXIT_USAGE);
	ck_assert_int_eq(parse(&o, "-V"), DAEMON_EXIT_OK);
	ck_assert_int_eq(parse(&o, "--help"), DAEMON_EXIT_OK);
}
END_TEST

UNIT_MAIN("ipc_state", kept_survives_damage, kept_has_a_cap, db_keeps_whole_transactions,
	  db_refuses_what_it_does_not_understand, db_finds_damaged_pages,
	  db_full_disk_records_nothing, daemon_options_are_read, daemon_usage_errors)
