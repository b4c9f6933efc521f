/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe: one service or workload with all that concerns it; routes: where a service's requests
 * go, with what was observed. Layer daemons/ctl.
 */
#include "config.h"

#include <string.h>

#include "ctl/describe.h"
#include "ctl/print.h"

/* ---- text ------------------------------------------------------------------------------------ */

static struct str value(struct ctl *c, const struct doc *d, const char *key)
{
	const struct doc *v = doc_get(d, str_c(key));

	return v ? print_value(&c->arena, v) : STR_NULL;
}

static void print_line(struct ctl *c, const char *label, struct str text)
{
	if (text.n > 0)
		fprintf(c->out, "  %-12s %.*s\n", label, STR_ARG(text));
}

static struct str labels_text(struct ctl *c, const struct doc *labels)
{
	struct str s = STR_NULL;

	for (size_t i = 0; labels && i < labels->n; i++)
		s = arena_printf(&c->arena, "%.*s%s%.*s=%.*s", STR_ARG(s), i > 0 ? ", " : "",
				 STR_ARG(labels->v[i]->key),
				 STR_ARG(print_value(&c->arena, labels->v[i])));
	return s;
}

static void print_title(struct ctl *c, const struct doc *d)
{
	struct str at = value(c, d, "name_file");

	fprintf(c->out, "%s%.*s %.*s%s", print_esc(c, PRINT_BOLD), STR_ARG(value(c, d, "kind")),
		STR_ARG(value(c, d, "name")), print_esc(c, PRINT_PLAIN));
	if (at.n > 0)
		fprintf(c->out, " (%.*s)", STR_ARG(at));
	fputc('\n', c->out);
}

static void print_section(struct ctl *c, const char *title, const struct doc *rows,
			  const struct print_column *cols, const char *none)
{
	fprintf(c->out, "\n%s%s%s\n", print_esc(c, PRINT_BOLD), title, print_esc(c, PRINT_PLAIN));
	if (rows && rows->n > 0)
		print_rows(c, rows, cols, NULL);
	else
		fprintf(c->out, "  %s\n", none);
}

static const struct print_column subset_columns[] = {
	{ .head = "PORT", .key = "port", .right = true },
	{ .head = "PROTOCOL", .key = "protocol" },
	{ .head = "SUBSET", .key = "subset" },
	{ .head = "ENDPOINTS", .key = "endpoints", .right = true },
	{ .head = "BALANCING", .key = "lb" },
	{ .head = "CLIENT TLS", .key = "tls" },
	{ .head = "DESTINATION RULE", .key = "destination_rule" },
	{ .head = "FILE", .key = "destination_rule_file" },
	{ NULL },
};
static const struct print_column route_columns[] = {
	{ .head = "PORT", .key = "name", .right = true },
	{ .head = "ROUTE", .key = "route" },
	{ .head = "MATCH", .key = "match" },
	{ .head = "TO", .key = "destination" },
	{ .head = "VIRTUAL SERVICE", .key = "virtual_service" },
	{ .head = "FILE", .key = "source" },
	{ NULL },
};
static const struct print_column endpoint_columns[] = {
	{ .head = "ENDPOINT", .key = "endpoint" },
	{ .head = "STATUS", .key = "status" },
	{ .head = "OUTLIER CHECK", .key = "outlier_check" },
	{ .head = "LOCALITY", .key = "locality" },
	{ .head = "PRINCIPAL", .key = "principal" },
	{ NULL },
};
static const struct print_column workload_columns[] = {
	{ .head = "WORKLOAD", .key = "workload" },
	{ .head = "PORT", .key = "port", .right = true },
	{ .head = "PROTOCOL", .key = "protocol" },
	{ .head = "MTLS", .key = "mtls" },
	{ .head = "PEER AUTHENTICATION", .key = "peer_authentication" },
	{ .head = "FILE", .key = "peer_authentication_file" },
	{ NULL },
};
static const struct print_column port_columns[] = {
	{ .head = "PORT", .key = "port", .right = true },
	{ .head = "PROTOCOL", .key = "protocol" },
	{ .head = "MTLS", .key = "mtls" },
	{ .head = "PEER AUTHENTICATION", .key = "peer_authentication" },
	{ .head = "SERVICES", .key = "services" },
	{ NULL },
};
static const struct print_column rule_columns[] = {
	{ .head = "WORKLOAD", .key = "workload" },
	{ .head = "ACTION", .key = "action" },
	{ .head = "POLICY", .key = "policy" },
	{ .head = "RULE", .key = "rule", .right = true },
	{ .head = "WHAT", .key = "what" },
	{ .head = "FILE", .key = "file" },
	{ NULL },
};
static const struct print_column finding_columns[] = {
	{ .head = "LEVEL", .key = "level" },
	{ .head = "CODE", .key = "code" },
	{ .head = "TEXT", .key = "text" },
	{ .head = "FILE", .key = "file" },
	{ NULL },
};

static void print_service(struct ctl *c, const struct doc *d)
{
	print_title(c, d);
	print_line(c, "host", value(c, d, "host"));
	print_section(c, "Ports and subsets", doc_get(d, STR("subsets")), subset_columns, "none");
	print_section(c, "Routes", doc_get(d, STR("routes")), route_columns, "none");
	print_section(c, "Endpoints", doc_get(d, STR("endpoints")), endpoint_columns,
		      "none: requests get 503");
	print_section(c, "What its workloads demand", doc_get(d, STR("workloads")),
		      workload_columns, "no workload of this node");
	print_section(c, "Authorization", doc_get(d, STR("policies")), rule_columns,
		      "no policy: everybody may");
	print_section(c, "Findings", doc_get(d, STR("warnings")), finding_columns, "none");
}

static void print_workload(struct ctl *c, const struct doc *d)
{
	print_title(c, d);
	print_line(c, "identity", value(c, d, "identity"));
	print_line(c, "proved by", value(c, d, "proved_by"));
	print_line(c, "state", value(c, d, "state"));
	print_line(c, "labels", labels_text(c, doc_get(d, STR("labels"))));
	print_line(c, "outbound", value(c, d, "outbound"));
	print_section(c, "Ports", doc_get(d, STR("ports")), port_columns, "none: it can only call");
	print_section(c, "Authorization", doc_get(d, STR("policies")), rule_columns + 1,
		      "no policy: everybody may");
	print_section(c, "Findings", doc_get(d, STR("warnings")), finding_columns, "none");
}

/* ---- describe -------------------------------------------------------------------------------- */

static void show(struct ctl *c, const struct doc *d,
		 void (*text)(struct ctl *c, const struct doc *d))
{
	if (print_wants_doc(c))
		print_doc(c, d);
	else
		text(c, d);
}

int cmd_describe_service(struct ctl *c)
{
	struct describe d;
	struct str fqdn;
	int code = describe_open(c, &d);

	if (code == 0) {
		fqdn = describe_find_service(&d, c->words[0]);
		code = fqdn.n > 0 ? CTL_EXIT_OK : CTL_EXIT_NOT_FOUND;
	}
	if (code == 0)
		show(c, describe_service(&d, fqdn), print_service);
	describe_done(&d);
	return code;
}

int cmd_describe_workload(struct ctl *c)
{
	struct describe d;
	size_t workload;
	int code = describe_open(c, &d);

	if (code == 0)
		code = snapshot_workload(c, d.of.snap, c->words[0], &workload);
	if (code == 0)
		show(c, describe_workload(&d, workload), print_workload);
	describe_done(&d);
	return code;
}

static const struct print_column listener_columns[] = {
	{ .head = "KIND", .key = "kind" },
	{ .head = "ADDRESS", .key = "address" },
	{ .head = "PORT", .key = "port", .right = true },
	{ .head = "SERVICE", .key = "service" },
	{ NULL },
};
static const struct print_column member_columns[] = {
	{ .head = "WORKLOAD", .key = "name" },
	{ .head = "STATE", .key = "state" },
	{ .head = "POLICIES", .key = "rules", .right = true },
	{ .head = "IDENTITY", .key = "identity" },
	{ .head = "PROVED BY", .key = "proved_by" },
	{ NULL },
};

static void print_node(struct ctl *c, const struct doc *d)
{
	print_title(c, d);
	print_line(c, "identity", value(c, d, "identity"));
	print_section(c, "Listeners", doc_get(d, STR("listeners")), listener_columns, "none");
	print_section(c, "Workloads", doc_get(d, STR("workloads")), member_columns, "none");
}

/* There is one to ask: this one. */
int cmd_describe_node(struct ctl *c)
{
	const char *name = c->n_words > 0 ? c->words[0] : NULL;
	struct describe d;
	int code = describe_open(c, &d);

	if (code == 0 && name && !str_eq(str_c(name), d.of.snap->settings.node))
		code = ctl_fail(CTL_EXIT_NOT_FOUND, "%s: this node is %.*s", name,
				STR_ARG(d.of.snap->settings.node));
	if (code == 0)
		show(c, describe_node(&d), print_node);
	describe_done(&d);
	return code;
}

/* "my-app-v1" and "my-app-v1.service" are one unit, as systemctl takes it. */
static int find_unit(struct ctl *c, const struct snap *s, const char *word, size_t *ret)
{
	struct str unit = str_c(word);

	if (str_find(unit, '.') < 0)
		unit = arena_printf(&c->arena, "%s.service", word);
	for (size_t i = 0; i < s->workloads.n; i++)
		if (str_eq(s->workloads.v[i].unit, unit)) {
			*ret = i;
			return CTL_EXIT_OK;
		}
	return ctl_fail(CTL_EXIT_NOT_FOUND, "%.*s: no workload of this node is that unit",
			STR_ARG(unit));
}

int cmd_describe_unit(struct ctl *c)
{
	struct describe d;
	size_t workload;
	int code = describe_open(c, &d);

	if (code == 0)
		code = find_unit(c, d.of.snap, c->words[0], &workload);
	if (code == 0)
		/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): code is 0 only when find_unit has set it */
		show(c, describe_workload(&d, workload), print_workload);
	describe_done(&d);
	return code;
}
