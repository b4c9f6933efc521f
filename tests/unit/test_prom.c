/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus text: merging, escaping, order, caps, what is left out; promtool has the last word. */
#include <stdio.h>
#include <unistd.h>

#include "metrics/prom.h"
#include "unit.h"

static struct arena arena;

static void setup(void)
{
	arena_init(&arena, 0);
}

/* JSON with ' for ". */
static struct doc *json(const char *text)
{
	char *p = arena_strdup(&arena, text);
	struct doc *d;
	struct err err = { 0 };

	for (char *c = p; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	ck_assert_msg(doc_read_json(str_c(p), &arena, &d, &err) == 0, "%s", err.text);
	return d;
}

static void add(struct prom *p, const char *families)
{
	struct err err = { 0 };

	ck_assert_msg(prom_add(p, json(families), &err) == 0, "%s", err.text);
}

static const char *text_of(struct prom *p, size_t room)
{
	struct prom_cursor c = { 0 };
	char *all = arena_alloc(&arena, 64u << 20), *end = all, *piece;
	size_t n;

	while ((piece = prom_write(p, &c, room, &n))) {
		memcpy(end, piece, n);
		end += n;
		free(piece);
	}
	*end = '\0';
	return all;
}

/* Seals and forgets p. */
static void check_text(struct prom *p, const char *expected)
{
	prom_seal(p);
	ck_assert_str_eq(text_of(p, 1u << 20), expected);
	ck_assert_str_eq(text_of(p, 1), expected);      /* in the smallest pieces */
	prom_unref(p);
}

START_TEST(families_and_series_are_in_order)
{
	struct prom *p = prom_new();

	setup();
	add(p, "[{'name':'b_total','type':'counter','help':'Second.','labels':['x'],'series':[['2',"
	       "7],['1',8.5]]},"
	       "{'name':'a','type':'gauge','help':'First.','labels':[],'series':[[-3]]},"
	       "{'name':'empty_total','type':'counter','help':'None "
	       "yet.','labels':['x'],'series':[]}]");
	check_text(p, "# HELP a First.\n# TYPE a gauge\na -3\n"
		      "# HELP b_total Second.\n# TYPE b_total counter\nb_total{x=\"1\"} "
		      "8.5\nb_total{x=\"2\"} 7\n");
}
END_TEST

START_TEST(equal_series_of_several_proxies_add_up)
{
	struct prom *p = prom_new();

	setup();
	add(p, "[{'name':'r_total','type':'counter','help':'H.','labels':['a','b'],'series':[['1','"
	       "2',10],['1','3',1]]}]");
	add(p, "[{'name':'r_total','type':'counter','help':'H.','labels':['a','b'],'series':[['1','"
	       "2',5]]}]");
	/* the same values under other names are another series */
	add(p, "[{'name':'r_total','type':'counter','help':'H.','labels':['a','c'],'series':[['1','"
	       "2',100]]}]");
	ck_assert_uint_eq(prom_series(p), 3);
	check_text(p, "# HELP r_total H.\n# TYPE r_total counter\nr_total{a=\"1\",b=\"2\"} "
		      "15\nr_total{a=\"1\",b=\"3\"} 1\n"
		      "r_total{a=\"1\",c=\"2\"} 100\n");
}
END_TEST

START_TEST(histograms_are_cumulative_and_end_with_inf)
{
	struct prom *p = prom_new();
	static const char one[] = "[{'name':'d_ms','type':'histogram','help':'H.','labels':['a'],'"
				  "bounds':[0.1,2.5,1000],"
				  "'series':[['x',{'buckets':[1,3,3,4],'sum':1010.5,'count':4}]]}]";

	setup();
	add(p, one);
	add(p, one);
	check_text(p, "# HELP d_ms H.\n# TYPE d_ms histogram\n"
		      "d_ms_bucket{a=\"x\",le=\"0.1\"} 2\nd_ms_bucket{a=\"x\",le=\"2.5\"} 6\n"
		      "d_ms_bucket{a=\"x\",le=\"1000\"} 6\nd_ms_bucket{a=\"x\",le=\"+Inf\"} 8\n"
		      "d_ms_sum{a=\"x\"} 2021\nd_ms_count{a=\"x\"} 8\n");
}
END_TEST

START_TEST(values_are_escaped)
{
	struct prom *p = prom_new();

	setup();
	add(p, "[{'name':'e','type':'gauge','help':'back\\\\slash and\\nline','labels':['v'],"
	       "'series':[['a\\\\b\\nc\\u0022d\\u00e9',1]]}]");
	check_text(p, "# HELP e back\\\\slash and\\nline\n# TYPE e "
		      "gauge\ne{v=\"a\\\\b\\nc\\\"d\xc3\xa9\"} 1\n");
}
END_TEST

START_TEST(large_counters_stay_exact)
{
	struct prom *p = prom_new();

	setup();
	add(p, "[{'name':'b_total','type':'counter','help':'H.','labels':[],'series':[["
	       "4503599627370497]]}]");
	check_text(p, "# HELP b_total H.\n# TYPE b_total counter\nb_total 4503599627370497\n");
}
END_TEST

START_TEST(what_breaks_its_description_is_left_out)
{
	static const char *const bad[] = {
		"{'name':'1x','type':'gauge','help':'','labels':[],'series':[[1]]}",
		"{'name':'x\\ny 1','type':'gauge','help':'','labels':[],'series':[[1]]}",
		"{'name':'x','type':'summary','help':'','labels':[],'series':[[1]]}",
		"{'name':'x','type':'gauge','help':'','labels':['a-b'],'series':[['v',1]]}",
		"{'name':'x','type':'gauge','help':'','labels':['__name__'],'series':[['v',1]]}",
		"{'name':'x','type':'gauge','help':'','labels':['a'],'series':[[1]]}",
		"{'name':'x','type':'gauge','help':'','labels':['a'],'series':[[2,1]]}",
		"{'name':'x','type':'gauge','help':'','labels':[],'series':[['1']]}",
		"{'name':'x','type':'gauge','help':'','labels':[],'series':[{}]}",
		"{'name':'x','type':'gauge','help':'','labels':[]}",
		"{'name':'x','type':'histogram','help':'','labels':[],'series':[]}",
		"{'name':'x','type':'histogram','help':'','labels':['le'],'bounds':[1],'series':[]"
		"}",
		"{'name':'x','type':'histogram','help':'','labels':[],'bounds':[2,1],'series':[]}",
		"{'name':'x','type':'histogram','help':'','labels':[],'bounds':[1],'series':[[{'"
		"buckets':[1],'sum':1}]]}",
		"{'name':'x','type':'histogram','help':'','labels':[],'bounds':[1],'series':[[{'"
		"buckets':[2,1],'sum':1}]]}",
		"{'name':'x','type':'histogram','help':'','labels':[],'bounds':[1],'series':[[7]]}",
		"{'name':'good','type':'counter','help':'','labels':[],'series':[[1]]}", /* a gauge
											    already
											  */
		"7",
	};

	setup();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct prom *p = prom_new();
		struct err err = { 0 };

		add(p, "[{'name':'good','type':'gauge','help':'H.','labels':[],'series':[[1]]}]");
		ck_assert_msg(prom_add(p, json(arena_printf(&arena, "[%s]", bad[i]).p), &err) == 1,
			      "taken: %s", bad[i]);
		ck_assert(err.text[0] != '\0');
		check_text(p, "# HELP good H.\n# TYPE good gauge\ngood 1\n");
	}
	struct prom *p = prom_new();

	ck_assert_uint_eq(prom_add(p, NULL, NULL), 1);
	ck_assert_uint_eq(prom_add(p, json("{}"), NULL), 1);
	prom_unref(p);
}
END_TEST

static void add_many(struct prom *p, unsigned from, unsigned n)
{
	struct doc *list = doc_new_list(&arena),
		   *f = doc_add(&arena, list,
				json("{'name':'m_total','type':'counter',"
				     "'help':'H.','labels':['proxy','who'],'series':[]}"));
	struct doc *rows = doc_get(f, STR("series"));

	for (unsigned i = 0; i < n; i++) {
		struct doc *row = doc_add(&arena, rows, doc_new_list(&arena));

		doc_add(&arena, row, doc_new_str(&arena, STR("node")));
		doc_add(&arena, row, doc_new_str(&arena, arena_printf(&arena, "w%06u", from + i)));
		doc_add(&arena, row, doc_new_int(&arena, 1));
	}
	ck_assert_uint_eq(prom_add(p, list, NULL), 0);
}

START_TEST(series_are_capped)
{
	struct prom *p = prom_new();

	setup();
	add_many(p, 0, PROM_SERIES_MAX);
	add_many(p, PROM_SERIES_MAX, 500);
	add_many(p, 0, 3);              /* known ones go on */
	prom_seal(p);
	ck_assert_uint_eq(prom_series(p), PROM_SERIES_MAX + 1);
	const char *text = text_of(p, 4096);

	ck_assert_ptr_nonnull(strstr(text, "m_total{proxy=\"node\",who=\"other\"} 500\n"));
	ck_assert_ptr_nonnull(strstr(text, "m_total{proxy=\"node\",who=\"w000002\"} 2\n"));
	prom_unref(p);
}
END_TEST

START_TEST(our_own_values)
{
	struct prom *p = prom_new();

	setup();
	prom_set(p, "kvmesh_up", PROM_GAUGE, "H.",
		 (const struct prom_label[]){ { "app", STR("a\"b") }, { 0 } }, 1);
	prom_set(p, "kvmesh_n_total", PROM_COUNTER, "H.", NULL, 0.25);
	check_text(p,
		   "# HELP kvmesh_n_total H.\n# TYPE kvmesh_n_total counter\nkvmesh_n_total 0.25\n"
		   "# HELP kvmesh_up H.\n# TYPE kvmesh_up gauge\nkvmesh_up{app=\"a\\\"b\"} 1\n");
}
END_TEST

START_TEST(promtool_accepts_it)
{
	struct prom *p = prom_new();
	FILE *f;

	if (access("/usr/bin/promtool", X_OK) != 0)
		return;         /* package prometheus is not here */
	setup();
	add(p, "[{'name':'istio_requests_total','type':'counter','help':'H.','labels':['reporter','"
	       "path'],"
	       "'series':[['source','a\\\\b\\nc\\u0022d\\u00e9',1],['destination','',2]]},"
	       "{'name':'kvmesh_lag_seconds','type':'histogram','help':'H.','labels':['proxy'],'"
	       "bounds':[0.00001,0.5],"
	       "'series':[['node',{'buckets':[1,2,2],'sum':0.1,'count':2}]]}]");
	prom_set(p, "kvmesh_up", PROM_GAUGE, "H.", NULL, 1);
	prom_seal(p);
	f = popen("/usr/bin/promtool check metrics", "w");
	ck_assert_ptr_nonnull(f);
	fputs(text_of(p, 100), f);
	ck_assert_int_eq(pclose(f), 0);
	prom_unref(p);
}
END_TEST

UNIT_MAIN("prom", families_and_series_are_in_order, equal_series_of_several_proxies_add_up,
	  histograms_are_cumulative_and_end_with_inf, values_are_escaped, large_counters_stay_exact,
	  what_breaks_its_description_is_left_out, series_are_capped, our_own_values,
	  promtool_accepts_it)
