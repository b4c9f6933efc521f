/* SPDX-License-Identifier: Apache-2.0 */
/* identity, ca status, ca bundle: who has which certificate, and who vouches. Layer daemons/ctl. */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "ctl/live.h"
#include "ctl/print.h"
#include "ipc/ipc.h"

/* First reply of a stream: the present state. */
static int first_of(struct ctl *c, const char *path, const char *method, struct doc **ret,
		    struct err *err)
{
	struct ipc_conn *conn;
	bool more;
	int r = ipc_dial(path, c->timeout_ms, &conn, err);

	if (r < 0)
		return r;
	r = ipc_next_sync(conn, method, NULL, &c->arena, ret, &more, c->timeout_ms, err);
	ipc_hangup(conn);
	return r;
}

/* ---- identity -------------------------------------------------------------------------------- */

/* Add text to a comma-separated member, once. */
static void join(struct arena *a, struct doc *row, const char *key, struct str text)
{
	struct str have = doc_get_str(row, key, STR("")), rest = have, piece;

	while (have.n > 0 && rest.p && str_split(&rest, ',', &piece))
		if (str_eq(piece, text))
			return;
	if (text.n > 0)
		doc_set_str(a, row, key, arena_printf(a, "%.*s%s%.*s", STR_ARG(have),
						      have.n > 0 ? "," : "", STR_ARG(text)));
}

/* What the router says of a SPIFFE ID: workloads with one service account share it. */
static void set_registered(struct ctl *c, struct doc *row, const struct doc *identities,
			   struct str spiffe)
{
	static const char *const keys[] = { "workload", "namespace", "unit", "user" };
	const struct doc *list = doc_get(identities, STR("identities"));

	for (size_t i = 0; list && list->kind == DOC_LIST && i < list->n; i++) {
		if (!str_eq(doc_get_str(list->v[i], "spiffe", STR("")), spiffe))
			continue;
		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			join(&c->arena, row, keys[k], doc_get_str(list->v[i], keys[k], STR("")));
	}
}

static void copy_text(struct ctl *c, struct doc *row, const char *key, const struct doc *from,
		      const char *from_key)
{
	struct str s = doc_get_str(from, from_key, STR(""));

	if (s.n > 0)
		doc_set_str(&c->arena, row, key, s);
}

static struct doc *cert_row(struct ctl *c, const struct live_proxy *p, const struct doc *cert,
			    const struct doc *identities, struct str issuer)
{
	struct arena *a = &c->arena;
	struct doc *row = doc_new_map(a);
	struct str spiffe = doc_get_str(cert, "spiffe", STR(""));
	int64_t end;

	set_registered(c, row, identities, spiffe);
	doc_set_str(a, row, "spiffe_id", spiffe);
	if (issuer.n > 0)
		doc_set_str(a, row, "issuer", issuer);
	copy_text(c, row, "serial", cert, "serial");
	copy_text(c, row, "not_before", cert, "notBefore");
	copy_text(c, row, "not_after", cert, "notAfter");
	doc_set_str(a, row, "proxy", str_c(p->name));
	doc_set_bool(a, row, "valid",
		     ctl_time_parse(doc_get_str(cert, "notAfter", STR("")), &end) &&
			     end > clock_real_us());
	return row;
}

static enum print_style valid_style(const struct doc *row)
{
	return doc_get_bool(row, "valid", false) ? PRINT_PLAIN : PRINT_BAD;
}

static const struct print_column identity_columns[] = {
	{ .head = "WORKLOAD", .key = "workload" },
	{ .head = "NAMESPACE", .key = "namespace", .wide = true },
	{ .head = "SPIFFE ID", .key = "spiffe_id" },
	{ .head = "ISSUER", .key = "issuer" },
	{ .head = "SERIAL", .key = "serial" },
	{ .head = "NOT AFTER", .key = "not_after", .style = valid_style },
	{ .head = "NOT BEFORE", .key = "not_before", .wide = true },
	{ .head = "PROXY", .key = "proxy", .wide = true },
	{ .head = "UNIT", .key = "unit", .wide = true },
	{ .head = "USER", .key = "user", .wide = true },
	{ NULL },
};

/* A workload's name, or the SPIFFE ID itself. */
static bool is_wanted(const struct ctl *c, const struct doc *row)
{
	struct str rest = doc_get_str(row, "workload", STR("")), piece;

	if (c->ns && !str_eq(doc_get_str(row, "namespace", STR("")), str_c(c->ns)))
		return false;
	if (c->n_words == 0 || str_eq(doc_get_str(row, "spiffe_id", STR("")), str_c(c->words[0])))
		return true;
	while (rest.p && str_split(&rest, ',', &piece))
		if (str_eq(piece, str_c(c->words[0])))
			return true;
	return false;
}

static size_t add_rows(struct ctl *c, const struct live *l, const struct doc *identities,
		       struct doc *rows)
{
	struct str issuer = doc_get_str(doc_get(l->ca, STR("issuer")), "subject", STR(""));
	size_t answered = 0;

	for (size_t i = 0; i < l->n_proxies; i++) {
		const struct doc *certs = doc_get(l->proxies[i].status, STR("certificates"));

		answered += l->proxies[i].status != NULL;
		for (size_t k = 0; certs && certs->kind == DOC_LIST && k < certs->n; k++) {
			struct doc *row =
				cert_row(c, &l->proxies[i], certs->v[k], identities, issuer);

			if (is_wanted(c, row))
				doc_add(&c->arena, rows, row);
		}
	}
	return answered;
}

int cmd_identity(struct ctl *c)
{
	struct doc *rows = doc_new_list(&c->arena), *identities = NULL;
	int code = CTL_EXIT_OK;
	struct err err;
	struct live l;

	live_gather(c, &l);
	/* without the router the table has no workload names, and is a table all the same */
	if (l.router)
		first_of(c, c->socket ? c->socket : ctl_sock(c, "router", "router"), "Identities",
			 &identities, &err);
	if (add_rows(c, &l, identities, rows) == 0)
		return l.n_proxies > 0 ? ctl_fail_err(&l.proxies[0].err)
				       : ctl_fail(CTL_EXIT_UNAVAILABLE,
						  "no proxy answers in %s/proxy", c->run);
	if (c->n_words > 0 && rows->n == 0)
		return ctl_fail(CTL_EXIT_NOT_FOUND, "no proxy holds a certificate of '%s'",
				c->words[0]);
	for (size_t i = 0; i < rows->n; i++)
		if (!doc_get_bool(rows->v[i], "valid", false))
			code = CTL_EXIT_NO;
	print_list(c, rows, identity_columns, "certificates");
	return code;
}

/* ---- ca -------------------------------------------------------------------------------------- */

static struct doc *authority_row(struct ctl *c, const struct doc *status, const char *which)
{
	static const char *const keys[][2] = { { "subject", "subject" },
					       { "serial", "serial" },
					       { "not_before", "notBefore" },
					       { "not_after", "notAfter" } };
	struct doc *row = doc_new_map(&c->arena);
	const struct doc *d = doc_get(status, str_c(which));
	int64_t end;

	doc_set_str(&c->arena, row, "certificate", str_c(which));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		copy_text(c, row, keys[i][0], d, keys[i][1]);
	doc_set_str(&c->arena, row, "key",
		    doc_get_bool(d, "keyOnNode", false) ? STR("on this node") : STR("elsewhere"));
	doc_set_bool(&c->arena, row, "valid",
		     ctl_time_parse(doc_get_str(d, "notAfter", STR("")), &end) &&
			     end > clock_real_us());
	return row;
}

static const struct print_column authority_columns[] = {
	{ .head = "CERTIFICATE", .key = "certificate" },
	{ .head = "SUBJECT", .key = "subject" },
	{ .head = "SERIAL", .key = "serial" },
	{ .head = "NOT BEFORE", .key = "not_before" },
	{ .head = "NOT AFTER", .key = "not_after", .style = valid_style },
	{ .head = "KEY", .key = "key" },
	{ NULL },
};

static void print_ca(struct ctl *c, const struct doc *st, const struct doc *rows)
{
	const struct doc *reg = doc_get(st, STR("registry"));

	if (!c->no_legend)
		fprintf(c->out,
			"trust domain  %.*s\nissued        %lld certificates, the last at %.*s\n"
			"registry      generation %lld%s, %lld identities\n\n",
			STR_ARG(doc_get_str(st, "trustDomain", STR("-"))),
			(long long)doc_get_int(st, "issued", 0),
			STR_ARG(print_value(&c->arena, doc_get(st, STR("lastIssued")))),
			(long long)doc_get_int(reg, "generation", 0),
			doc_get_bool(reg, "fresh", true) ? "" : " (kept on disk)",
			(long long)doc_get_int(st, "identities", 0));
	print_rows(c, rows, authority_columns, NULL);
	const struct doc *rotation = doc_get(st, STR("rotation"));
	int64_t revoked = doc_get_int(doc_get(st, STR("revoked")), "count", 0);

	if (rotation)
		fprintf(c->out, "\nrotation      %.*s\n", STR_ARG(ctl_rotation_text(c, rotation)));
	if (revoked > 0)
		fprintf(c->out, "%srevoked       %lld (kvmeshctl ca list --revoked)\n",
			rotation ? "" : "\n", (long long)revoked);
}

int cmd_ca_status(struct ctl *c)
{
	struct doc *st, *rows = doc_new_list(&c->arena);
	struct err err;
	int code = CTL_EXIT_OK;

	if (ctl_call(c, ctl_sock(c, "ca", "ca"), "Status", NULL, &st, &err) < 0)
		return ctl_fail_err(&err);
	doc_add(&c->arena, rows, authority_row(c, st, "root"));
	doc_add(&c->arena, rows, authority_row(c, st, "issuer"));
	for (size_t i = 0; i < rows->n; i++)
		if (!doc_get_bool(rows->v[i], "valid", false))
			code = CTL_EXIT_NO;
	if (print_wants_doc(c))
		print_doc(c, st);
	else
		print_ca(c, st, rows);
	return code;
}

int cmd_ca_bundle(struct ctl *c)
{
	struct doc *d;
	struct err err;

	if (first_of(c, ctl_sock(c, "ca", "ca"), "Roots", &d, &err) < 0)
		return ctl_fail_err(&err);
	if (print_wants_doc(c))
		print_doc(c, d);
	else
		fprintf(c->out, "%.*s", STR_ARG(doc_get_str(d, "bundle", STR(""))));
	return CTL_EXIT_OK;
}
