/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics/evidence: what counters grow by is kept once, over restarts of either side and a full
 * hour, and a changed past is found.
 */
#include "config.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "doc/doc_file.h"
#include "ipc/db.h"
#include "metrics/evidence.h"
#include "metrics/evidence_db.h"
#include "unit.h"

#define HOUR 3600000000ll
#define DAY (24 * HOUR)
#define T0 (20000 * DAY + HOUR / 2)     /* some midnight, and half an hour */

static struct arena arena;
static char dir[] = "/tmp/kvmesh-evidence.XXXXXX";
static const char *path;

static void setup(void)
{
	arena_init(&arena, 0);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	path = arena_printf(&arena, "%s/e.db", dir).p;
}

static void teardown(void)
{
	unlink(path);
	unlink(arena_printf(&arena, "%s-wal", path).p);
	unlink(arena_printf(&arena, "%s-shm", path).p);
	rmdir(dir);
	arena_done(&arena);
}

static struct evidence *opened(int64_t now_us)
{
	struct evidence *e;
	struct err err = { 0 };

	ck_assert_msg(evidence_open(path, now_us, &e, &err) == 0, "%s", err.text);
	return e;
}

/* A proxy's process says: so many requests on an encrypted edge, and on a clear one. */
static void say(struct evidence *e, int pid, int mutual, int clear, int64_t now_us)
{
	struct doc *d;
	struct str text = arena_printf(
		&arena,
		"{\"pid\":%d,\"omitted\":0,\"edges\":["
		"{\"reporter\":\"source\",\"sourceWorkload\":\"web\",\"destinationService\":\"app\","
		"\"destinationPort\":80,\"mutual\":true,\"tls\":\"TLSv1.3\",\"connections\":1,"
		"\"requests\":%d,\"bytesReceived\":%d,\"bytesSent\":7},"
		"{\"reporter\":\"source\",\"sourceWorkload\":\"web\",\"destinationService\":\"old\","
		"\"destinationPort\":80,\"mutual\":false,\"requests\":%d}]}",
		pid, mutual, 10 * mutual, clear);

	ck_assert_int_eq(doc_read_json(text, &arena, &d, NULL), 0);
	evidence_take(e, STR("node"), d, now_us);
}

static void flush(struct evidence *e, int64_t now_us)
{
	struct err err = { 0 };

	ck_assert_msg(evidence_flush(e, now_us, &err) == 0, "%s", err.text);
}

static struct doc *report(struct evidence *e, int64_t since_us, int64_t until_us)
{
	struct doc *d = doc_new_map(&arena);
	struct err err = { 0 };

	ck_assert_msg(evidence_report(e, since_us, until_us, &arena, d, &err) == 0, "%s", err.text);
	return d;
}

static int64_t sum(const struct doc *report, const char *service, const char *member)
{
	const struct doc *edges = doc_get(report, STR("edges"));
	int64_t n = 0;

	for (size_t i = 0; i < edges->n; i++)
		if (str_eq(doc_get_str(edges->v[i], "destinationService", STR("")), str_c(service)))
			n += doc_get_int(edges->v[i], member, 0);
	return n;
}

static void check_requests(struct evidence *e, int64_t mutual, int64_t clear)
{
	const struct doc *d = report(e, 0, 40000 * DAY);

	ck_assert_int_eq(sum(d, "app", "requests"), mutual);
	ck_assert_int_eq(sum(d, "app", "bytesReceived"), 10 * mutual);
	ck_assert_int_eq(sum(d, "old", "requests"), clear);
}

START_TEST(counters_grow_and_processes_come_and_go)
{
	setup();
	struct evidence *e = opened(T0);

	say(e, 1, 100, 3, T0);
	say(e, 1, 150, 3, T0 + 1000000);
	flush(e, T0 + 1000000);
	say(e, 1, 160, 4, T0 + 2000000);
	flush(e, T0 + 2000000);
	check_requests(e, 160, 4);
	say(e, 2, 5, 0, T0 + 3000000);          /* another process, from nothing */
	flush(e, T0 + 3000000);
	check_requests(e, 165, 4);
	evidence_close(e);
	e = opened(T0 + 60000000);              /* we were away, the process was not */
	say(e, 2, 205, 1, T0 + 60000000);
	flush(e, T0 + 60000000);
	check_requests(e, 365, 5);
	evidence_close(e);
	teardown();
}
END_TEST

START_TEST(hours_are_told_apart_and_watching_is_measured)
{
	setup();
	struct evidence *e = opened(T0);

	say(e, 1, 10, 0, T0);
	say(e, 1, 15, 0, T0 + HOUR);            /* read in the next hour */
	flush(e, T0 + HOUR);
	const struct doc *first = report(e, T0 - HOUR / 2, T0 + HOUR / 2);
	const struct doc *all = report(e, T0, T0 + 2 * HOUR);

	ck_assert_int_eq(sum(first, "app", "requests"), 10);
	ck_assert_int_eq(sum(all, "app", "requests"), 15);
	const struct doc *p = doc_get(all, STR("proxies"));

	ck_assert_uint_eq(p->n, 1);
	ck_assert_int_eq(doc_get_int(p->v[0], "watchedSeconds", 0), 3600);
	ck_assert_int_eq(doc_get_int(doc_get(first, STR("proxies"))->v[0], "watchedSeconds", 0), 1800);
	evidence_close(e);
	teardown();
}
END_TEST

enum { TAMPER, TAMPER_WITNESS, OLDER, STATEMENTS };
static const char *const tampering[STATEMENTS] = {
	"UPDATE traffic SET requests = requests - 1 WHERE edge ="
	" (SELECT id FROM edge WHERE mutual = 0 AND service = 'old')",
	"DELETE FROM witness",
	"DROP TABLE IF EXISTS witness",
};

/* As root with an editor would. */
static void change_the_past(unsigned how)
{
	static const struct db_spec spec = { .schema = "", .version = 1, .what = "", .statements = tampering,
					     .n_statements = STATEMENTS,
					     .additions = "CREATE TABLE IF NOT EXISTS witness (x)" };
	struct db *db;
	struct err err = { 0 };

	ck_assert_msg(db_open(path, &spec, &db, &err) == 0, "%s", err.text);
	ck_assert_int_eq(db_run(db, how, NULL, 0, &err), 0);
	db_close(db);
}

START_TEST(a_changed_past_is_found)
{
	setup();
	struct evidence *e = opened(T0);

	say(e, 1, 10, 2, T0);
	flush(e, T0);
	ck_assert_int_eq(doc_get_int(report(e, 0, 40000 * DAY), "sealedDays", -1), 0);
	for (int day = 1; day <= 3; day++) {
		say(e, 1, 10 + 10 * day, 2, T0 + day * DAY);
		flush(e, T0 + day * DAY);
	}
	const struct doc *d = report(e, 0, 40000 * DAY);

	ck_assert_int_eq(doc_get_int(d, "sealedDays", 0), 3);
	ck_assert_int_eq(doc_get_int(d, "brokenDay", -1), -1);
	ck_assert_uint_eq(doc_get_str(d, "seal", STR("")).n, 64);
	evidence_close(e);
	change_the_past(TAMPER);
	e = opened(T0 + 3 * DAY);
	ck_assert_int_eq(doc_get_int(report(e, 0, 40000 * DAY), "brokenDay", -1), 20000);
	evidence_close(e);
	teardown();
}
END_TEST

static void see_plain(struct evidence *e, int64_t port, int64_t bytes, int64_t now_us)
{
	const struct evidence_plain p[] = {
		{ .kind = STR("application"), .workload = STR("app.default"), .port = port, .packets = 1,
		  .bytes = bytes },
		{ .kind = STR("mesh"), .workload = STR(""), .port = 15443, .packets = 2, .bytes = 2 * bytes },
	};
	struct err err = { 0 };

	ck_assert_msg(evidence_plain(e, p, 2, now_us, &err) == 0, "%s", err.text);
}

START_TEST(what_the_witness_saw_is_summed_and_sealed)
{
	setup();
	evidence_close(opened(T0));
	change_the_past(OLDER);                 /* a file of before there was a witness */
	struct evidence *e = opened(T0);

	see_plain(e, 80, 100, T0);
	see_plain(e, 80, 11, T0 + HOUR);
	see_plain(e, 81, 5, T0 + DAY);
	const struct doc *ports = doc_get(doc_get(report(e, 0, 40000 * DAY), STR("witness")), STR("ports"));

	ck_assert_uint_eq(ports->n, 3);
	ck_assert_int_eq(doc_get_int(ports->v[0], "bytes", 0), 111);
	ck_assert_int_eq(doc_get_int(ports->v[2], "bytes", 0), 232);
	ports = doc_get(doc_get(report(e, T0, T0 + HOUR / 2), STR("witness")), STR("ports"));
	ck_assert_int_eq(doc_get_int(ports->v[0], "bytes", 0), 100);
	say(e, 1, 1, 0, T0);
	flush(e, T0);
	flush(e, T0 + 2 * DAY);
	ck_assert_int_eq(doc_get_int(report(e, 0, 40000 * DAY), "brokenDay", -1), -1);
	evidence_close(e);
	change_the_past(TAMPER_WITNESS);
	e = opened(T0 + 2 * DAY);
	ck_assert_int_ge(doc_get_int(report(e, 0, 40000 * DAY), "brokenDay", -1), 20000);
	evidence_close(e);
	teardown();
}
END_TEST

START_TEST(the_time_of_a_witness_that_was_away_is_not_watched)
{
	setup();
	struct evidence *e = opened(T0);

	for (int s = 0; s <= 20; s++)
		evidence_witness(e, 1, T0 + s * 1000000ll);
	flush(e, T0 + 20 * 1000000ll);
	for (int s = 100; s <= 110; s++)        /* the same process, stopped for a while */
		evidence_witness(e, 1, T0 + s * 1000000ll);
	flush(e, T0 + 110 * 1000000ll);
	const struct doc *d = report(e, 0, 40000 * DAY);

	ck_assert_int_eq(doc_get_int(doc_get(d, STR("witness")), "watchedSeconds", 0), 30);
	ck_assert_uint_eq(doc_get(d, STR("proxies"))->n, 0);
	evidence_close(e);
	teardown();
}
END_TEST

START_TEST(what_is_malformed_is_left_out)
{
	static const char *const rows[] = {
		"7", "[]", "{\"pid\":1,\"edges\":7}", "{\"pid\":1,\"edges\":[7,{\"requests\":-1},{\"destinationPort\":70000}]}",
		"{\"pid\":1,\"edges\":[{\"sourceWorkload\":\"a\\u0000b\",\"requests\":1}]}",
	};

	setup();
	struct evidence *e = opened(T0);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct doc *d;

		if (doc_read_json(str_c(rows[i]), &arena, &d, NULL) == 0)
			evidence_take(e, STR("node"), d, T0);
	}
	flush(e, T0);
	ck_assert_uint_eq(doc_get(report(e, 0, 40000 * DAY), STR("edges"))->n, 0);
	evidence_close(e);
	teardown();
}
END_TEST

UNIT_MAIN("evidence", counters_grow_and_processes_come_and_go,
	  hours_are_told_apart_and_watching_is_measured, a_changed_past_is_found,
	  what_the_witness_saw_is_summed_and_sealed,
	  the_time_of_a_witness_that_was_away_is_not_watched, what_is_malformed_is_left_out)
