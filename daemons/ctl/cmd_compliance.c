/* SPDX-License-Identifier: Apache-2.0 */
/* compliance report and verify: proof for an auditor. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "ctl/compliance.h"
#include "ctl/compliance_print.h"
#include "ctl/print.h"
#include "io/tls_digest.h"

#define DAY_S (24ll * 3600)
#define SINCE_S (30 * DAY_S)
#define REPORT_BYTES_MAX (64u << 20)

/* ---- report -------------------------------------------------------------------------------- */

/* "30d", a duration, or a point in time; false: none of them. */
static bool read_since(struct str s, int64_t now_s, int64_t *ret_s)
{
	uint64_t days;
	int64_t us;

	if (s.n > 1 && s.p[s.n - 1] == 'd' && str_to_u64(str_take(s, s.n - 1), &days) && days > 0 &&
	    days < 10000)
		*ret_s = now_s - (int64_t)days * DAY_S;
	else if (str_to_duration_us(s, &us) && us >= 1000000)
		*ret_s = now_s - us / 1000000;
	else if (ctl_time_parse(s, &us) && us / 1000000 < now_s)
		*ret_s = us / 1000000;
	else
		return false;
	return true;
}

static int gather(struct ctl *c, struct compliance_inputs *in, struct err *err)
{
	struct arena *a = &c->arena;
	struct doc *p = doc_new_map(a), *limit = doc_new_map(a), *d;
	struct err ignored = { 0 };

	doc_set_int(a, p, "since", in->since_s);
	doc_set_int(a, p, "until", in->until_s);
	doc_set_int(a, limit, "limit", 1000);
	int r = ctl_call(c, ctl_sock(c, "metrics", "metrics"), "Evidence", p, &d, err);

	if (r < 0)
		return r;
	in->evidence = d;
	if (ctl_call_router(c, "Config", NULL, &d, &ignored) == 0)
		in->config = d;
	if (ctl_call(c, ctl_sock(c, "ca", "ca"), "Status", NULL, &d, &ignored) == 0)
		in->ca = d;
	if (ctl_call(c, ctl_sock(c, "ca", "ca"), "List", limit, &d, &ignored) == 0)
		in->certificates = d;
	return 0;
}

static struct str digest_of(struct arena *a, const struct doc *report)
{
	struct tls_digest *d = tls_digest_new();
	char hex[TLS_DIGEST_HEX_MAX];

	tls_digest_add(d, doc_to_json(report, a, false));
	tls_digest_end(d, hex);
	return arena_str(a, str_c(hex));
}

static void show_json(struct ctl *c, struct doc *report, struct str digest)
{
	struct doc *d = doc_new_map(&c->arena);

	doc_set(&c->arena, d, "report", report);
	doc_set_str(&c->arena, d, "sha256", digest);
	struct str text = doc_to_json(d, &c->arena, true);

	fprintf(c->out, "%.*s\n", STR_ARG(text));
}

static int exit_of(const struct doc *report)
{
	struct str verdict = doc_get_str(report, "verdict", STR(""));

	return str_eq(verdict, STR("COMPLIANT"))       ? CTL_EXIT_OK
	       : str_eq(verdict, STR("NON-COMPLIANT")) ? CTL_EXIT_NO
						       : CTL_EXIT_NOT_RUNNING;
}

int cmd_compliance_report(struct ctl *c)
{
	static const char *const formats[] = { "text", "json", "html", "csv" };
	struct str format = str_c(ctl_value(c, "format", c->output == CTL_OUTPUT_JSON ? "json" : "text"));
	const char *since = ctl_value(c, "since", NULL);
	struct compliance_inputs in = { .until_s = clock_real_us() / 1000000 };
	struct err err = { 0 };
	size_t f = 0;

	while (f < 4 && !str_eq(format, str_c(formats[f])))
		f++;
	if (f == 4)
		return ctl_fail(CTL_EXIT_USAGE, "--format: '%.*s' is none of text, json, html, csv",
				STR_ARG(format));
	in.since_s = in.until_s - SINCE_S;
	if (since && !read_since(str_c(since), in.until_s, &in.since_s))
		return ctl_fail(CTL_EXIT_USAGE, "--since: '%s' is neither a time in the past "
				"(2026-10-01T00:00:00.000Z) nor a duration (30d, 12h)", since);
	if (gather(c, &in, &err) < 0)
		return ctl_fail_err(&err);
	struct doc *report = compliance_report(&in, &c->arena);
	struct str digest = digest_of(&c->arena, report);

	if (f == 0)
		compliance_print_text(c->out, report, digest, &c->arena);
	else if (f == 1)
		show_json(c, report, digest);
	else if (f == 2)
		compliance_print_html(c->out, report, digest, &c->arena);
	else
		compliance_print_csv(c->out, report, &c->arena);
	return exit_of(report);
}

/* ---- verify -------------------------------------------------------------------------------- */

int cmd_compliance_verify(struct ctl *c)
{
	struct arena *a = &c->arena;
	struct err err = { 0 };
	struct doc *d;
	char *p;
	size_t n;

	if (fs_read(c->words[0], REPORT_BYTES_MAX, &p, &n, &err) < 0)
		return ctl_fail_err(&err);
	struct str text = arena_str(a, str_from(p, n));

	free(p);
	if (doc_read_json(text, a, &d, &err) < 0)
		return ctl_fail(CTL_EXIT_DATA, "%s: %s", c->words[0], err.text);
	const struct doc *report = doc_get(d, STR("report"));
	struct str claimed = doc_get_str(d, "sha256", STR(""));

	if (!report || claimed.n == 0)
		return ctl_fail(CTL_EXIT_DATA, "%s is no report: kvmeshctl compliance report "
				"--format json makes one", c->words[0]);
	if (!str_eq(digest_of(a, report), claimed))
		return ctl_fail(CTL_EXIT_NO, "%s was changed: its digest is another", c->words[0]);
	fprintf(c->out, "unchanged: sha256 %.*s\n", STR_ARG(claimed));
	return CTL_EXIT_OK;
}
