/* SPDX-License-Identifier: Apache-2.0 */
/* proxy-config: what a proxy runs, with istioctl's columns and filters. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "ctl/print.h"
#include "ctl/snapshot.h"

/* Options that compare one member; a row without that member does not match. */
static const char *const filters[][2] = {
	{ "fqdn", "service" },  { "port", "port" },       { "direction", "direction" },
	{ "subset", "subset" }, { "address", "address" }, { "cluster", "cluster" },
	{ "status", "status" }, { "name", "name" },       { "type", "kind" },
};

static bool is_kept(struct ctl *c, const struct doc *row)
{
	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
		const char *want = ctl_value(c, filters[i][0], NULL);
		struct str have;

		if (!want)
			continue;
		have = print_value(&c->arena, doc_get(row, str_c(filters[i][1])));
		if (!str_ieq(have, str_c(want)))
			return false;
	}
	return true;
}

static int show(struct ctl *c, struct doc *(*rows_of)(const struct snapshot *s),
		const struct print_column *cols, const char *noun)
{
	struct doc *kept = doc_new_list(&c->arena), *rows;
	struct snapshot s;
	int code = snapshot_fetch(c, c->n_words > 0 ? c->words[0] : "node", &s);

	if (code == CTL_EXIT_OK) {
		rows = rows_of(&s);
		for (size_t i = 0; i < rows->n; i++)
			if (is_kept(c, rows->v[i]))
				doc_add(&c->arena, kept, rows->v[i]);
		print_list(c, kept, cols, noun);
	}
	snapshot_done(&s);
	return code;
}

/* 0 is "any" in the snapshot. */
static struct str port_cell(struct arena *a, const struct doc *row)
{
	int64_t port = doc_get_int(row, "port", 0);

	return port > 0 ? arena_printf(a, "%lld", (long long)port) : STR("-");
}

static const struct print_column cluster_columns[] = {
	{ .head = "SERVICE FQDN", .key = "service" },
	{ .head = "PORT", .cell = port_cell },
	{ .head = "SUBSET", .key = "subset" },
	{ .head = "DIRECTION", .key = "direction" },
	{ .head = "TYPE", .key = "type" },
	{ .head = "DESTINATION RULE", .key = "destination_rule" },
	{ .head = "PROTOCOL", .key = "protocol", .wide = true },
	{ .head = "LB", .key = "lb", .wide = true },
	{ .head = "TLS", .key = "tls", .wide = true },
	{ .head = "MTLS", .key = "mtls", .wide = true },
	{ .head = "ENDPOINTS", .key = "endpoints", .right = true, .wide = true },
	{ NULL },
};

int cmd_proxy_config_cluster(struct ctl *c)
{
	return show(c, snapshot_clusters, cluster_columns, "clusters");
}

static const struct print_column listener_columns[] = {
	{ .head = "ADDRESS", .key = "address" },
	{ .head = "PORT", .cell = port_cell },
	{ .head = "MATCH", .key = "match" },
	{ .head = "DESTINATION", .key = "destination" },
	{ .head = "KIND", .key = "kind", .wide = true },
	{ NULL },
};

int cmd_proxy_config_listener(struct ctl *c)
{
	return show(c, snapshot_listeners, listener_columns, "listeners");
}

/* As istioctl: the first, and how many more. */
static struct str domains_cell(struct arena *a, const struct doc *row)
{
	const struct doc *d = doc_get(row, STR("domains"));

	if (!d || d->kind != DOC_LIST || d->n == 0)
		return STR("-");
	if (d->n == 1)
		return print_value(a, d->v[0]);
	return arena_printf(a, "%.*s, %.*s%s", STR_ARG(print_value(a, d->v[0])),
			    STR_ARG(print_value(a, d->v[1])),
			    d->n > 2 ? arena_printf(a, " + %zu more...", d->n - 2).p : "");
}

static const struct print_column route_columns[] = {
	{ .head = "NAME", .key = "name" },
	{ .head = "VHOST NAME", .key = "vhost" },
	{ .head = "DOMAINS", .cell = domains_cell },
	{ .head = "MATCH", .key = "match" },
	{ .head = "VIRTUAL SERVICE", .key = "virtual_service" },
	{ .head = "DESTINATION", .key = "destination", .wide = true },
	{ .head = "VIEW", .key = "view", .wide = true },
	{ .head = "SOURCE", .key = "source", .wide = true },
	{ NULL },
};

int cmd_proxy_config_route(struct ctl *c)
{
	return show(c, snapshot_routes, route_columns, "routes");
}

static enum print_style outlier_style(const struct doc *row)
{
	return str_eq(doc_get_str(row, "outlier_check", STR("")), STR("OK")) ? PRINT_PLAIN
									     : PRINT_BAD;
}

static enum print_style health_style(const struct doc *row)
{
	return str_eq(doc_get_str(row, "status", STR("")), STR("HEALTHY")) ? PRINT_PLAIN
									   : PRINT_BAD;
}

static const struct print_column endpoint_columns[] = {
	{ .head = "ENDPOINT", .key = "endpoint" },
	{ .head = "STATUS", .key = "status", .style = health_style },
	{ .head = "OUTLIER CHECK", .key = "outlier_check", .style = outlier_style },
	{ .head = "CLUSTER", .key = "cluster" },
	{ .head = "WEIGHT", .key = "weight", .right = true, .wide = true },
	{ .head = "MESH ADDRESS", .key = "mesh_address", .wide = true },
	{ .head = "PRINCIPAL", .key = "principal", .wide = true },
	{ .head = "LOCALITY", .key = "locality", .wide = true },
	{ .head = "ACTIVE", .key = "active", .right = true, .wide = true },
	{ .head = "CONNECTIONS", .key = "connections", .right = true, .wide = true },
	{ NULL },
};

int cmd_proxy_config_endpoint(struct ctl *c)
{
	return show(c, snapshot_endpoints, endpoint_columns, "endpoints");
}

static enum print_style valid_style(const struct doc *row)
{
	return doc_get_bool(row, "valid", false) ? PRINT_PLAIN : PRINT_BAD;
}

static const struct print_column secret_columns[] = {
	{ .head = "RESOURCE NAME", .key = "name" },
	{ .head = "TYPE", .key = "type" },
	{ .head = "STATUS", .key = "status", .style = valid_style },
	{ .head = "VALID CERT", .key = "valid", .style = valid_style },
	{ .head = "SERIAL NUMBER", .key = "serial" },
	{ .head = "NOT AFTER", .key = "not_after" },
	{ .head = "NOT BEFORE", .key = "not_before" },
	{ .head = "TRUST DOMAIN", .key = "trust_domain", .wide = true },
	{ NULL },
};

int cmd_proxy_config_secret(struct ctl *c)
{
	return show(c, snapshot_secrets, secret_columns, "secrets");
}
