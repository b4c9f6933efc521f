/* SPDX-License-Identifier: Apache-2.0 */
/* compliance: what the parts of a report make of the daemons' replies, and when it says what. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/compliance.h"
#include "ctl/compliance_print.h"
#include "unit.h"

#define SINCE 1790000000
#define UNTIL (SINCE + 1000)

static struct arena arena;

static const struct doc *json(const char *text)
{
	struct err err = { 0 };
	struct doc *d;

	ck_assert_msg(doc_read_json(str_c(text), &arena, &d, &err) == 0, "%s: %s", text, err.text);
	return d;
}

#define EDGE(service, mutual) \
	"{\"reporter\":\"source\",\"sourceWorkload\":\"web\",\"destinationService\":\"" service "\"," \
	"\"destinationPort\":443,\"mutual\":" mutual ",\"tls\":\"TLSv1.3\",\"cipher\":\"c\",\"requests\":3," \
	"\"bytesSent\":10}"
#define EVIDENCE(edges, witness) \
	"{\"edges\":[" edges "],\"proxies\":[{\"proxy\":\"node\",\"watchedSeconds\":1000}],\"omitted\":0," \
	"\"sealedDays\":1,\"seal\":\"aa\",\"witness\":" witness "}"
#define SEES_NOTHING "{\"watchedSeconds\":1000,\"ports\":[]}"
#define ENTRY(host, country) \
	"{\"kind\":\"ServiceEntry\",\"namespace\":\"default\",\"name\":\"" host "\",\"metadata\":{" \
	"\"annotations\":{\"kvmesh.io/country\":\"" country "\"}},\"spec\":{\"hosts\":[\"" host "\"]}}"
#define STRICT(mode) \
	"{\"kind\":\"PeerAuthentication\",\"namespace\":\"kvmesh-system\",\"name\":\"default\"," \
	"\"firstSeen\":\"2020-01-01T00:00:00.000Z\",\"file\":\"a\",\"line\":1,\"spec\":{\"mtls\":{\"mode\":\"" \
	mode "\"}}}"
#define CONFIG(policy, resources) \
	"{\"kvmesh\":{\"mesh\":{\"trustDomain\":\"td\"}" policy "},\"resources\":[" resources "]}"
#define POLICY ",\"egressPolicy\":{\"allowCountries\":[\"DE\",\"AT\"]}"

static struct doc *report(const char *evidence, const char *config)
{
	const struct compliance_inputs in = {
		.since_s = SINCE, .until_s = UNTIL, .evidence = json(evidence), .config = json(config),
		.ca = json("{\"trustDomain\":\"td\"}"),
	};

	return compliance_report(&in, &arena);
}

static void says(const struct doc *r, const char *verdict, const char *why)
{
	const struct doc *reasons = doc_get(r, STR("reasons"));

	unit_str_eq(doc_get_str(r, "verdict", STR("")), verdict);
	if (!why) {
		ck_assert_uint_eq(reasons->n, 0);
		return;
	}
	ck_assert_uint_eq(reasons->n, 1);
	unit_str_eq(reasons->v[0]->s, why);
}

START_TEST(the_verdict)
{
	arena_init(&arena, 0);
	says(report(EVIDENCE(EDGE("a", "true"), SEES_NOTHING), CONFIG("", STRICT("STRICT"))), "COMPLIANT", NULL);
	says(report(EVIDENCE("", SEES_NOTHING), CONFIG("", "")), "NON-COMPLIANT",
	     "no PeerAuthentication makes the mesh STRICT");
	/* The witness: nothing is told of one that never ran; one that was away proves nothing. */
	says(report(EVIDENCE("", "{\"watchedSeconds\":0,\"ports\":[]}"), CONFIG("", STRICT("STRICT"))),
	     "COMPLIANT", NULL);
	says(report(EVIDENCE("", "{\"watchedSeconds\":500,\"ports\":[]}"), CONFIG("", STRICT("STRICT"))),
	     "NOT ENOUGH EVIDENCE", "the witness looked for 50.0 % of the period");
	says(report(EVIDENCE("", "{\"watchedSeconds\":500,\"ports\":[{\"kind\":\"mesh\",\"port\":1,"
			     "\"packets\":1,\"bytes\":60}]}"), CONFIG("", STRICT("STRICT"))),
	     "NON-COMPLIANT", "60 plain bytes were seen on the wire");
	arena_done(&arena);
}
END_TEST

START_TEST(countries)
{
	static const char resources[] = CONFIG(POLICY, STRICT("STRICT") "," ENTRY("in.example", "DE") ","
					       ENTRY("*.out.example", "US"));
	arena_init(&arena, 0);
	says(report(EVIDENCE(EDGE("in.example", "false"), SEES_NOTHING), resources), "COMPLIANT", NULL);
	const struct doc *r = report(EVIDENCE(EDGE("in.example", "false") "," EDGE("api.out.example", "false")
					      "," EDGE("nobody.example", "false"), SEES_NOTHING), resources);
	const struct doc *to = doc_get(doc_get(r, STR("egress")), STR("destinations"));

	says(r, "NON-COMPLIANT", "1 destination in countries that egressPolicy does not allow");
	ck_assert_uint_eq(to->n, 3);
	unit_str_eq(doc_get_str(to->v[1], "country", STR("")), "US");
	ck_assert(!doc_get_bool(to->v[1], "allowed", true) && doc_get_bool(to->v[2], "allowed", false));
	ck_assert_ptr_nonnull(doc_get(doc_get(r, STR("egress")), STR("egressPolicy")));
	/* Without a policy every country is one. */
	says(report(EVIDENCE(EDGE("api.out.example", "false"), SEES_NOTHING),
		    CONFIG("", STRICT("STRICT") "," ENTRY("*.out.example", "US"))), "COMPLIANT", NULL);
	arena_done(&arena);
}
END_TEST

/* Names are others' text: no form may be steered by them. */
START_TEST(hostile_names)
{
	char *out = NULL;
	size_t n;

	arena_init(&arena, 0);
	const struct doc *r = report(EVIDENCE(EDGE("=cmd|' /C calc'!A0,\\\"<script>&\\u001b[2J", "false"),
					      SEES_NOTHING), CONFIG("", STRICT("STRICT")));
	const struct compliance_titles t = { STR("7d"), STR("") };
	FILE *f = open_memstream(&out, &n);

	compliance_print_html(f, r, &t, &arena);
	fclose(f);
	ck_assert(!strstr(out, "<script") && strstr(out, "&lt;script&gt;&amp;") && strstr(out, "&#39; /C"));
	free(out);
	f = open_memstream(&out, &n);
	compliance_print_csv(f, r, &arena);
	fclose(f);
	ck_assert(strstr(out, "\"'=cmd|' /C calc'!A0,\"\"<script>"));
	free(out);
	f = open_memstream(&out, &n);
	compliance_print_text(f, r, &t, &arena);
	fclose(f);
	ck_assert(!strchr(out, 0x1b));
	free(out);
	arena_done(&arena);
}
END_TEST

UNIT_MAIN("compliance", the_verdict, countries, hostile_names)
