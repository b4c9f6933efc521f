/* SPDX-License-Identifier: Apache-2.0 */
/* compliance_print: a report as text, CSV and HTML, see compliance_print.h. Layer daemons/ctl. */
#include "config.h"

#include <inttypes.h>

#include "ctl/compliance_print.h"

static struct str text(const struct doc *d, const char *key)
{
	return doc_get_str(d, key, STR(""));
}

static double real(const struct doc *d, const char *key)
{
	const struct doc *v = doc_get(d, str_c(key));

	return !v ? 0 : v->kind == DOC_REAL ? v->r : v->kind == DOC_INT ? (double)v->i : 0;
}

/* 412,118,771 */
static struct str grouped(struct arena *a, int64_t n)
{
	char digits[STR_U64_MAX], out[2 * STR_U64_MAX];
	size_t len = str_put_u64(digits, (uint64_t)n), k = 0;

	for (size_t i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			out[k++] = ',';
		out[k++] = digits[i];
	}
	return arena_str(a, str_from(out, k));
}

static struct str day(const struct doc *d, const char *key)
{
	return str_take(text(d, key), sizeof("2026-10-01") - 1);
}

/* ---- the lines ----------------------------------------------------------------------------- */

static struct str encrypted_line(struct arena *a, const struct doc *r)
{
	const struct doc *x = doc_get(r, STR("exchanges")), *b = doc_get(r, STR("bytes"));
	int64_t total = doc_get_int(x, "total", 0), clear = doc_get_int(x, "clear", 0);

	if (total == 0)
		return STR("nothing was sent");
	return arena_printf(a, "%.4f %% of requests (%.*s of %.*s; %.*s clear), %.4f %% of bytes",
			    real(x, "encryptedPercent"), STR_ARG(grouped(a, total - clear)),
			    STR_ARG(grouped(a, total)), STR_ARG(grouped(a, clear)),
			    doc_get_int(b, "total", 0) > 0 ? real(b, "encryptedPercent") : 100.0);
}

static struct str policy_line(struct arena *a, const struct doc *r)
{
	const struct doc *p = doc_get(r, STR("policy"));
	size_t n = doc_get(p, STR("exceptions"))->n;
	bool dated = text(p, "since").n > 0;

	return arena_printf(a, "%s%s%.*s, %zu exception%s",
			    doc_get_bool(p, "strict", false) ? "STRICT mesh-wide" : "not STRICT",
			    dated ? " since " : "", STR_ARG(day(p, "since")), n, n == 1 ? "" : "s");
}

static struct str keys_line(struct arena *a, const struct doc *r)
{
	const struct doc *k = doc_get(r, STR("keys"));

	return arena_printf(a, "root key %s, %.*s certificates issued, longest life %.1f h, "
			    "%" PRId64 " of %" PRId64 " listed have expired",
			    doc_get_bool(k, "rootKeyOnNode", false) ? "on this node" : "not here",
			    STR_ARG(grouped(a, doc_get_int(k, "issued", 0))),
			    (double)doc_get_int(k, "longestLifeSeconds", 0) / 3600,
			    doc_get_int(k, "expired", 0), doc_get_int(k, "listed", 0));
}

static struct str ciphers_line(struct arena *a, const struct doc *r)
{
	const struct doc *list = doc_get(r, STR("ciphers"));
	struct str line = STR("");
	int64_t total = 0;

	for (size_t i = 0; i < list->n; i++)
		total += doc_get_int(list->v[i], "exchanges", 0);
	for (size_t i = 0; i < list->n; i++)
		line = arena_printf(a, "%.*s%s%.*s %.*s %.1f %%", STR_ARG(line), i > 0 ? ", " : "",
				    STR_ARG(text(list->v[i], "tls")),
				    STR_ARG(text(list->v[i], "cipher")),
				    total > 0 ? 100.0 * (double)doc_get_int(list->v[i], "exchanges", 0) /
							(double)total : 0.0);
	return line.n > 0 ? line : STR("none");
}

static struct str egress_line(struct arena *a, const struct doc *r)
{
	const struct doc *edges = doc_get(r, STR("edges"));
	size_t n = 0, clear = 0;

	for (size_t i = 0; i < edges->n; i++) {
		bool out = doc_get_bool(edges->v[i], "egress", false);

		n += out;
		clear += out && str_eq(text(edges->v[i], "security"), STR("clear"));
	}
	return n == 0 ? STR("nothing left the mesh") :
			arena_printf(a, "%zu edge%s out of the mesh, %zu of them clear", n,
				     n == 1 ? "" : "s", clear);
}

static struct str evidence_line(struct arena *a, const struct doc *r)
{
	const struct doc *e = doc_get(r, STR("evidence")), *p = doc_get(e, STR("proxies"));
	struct str line = STR(""), seal = str_take(text(e, "seal"), 16);

	for (size_t i = 0; i < p->n; i++)
		line = arena_printf(a, "%.*s%.*s watched %.1f %%, ", STR_ARG(line),
				    STR_ARG(text(p->v[i], "proxy")), real(p->v[i], "watchedPercent"));
	return arena_printf(a, "%.*s%" PRId64 " days sealed%s%.*s%s", STR_ARG(line),
			    doc_get_int(e, "sealedDays", 0), seal.n > 0 ? ", seal " : "",
			    STR_ARG(seal), seal.n > 0 ? "…" : "");
}

static struct str verdict_line(struct arena *a, const struct doc *r)
{
	const struct doc *why = doc_get(r, STR("reasons"));
	struct str line = text(r, "verdict");

	for (size_t i = 0; i < why->n; i++)
		line = arena_printf(a, "%.*s%s%.*s%s", STR_ARG(line), i == 0 ? " (" : "; ",
				    STR_ARG(why->v[i]->s), i + 1 == why->n ? ")" : "");
	return line;
}

static struct str period_line(struct arena *a, const struct doc *r)
{
	const struct doc *p = doc_get(r, STR("period"));

	return arena_printf(a, "%.*s..%.*s  TRUST DOMAIN %.*s", STR_ARG(text(p, "since")),
			    STR_ARG(text(p, "until")), STR_ARG(text(r, "trustDomain")));
}

static const struct {
	const char *head;
	struct str (*line)(struct arena *a, const struct doc *r);
} lines[] = {
	{ "PERIOD", period_line },       { "ENCRYPTED IN TRANSIT", encrypted_line },
	{ "POLICY", policy_line },       { "KEYS", keys_line },
	{ "CIPHERS", ciphers_line },     { "EGRESS", egress_line },
	{ "EVIDENCE", evidence_line },   { "VERDICT", verdict_line },
};
#define LINES (sizeof(lines) / sizeof(lines[0]))

/* ---- text ---------------------------------------------------------------------------------- */

static bool is_clear(const struct doc *e)
{
	return str_eq(text(e, "security"), STR("clear"));
}

/* "sha256 7d0e… signed by spiffe://…" */
static struct str report_line(const struct compliance_titles *t, struct arena *a)
{
	return arena_printf(a, "sha256 %.*s%s%.*s", STR_ARG(t->sha256),
			    t->signer.n > 0 ? " signed by " : "", STR_ARG(t->signer));
}

void compliance_print_text(FILE *out, const struct doc *r, const struct compliance_titles *t,
			   struct arena *a)
{
	const struct doc *edges = doc_get(r, STR("edges"));
	bool any = false;

	for (size_t i = 0; i < LINES; i++)
		fprintf(out, "%-22s %.*s\n", lines[i].head, STR_ARG(lines[i].line(a, r)));
	fprintf(out, "%-22s %.*s\n", "REPORT", STR_ARG(report_line(t, a)));
	for (size_t i = 0; i < edges->n; i++) {
		const struct doc *e = edges->v[i];

		if (!is_clear(e))
			continue;
		if (!any)
			fputs("\nCLEAR EDGES\n", out);
		any = true;
		fprintf(out, "%.*s → %.*s (%.*s:%" PRId64 ")  %" PRId64 " requests, %" PRId64
			" connections\n",
			STR_ARG(text(e, "source")), STR_ARG(text(e, "destination")),
			STR_ARG(text(e, "service")), doc_get_int(e, "port", 0),
			doc_get_int(e, "requests", 0), doc_get_int(e, "connections", 0));
	}
}

/* ---- tables -------------------------------------------------------------------------------- */

static const char *const columns[] = {
	"source", "destination", "service", "port", "security", "tls", "cipher", "egress", "requests",
	"connections", "bytesReceived", "bytesSent", "sourcePrincipal", "destinationPrincipal",
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static struct str cell(struct arena *a, const struct doc *e, const char *key)
{
	const struct doc *v = doc_get(e, str_c(key));

	if (!v)
		return STR("");
	if (v->kind == DOC_INT)
		return arena_printf(a, "%" PRId64, v->i);
	if (v->kind == DOC_BOOL)
		return v->b ? STR("yes") : STR("no");
	return v->kind == DOC_STR ? v->s : STR("");
}

/* RFC 4180. A cell that a spreadsheet would take for a formula gets a quote in front. */
static void csv_cell(FILE *out, struct str s)
{
	if (s.n > 0 && memchr("=+-@\t\r", s.p[0], 6))
		fputs("\"'", out);
	else
		fputc('"', out);
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"')
			fputc('"', out);
		fputc(s.p[i], out);
	}
	fputc('"', out);
}

void compliance_print_csv(FILE *out, const struct doc *r, struct arena *a)
{
	const struct doc *edges = doc_get(r, STR("edges"));

	for (size_t k = 0; k < COLUMNS; k++)
		fprintf(out, "%s%s", k > 0 ? "," : "", columns[k]);
	fputs("\r\n", out);
	for (size_t i = 0; i < edges->n; i++)
		for (size_t k = 0; k < COLUMNS; k++) {
			if (k > 0)
				fputc(',', out);
			csv_cell(out, cell(a, edges->v[i], columns[k]));
			if (k + 1 == COLUMNS)
				fputs("\r\n", out);
		}
}

static void html(FILE *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		switch (s.p[i]) {
		case '<':
			fputs("&lt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			fputc(s.p[i], out);
		}
}

static void html_element(FILE *out, const char *name, struct str s)
{
	fprintf(out, "<%s>", name);
	html(out, s);
	fprintf(out, "</%s>", name);
}

void compliance_print_html(FILE *out, const struct doc *r, const struct compliance_titles *t,
			   struct arena *a)
{
	const struct doc *edges = doc_get(r, STR("edges"));

	fputs("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">"
	      "<title>Compliance report</title>\n"
	      "<style>body{font:14px sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left;"
	      "border-bottom:1px solid #ccc}.clear{background:#fdd}</style>\n"
	      "<h1>Compliance report</h1>\n<table>\n", out);
	for (size_t i = 0; i < LINES; i++) {
		fputs("<tr>", out);
		html_element(out, "th", str_c(lines[i].head));
		html_element(out, "td", lines[i].line(a, r));
		fputs("</tr>\n", out);
	}
	fputs("<tr><th>REPORT</th>", out);
	html_element(out, "td", report_line(t, a));
	fputs("</tr>\n</table>\n<h2>Edges</h2>\n<table>\n<tr>", out);
	for (size_t k = 0; k < COLUMNS; k++)
		html_element(out, "th", str_c(columns[k]));
	fputs("</tr>\n", out);
	for (size_t i = 0; i < edges->n; i++) {
		fputs(is_clear(edges->v[i]) ? "<tr class=\"clear\">" : "<tr>", out);
		for (size_t k = 0; k < COLUMNS; k++)
			html_element(out, "td", cell(a, edges->v[i], columns[k]));
		fputs("</tr>\n", out);
	}
	fputs("</table>\n</html>\n", out);
}
