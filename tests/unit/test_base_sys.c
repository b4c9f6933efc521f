/* SPDX-License-Identifier: Apache-2.0 */
/* base: errors and how they are shown, the log, time, files. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"

#include "unit.h"

START_TEST(err_carries_the_sentence)
{
	struct err e;
	struct origin at = { .file = "/etc/x.conf", .line = 3, .col = 9 };

	ck_assert_int_eq(err_set(&e, -ENOENT, "cannot open %s", "it"), -ENOENT);
	ck_assert_str_eq(e.text, "cannot open it");
	ck_assert_str_eq(e.file, "");
	ck_assert_int_eq(err_set_at(&e, KV_ERR_SCHEMA, at, "bad"), KV_ERR_SCHEMA);
	ck_assert_str_eq(e.file, "/etc/x.conf");
	ck_assert_uint_eq(e.line, 3);
	ck_assert_uint_eq(e.col, 9);
	ck_assert_int_eq(err_set(NULL, KV_ERR_LIMIT, "nobody listens"), KV_ERR_LIMIT);
}
END_TEST

START_TEST(err_cuts_what_is_too_long)
{
	struct err e;
	char longer[2000];
	struct origin at = { .file = longer };

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	err_set_at(&e, KV_ERR_SYNTAX, at, "%s", longer);
	ck_assert_uint_eq(strlen(e.text), sizeof(e.text) - 1);
	ck_assert_uint_eq(strlen(e.file), sizeof(e.file) - 1);
}
END_TEST

START_TEST(err_codes_have_names)
{
	ck_assert_str_eq(err_code_name(0), "ok");
	ck_assert_str_eq(err_code_name(KV_ERR_SYNTAX), "syntax");
	ck_assert_str_eq(err_code_name(KV_ERR_REFUSED), "refused");
	ck_assert_str_eq(err_code_name(KV_ERR_TIMEOUT), "timeout");
	ck_assert_str_eq(err_code_name(-ENOENT), "No such file or directory");
}
END_TEST

START_TEST(list_counts_past_its_cap)
{
	struct err_list l;
	struct origin none = { 0 };

	err_list_init(&l);
	err_list_add(&l, ERR_LEVEL_WARNING, KV_ERR_CHECK, "KVM0101", none, "soft");
	for (int i = 0; i < ERR_LIST_MAX + 5; i++)
		err_list_add(&l, ERR_LEVEL_ERROR, KV_ERR_CHECK, NULL, none, "hard %d", i);
	ck_assert_uint_eq(l.n, ERR_LIST_MAX);
	ck_assert_uint_eq(l.n_errors, ERR_LIST_MAX + 5);
	ck_assert_uint_eq(l.n_dropped, 6);
	ck_assert_str_eq(l.v[0].rule, "KVM0101");
	ck_assert_str_eq(l.v[1].rule, "");
	err_list_done(&l);
	ck_assert_uint_eq(l.n, 0);
}
END_TEST

START_TEST(list_sorts_by_place_and_stays_stable)
{
	static const struct {
		const char *file;
		uint32_t line, col;
	} places[] = { { "b", 1, 1 }, { "a", 2, 1 }, { "a", 1, 9 }, { "a", 1, 2 }, { "a", 1, 9 } };
	const char *want[] = { "3", "2", "4", "1", "0" };
	struct err_list l;

	err_list_init(&l);
	for (int i = 0; i < 5; i++) {
		struct origin at = { places[i].file, places[i].line, places[i].col };
		err_list_add(&l, ERR_LEVEL_ERROR, KV_ERR_CHECK, NULL, at, "%d", i);
	}
	err_list_sort(&l);
	for (int i = 0; i < 5; i++)
		ck_assert_str_eq(l.v[i].text, want[i]);
	err_list_push(&l, &l.v[0]); /* still grows */
	ck_assert_uint_eq(l.n, 6);
	err_list_done(&l);
}
END_TEST

/* What err_print writes, NUL-ended in buf. */
static const char *printed(char *buf, size_t size, const struct err *e, struct str source)
{
	FILE *f = fmemopen(buf, size, "w");

	ck_assert_ptr_nonnull(f);
	err_print(f, e, source);
	fclose(f);
	return buf;
}

START_TEST(print_shows_line_and_caret)
{
	char buf[2000];
	struct err e;
	struct origin at = { .file = "/etc/a.conf", .line = 2, .col = 4 };

	err_set_at(&e, KV_ERR_SCHEMA, at, "unknown field 'x'");
	ck_assert_str_eq(printed(buf, sizeof(buf), &e, STR("one\n\tab x = 5;\r\nthree\n")),
			 "/etc/a.conf:2:4: error: unknown field 'x'\n"
			 "    2 | \tab x = 5;\n"
			 "      | \t  ^\n");
	snprintf(e.rule, sizeof(e.rule), "KVM0101");
	e.level = ERR_LEVEL_WARNING;
	ck_assert_str_eq(printed(buf, sizeof(buf), &e, STR_NULL),
			 "/etc/a.conf:2:4: warning: unknown field 'x' [KVM0101]\n");
}
END_TEST

START_TEST(print_copes_with_any_place_and_bytes)
{
	char buf[2000], longer[5000];
	struct err e;

	/* No file, a line that is not there, a column past the end, control and UTF-8 bytes. */
	err_set(&e, KV_ERR_TLS, "handshake failed");
	ck_assert_str_eq(printed(buf, sizeof(buf), &e, STR("x\n")), "error: handshake failed\n");
	err_set_at(&e, KV_ERR_SYNTAX, (struct origin){ "f", 9, 1 }, "bad");
	ck_assert_str_eq(printed(buf, sizeof(buf), &e, STR("x\n")), "f:9:1: error: bad\n");
	err_set_at(&e, KV_ERR_SYNTAX, (struct origin){ "f", 1, 0 }, "un\x1b[1mknown \xc2\x9b \xff");
	ck_assert_str_eq(printed(buf, sizeof(buf), &e, STR_NULL), "f:1: error: un?[1mknown ? ?\n");
	err_set_at(&e, KV_ERR_SYNTAX, (struct origin){ "f", 1, 99 }, "bad");
	ck_assert_str_eq(printed(buf, sizeof(buf), &e, STR("x\x1b[2J")),
			 "f:1:99: error: bad\n    1 | x?[2J\n");
	err_set_at(&e, KV_ERR_SYNTAX, (struct origin){ "f", 1, 5 }, "bad");
	ck_assert_str_eq(printed(buf, sizeof(buf), &e, STR("\xc3\xa6\xc3\xb8x")),
			 "f:1:5: error: bad\n    1 | \xc3\xa6\xc3\xb8x\n      |   ^\n");
	memset(longer, 'a', sizeof(longer));
	longer[3000] = 'B';
	err_set_at(&e, KV_ERR_SYNTAX, (struct origin){ "f", 1, 3001 }, "bad");
	const char *out = printed(buf, sizeof(buf), &e, str_from(longer, sizeof(longer)));
	const char *caret = strchr(out, '^'), *line = strstr(out, "1 | ") + 4;
	ck_assert_uint_lt(strlen(out), 600);
	ck_assert_int_eq(line[caret - (strrchr(out, '|') + 2)], 'B');
}
END_TEST

START_TEST(assert_aborts)
{
	kv_assert(1 + 1 == 3);
}
END_TEST

/* Point stderr at a pipe; returns its reading end. */
static int catch_stderr(void)
{
	int p[2];

	ck_assert_int_eq(pipe(p), 0);
	ck_assert_int_eq(dup2(p[1], STDERR_FILENO), STDERR_FILENO);
	close(p[1]);
	log_init("test");
	return p[0];
}

static const char *caught(int fd, char *buf, size_t size)
{
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	ssize_t n = read(fd, buf, size - 1);
	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

START_TEST(log_writes_lines_for_the_journal)
{
	char buf[4096];
	int fd = catch_stderr();

	log_info("hello %d", 7);
	log_debug("not at this level");
	log_err("evil \x1b[2J\n<0>forged \xc3\xa6");
	ck_assert_str_eq(caught(fd, buf, sizeof(buf)),
			 "<6>hello 7\n<3>evil \\x1b[2J\\x0a<0>forged \\xc3\\xa6\n");
	log_set_level(LOG_DEBUG);
	log_debug("now");
	ck_assert_str_eq(caught(fd, buf, sizeof(buf)), "<7>now\n");
}
END_TEST

START_TEST(log_limits_one_site_and_tells)
{
	char buf[8192];
	int fd = catch_stderr(), lines = 0;
	struct log_site site = { 0 };

	for (int i = 0; i < 50; i++)
		log_write(&site, LOG_INFO, "again");
	for (const char *p = caught(fd, buf, sizeof(buf)); (p = strchr(p, '\n')); p++)
		lines++;
	ck_assert_int_ge(lines, 10);
	ck_assert_int_lt(lines, 50);
	ck_assert_uint_gt(site.suppressed, 0);
	uint32_t suppressed = site.suppressed;
	site.window_us -= 2000000; /* as if two seconds had gone by */
	log_write(&site, LOG_INFO, "again");
	char want[100];
	snprintf(want, sizeof(want), "<6>again (%u like this suppressed)\n", suppressed);
	ck_assert_str_eq(caught(fd, buf, sizeof(buf)), want);
}
END_TEST

START_TEST(log_line_has_a_cap)
{
	char buf[8192], longer[6000];
	int fd = catch_stderr();

	memset(longer, '\x01', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	log_info("%s", longer);
	ck_assert_uint_lt(strlen(caught(fd, buf, sizeof(buf))), 2049);
	ck_assert_int_eq(buf[strlen(buf) - 1], '\n');
}
END_TEST

START_TEST(log_levels_parse)
{
	int p = -1;

	ck_assert(log_level_parse("warning", &p) && p == LOG_WARNING);
	ck_assert(log_level_parse("debug", &p) && p == LOG_DEBUG);
	ck_assert(!log_level_parse("loud", &p));
}
END_TEST

START_TEST(clock_formats_rfc3339)
{
	char buf[CLOCK_RFC3339_MAX];

	ck_assert_str_eq(clock_rfc3339(INT64_C(1606816800123456), buf), "2020-12-01T10:00:00.123Z");
	ck_assert_str_eq(clock_rfc3339(0, buf), "1970-01-01T00:00:00.000Z");
	ck_assert_str_eq(clock_rfc3339(-1, buf), "1969-12-31T23:59:59.999Z");
	clock_rfc3339(INT64_MAX, buf);
	clock_rfc3339(INT64_MIN, buf);
	ck_assert_uint_le(clock_mono_us(), clock_mono_us());
	ck_assert_uint_gt(clock_boot_us(), 0);
	ck_assert_int_gt(clock_real_us(), INT64_C(1577836800000000));
}
END_TEST

static char dir[64];

static const char *in_dir(const char *name)
{
	static char path[4][256];
	static unsigned turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

static void dir_make(void)
{
	snprintf(dir, sizeof(dir), "/tmp/kvmesh-test-fs.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

START_TEST(fs_writes_and_reads_back)
{
	char *text = NULL;
	size_t n = 0;
	struct stat st;
	struct err e = { 0 };

	dir_make();
	umask(077);
	ck_assert_int_eq(fs_write(in_dir("f"), "one", 3, 0644, &e), 0);
	ck_assert_int_eq(fs_write(in_dir("f"), "a\0b", 3, 0640, &e), 0);
	ck_assert_int_eq(fs_read(in_dir("f"), 3, &text, &n, &e), 0);
	ck_assert_uint_eq(n, 3);
	ck_assert_int_eq(memcmp(text, "a\0b\0", 4), 0);
	free(text);
	ck_assert_int_eq(stat(in_dir("f"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	ck_assert_int_eq(unlink(in_dir("f")), 0);
	ck_assert_int_eq(rmdir(dir), 0); /* no temporary file left */
}
END_TEST

START_TEST(fs_takes_large_files_and_relative_paths)
{
	size_t n = 300000, got = 0;
	_cleanup_free_ char *data = kv_malloc(n), *back = NULL;
	struct err e;

	dir_make();
	ck_assert_int_eq(chdir(dir), 0);
	for (size_t i = 0; i < n; i++)
		data[i] = (char)(i % 251);
	ck_assert_int_eq(fs_write("big", data, n, 0600, &e), 0);
	ck_assert_int_eq(fs_read("big", n, &back, &got, &e), 0);
	ck_assert_uint_eq(got, n);
	ck_assert_int_eq(memcmp(data, back, n), 0);
	ck_assert_int_eq(unlink("big"), 0);
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(fs_says_what_is_wrong)
{
	char *text = NULL;
	size_t n;
	struct err e;

	dir_make();
	ck_assert_int_eq(fs_read(in_dir("none"), 9, &text, &n, &e), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.text, "none: No such file or directory"));
	ck_assert_int_eq(fs_read(dir, 9, &text, &n, &e), -EISDIR);
	ck_assert_int_eq(mkfifo(in_dir("fifo"), 0600), 0);
	ck_assert_int_eq(fs_read(in_dir("fifo"), 9, &text, &n, &e), -EINVAL);
	ck_assert_int_eq(fs_write(in_dir("big"), "0123456789", 10, 0600, &e), 0);
	ck_assert_int_eq(fs_read(in_dir("big"), 9, &text, &n, &e), KV_ERR_LIMIT);
	/* /proc files have no size: the cap must hold while reading, too. */
	ck_assert_int_eq(fs_read("/proc/self/maps", 9, &text, &n, &e), KV_ERR_LIMIT);
	ck_assert_int_eq(fs_write(in_dir("no/such"), "x", 1, 0600, &e), -ENOENT);
	ck_assert_int_eq(fs_write(dir, "x", 1, 0600, &e), -EISDIR);
	ck_assert_ptr_null(text);
	unlink(in_dir("fifo"));
	unlink(in_dir("big"));
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(fs_makes_directories)
{
	struct err e;
	struct stat st;

	dir_make();
	ck_assert_int_eq(fs_mkdir(in_dir("a/b//c/"), 0700, &e), 0);
	ck_assert_int_eq(fs_mkdir(in_dir("a/b/c"), 0700, &e), 0);
	ck_assert_int_eq(stat(in_dir("a/b/c"), &st), 0);
	ck_assert(S_ISDIR(st.st_mode));
	ck_assert_int_eq(fs_write(in_dir("a/f"), "", 0, 0600, &e), 0);
	ck_assert_int_eq(fs_mkdir(in_dir("a/f/x"), 0700, &e), -ENOTDIR);
	ck_assert_int_eq(fs_mkdir("", 0700, &e), -ENOENT);
	unlink(in_dir("a/f"));
	rmdir(in_dir("a/b/c"));
	rmdir(in_dir("a/b"));
	rmdir(in_dir("a"));
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		err_carries_the_sentence,
		err_cuts_what_is_too_long,
		err_codes_have_names,
		list_counts_past_its_cap,
		list_sorts_by_place_and_stays_stable,
		print_shows_line_and_caret,
		print_copes_with_any_place_and_bytes,
		log_writes_lines_for_the_journal,
		log_limits_one_site_and_tells,
		log_line_has_a_cap,
		log_levels_parse,
		clock_formats_rfc3339,
		fs_writes_and_reads_back,
		fs_takes_large_files_and_relative_paths,
		fs_says_what_is_wrong,
		fs_makes_directories,
	};
	const TTest *const aborting[] = { assert_aborts };
	int ok = unit_run("base_sys", tests, sizeof(tests) / sizeof(tests[0]));

	return ok == EXIT_SUCCESS ? unit_run_signal("base_sys_aborts", aborting, 1, SIGABRT) : ok;
}
