/* SPDX-License-Identifier: Apache-2.0 */
/* compliance_print: a report as text, CSV and HTML, see compliance_print.h. Layer daemons/ctl. */
#include "config.h"

#include <inttypes.h>
#include <string.h>

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

static bool is_clear(const struct doc *e)
{
	return str_eq(text(e, "security"), STR("clear"));
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
	/* cppcheck-suppress legacyUninitvar; takes the .p of STR() for it */
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

	return arena_printf(a, "root key %s, issuer%s until %.*s, %.*s certificates issued, longest life "
			    "%.1f h, %" PRId64 " of %" PRId64 " listed have expired, %" PRId64
			    " outside of proxies, %" PRId64 " revoked",
			    doc_get_bool(k, "rootKeyOnNode", false) ? "on this node" : "not here",
			    doc_get_bool(k, "issuerPluggedIn", false) ? " plugged in" : "",
			    STR_ARG(day(k, "issuerUntil")),
			    STR_ARG(grouped(a, doc_get_int(k, "issued", 0))),
			    (double)doc_get_int(k, "longestLifeSeconds", 0) / 3600,
			    doc_get_int(k, "expired", 0), doc_get_int(k, "listed", 0),
			    doc_get_int(k, "outsideOfProxies", 0), doc_get_int(k, "revoked", 0));
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
	const struct doc *to = doc_get(doc_get(r, STR("egress")), STR("destinations"));
	size_t clear = 0, nowhere = 0;

	for (size_t i = 0; i < to->n; i++) {
		clear += is_clear(to->v[i]);
		nowhere += text(to->v[i], "country").n == 0;
	}
	return to->n == 0 ? STR("nothing left the mesh") :
			    arena_printf(a, "%zu destination%s out of the mesh, %zu of them clear, %zu "
					 "without a declared country", to->n, to->n == 1 ? "" : "s", clear,
					 nowhere);
}

static struct str evidence_line(struct arena *a, const struct doc *r)
{
	/* cppcheck-suppress legacyUninitvar; takes the .p of STR() for it */
	const struct doc *e = doc_get(r, STR("evidence")), *p = doc_get(e, STR("proxies"));
	struct str line = STR(""), seal = str_take(text(e, "seal"), 16);

	for (size_t i = 0; i < p->n; i++)
		line = arena_printf(a, "%.*s%.*s watched %.1f %%, ", STR_ARG(line),
				    STR_ARG(text(p->v[i], "proxy")), real(p->v[i], "watchedPercent"));
	return arena_printf(a, "%.*s%" PRId64 " days sealed%s%.*s%s", STR_ARG(line),
			    doc_get_int(e, "sealedDays", 0), seal.n > 0 ? ", seal " : "",
			    STR_ARG(seal), seal.n > 0 ? "…" : "");
}

static struct str witness_line(struct arena *a, const struct doc *r)
{
	const struct doc *w = doc_get(r, STR("witness"));
	int64_t plain = doc_get_int(w, "plainBytes", 0);

	if (real(w, "watchedPercent") <= 0 && plain == 0)
		return STR("none: nobody but the proxies speaks for this");
	return arena_printf(a, "plain bytes seen: %.*s, looked at the wire for %.1f %% of the period",
			    STR_ARG(grouped(a, plain)), real(w, "watchedPercent"));
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
	/* cppcheck-suppress legacyUninitvar; takes the .p of STR() for it */
	const struct doc *p = doc_get(r, STR("period"));

	return arena_printf(a, "%.*s..%.*s  TRUST DOMAIN %.*s", STR_ARG(text(p, "since")),
			    STR_ARG(text(p, "until")), STR_ARG(text(r, "trustDomain")));
}

static struct str inventory_line(struct arena *a, const struct doc *r)
{
	const struct doc *i = doc_get(r, STR("inventory"));
	struct str node = text(i, "node");

	return arena_printf(a, "node %.*s, %zu workloads, %zu services, %zu proxies, kvmesh %.*s",
			    STR_ARG(node.n > 0 ? node : STR("unknown")),
			    doc_get(i, STR("workloads"))->n, doc_get(i, STR("services"))->n,
			    doc_get(i, STR("proxies"))->n, STR_ARG(text(i, "software")));
}

static const struct {
	const char *head;
	struct str (*line)(struct arena *a, const struct doc *r);
} lines[] = {
	{ "PERIOD", period_line },       { "INVENTORY", inventory_line },
	{ "ENCRYPTED IN TRANSIT", encrypted_line },
	{ "POLICY", policy_line },       { "KEYS", keys_line },
	{ "CIPHERS", ciphers_line },     { "EGRESS", egress_line },
	{ "WITNESS", witness_line },
	{ "EVIDENCE", evidence_line },   { "VERDICT", verdict_line },
};
#define LINES (sizeof(lines) / sizeof(lines[0]))

/* ---- tables -------------------------------------------------------------------------------- */

#define COLUMNS_MAX 14
struct table {
	const char *head, *group, *list;        /* where its rows are: report.group.list */
	bool (*takes)(const struct doc *row);   /* NULL: all */
	struct {
		const char *head, *key;
	} columns[COLUMNS_MAX + 1];
};

static const struct table tables[] = {
	{ "EXCEPTIONS", "policy", "exceptions", NULL,
	  { { "KIND", "kind" }, { "POLICY", "policy" }, { "SAYS", "mode" }, { "FILE", "file" },
	    { "LINE", "line" } } },
	{ "PLAIN BYTES SEEN", "witness", "ports", NULL,
	  { { "KIND", "kind" }, { "PORT", "port" }, { "WORKLOAD", "workload" }, { "PACKETS", "packets" },
	    { "BYTES", "bytes" } } },
	{ "CLEAR EDGES", NULL, "edges", is_clear,
	  { { "SOURCE", "source" }, { "DESTINATION", "destination" }, { "SERVICE", "service" },
	    { "PORT", "port" }, { "REQUESTS", "requests" }, { "CONNECTIONS", "connections" } } },
	{ "EGRESS", "egress", "destinations", NULL,
	  { { "DESTINATION", "destination" }, { "PORT", "port" }, { "COUNTRY", "country" },
	    { "ALLOWED", "allowed" }, { "OPERATOR", "operator" }, { "SECURITY", "security" }, { "REQUESTS", "requests" },
	    { "CONNECTIONS", "connections" }, { "RECEIVED", "bytesReceived" }, { "SENT", "bytesSent" } } },
	{ "POLICIES", "policy", "policies", NULL,
	  { { "KIND", "kind" }, { "POLICY", "policy" }, { "SAYS", "says" }, { "SINCE", "since" },
	    { "FILE", "file" }, { "LINE", "line" } } },
	{ "CHANGES", "policy", "loads", NULL,
	  { { "GENERATION", "generation" }, { "AT", "at" }, { "BY", "by" }, { "OK", "ok" },
	    { "DIGEST", "digest" }, { "CHANGED", "changed" } } },
	{ "WORKLOADS", "inventory", "workloads", NULL,
	  { { "WORKLOAD", "workload" }, { "IDENTITY", "identity" }, { "PROVED BY", "provedBy" },
	    { "PORTS", "ports" } } },
	{ "SERVICES", "inventory", "services", NULL,
	  { { "SERVICE", "service" }, { "KIND", "kind" }, { "PORTS", "ports" } } },
	{ "PROXIES", "inventory", "proxies", NULL,
	  { { "PROXY", "proxy" }, { "STATE", "state" }, { "GENERATION", "generation" },
	    { "SOFTWARE", "software" } } },
};
#define TABLES (sizeof(tables) / sizeof(tables[0]))

/* All edges: a page and a spreadsheet have room for them. */
static const struct table edges_table = {
	"EDGES", NULL, "edges", NULL,
	{ { "source", "source" }, { "destination", "destination" }, { "service", "service" },
	  { "port", "port" }, { "security", "security" }, { "tls", "tls" }, { "cipher", "cipher" },
	  { "egress", "egress" }, { "requests", "requests" }, { "connections", "connections" },
	  { "bytesReceived", "bytesReceived" }, { "bytesSent", "bytesSent" },
	  { "sourcePrincipal", "sourcePrincipal" },
	  { "destinationPrincipal", "destinationPrincipal" } },
};

static const struct doc *rows_of(const struct table *t, const struct doc *r)
{
	return doc_get(t->group ? doc_get(r, str_c(t->group)) : r, str_c(t->list));
}

static bool has_row(const struct table *t, const struct doc *row)
{
	return !t->takes || t->takes(row);
}

static bool is_empty(const struct table *t, const struct doc *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		if (has_row(t, rows->v[i]))
			return false;
	return true;
}

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

/* "sha256 7d0e… signed by spiffe://…" */
static struct str report_line(const struct compliance_titles *t, struct arena *a)
{
	return arena_printf(a, "sha256 %.*s%s%.*s", STR_ARG(t->sha256),
			    t->signer.n > 0 ? " signed by " : "", STR_ARG(t->signer));
}

/* ---- text ---------------------------------------------------------------------------------- */

/* A name must not move the cursor of whoever reads it. */
static struct str harmless(struct str s, struct arena *a)
{
	struct str copy = arena_str(a, s);
	char *p = (char *)(uintptr_t)copy.p;

	for (size_t i = 0; i < copy.n; i++)
		if ((unsigned char)p[i] < ' ' || p[i] == 0x7f)
			p[i] = '?';
	return copy;
}

static void text_row(FILE *out, const struct table *t, const struct doc *row, const size_t *width,
		     struct arena *a)
{
	for (size_t k = 0; t->columns[k].key; k++) {
		struct str s = row ? cell(a, row, t->columns[k].key) : str_c(t->columns[k].head);

		if (s.n == 0)
			s = STR("-");
		s = harmless(s, a);
		fprintf(out, "%s%.*s", k > 0 ? "  " : "", STR_ARG(s));
		if (t->columns[k + 1].key)
			fprintf(out, "%*s", (int)(width[k] - s.n), "");
	}
	fputc('\n', out);
}

static void text_table(FILE *out, const struct table *t, const struct doc *rows, struct arena *a)
{
	size_t width[COLUMNS_MAX] = { 0 };

	for (size_t k = 0; t->columns[k].key; k++) {
		width[k] = strlen(t->columns[k].head);
		for (size_t i = 0; i < rows->n; i++) {
			size_t n = has_row(t, rows->v[i]) ? cell(a, rows->v[i], t->columns[k].key).n : 0;

			width[k] = n > width[k] ? n : width[k];
		}
	}
	fprintf(out, "\n%s\n", t->head);
	text_row(out, t, NULL, width, a);
	for (size_t i = 0; i < rows->n; i++)
		if (has_row(t, rows->v[i]))
			text_row(out, t, rows->v[i], width, a);
}

void compliance_print_text(FILE *out, const struct doc *r, const struct compliance_titles *t,
			   struct arena *a)
{
	for (size_t i = 0; i < LINES; i++)
		fprintf(out, "%-22s %.*s\n", lines[i].head, STR_ARG(lines[i].line(a, r)));
	fprintf(out, "%-22s %.*s\n", "REPORT", STR_ARG(report_line(t, a)));
	for (size_t i = 0; i < TABLES; i++) {
		const struct doc *rows = rows_of(&tables[i], r);

		if (!is_empty(&tables[i], rows))
			text_table(out, &tables[i], rows, a);
	}
}

/* ---- CSV ----------------------------------------------------------------------------------- */

/* RFC 4180. A cell that a spreadsheet would take for a formula gets a quote in front. */
static void csv_cell(FILE *out, struct str s)
{
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): a set of characters, no text */
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
	const struct table *t = &edges_table;
	const struct doc *edges = rows_of(t, r);

	for (size_t k = 0; t->columns[k].key; k++)
		fprintf(out, "%s%s", k > 0 ? "," : "", t->columns[k].head);
	fputs("\r\n", out);
	for (size_t i = 0; i < edges->n; i++) {
		for (size_t k = 0; t->columns[k].key; k++) {
			if (k > 0)
				fputc(',', out);
			csv_cell(out, cell(a, edges->v[i], t->columns[k].key));
		}
		fputs("\r\n", out);
	}
}

/* ---- HTML ---------------------------------------------------------------------------------- */

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
		case '>':
			fputs("&gt;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		case '\'':
			fputs("&#39;", out);
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

static void html_table(FILE *out, const struct table *t, const struct doc *rows, struct arena *a)
{
	fputs("<h2>", out);
	html(out, str_c(t->head));
	fputs("</h2>\n<table>\n<tr>", out);
	for (size_t k = 0; t->columns[k].key; k++)
		html_element(out, "th", str_c(t->columns[k].head));
	fputs("</tr>\n", out);
	for (size_t i = 0; i < rows->n; i++) {
		if (!has_row(t, rows->v[i]))
			continue;
		fputs(is_clear(rows->v[i]) ? "<tr class=\"clear\">" : "<tr>", out);
		for (size_t k = 0; t->columns[k].key; k++)
			html_element(out, "td", cell(a, rows->v[i], t->columns[k].key));
		fputs("</tr>\n", out);
	}
	fputs("</table>\n", out);
}

void compliance_print_html(FILE *out, const struct doc *r, const struct compliance_titles *t,
			   struct arena *a)
{
	fputs("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">"
	      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
	      "'unsafe-inline'\"><title>Compliance report</title>\n"
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
	fputs("</tr>\n</table>\n", out);
	for (size_t i = 0; i < TABLES; i++) {
		const struct doc *rows = rows_of(&tables[i], r);

		if (!is_empty(&tables[i], rows))
			html_table(out, &tables[i], rows, a);
	}
	html_table(out, &edges_table, rows_of(&edges_table, r), a);
	fputs("</html>\n", out);
}
