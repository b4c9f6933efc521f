/* SPDX-License-Identifier: Apache-2.0 */
/* explain_print: the document of an explained request as text. Layer daemons/ctl. */
#include "config.h"

#include "ctl/explain.h"
#include "ctl/print.h"

/* ---- lines ----------------------------------------------------------------------------------- */

static struct str text(struct ctl *c, const struct doc *d, const char *key)
{
	const struct doc *v = doc_get(d, str_c(key));

	return v ? print_value(&c->arena, v) : STR_NULL;
}

static void line(struct ctl *c, const char *label, struct str value)
{
	if (value.n > 0)
		fprintf(c->out, "  %-10s %.*s\n", label, STR_ARG(value));
}

/* "main: VirtualService x.default, FILE:LINE" */
static struct str with_place(struct ctl *c, const struct doc *d, const char *kind, const char *key)
{
	struct str name = text(c, d, key);
	struct str at = text(c, d, arena_printf(&c->arena, "%s_file", key).p);

	if (name.n == 0)
		return STR_NULL;
	return at.n > 0 ? arena_printf(&c->arena, "%s %.*s, %.*s", kind, STR_ARG(name), STR_ARG(at))
			: arena_printf(&c->arena, "%s %.*s", kind, STR_ARG(name));
}

/* ---- the route ------------------------------------------------------------------------------- */

static struct str retries_text(struct ctl *c, const struct doc *d)
{
	const struct doc *r = doc_get(d, STR("retries"));
	struct str per_try = text(c, r, "per_try_ms");

	if (!r)
		return STR_NULL;
	if (doc_get_int(r, "attempts", 0) == 0)
		return STR("none");
	return arena_printf(&c->arena, "%.*s (%.*s)%s%.*s%s", STR_ARG(text(c, r, "attempts")),
			    STR_ARG(text(c, r, "on")), per_try.n > 0 ? ", " : "", STR_ARG(per_try),
			    per_try.n > 0 ? " ms each" : "");
}

static void print_fault(struct ctl *c, const struct doc *f)
{
	struct str delay = text(c, f, "delay_ms"), share = text(c, f, "abort_percent");
	struct str grpc = text(c, f, "abort_grpc_status");

	if (delay.n > 0)
		line(c, "delay",
		     arena_printf(&c->arena, "%.*s ms for %.*s %%", STR_ARG(delay),
				  STR_ARG(text(c, f, "delay_percent"))));
	if (share.n > 0)
		line(c, "abort",
		     arena_printf(&c->arena, "%s%.*s for %.*s %%", grpc.n > 0 ? "grpc-status " : "",
				  STR_ARG(grpc.n > 0 ? grpc : text(c, f, "abort_status")),
				  STR_ARG(share)));
}

static void print_mirrors(struct ctl *c, const struct doc *list)
{
	for (size_t i = 0; list && i < list->n; i++)
		line(c, "mirror",
		     arena_printf(&c->arena, "%.*s %% to %.*s",
				  STR_ARG(text(c, list->v[i], "percent")),
				  STR_ARG(text(c, list->v[i], "cluster"))));
}

static void print_rewrite(struct ctl *c, const struct doc *d)
{
	line(c, "rewrite", text(c, d, "uri"));
	line(c, "rewrite", text(c, d, "regex"));
	line(c, "authority", text(c, d, "authority"));
}

static void print_route(struct ctl *c, const struct doc *d)
{
	struct str ms = text(c, d, "timeout_ms"), file = text(c, d, "file");
	struct str vs = text(c, d, "virtual_service");

	if (!d)
		return;
	fprintf(c->out, "%sroute%s      %.*s", print_esc(c, PRINT_BOLD), print_esc(c, PRINT_PLAIN),
		STR_ARG(d && text(c, d, "name").n > 0 ? text(c, d, "name") : STR("-")));
	if (vs.n > 1)
		fprintf(c->out, ": VirtualService %.*s", STR_ARG(vs));
	if (file.n > 0)
		fprintf(c->out, ", %.*s:%.*s", STR_ARG(file), STR_ARG(text(c, d, "line")));
	fputc('\n', c->out);
	line(c, "of", text(c, d, "virtual_host"));
	line(c, "match", text(c, d, "match"));
	line(c, "location", text(c, d, "location"));
	line(c, "cors", text(c, d, "cors"));
	line(c, "timeout", ms.n > 0 ? arena_printf(&c->arena, "%.*s ms", STR_ARG(ms)) : STR_NULL);
	line(c, "retries", retries_text(c, d));
	print_rewrite(c, doc_get(d, STR("rewrite")));
	print_fault(c, doc_get(d, STR("fault")));
	print_mirrors(c, doc_get(d, STR("mirrors")));
}

/* ---- destinations ---------------------------------------------------------------------------- */

static struct str in_cell(struct arena *a, const struct doc *row)
{
	if (!doc_get_bool(row, "in", false))
		return STR("out");
	return arena_printf(a, "%.4g%%", doc_get_real(row, "share", 0));
}

static enum print_style in_style(const struct doc *row)
{
	return doc_get_bool(row, "in", false) ? PRINT_GOOD : PRINT_PLAIN;
}

static const struct print_column endpoint_columns[] = {
	{ .head = "ENDPOINT", .key = "endpoint" },
	{ .head = "WORKLOAD", .key = "workload" },
	{ .head = "SHARE", .cell = in_cell, .style = in_style, .right = true },
	{ .head = "PRIORITY", .key = "priority", .right = true, .wide = true },
	{ .head = "LOCALITY", .key = "locality", .wide = true },
	{ .head = "RESIDENCY", .key = "residency", .wide = true },
	{ .head = "WHY", .key = "why" },
	{ NULL },
};

static enum print_style verdict_style(const struct doc *row)
{
	struct str v = doc_get_str(row, "verdict", STR(""));

	return str_eq(v, STR("ALLOWED"))                                  ? PRINT_GOOD
	       : str_eq(v, STR("NOT ASKED")) || str_eq(v, STR("GOES ON")) ? PRINT_WARN
									  : PRINT_BAD;
}

static struct str why_cell(struct arena *a, const struct doc *row)
{
	struct str why = doc_get_str(row, "why", STR("-"));
	const struct doc *token = doc_get(row, STR("token"));

	return token ? arena_printf(a, "%.*s; the token is %.*s", STR_ARG(why),
				    STR_ARG(print_value(a, token)))
		     : why;
}

static const struct print_column policy_columns[] = {
	{ .head = "WORKLOAD", .key = "workload" },
	{ .head = "PORT", .key = "port", .right = true },
	{ .head = "MTLS", .key = "mtls" },
	{ .head = "ARRIVES BY", .key = "transport" },
	{ .head = "PEER AUTHENTICATION", .key = "peer_authentication" },
	{ .head = "VERDICT", .key = "verdict", .style = verdict_style },
	{ .head = "WHY", .cell = why_cell },
	{ .head = "POLICY", .key = "policy" },
	{ .head = "RULE", .key = "rule", .right = true },
	{ .head = "FILE", .key = "file" },
	{ NULL },
};

static void print_table(struct ctl *c, const struct doc *rows, const struct print_column *cols)
{
	if (!rows || rows->n == 0)
		return;
	fputc('\n', c->out);
	print_rows(c, rows, cols, NULL);
}

static void print_destination(struct ctl *c, const struct doc *d)
{
	fprintf(c->out, "\n%sto%s         %.*s%% %.*s: %.*s", print_esc(c, PRINT_BOLD),
		print_esc(c, PRINT_PLAIN), STR_ARG(text(c, d, "percent")),
		STR_ARG(text(c, d, "cluster")), STR_ARG(text(c, d, "verdict")));
	if (text(c, d, "why").n > 0)
		fprintf(c->out, " (%.*s)", STR_ARG(text(c, d, "why")));
	fputc('\n', c->out);
	line(c, "rule", with_place(c, d, "DestinationRule", "destination_rule"));
	line(c, "balancing", text(c, d, "lb"));
	line(c, "tls", text(c, d, "tls"));
	if (!str_eq(text(c, d, "residency"), STR("-")))
		line(c, "residency", text(c, d, "residency"));
	if (!str_eq(text(c, d, "path"), STR("-")))
		line(c, "sent as",
		     text(c, d, "path").n > 0
			     ? arena_printf(&c->arena, "%.*s%.*s", STR_ARG(text(c, d, "host")),
					    STR_ARG(text(c, d, "path")))
			     : STR_NULL);
	print_table(c, doc_get(d, STR("endpoints")), endpoint_columns);
	print_table(c, doc_get(d, STR("policies")), policy_columns);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void print_verdict(struct ctl *c, const struct doc *out)
{
	struct str v = text(c, out, "verdict"), flags = text(c, out, "flags");
	bool good = str_eq(v, STR("DELIVERED")) || str_eq(v, STR("ANSWERED"));

	fprintf(c->out, "\n%sverdict%s    %s%.*s%s", print_esc(c, PRINT_BOLD),
		print_esc(c, PRINT_PLAIN), print_esc(c, good ? PRINT_GOOD : PRINT_BAD), STR_ARG(v),
		print_esc(c, PRINT_PLAIN));
	if (text(c, out, "status").n > 0)
		fprintf(c->out, ", %.*s%s%.*s", STR_ARG(text(c, out, "status")),
			flags.n > 0 ? " " : "", STR_ARG(flags));
	if (text(c, out, "why").n > 0)
		fprintf(c->out, ": %.*s", STR_ARG(text(c, out, "why")));
	fputc('\n', c->out);
}

static void print_question(struct ctl *c, const struct doc *out)
{
	const struct doc *r = doc_get(out, STR("request")), *s = doc_get(out, STR("source"));

	fprintf(c->out, "%srequest%s    %.*s%s%.*s\n", print_esc(c, PRINT_BOLD),
		print_esc(c, PRINT_PLAIN), STR_ARG(text(c, r, "method")),
		text(c, r, "method").n > 0 ? " " : "", STR_ARG(text(c, r, "url")));
	line(c, "from", text(c, s, "workload"));
	line(c, "as", text(c, s, "principal"));
	line(c, "by",
	     arena_printf(&c->arena, "proxy %.*s, %.*s", STR_ARG(text(c, s, "proxy")),
			  STR_ARG(text(c, out, "of"))));
}

void explain_print(struct ctl *c, const struct doc *out)
{
	const struct doc *list = doc_get(out, STR("destinations")),
			 *gateway = doc_get(out, STR("gateway_policy"));

	print_question(c, out);
	if (gateway)
		line(c, "policy",
		     arena_printf(
			     &c->arena, "%.*s: %.*s %.*s", STR_ARG(text(c, gateway, "verdict")),
			     STR_ARG(text(c, gateway, "why")), STR_ARG(text(c, gateway, "file"))));
	print_route(c, doc_get(out, STR("route")));
	for (size_t i = 0; list && i < list->n; i++)
		print_destination(c, list->v[i]);
	print_verdict(c, out);
}
