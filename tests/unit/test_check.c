/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of config/check: what the golden files cannot say: silence, large inputs, the page against
 * the table.
 */
#include <stdlib.h>

#include "base/fs.h"
#include "config_unit.h"

static size_t findings(const char *text, const char *rule)
{
	struct err_list errs;
	struct model *m;
	size_t n;

	err_list_init(&errs);
	m = config_load(text, DOC_SYNTAX_NATIVE, &errs);
	ck_assert_msg(errs.n == 0, "%s", errs.n > 0 ? errs.v[0].text : "");
	int r = model_check(m, &errs);
	ck_assert_int_eq(r, errs.n_errors > 0 ? KV_ERR_CHECK : 0);
	n = rule != NULL ? config_count(&errs, rule) : errs.n;
	model_free(m);
	err_list_done(&errs);
	return n;
}

#define DR(annotations) \
	CONFIG_BASE "DestinationRule = { name = \"web\"; host = \"web\"; " annotations \
	" subsets = ( { name = \"v9\"; labels = { version = \"v9\"; }; } ); };\n"

START_TEST(a_good_configuration_has_no_findings)
{
	ck_assert_uint_eq(findings(CONFIG_BASE, NULL), 0);
	ck_assert_uint_eq(findings("", NULL), 0);
}
END_TEST

START_TEST(annotations_silence_warnings)
{
	ck_assert_uint_eq(findings(DR(""), "KVM0173"), 1);
	ck_assert_uint_eq(
		findings(DR("annotations = [ \"kvmesh.io/analyze-suppress=KVM0117, KVM0173\" ];"),
			 "KVM0173"),
		0);
	ck_assert_uint_eq(
		findings(DR("annotations = [ \"galley.istio.io/analyze-suppress=IST0173\" ];"),
			 "KVM0173"),
		0);
	ck_assert_uint_eq(
		findings(DR("annotations = [ \"galley.istio.io/analyze-suppress=*\" ];"), NULL), 0);
	ck_assert_uint_eq(
		findings(DR("annotations = [ \"galley.istio.io/analyze-suppress=IST0174\" ];"),
			 "KVM0173"),
		1);
}
END_TEST

START_TEST(errors_cannot_be_silenced)
{
	ck_assert_uint_eq(findings("Service = { name = \"a\"; selector = { a = \"b\"; }; "
				   "annotations = [ \"kvmesh.io/analyze-suppress=*\" ]; };",
				   "KVM0360"),
			  1);
}
END_TEST

START_TEST(bodies_have_a_limit)
{
	size_t sizes[] = { 100, 200 << 10, (1 << 20) + 1 };
	const char *rules[] = { NULL, "KVM0133", "KVM0331" };

	for (size_t i = 0; i < 3; i++) {
		_cleanup_free_ char *body = kv_zalloc(sizes[i] + 1);
		_cleanup_free_ char *text = NULL;

		memset(body, 'x', sizes[i]);
		text = kv_asprintf(
			"VirtualService = { name = \"a\"; hosts = [ \"a.b\" ]; http = ( { "
			"directResponse = { status = 200; body = { string = \"%s\"; }; }; } ); };",
			body);
		ck_assert_uint_eq(findings(text, rules[i]), rules[i] != NULL);
	}
}
END_TEST

/* 2.2.2: two VirtualServices collide only where one client sees both. */
START_TEST(conflicts_respect_export_to)
{
#define TWO(a, b)                                                                                  \
	CONFIG_BASE "VirtualService = ("                                                           \
		    " { name = \"a\"; hosts = [ \"web\" ]; " a                                     \
		    " http = ( { route = ( { destination = { host = \"web\"; }; } ); } ); },"      \
		    " { name = \"b\"; namespace = \"b\"; hosts = [ \"web.default\" ]; " b          \
		    " http = ( { route = ( { destination = { host = \"web.default\"; }; } ); } "   \
		    "); } );\n"
	ck_assert_uint_eq(findings(TWO("", ""), "KVM0109"), 1);
	ck_assert_uint_eq(findings(TWO("exportTo = [ \".\" ];", ""), "KVM0109"), 1);
	ck_assert_uint_eq(
		findings(TWO("exportTo = [ \".\" ];", "exportTo = [ \".\" ];"), "KVM0109"), 0);
	ck_assert_uint_eq(
		findings(TWO("exportTo = [ \"b\" ];", "exportTo = [ \".\" ];"), "KVM0109"), 1);
	ck_assert_uint_eq(findings(TWO("gateways = [ \"g\" ];", ""), "KVM0109"), 0);
}
END_TEST

static char *many(const char *head, const char *each, int n, const char *tail)
{
	size_t size;
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);

	fputs(head, out);
	for (int i = 0; i < n; i++) {
		const char *rest = each;

		fputs(i > 0 ? ", " : "", out);
		for (const char *at = strchr(rest, '#'); at != NULL;
		     rest = at + 1, at = strchr(rest, '#'))
			fprintf(out, "%.*s%d", (int)(at - rest), rest, i);
		fputs(rest, out);
	}
	fputs(tail, out);
	fclose(out);
	return text;
}

/*
 * A configuration of the size that the limits allow is checked in reasonable time (the test's own
 * timeout).
 */
START_TEST(large_configurations_are_checked)
{
	_cleanup_free_ char *services =
		many("Service = (",
		     "{ name = \"s#\"; selector = { app = \"a#\"; }; ports = ( { name = \"http\"; "
		     "port = 80; targetPort = 1; } ); }",
		     1000, ");\n");
	_cleanup_free_ char *workloads =
		many("Workload = (",
		     "{ name = \"w#\"; unit = \"w#.service\"; address = \"10.0.0.1\"; labels = { "
		     "app = \"a#\"; version = \"v1\"; }; ports = ( { number = 2#; } ); }",
		     1000, ");\n");
	_cleanup_free_ char *rules = many("DestinationRule = (",
					  "{ name = \"d#\"; host = \"s#\"; trafficPolicy = { tls = "
					  "{ mode = \"ISTIO_MUTUAL\"; }; }; subsets = ( { name = "
					  "\"v1\"; labels = { version = \"v1\"; }; } ); }",
					  1000, ");\n");
	_cleanup_free_ char *routes =
		many("VirtualService = { name = \"big\"; hosts = [ \"s1\" ]; http = (",
		     "{ match = ( { uri = { exact = \"/#\"; }; } ); route = ( { destination = { "
		     "host = \"s1\"; subset = \"v1\"; }; } ); }",
		     2000, "); };\n");
	_cleanup_free_ char *text = kv_asprintf("%s%s%s%s", services, workloads, rules, routes);

	ck_assert_uint_eq(findings(text, NULL), 0);
}
END_TEST

/* ---- docs/analysis.md against the table ---------------------------------------------------- */

static const char *level_name(enum err_level l)
{
	return l == ERR_LEVEL_ERROR ? "Error" : l == ERR_LEVEL_WARNING ? "Warning" : "Info";
}

START_TEST(the_page_and_the_table_agree)
{
	const char *srcdir = getenv("srcdir");
	_cleanup_free_ char *path =
		kv_asprintf("%s/docs/analysis.md", srcdir != NULL ? srcdir : ".");
	_cleanup_free_ char *page = NULL;
	struct err e;
	size_t n, n_rows = 0, n_rules = 0;

	ck_assert_msg(fs_read(path, 1 << 20, &page, &n, &e) == 0, "%s", e.text);
	for (const struct check_rule *r = check_rules; r->code != NULL; r++, n_rules++) {
		_cleanup_free_ char *row =
			kv_asprintf("\n| %s | %s | %s | %s | %s |\n", r->code, level_name(r->level),
				    r->title, r->istio[0] != '\0' ? r->istio : "–", r->help);

		_cleanup_free_ char *remedy = kv_asprintf("\n* %s: ", r->code);

		ck_assert_msg(strstr(page, row) != NULL, "docs/analysis.md lacks the row%s", row);
		ck_assert_msg(strstr(page, remedy) != NULL, "docs/analysis.md: what helps with %s?",
			      r->code);
		ck_assert_ptr_eq(check_rule_find(str_c(r->code)), r);
		ck_assert(r == check_rules || strcmp(r[-1].code, r->code) < 0);
	}
	for (const char *at = strstr(page, "\n| KVM"); at != NULL; at = strstr(at + 1, "\n| KVM"))
		n_rows++;
	ck_assert_uint_eq(n_rows, n_rules);
	ck_assert_ptr_null(check_rule_find(STR("KVM9999")));
}
END_TEST

UNIT_MAIN("check", a_good_configuration_has_no_findings, annotations_silence_warnings,
	  errors_cannot_be_silenced, bodies_have_a_limit, conflicts_respect_export_to,
	  large_configurations_are_checked, the_page_and_the_table_agree)
