/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ca rotate, revoke, list, issue, init: what an administrator has the CA do. Layer daemons/ctl. The CA
 * decides and keeps; here words become calls, and one waits until it is in force everywhere.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "ctl/ctl.h"
#include "ctl/print.h"
#include "io/tls.h"
#include "ipc/ipc.h"

#define PEM_MAX (256u << 10)
#define POLL_US (20u * 1000)

static int call_ca(struct ctl *c, const char *method, const struct doc *p, struct doc **ret)
{
	struct err err = { 0 };

	if (ctl_call(c, ctl_sock(c, "ca", "ca"), method, p, ret, &err) < 0)
		return ctl_fail_err(&err);
	return CTL_EXIT_OK;
}

static void nap(void)
{
	const struct timespec t = { .tv_nsec = POLL_US * 1000L };

	(void)nanosleep(&t, NULL);
}

/* "node, ingressgateway" */
static struct str names_of(struct ctl *c, const struct doc *list)
{
	struct str s = STR("");

	for (size_t i = 0; list && list->kind == DOC_LIST && i < list->n; i++)
		s = arena_printf(&c->arena, "%.*s%s%.*s", STR_ARG(s), i > 0 ? ", " : "",
				 STR_ARG(list->v[i]->s));
	return s;
}

static bool is_empty(const struct doc *list)
{
	return !list || list->kind != DOC_LIST || list->n == 0;
}

/* ---- rotate -------------------------------------------------------------------------------- */

struct str ctl_rotation_text(struct ctl *c, const struct doc *r)
{
	struct str step = doc_get_str(r, "step", STR("")), who = names_of(c, doc_get(r, STR("waitsFor")));
	struct str others = doc_get_str(r, "othersUntil", STR(""));
	struct str text = arena_printf(&c->arena, "%.*s, step %.*s",
				       STR_ARG(doc_get_str(r, "kind", STR("-"))), STR_ARG(step));

	if (who.n > 0)
		text = arena_printf(&c->arena, "%.*s, waits for %.*s", STR_ARG(text), STR_ARG(who));
	if (others.n > 0)
		text = arena_printf(&c->arena,
				    "%.*s, and until %.*s for certificates that no proxy renews",
				    STR_ARG(text), STR_ARG(others));
	return text;
}

static int wait_time(struct ctl *c, uint64_t *ret_us)
{
	const char *text = ctl_value(c, "wait", NULL);
	int64_t us = 0;

	*ret_us = 0;
	if (text && (!str_to_duration_us(str_c(text), &us) || us < 0))
		return ctl_fail(CTL_EXIT_USAGE, "--wait %s: a time such as 30s or 10m is needed",
				text);
	*ret_us = (uint64_t)us;
	return CTL_EXIT_OK;
}

/* Until nothing is under way; each step is told once. */
static int follow_rotation(struct ctl *c, uint64_t wait_us)
{
	uint64_t end = clock_mono_us() + wait_us;
	struct str last = STR("");
	struct doc *st;

	for (;;) {
		int code = call_ca(c, "Status", NULL, &st);
		const struct doc *r = code == CTL_EXIT_OK ? doc_get(st, STR("rotation")) : NULL;

		if (code != CTL_EXIT_OK)
			return code;
		struct str text = r ? ctl_rotation_text(c, r) : STR("done");

		if (!str_eq(text, last))
			fprintf(c->out, "rotation: %.*s\n", STR_ARG(text));
		last = text;
		if (!r)
			return CTL_EXIT_OK;
		if (clock_mono_us() >= end)
			return wait_us > 0 ? CTL_EXIT_TIMEOUT : CTL_EXIT_OK;
		nap();
	}
}

static int begin_and_follow(struct ctl *c, const char *method, const struct doc *p)
{
	uint64_t wait_us;
	struct doc *reply;
	int code = wait_time(c, &wait_us);

	if (code == CTL_EXIT_OK)
		code = call_ca(c, method, p, &reply);
	if (code != CTL_EXIT_OK)
		return code;
	if (print_wants_doc(c)) {
		print_doc(c, reply);
		return CTL_EXIT_OK;
	}
	return follow_rotation(c, wait_us);
}

int cmd_ca_rotate(struct ctl *c)
{
	static const char *const orders[] = { "root", "force", "abort" };
	struct doc *p = doc_new_map(&c->arena);
	unsigned n = 0;

	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
		if (ctl_has(c, orders[i])) {
			doc_set_bool(&c->arena, p, orders[i], true);
			n++;
		}
	if (n > 1)
		return ctl_fail(CTL_EXIT_USAGE, "one of --root, --force and --abort");
	return begin_and_follow(c, "Rotate", p);
}

/* ---- revoke -------------------------------------------------------------------------------- */

static bool is_serial(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
			return false;
	return s.n > 0;
}

/* On disk it is already; in force once every proxy has told so. */
static int wait_in_force(struct ctl *c, const char *what)
{
	uint64_t begin = clock_mono_us(), end = begin + (uint64_t)c->timeout_ms * 1000;
	struct doc *st;

	for (;;) {
		int code = call_ca(c, "Status", NULL, &st);

		if (code != CTL_EXIT_OK)
			return code;
		const struct doc *who = doc_get(doc_get(st, STR("revoked")), STR("waitsFor"));

		if (is_empty(who)) {
			fprintf(c->out, "%s, in force in every proxy after %llu ms\n", what,
				(unsigned long long)(clock_mono_us() - begin) / 1000);
			return CTL_EXIT_OK;
		}
		if (clock_mono_us() >= end)
			return ctl_fail(CTL_EXIT_TIMEOUT, "%s, but not yet in force in: %.*s", what,
					STR_ARG(names_of(c, who)));
		nap();
	}
}

int cmd_ca_revoke(struct ctl *c)
{
	struct doc *p = doc_new_map(&c->arena), *reply;
	struct str what = str_c(c->words[0]);
	bool lift = ctl_has(c, "lift");

	doc_set_str(&c->arena, p, is_serial(what) ? "serial" : "spiffe", what);
	doc_set_str(&c->arena, p, "reason", str_c(ctl_value(c, "reason", "")));
	doc_set_bool(&c->arena, p, "lift", lift);
	int code = call_ca(c, "Revoke", p, &reply);

	return code != CTL_EXIT_OK ? code : wait_in_force(c, lift ? "trusted again" : "revoked");
}

/* ---- list ---------------------------------------------------------------------------------- */

static enum print_style state_style(const struct doc *row)
{
	return str_eq(doc_get_str(row, "state", STR("")), STR("revoked")) ? PRINT_BAD : PRINT_PLAIN;
}

static const struct print_column issued_columns[] = {
	{ .head = "SERIAL", .key = "serial" },
	{ .head = "SPIFFE ID", .key = "spiffe" },
	{ .head = "STATE", .key = "state", .style = state_style },
	{ .head = "NOT AFTER", .key = "notAfter" },
	{ .head = "ISSUED AT", .key = "issuedAt" },
	{ .head = "PROXY", .key = "proxy" },
	{ .head = "UID", .key = "uid", .wide = true },
	{ .head = "UNIT", .key = "unit", .wide = true },
	{ NULL },
};

static const struct print_column revoked_columns[] = {
	{ .head = "SERIAL", .key = "serial" },
	{ .head = "SPIFFE ID", .key = "spiffe" },
	{ .head = "REVOKED AT", .key = "revokedAt" },
	{ .head = "UNTIL", .key = "until" },
	{ .head = "UID", .key = "uid" },
	{ .head = "REASON", .key = "reason" },
	{ NULL },
};

int cmd_ca_list(struct ctl *c)
{
	bool revoked = ctl_has(c, "revoked");
	const char *limit = ctl_value(c, "limit", "100");
	struct doc *p = doc_new_map(&c->arena), *reply;
	uint64_t n;

	if (!str_to_u64(str_c(limit), &n) || n < 1 || n > 1000)
		return ctl_fail(CTL_EXIT_USAGE, "--limit %s: 1 to 1000", limit);
	doc_set_int(&c->arena, p, "limit", (int64_t)n);
	if (c->n_words > 0)
		doc_set_str(&c->arena, p, "spiffe", str_c(c->words[0]));
	int code = call_ca(c, revoked ? "Revoked" : "List", revoked ? NULL : p, &reply);

	if (code != CTL_EXIT_OK)
		return code;
	print_list(c, doc_get(reply, revoked ? STR("revoked") : STR("certificates")),
		   revoked ? revoked_columns : issued_columns, "certificates");
	return CTL_EXIT_OK;
}

/* ---- issue --------------------------------------------------------------------------------- */

/* A name alone is one of NAMESPACE, "people" when none is given. */
static int full_name(struct ctl *c, struct str *ret)
{
	struct str name = str_c(c->words[0]);
	struct doc *st;

	*ret = name;
	if (str_has_prefix(name, STR("spiffe://")))
		return CTL_EXIT_OK;
	int code = call_ca(c, "Status", NULL, &st);

	*ret = arena_printf(&c->arena, "spiffe://%.*s/ns/%s/sa/%.*s",
			    STR_ARG(doc_get_str(st, "trustDomain", STR(""))),
			    c->ns ? c->ns : "people", STR_ARG(name));
	return code;
}

static int write_file(struct ctl *c, const char *prefix, const char *suffix, struct str text,
		      mode_t mode)
{
	const char *path = arena_printf(&c->arena, "%s%s", prefix, suffix).p;
	struct err err;

	if (fs_write(path, text.p, text.n, mode, &err) < 0)
		return ctl_fail_err(&err);
	ctl_note(c, "wrote %s", path);
	return CTL_EXIT_OK;
}

/* A request that somebody made elsewhere, or one of a key that is made here: *ret_key malloc'ed. */
static int take_request(struct ctl *c, struct str spiffe, struct str *ret_csr, char **ret_key)
{
	const char *path = ctl_value(c, "csr", NULL);
	struct tls_key *key = NULL;
	struct err err;
	char *text = NULL;
	size_t n;

	*ret_key = NULL;
	if (path) {
		if (fs_read(path, PEM_MAX, &text, &n, &err) < 0)
			return ctl_fail_err(&err);
		*ret_csr = arena_str(&c->arena, str_from(text, n));
		free(text);
		return CTL_EXIT_OK;
	}
	int r = tls_key_new(&key, &err);

	if (r == 0)
		r = tls_key_csr(key, spiffe, &text, &err);
	if (r == 0)
		r = tls_key_pem(key, ret_key, &err);
	tls_key_free(key);
	if (text)
		*ret_csr = arena_str(&c->arena, str_c(text));
	free(text);
	return r < 0 ? ctl_fail_err(&err) : CTL_EXIT_OK;
}

static int ask_for_life(struct ctl *c, struct doc *p)
{
	const char *valid = ctl_value(c, "valid", NULL);
	int64_t us;

	if (!valid)
		return CTL_EXIT_OK;
	if (!str_to_duration_us(str_c(valid), &us) || us <= 0)
		return ctl_fail(CTL_EXIT_USAGE, "--valid %s: a time such as 24h is needed",
				valid);
	doc_set_int(&c->arena, p, "lifetimeUs", us);
	return CTL_EXIT_OK;
}

static int write_issued(struct ctl *c, const char *prefix, const struct doc *reply, const char *key)
{
	struct doc *roots;
	int code = CTL_EXIT_OK;

	if (key)
		code = write_file(c, prefix, ".key", str_c(key), 0600);
	if (code == CTL_EXIT_OK)
		code = write_file(c, prefix, ".crt", doc_get_str(reply, "certificate", STR("")),
				  0644);
	if (code == CTL_EXIT_OK)
		code = call_ca(c, "Roots", NULL, &roots);
	if (code == CTL_EXIT_OK)
		code = write_file(c, prefix, "-ca.crt", doc_get_str(roots, "bundle", STR("")),
				  0644);
	return code;
}

int cmd_ca_issue(struct ctl *c)
{
	const char *prefix = ctl_value(c, "out", c->words[0]);
	struct doc *p = doc_new_map(&c->arena), *reply;
	char *key = NULL;
	struct str spiffe, csr = STR("");
	int code;

	if (strstr(prefix, "://"))
		return ctl_fail(CTL_EXIT_USAGE, "--out PREFIX says where the files go");
	if ((code = ask_for_life(c, p)) != CTL_EXIT_OK ||
	    (code = full_name(c, &spiffe)) != CTL_EXIT_OK ||
	    (code = take_request(c, spiffe, &csr, &key)) != CTL_EXIT_OK)
		return code;
	doc_set_str(&c->arena, p, "spiffe", spiffe);
	doc_set_str(&c->arena, p, "csr", csr);
	code = call_ca(c, "Issue", p, &reply);
	if (code == CTL_EXIT_OK)
		code = write_issued(c, prefix, reply, key);
	if (key) {
		explicit_bzero(key, strlen(key));
		free(key);
	}
	if (code == CTL_EXIT_OK)
		fprintf(c->out, "%.*s serial %.*s until %.*s\n", STR_ARG(spiffe),
			STR_ARG(doc_get_str(reply, "serial", STR("-"))),
			STR_ARG(doc_get_str(reply, "notAfter", STR("-"))));
	return code;
}

/* ---- init ---------------------------------------------------------------------------------- */

static int read_into(struct ctl *c, const char *option, struct doc *p, const char *key)
{
	const char *path = ctl_value(c, option, NULL);
	struct err err;
	char *text;
	size_t n;

	if (!path)
		return CTL_EXIT_OK;
	if (fs_read(path, PEM_MAX, &text, &n, &err) < 0)
		return ctl_fail_err(&err);
	doc_set_str(&c->arena, p, key, str_from(text, n));
	free(text);
	return CTL_EXIT_OK;
}

static int request_certificate(struct ctl *c)
{
	const char *path = ctl_value(c, "csr", NULL);
	struct doc *reply;
	int code = call_ca(c, "Request", NULL, &reply);

	if (code != CTL_EXIT_OK)
		return code;
	struct str csr = doc_get_str(reply, "csr", STR(""));

	if (path)
		code = write_file(c, path, "", csr, 0644);
	else
		fprintf(c->out, "%.*s", STR_ARG(csr));
	if (code == CTL_EXIT_OK)
		ctl_note(c, "have the root sign it, then: kvmeshctl ca init --certificate FILE "
			    "--root-certificate FILE");
	return code;
}

int cmd_ca_init(struct ctl *c)
{
	struct doc *p = doc_new_map(&c->arena);
	int code;

	if (!ctl_has(c, "certificate")) {
		if (ctl_has(c, "offline-root"))
			return request_certificate(c);
		return ctl_fail(CTL_EXIT_USAGE,
				"--offline-root asks for an issuing certificate, --certificate FILE "
				"brings it; without a root elsewhere there is nothing to do: "
				"kvmesh-ca makes its own at its first start");
	}
	if ((code = read_into(c, "certificate", p, "certificate")) != CTL_EXIT_OK ||
	    (code = read_into(c, "root-certificate", p, "root")) != CTL_EXIT_OK)
		return code;
	return begin_and_follow(c, "Install", p);
}
