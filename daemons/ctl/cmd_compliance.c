/* SPDX-License-Identifier: Apache-2.0 */
/* compliance report: proof for an auditor. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "ctl/compliance.h"
#include "ctl/compliance_print.h"
#include "ctl/compliance_sign.h"
#include "ctl/print.h"

#define DAY_S (24ll * 3600)
#define SINCE_S (30 * DAY_S)

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
	if (ctl_call_router(c, "Status", NULL, &d, &ignored) == 0)
		in->status = d;
	if (ctl_call_router(c, "History", limit, &d, &ignored) == 0)
		in->history = d;
	if (ctl_call(c, ctl_sock(c, "ca", "ca"), "Status", NULL, &d, &ignored) == 0)
		in->ca = d;
	if (ctl_call(c, ctl_sock(c, "ca", "ca"), "List", limit, &d, &ignored) == 0)
		in->certificates = d;
	return 0;
}

static int exit_of(const struct doc *report)
{
	struct str verdict = doc_get_str(report, "verdict", STR(""));

	return str_eq(verdict, STR("COMPLIANT"))       ? CTL_EXIT_OK
	       : str_eq(verdict, STR("NON-COMPLIANT")) ? CTL_EXIT_NO
						       : CTL_EXIT_NOT_RUNNING;
}

/* ---- writing ------------------------------------------------------------------------------- */

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_HTML, FORMAT_CSV, FORMAT__N };
static const char *const formats[FORMAT__N] = { "text", "json", "html", "csv" };

struct written {
	enum format format;
	struct doc *report;
	struct str sha256;              /* of the report as JSON in one line */
	struct str signer;              /* empty: it is not signed */
};

static struct str body_of(struct ctl *c, const struct written *w)
{
	struct compliance_titles t = { w->sha256, w->signer };
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	kv_assert(f);
	if (w->format == FORMAT_TEXT)
		compliance_print_text(f, w->report, &t, &c->arena);
	else if (w->format == FORMAT_HTML)
		compliance_print_html(f, w->report, &t, &c->arena);
	else
		compliance_print_csv(f, w->report, &c->arena);
	fclose(f);
	struct str body = arena_str(&c->arena, str_from(text, n));

	free(text);
	return body;
}

static int ask_signature(struct ctl *c, struct str sha256, struct tls_statement *ret)
{
	struct doc *p = doc_new_map(&c->arena), *d;
	struct err err = { 0 };

	doc_set_str(&c->arena, p, "sha256", sha256);
	if (ctl_call(c, ctl_sock(c, "ca", "ca"), "SignReport", p, &d, &err) < 0)
		return ctl_fail_err(&err);
	if (!compliance_sign_read(d, sha256, ret))
		return ctl_fail(CTL_EXIT_NO, "the CA does not say when it signed");
	return CTL_EXIT_OK;
}

static int put(struct ctl *c, const char *suffix, struct str text)
{
	const char *out = ctl_value(c, "out", NULL);
	struct err err = { 0 };

	if (!out)
		fprintf(c->out, "%.*s", STR_ARG(text));
	else if (fs_write(arena_printf(&c->arena, "%s%s", out, suffix).p, text.p, text.n, 0644, &err) < 0)
		return ctl_fail_err(&err);
	return CTL_EXIT_OK;
}

static int write_json(struct ctl *c, const struct written *w)
{
	bool sign = w->signer.n > 0;
	struct tls_statement st;
	int code = sign ? ask_signature(c, w->sha256, &st) : CTL_EXIT_OK;

	return code != CTL_EXIT_OK ? code : put(c, "", compliance_sign_json(w->report, w->sha256,
									    sign ? &st : NULL, &c->arena));
}

/* A spreadsheet has no place for a block: it stands beside the file. */
static int write_body(struct ctl *c, const struct written *w)
{
	struct str body = body_of(c, w);
	struct tls_statement st;
	int code;

	if (w->signer.n == 0)
		return put(c, "", body);
	code = ask_signature(c, compliance_sign_digest(body, &c->arena), &st);
	if (code != CTL_EXIT_OK)
		return code;
	struct str block = compliance_sign_block(&st, w->format == FORMAT_HTML, &c->arena);

	if (w->format != FORMAT_CSV)
		return put(c, "", arena_printf(&c->arena, "%.*s%.*s", STR_ARG(body), STR_ARG(block)));
	code = put(c, ".sig", block);
	return code == CTL_EXIT_OK ? put(c, "", body) : code;
}

/* ---- the command --------------------------------------------------------------------------- */

static int read_options(struct ctl *c, struct compliance_inputs *in, enum format *ret)
{
	const char *format = ctl_value(c, "format", c->output == CTL_OUTPUT_JSON ? "json" : "text");
	const char *since = ctl_value(c, "since", NULL);
	unsigned f = 0;

	while (f < FORMAT__N && strcmp(format, formats[f]) != 0)
		f++;
	if (f == FORMAT__N)
		return ctl_fail(CTL_EXIT_USAGE, "--format: '%s' is none of text, json, html, csv", format);
	*ret = (enum format)f;
	if (f == FORMAT_CSV && ctl_has(c, "sign") && !ctl_has(c, "out"))
		return ctl_fail(CTL_EXIT_USAGE, "the signature of CSV stands in a file beside it: "
				"--out FILE is needed");
	in->until_s = clock_real_us() / 1000000;
	in->since_s = in->until_s - SINCE_S;
	if (since && !read_since(str_c(since), in->until_s, &in->since_s))
		return ctl_fail(CTL_EXIT_USAGE, "--since: '%s' is neither a time in the past "
				"(2026-10-01T00:00:00.000Z) nor a duration (30d, 12h)", since);
	return CTL_EXIT_OK;
}

int cmd_compliance_report(struct ctl *c)
{
	struct compliance_inputs in = { 0 };
	struct written w = { .signer = STR("") };
	struct err err = { 0 };
	int code = read_options(c, &in, &w.format);

	if (code != CTL_EXIT_OK)
		return code;
	if (gather(c, &in, &err) < 0)
		return ctl_fail_err(&err);
	w.report = compliance_report(&in, &c->arena);
	w.sha256 = compliance_sign_digest(doc_to_json(w.report, &c->arena, false), &c->arena);
	if (ctl_has(c, "sign"))
		w.signer = arena_printf(&c->arena, "spiffe://%.*s" TLS_STATEMENT_PATH,
					STR_ARG(doc_get_str(w.report, "trustDomain", STR(""))));
	code = w.format == FORMAT_JSON ? write_json(c, &w) : write_body(c, &w);
	return code == CTL_EXIT_OK ? exit_of(w.report) : code;
}
