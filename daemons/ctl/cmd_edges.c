/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edges: who talks to whom, and is it proven and encrypted. Layer daemons/ctl.
 * Both ends of a connection report it; an edge is secured only when every report of it says so.
 */
#include "config.h"

#include <string.h>

#include "ctl/edges.h"
#include "ctl/print.h"

struct doc *edges_gather(struct ctl *c, size_t *ret_answered, struct err *err)
{
	struct doc *all = doc_new_list(&c->arena);
	const char **names;
	size_t n;

	*ret_answered = 0;
	err_set(err, KV_ERR_CLOSED, "no proxy answers in %s/proxy", c->run);
	ctl_proxies(c, &names, &n);
	for (size_t i = 0; i < n; i++) {
		struct doc *reply;

		if (ctl_call(c, ctl_sock(c, "proxy", names[i]), "Edges", NULL, &reply, err) < 0)
			continue;
		const struct doc *list = doc_get(reply, STR("edges"));

		++*ret_answered;
		for (size_t k = 0; list && list->kind == DOC_LIST && k < list->n; k++)
			doc_add(&c->arena, all, doc_copy(&c->arena, list->v[k]));
	}
	return all;
}

static bool same(const struct doc *a, const struct doc *b, const char *key)
{
	return str_eq(doc_get_str(a, key, STR("")), doc_get_str(b, key, STR("")));
}

static struct doc *find_row(struct doc *rows, const struct doc *row)
{
	static const char *const keys[] = { "src", "dst", "src_namespace", "dst_namespace",
					    "service" };

	for (size_t i = 0; i < rows->n; i++) {
		bool all = true;

		for (size_t k = 0; all && k < sizeof(keys) / sizeof(keys[0]); k++)
			all = same(rows->v[i], row, keys[k]);
		if (all)
			return rows->v[i];
	}
	return NULL;
}

/* Namespace of a principal: what Edges does not say of the destination directly. */
static struct str principal_ns(struct str principal)
{
	ptrdiff_t at = str_find_str(principal, STR("/ns/"));
	struct str rest, ns = STR("");

	if (at < 0)
		return ns;
	rest = str_skip(principal, (size_t)at + 4);
	str_split(&rest, '/', &ns);
	return ns;
}

static struct doc *as_row(struct arena *a, const struct doc *e)
{
	static const char *const copied[][2] = {
		{ "src", "sourceWorkload" }, { "src_namespace", "sourceNamespace" },
		{ "dst", "destinationWorkload" }, { "service", "destinationService" },
		{ "client_id", "sourcePrincipal" }, { "server_id", "destinationPrincipal" },
		{ "tls", "tls" }, { "cipher", "cipher" }, { "last_seen", "lastSeen" },
	};
	struct doc *row = doc_new_map(a);

	for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++)
		doc_set_str(a, row, copied[i][0], doc_get_str(e, copied[i][1], STR("")));
	if (doc_get_str(row, "dst", STR("")).n == 0)
		doc_set_str(a, row, "dst", doc_get_str(e, "destinationService", STR("-")));
	doc_set_str(a, row, "dst_namespace",
		    principal_ns(doc_get_str(e, "destinationPrincipal", STR(""))));
	doc_set_bool(a, row, "secured", doc_get_bool(e, "mutual", false));
	doc_set_int(a, row, "connections", doc_get_int(e, "connections", 0));
	doc_set_int(a, row, "requests", doc_get_int(e, "requests", 0));
	return row;
}

/* Both sides count the same connections: the larger number is the edge's. */
static void merge(struct arena *a, struct doc *into, const struct doc *row)
{
	static const char *const texts[] = { "client_id", "server_id", "tls", "cipher",
					     "last_seen" };
	static const char *const numbers[] = { "connections", "requests" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (doc_get_str(into, texts[i], STR("")).n == 0)
			doc_set_str(a, into, texts[i], doc_get_str(row, texts[i], STR("")));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (doc_get_int(row, numbers[i], 0) > doc_get_int(into, numbers[i], 0))
			doc_set_int(a, into, numbers[i], doc_get_int(row, numbers[i], 0));
	if (!doc_get_bool(row, "secured", false))
		doc_set_bool(a, into, "secured", false);
}

static struct str secured_cell(struct arena *a, const struct doc *row)
{
	(void)a;
	return doc_get_bool(row, "secured", false) ? STR("yes") : STR("no");
}

static enum print_style secured_style(const struct doc *row)
{
	return doc_get_bool(row, "secured", false) ? PRINT_GOOD : PRINT_BAD;
}

static const struct print_column edge_columns[] = {
	{ .head = "SRC", .key = "src" },
	{ .head = "DST", .key = "dst" },
	{ .head = "SRC_NS", .key = "src_namespace" },
	{ .head = "DST_NS", .key = "dst_namespace" },
	{ .head = "SECURED", .cell = secured_cell, .style = secured_style },
	{ .head = "CLIENT_ID", .key = "client_id", .wide = true },
	{ .head = "SERVER_ID", .key = "server_id", .wide = true },
	{ .head = "TLS", .key = "tls", .wide = true },
	{ .head = "CIPHER", .key = "cipher", .wide = true },
	{ .head = "CONNECTIONS", .key = "connections", .right = true, .wide = true },
	{ .head = "REQUESTS", .key = "requests", .right = true, .wide = true },
	{ NULL },
};

int cmd_edges(struct ctl *c)
{
	struct arena *a = &c->arena;
	struct doc *rows = doc_new_list(a);
	struct err err;
	size_t answered, n_clear = 0;
	const struct doc *all = edges_gather(c, &answered, &err);

	if (answered == 0)
		return ctl_fail_err(&err);
	for (size_t i = 0; i < all->n; i++) {
		struct doc *row = as_row(a, all->v[i]), *known = find_row(rows, row);

		if (c->ns && !str_eq(doc_get_str(row, "src_namespace", STR("")), str_c(c->ns)) &&
		    !str_eq(doc_get_str(row, "dst_namespace", STR("")), str_c(c->ns)))
			continue;
		if (known)
			merge(a, known, row);
		else
			doc_add(a, rows, row);
	}
	for (size_t i = 0; i < rows->n; i++)
		n_clear += !doc_get_bool(rows->v[i], "secured", false);
	print_list(c, rows, edge_columns, "edges");
	return ctl_has(c, "require-mtls") && n_clear > 0 ? CTL_EXIT_NO : CTL_EXIT_OK;
}
