/* SPDX-License-Identifier: Apache-2.0 */
/* server_admin: what an administrator orders over ca.sock, see docs/IPC.md. Layer daemons/ca. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "ca/advance.h"
#include "ca/ceremony.h"
#include "ca/people.h"
#include "ca/report.h"
#include "ca/server_int.h"

/* ---- Rotate -------------------------------------------------------------------------------- */

static void reply_rotation(struct server *s, struct ipc_call *call)
{
	struct arena *a = ipc_call_arena(call);
	struct doc *d = doc_new_map(a), *rotation = advance_status(s->authority, a);

	if (rotation)
		doc_set(a, d, "rotation", rotation);
	ipc_reply(call, d);
}

void server_on_rotate(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;
	struct err err = { 0 };
	bool changed = false;
	enum advance_order order = ADVANCE_ISSUER;

	if (doc_get_bool(p, "abort", false))
		order = ADVANCE_ABORT;
	else if (doc_get_bool(p, "force", false))
		order = ADVANCE_FORCE;
	else if (doc_get_bool(p, "root", false))
		order = ADVANCE_ROOT;
	int r = advance_order(s->authority, order, clock_real_us(), &changed, &err);

	if (r < 0) {
		ipc_reply_error(call, server_error_name(r), "%s", err.text);
		return;
	}
	log_info("rotation: ordered by uid %u", (unsigned)ipc_call_peer(call)->uid);
	if (changed)
		server_tell_watchers(s);
	server_advance(s);
	reply_rotation(s, call);
}

/* ---- Issue, Revoke ------------------------------------------------------------------------- */

void server_on_issue(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;
	const struct sock_peer *peer = ipc_call_peer(call);
	struct authority_cert cert = { 0 };
	struct err err = { 0 };
	const struct authority_ask ask = {
		.caller = { .uid = peer->uid, .unit = "", .executable = "" },
		.csr = doc_get_str(p, "csr", STR("")),
		.spiffe = doc_get_str(p, "spiffe", STR("")),
		.now_us = clock_real_us(),
		.mono_us = loop_now_us(s->loop),
	};
	int r = people_issue(s->authority, &ask, doc_get_int(p, "lifetimeUs", 0), &cert, &err);

	if (r < 0) {
		log_warn("cert_refused: by hand, uid %u: %s", (unsigned)peer->uid, err.text);
		ipc_reply_error(call, server_error_name(r), "%s", err.text);
		return;
	}
	log_info("cert_issued: serial %s identity %.*s by hand, uid %u until %lld", cert.serial.text,
		 STR_ARG(ask.spiffe), (unsigned)peer->uid, (long long)cert.not_after_s);
	server_reply_certificate(call, &cert, STR_NULL);
	free(cert.pem);
	server_say_status(s);
}

void server_on_revoke(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;
	struct arena *a = ipc_call_arena(call);
	struct err err = { 0 };
	const struct people_revoke order = {
		.serial = doc_get_str(p, "serial", STR("")),
		.spiffe = doc_get_str(p, "spiffe", STR("")),
		.reason = doc_get_str(p, "reason", STR("")),
		.lift = doc_get_bool(p, "lift", false),
		.uid = ipc_call_peer(call)->uid,
		.now_us = clock_real_us(),
	};
	int r = people_revoke(s->authority, &order, &err);

	if (r < 0) {
		ipc_reply_error(call, server_error_name(r), "%s", err.text);
		return;
	}
	log_warn("%s: %.*s%.*s by uid %u", order.lift ? "revocation_lifted" : "revoked",
		 STR_ARG(order.serial), STR_ARG(order.spiffe), (unsigned)order.uid);
	server_tell_watchers(s);
	struct doc *d = doc_new_map(a);

	doc_set_int(a, d, "revision", revoked_revision(s->authority->revoked));
	ipc_reply(call, d);
}

struct revoked_rows {
	struct arena *a;
	struct doc *list;
};

static void add_revoked_row(void *arg, const struct revoked_entry *e)
{
	struct revoked_rows *l = arg;
	struct doc *d = doc_add(l->a, l->list, doc_new_map(l->a));

	doc_set_str(l->a, d, e->is_id ? "spiffe" : "serial", e->what);
	server_set_time_s(l->a, d, "revokedAt", e->at_s);
	server_set_time_s(l->a, d, "until", e->until_s);
	doc_set_int(l->a, d, "uid", (int64_t)e->uid);
	doc_set_str(l->a, d, "reason", e->reason);
}

void server_on_revoked(void *arg, struct ipc_call *call, const struct doc *p)
{
	const struct server *s = arg;
	struct arena *a = ipc_call_arena(call);
	struct doc *d = doc_new_map(a);
	struct revoked_rows l = { a, doc_new_list(a) };

	(void)p;
	revoked_each(s->authority->revoked, add_revoked_row, &l);
	doc_set_int(a, d, "revision", revoked_revision(s->authority->revoked));
	doc_set(a, d, "revoked", l.list);
	ipc_reply(call, d);
}

/* ---- SignReport ---------------------------------------------------------------------------- */

void server_on_sign_report(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;
	struct arena *a = ipc_call_arena(call);
	const struct report_ask ask = {
		.sha256 = doc_get_str(p, "sha256", STR("")),
		.uid = ipc_call_peer(call)->uid,
		.now_us = clock_real_us(),
	};
	struct report_signed done;
	char when[CLOCK_RFC3339_MAX];
	struct err err = { 0 };
	int r = report_sign(s->authority, &ask, a, &done, &err);

	if (r < 0) {
		log_warn("report_refused: uid %u: %s", (unsigned)ask.uid, err.text);
		ipc_reply_error(call, server_error_name(r), "%s", err.text);
		return;
	}
	log_info("report_signed: sha256 %.*s serial %s uid %u", STR_ARG(ask.sha256),
		 done.serial.text, (unsigned)ask.uid);
	const struct tls_statement *st = &done.statement;
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "signedAt", arena_str(a, str_c(clock_rfc3339(st->signed_at_us, when))));
	doc_set_str(a, d, "signedBy", st->signed_by);
	doc_set_str(a, d, "certificate", st->certificate);
	doc_set_str(a, d, "chain", st->chain);
	doc_set_str(a, d, "signature", st->signature);
	ipc_reply(call, d);
	server_say_status(s);
}

/* ---- Request, Install ---------------------------------------------------------------------- */

void server_on_request(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;
	struct arena *a = ipc_call_arena(call);
	_cleanup_free_ char *pem = NULL;
	struct err err = { 0 };
	int r = ceremony_request(s->authority, &pem, &err);

	(void)p;
	if (r < 0) {
		ipc_reply_error(call, server_error_name(r), "%s", err.text);
		return;
	}
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "csr", str_c(pem));
	ipc_reply(call, d);
}

void server_on_install(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;
	struct err err = { 0 };
	const struct ceremony_answer answer = {
		.certificate = doc_get_str(p, "certificate", STR("")),
		.root = doc_get_str(p, "root", STR("")),
	};
	bool changed;
	int r = ceremony_install(s->authority, &answer, clock_real_us(), &changed, &err);

	if (r < 0) {
		ipc_reply_error(call, r == -EBUSY || r == -EAGAIN ? IPC_E_BUSY : IPC_E_INVALID,
				"%s", err.text);
		return;
	}
	log_info("rotation: another issuer was brought by uid %u",
		 (unsigned)ipc_call_peer(call)->uid);
	if (changed)
		server_tell_watchers(s);
	server_advance(s);
	reply_rotation(s, call);
}
