/* SPDX-License-Identifier: Apache-2.0 */
/* router: what results of probes make of a workload, and what is kept of it. */
#include "config.h"

#include <stdio.h>
#include <unistd.h>

#include "base/fs.h"
#include "config_unit.h"
#include "router/health.h"

#define PROBED(times)                                                                              \
	"Workload = ( { name = \"a\"; user = \"a\"; ports = ( { number = 8001; } );"               \
	"  probe = { httpGet = { port = 8001; }; " times " }; } );"
#define UNPROBED "Workload = ( { name = \"a\"; user = \"a\"; ports = ( { number = 8001; } ); } );"

static char dir[64], path[80];

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/kvmesh-health-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/health.json", dir);
}

static void teardown(void)
{
	_cleanup_free_ char *before = kv_asprintf("%s.prev", path);

	unlink(path);
	unlink(before);
	ck_assert_int_eq(rmdir(dir), 0);
}

static void follow(struct health *h, const char *text)
{
	struct model *m = config_load(text, DOC_SYNTAX_NATIVE, &(struct err_list){ 0 });

	ck_assert_ptr_nonnull(m);
	health_follow(h, m);
	model_free(m);
}

static bool is_out(struct health *h, const char *text)
{
	struct model *m = config_load(text, DOC_SYNTAX_NATIVE, &(struct err_list){ 0 });
	bool out = false;

	model_for_each(m, MODEL_KIND_WORKLOAD, r)
		out = health_is_inactive(h, r);
	model_free(m);
	return out;
}

static int64_t round_of(struct health *h)
{
	struct arena a;
	struct doc *d;
	struct err err;

	arena_init(&a, 0);
	ck_assert_int_eq(doc_read_json(health_list(h), &a, &d, &err), 0);
	const struct doc *list = doc_get(d, STR("probes"));
	int64_t round = list->n > 0 ? doc_get_int(list->v[0], "round", 0) : 0;

	arena_done(&a);
	return round;
}

/* "+" a success, "-" a failure; is it out behind the last? */
static bool after(struct health *h, const char *text, const char *results)
{
	for (const char *c = results; *c; c++)
		health_take(h, &(struct health_result){ .id = STR("default/a"),
							.round = round_of(h),
							.ok = *c == '+',
							.why = STR("no") });
	return is_out(h, text);
}

START_TEST(thresholds_count_in_a_row)
{
	static const struct { const char *results; bool out; } rows[] = {
		{ "", false },                  /* it was at work before it had a probe */
		{ "-", true }, { "+", false },  /* the first decides alone */
		{ "+-", false }, { "+--", false }, { "+---", true },
		{ "+--+--", false }, { "+--+---", true },
		{ "+---+", true }, { "+---++", false }, { "+---+-+", true }, { "-+", true }, { "-++", false },
		{ "+---++--", false }, { "+---++---", true },
	};
	static const char text[] = PROBED("failureThreshold = 3; successThreshold = 2;");

	setup();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct health *h = health_new(path);

		follow(h, text);
		ck_assert_msg(after(h, text, rows[i].results) == rows[i].out, "%s", rows[i].results);
		health_free(h);
	}
	teardown();
}
END_TEST

START_TEST(defaults_are_kubernetes)
{
	static const char text[] = PROBED("");

	setup();
	struct health *h = health_new(path);

	follow(h, text);
	ck_assert(str_find_str(health_list(h), STR("\"periodUs\":10000000,\"timeoutUs\":1000000")) >= 0);
	ck_assert(!after(h, text, "+--") && after(h, text, "-") && !after(h, text, "+"));
	health_free(h);
	teardown();
}
END_TEST

START_TEST(what_was_known_survives_and_the_first_result_decides)
{
	static const char text[] = PROBED("failureThreshold = 3; successThreshold = 3;");

	setup();
	struct health *h = health_new(path);

	follow(h, text);
	ck_assert(after(h, text, "-"));
	health_keep(h);
	health_free(h);
	h = health_new(path);
	ck_assert(is_out(h, text));             /* before the first compile already */
	follow(h, text);
	ck_assert(is_out(h, text));
	ck_assert(!after(h, text, "+"));
	health_free(h);
	teardown();
}
END_TEST

START_TEST(a_damaged_file_is_as_good_as_none)
{
	static const char text[] = PROBED("");
	struct err err;

	setup();
	ck_assert_int_eq(fs_write(path, "{\"workloads\":[7]", 16, 0600, &err), 0);
	struct health *h = health_new(path);

	follow(h, text);
	ck_assert(!is_out(h, text));
	health_free(h);
	teardown();
}
END_TEST

START_TEST(a_probe_that_goes_takes_its_verdict_along)
{
	static const char text[] = PROBED("");

	setup();
	struct health *h = health_new(path);

	follow(h, text);
	ck_assert(after(h, text, "-"));
	ck_assert(health_has_probes(h));
	ck_assert(!is_out(h, UNPROBED));        /* while the load that removes it is compiled */
	follow(h, UNPROBED);
	ck_assert(!health_has_probes(h) && round_of(h) == 0);
	follow(h, text);
	ck_assert(!is_out(h, text));
	health_free(h);
	teardown();
}
END_TEST

START_TEST(results_of_another_round_are_dropped)
{
	static const char text[] = PROBED("periodSeconds = 1;"), other[] = PROBED("periodSeconds = 2;");

	setup();
	struct health *h = health_new(path);

	follow(h, text);
	struct health_result late = { .id = STR("default/a"), .round = round_of(h), .why = STR("no") };

	follow(h, other);
	ck_assert_int_ne(round_of(h), late.round);
	health_take(h, &late);
	ck_assert(!is_out(h, other));
	late.id = STR("default/nobody");
	late.round = round_of(h);
	health_take(h, &late);
	ck_assert(!is_out(h, other));
	health_free(h);
	teardown();
}
END_TEST

UNIT_MAIN("health", thresholds_count_in_a_row, defaults_are_kubernetes,
	  what_was_known_survives_and_the_first_result_decides, a_damaged_file_is_as_good_as_none,
	  a_probe_that_goes_takes_its_verdict_along, results_of_another_round_are_dropped)
