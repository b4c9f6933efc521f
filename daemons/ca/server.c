/* SPDX-License-Identifier: Apache-2.0 */
/* server: the CA's methods. Layer daemons/ca. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "ca/advance.h"
#include "ca/attest.h"
#include "ca/program.h"
#include "ca/people.h"
#include "ca/server_int.h"
#include "io/sd.h"

#define LIST_DEFAULT 100
#define LIST_MAX 1000
/* How often the issuer's age is looked at: some times during the overlap of two. */
#define TICK_MIN_US 1000000ll
#define TICK_MAX_US (3600 * TICK_MIN_US)

struct watcher {
	struct list node;
	struct server *server;
	struct ipc_call *call;
};

void server_set_time_s(struct arena *a, struct doc *d, const char *key, int64_t s)
{
	char text[CLOCK_RFC3339_MAX];

	doc_set_str(a, d, key, str_c(clock_rfc3339(s * 1000000, text)));
}

void server_say_status(const struct server *s)
{
	const struct registry *r = s->authority->registry;

	if (!r)
		sd_status("waiting for the router's first list of identities");
	else
		sd_status("%zu identities (%s), %lld certificates issued", r->identities.n,
			  s->fresh ? "fresh" : "router is away",
			  (long long)ledger_count(s->authority->ledger));
}

/* ---- Sign ---------------------------------------------------------------------------------- */

const char *server_error_name(int code)
{
	switch (code) {
	case KV_ERR_REFUSED:
		return IPC_E_NOT_PERMITTED;
	case KV_ERR_NOT_FOUND:
		return IPC_E_NOT_FOUND;
	case KV_ERR_SCHEMA:
	case KV_ERR_LIMIT:
		return IPC_E_INVALID;
	case -EAGAIN:
	case -EBUSY:
		return IPC_E_BUSY;
	case -ENOENT:
		return IPC_E_NOT_FOUND;
	default:
		return IPC_E_FAILED;
	}
}

static void log_denied(const struct attest *who, const char *event, const struct err *err)
{
	log_warn("%s: pid %d uid %u unit %s executable %s: %s", event, (int)who->pid,
		 (unsigned)who->uid, who->unit[0] ? who->unit : "-",
		 who->executable[0] ? who->executable : "-", err->text);
}

void server_reply_certificate(struct ipc_call *call, const struct authority_cert *cert, struct str chain)
{
	struct arena *a = ipc_call_arena(call);
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "certificate", str_c(cert->pem));
	if (chain.n > 0)
		doc_set_str(a, d, "chain", chain);
	server_set_time_s(a, d, "notBefore", cert->not_before_s);
	server_set_time_s(a, d, "notAfter", cert->not_after_s);
	doc_set_str(a, d, "serial", str_c(cert->serial.text));
	doc_set_str(a, d, "issuer", str_c(cert->issuer));
	ipc_reply(call, d);
}

/* Under kvmeshctl run the user decides alone; a process need not be looked at, and often cannot. */
static int identify(const struct server *s, const struct ipc_call *call, struct attest *ret,
		    struct err *err)
{
	const struct sock_peer *peer = ipc_call_peer(call);

	*ret = (struct attest){ .pidfd = -1, .pid = peer->pid, .uid = peer->uid };
	return s->standalone ? 0 : attest_begin(peer, ipc_call_connected_boot_us(call), ret, err);
}

static int sign_for(struct server *s, struct attest *who, const struct doc *p,
		    struct authority_cert *ret, struct err *err)
{
	const struct authority_ask ask = {
		.caller = {
			.uid = who->uid, .unit = who->unit, .executable = who->executable,
			.runs = program_runs, .process = who,
			.proxy = doc_get_str(p, "proxy", STR("")),
		},
		.csr = doc_get_str(p, "csr", STR("")),
		.spiffe = doc_get_str(p, "spiffe", STR("")),
		.now_us = clock_real_us(),
		.mono_us = loop_now_us(s->loop),
	};
	int r = authority_issue(s->authority, &ask, ret, err);

	/* Handing over is the moment that counts: still the same process? */
	if (r == 0 && who->pidfd >= 0)
		r = attest_confirm(who, err);
	return r;
}

/*
 * The issuer is in the bundle of every proxy of this node. One that was plugged in is of a root that other nodes may
 * share, with issuers of their own (docs/nodes.md).
 */
static struct str chain_of(const struct server *s)
{
	const struct keystore *k = s->authority->keystore;

	return keystore_is_plugged_in(k) ? keystore_chain_pem(k) : STR_NULL;
}

static void on_sign(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;
	struct authority_cert cert = { 0 };
	struct attest who;
	struct err err = { 0 };
	struct str spiffe = doc_get_str(p, "spiffe", STR(""));
	int r = identify(s, call, &who, &err);

	if (r < 0)
		log_denied(&who, "attest_denied", &err);
	else if ((r = sign_for(s, &who, p, &cert, &err)) < 0)
		log_denied(&who, r == KV_ERR_REFUSED ? "attest_denied" : "cert_refused", &err);
	if (r < 0) {
		ipc_reply_error(call, server_error_name(r), "%s", err.text);
	} else {
		log_info("cert_issued: serial %s identity %.*s uid %u pid %d unit %s until %lld",
			 cert.serial.text, STR_ARG(spiffe), (unsigned)who.uid, (int)who.pid,
			 who.unit[0] ? who.unit : "-", (long long)cert.not_after_s);
		server_reply_certificate(call, &cert, chain_of(s));
		server_say_status(s);
	}
	free(cert.pem);
	attest_end(&who);
}

/* ---- Roots --------------------------------------------------------------------------------- */

struct revoked_lists {
	struct arena *a;
	struct doc *serials, *ids;
};

static void add_revoked_entry(void *arg, const struct revoked_entry *e)
{
	struct revoked_lists *l = arg;

	doc_add(l->a, e->is_id ? l->ids : l->serials, doc_new_str(l->a, e->what));
}

static void add_revoked(struct arena *a, struct doc *d, const struct revoked *r)
{
	struct revoked_lists l = { a, doc_new_list(a), doc_new_list(a) };

	revoked_each(r, add_revoked_entry, &l);
	doc_set_int(a, d, "revision", revoked_revision(r));
	doc_set(a, d, "revokedSerials", l.serials);
	doc_set(a, d, "revokedIds", l.ids);
}

static void send_roots(struct watcher *w)
{
	const struct authority *ca = w->server->authority;
	struct arena a;

	if (!ca->keystore || !ca->registry)
		return;
	arena_init(&a, 0);
	struct doc *d = doc_new_map(&a);

	doc_set_str(&a, d, "trustDomain", ca->registry->trust_domain);
	doc_set_int(&a, d, "generation", (int64_t)keystore_generation(ca->keystore));
	doc_set_str(&a, d, "bundle", keystore_bundle(ca->keystore));
	doc_set_str(&a, d, "issuer", str_c(keystore_issuer_id(ca->keystore)));
	add_revoked(&a, d, ca->revoked);
	(void)ipc_stream(w->call, d);
	arena_done(&a);
}

static void on_watcher_writable(void *arg, struct ipc_call *call)
{
	(void)call;
	send_roots(arg);
}

static void on_watcher_gone(void *arg, struct ipc_call *call)
{
	struct watcher *w = arg;

	(void)call;
	list_del(&w->node);
	free(w);
}

static void on_roots(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;
	struct watcher *w = kv_zalloc(sizeof(*w));

	(void)p;
	w->server = s;
	w->call = call;
	list_push_back(&s->watchers, &w->node);
	ipc_call_on_close(call, on_watcher_gone, w);
	ipc_call_on_writable(call, on_watcher_writable, w);
	send_roots(w);
}

void server_tell_watchers(struct server *s)
{
	list_for_each(it, &s->watchers)
		send_roots(list_entry(it, struct watcher, node));
	if (s->workloads)
		grpc_tell(s->workloads);
}

static void advance_jwt(struct server *s)
{
	struct err err = { 0 };
	bool changed;

	if (authority_advance_jwt(s->authority, clock_real_us(), &changed, &err) < 0)
		log_err("the keys of tokens stay as they are: %s", err.text);
	if (changed && s->workloads)
		grpc_tell(s->workloads);
}

/* When a step may be over although nobody says a word: certificates end, keys get old. */
static void set_tick(struct server *s)
{
	const struct registry *r = s->authority->registry;
	int64_t after_us = r ? r->issuer_lifetime_us / 64 : TICK_MIN_US;

	if (r && after_us > r->jwt_key_lifetime_us / 64)
		after_us = r->jwt_key_lifetime_us / 64;
	if (after_us < TICK_MIN_US || s->authority->rotation.step != ROTATION_IDLE)
		after_us = TICK_MIN_US;
	loop_timer_set(&s->tick, (uint64_t)(after_us < TICK_MAX_US ? after_us : TICK_MAX_US));
}

void server_advance(struct server *s)
{
	struct err err = { 0 };
	bool changed = false, pruned = false;

	if (people_prune(s->authority, clock_real_us(), &pruned, &err) < 0)
		log_err("what is revoked stays on the list: %s", err.text);
	if (advance_run(s->authority, clock_real_us(), &changed, &err) < 0)
		log_err("the rotation stays where it is: %s", err.text);
	if (changed || pruned)
		server_tell_watchers(s);
	advance_jwt(s);
	set_tick(s);
}

/* ---- Ack ----------------------------------------------------------------------------------- */

static void on_ack(void *arg, struct ipc_call *call, const struct doc *p)
{
	struct server *s = arg;
	struct attest who;
	struct err err = { 0 };
	struct ack word = {
		.generation = doc_get_int(p, "generation", 0),
		.revision = doc_get_int(p, "revision", 0),
	};
	struct str issuer = doc_get_str(p, "issuer", STR("")), proxy = STR_NULL;
	int r = identify(s, call, &who, &err);

	if (r == 0) {
		const struct policy_caller caller = {
			.uid = who.uid, .unit = who.unit, .executable = who.executable,
			.proxy = doc_get_str(p, "proxy", STR("")),
		};

		r = policy_is_proxy(&s->authority->rules, &caller, &proxy, &err);
	}
	if (r < 0) {
		log_denied(&who, "attest_denied", &err);
		ipc_reply_error(call, server_error_name(r), "%s", err.text);
	} else {
		snprintf(word.issuer, sizeof(word.issuer), "%.*s", STR_ARG(str_take(issuer, 64)));
		acks_take(&s->authority->acks, proxy, &word);
		ipc_reply(call, NULL);
		server_advance(s);
	}
	attest_end(&who);
}

/* ---- Status, List -------------------------------------------------------------------------- */

static struct doc *cert_doc(struct arena *a, const struct keystore_cert *c)
{
	struct doc *d = doc_new_map(a);

	doc_set_str(a, d, "subject", str_c(c->subject));
	doc_set_str(a, d, "serial", str_c(c->serial));
	server_set_time_s(a, d, "notBefore", c->not_before_s);
	server_set_time_s(a, d, "notAfter", c->not_after_s);
	return d;
}

static void add_keystore(struct arena *a, struct doc *d, const struct keystore *k)
{
	struct keystore_cert c;

	keystore_describe_root(k, &c);
	struct doc *root = doc_set(a, d, "root", cert_doc(a, &c));

	doc_set_bool(a, root, "keyOnNode", keystore_root_key_on_node(k));
	keystore_describe_issuer(k, &c);
	struct doc *issuer = doc_set(a, d, "issuer", cert_doc(a, &c));

	doc_set_bool(a, issuer, "keyOnNode", true);
	doc_set_bool(a, issuer, "pluggedIn", keystore_is_plugged_in(k));
}

static void on_status(void *arg, struct ipc_call *call, const struct doc *p)
{
	const struct server *s = arg;
	const struct authority *ca = s->authority;
	struct arena *a = ipc_call_arena(call);
	struct doc *d = doc_new_map(a), *registry = doc_new_map(a);
	int64_t last_us = ledger_high_water_us(ca->ledger);

	(void)p;
	doc_set_str(a, d, "software", STR(PACKAGE_VERSION));
	doc_set_int(a, d, "pid", getpid());
	doc_set_int(a, d, "uptimeSeconds", (int64_t)((clock_mono_us() - s->started_us) / 1000000));
	if (ca->registry) {
		doc_set_str(a, d, "trustDomain", ca->registry->trust_domain);
		doc_set_int(a, registry, "generation", ca->registry->generation);
	}
	if (ca->keystore)
		add_keystore(a, d, ca->keystore);
	doc_set_int(a, d, "issued", ledger_count(ca->ledger));
	doc_set_int(a, d, "identities", ca->registry ? (int64_t)ca->registry->identities.n : 0);
	if (last_us > 0)
		server_set_time_s(a, d, "lastIssued", last_us / 1000000);
	struct doc *rotation = advance_status(ca, a);

	if (rotation)
		doc_set(a, d, "rotation", rotation);
	doc_set(a, d, "revoked", advance_revoked_status(ca, a));
	doc_set_bool(a, registry, "fresh", s->fresh);
	if (ca->refused_registry[0])
		doc_set_str(a, registry, "error", str_c(ca->refused_registry));
	doc_set(a, d, "registry", registry);
	ipc_reply(call, d);
}

struct lister {
	struct arena *a;
	struct doc *list;
	const struct revoked *revoked;
	int64_t now_s;
};

static struct str state_of(const struct lister *l, const struct ledger_entry *e)
{
	if (e->not_after_s <= l->now_s)
		return STR("expired");
	return revoked_has(l->revoked, e->serial) || revoked_has(l->revoked, e->spiffe)
		       ? STR("revoked")
		       : STR("valid");
}

static void add_entry(void *arg, const struct ledger_entry *e)
{
	struct lister *l = arg;
	struct doc *d = doc_add(l->a, l->list, doc_new_map(l->a));

	doc_set_str(l->a, d, "spiffe", e->spiffe);
	doc_set_str(l->a, d, "serial", e->serial);
	server_set_time_s(l->a, d, "notBefore", e->not_before_s);
	server_set_time_s(l->a, d, "notAfter", e->not_after_s);
	server_set_time_s(l->a, d, "issuedAt", e->issued_at_us / 1000000);
	doc_set_int(l->a, d, "uid", (int64_t)e->uid);
	doc_set_str(l->a, d, "unit", e->unit);
	doc_set_str(l->a, d, "proxy", e->proxy);
	doc_set_str(l->a, d, "state", state_of(l, e));
}

static void on_list(void *arg, struct ipc_call *call, const struct doc *p)
{
	const struct server *s = arg;
	struct arena *a = ipc_call_arena(call);
	struct doc *d = doc_new_map(a);
	struct lister l = {
		.a = a,
		.list = doc_new_list(a),
		.revoked = s->authority->revoked,
		.now_s = clock_real_us() / 1000000,
	};
	int64_t limit = doc_get_int(p, "limit", LIST_DEFAULT);
	struct err err = { 0 };

	if (limit < 1 || limit > LIST_MAX) {
		ipc_reply_error(call, IPC_E_INVALID, "limit must be 1 to %d", LIST_MAX);
		return;
	}
	int r = ledger_list(s->authority->ledger, doc_get_str(p, "spiffe", STR("")), limit,
			    add_entry, &l, &err);

	if (r < 0) {
		ipc_reply_error(call, IPC_E_FAILED, "%s", err.text);
		return;
	}
	doc_set(a, d, "certificates", l.list);
	ipc_reply(call, d);
}

static const struct ipc_method methods[] = {
	{ "Sign", IPC_ALLOW_ANY, on_sign, "a certificate for an identity that the caller proves" },
	{ "Roots", IPC_ALLOW_ANY, on_roots, "the trust bundle, again whenever it changes" },
	{ "Ack", IPC_ALLOW_ANY, on_ack, "a proxy tells what is in force in it" },
	{ "Rotate", IPC_ALLOW_WRITE, server_on_rotate, "another issuer, another root; or go on, or go back" },
	{ "Issue", IPC_ALLOW_WRITE, server_on_issue, "a certificate by hand, for no workload of this node" },
	{ "SignReport", IPC_ALLOW_WRITE, server_on_sign_report, "a signature under the digest of a compliance report" },
	{ "Request", IPC_ALLOW_WRITE, server_on_request, "a request for an issuing certificate of a root elsewhere" },
	{ "Install", IPC_ALLOW_WRITE, server_on_install, "… and its answer" },
	{ "Revoke", IPC_ALLOW_WRITE, server_on_revoke, "a certificate or an identity is not trusted any more" },
	{ "Revoked", IPC_ALLOW_READ, server_on_revoked, "what is revoked" },
	{ "Status", IPC_ALLOW_READ, on_status, "root, issuer, registry" },
	{ "List", IPC_ALLOW_READ, on_list, "issued certificates, newest first" },
	{ NULL },
};

/* ---- the router's list --------------------------------------------------------------------- */

static void on_identities(void *arg, const char *error_name_, const struct doc *p, bool continues)
{
	struct server *s = arg;
	struct err err = { 0 };
	bool changed;

	(void)continues;
	if (error_name_) {
		if (strcmp(error_name_, IPC_E_DISCONNECTED) != 0)
			log_err("the router refuses its list of identities: %.*s",
				STR_ARG(doc_get_str(p, "message", str_c(error_name_))));
		return;
	}
	int r = authority_set_registry(s->authority, p, clock_real_us(), &changed, &err);

	if (r < 0)
		log_err("the router's list of identities is not used: %s", err.text);
	s->fresh = r == 0;
	if (changed)
		server_tell_watchers(s);
	server_advance(s);                     /* a proxy that is no more is not waited for */
	if (s->workloads)
		grpc_tell(s->workloads);
	server_say_status(s);
}

static void on_router(void *arg, bool connected)
{
	struct server *s = arg;

	if (connected) {
		ipc_client_call(s->router, "Identities", NULL, true, on_identities, s);
		return;
	}
	s->fresh = false;
	server_say_status(s);
}

void server_reload(struct server *s)
{
	struct err err = { 0 };
	bool changed;
	int r = authority_reload(s->authority, clock_real_us(), &changed, &err);

	if (r < 0)
		log_err("the old keys stay in use: %s", err.text);
	else
		log_info("reload: the trust bundle is %s", changed ? "new" : "the same");
	if (changed)
		server_tell_watchers(s);
	server_advance(s);
}

static void on_tick(void *arg)
{
	server_advance(arg);
}

/*
 * RUN/ca/workload-api.sock, and its well-known name beside the directories of the daemons; under systemd
 * that directory is not ours and tmpfiles.d makes the link.
 */
static struct grpc *serve_workloads(struct server *s, const struct daemon_options *o)
{
	_cleanup_free_ char *link = kv_asprintf("%s/workload-api.sock", o->run_dir);
	struct err err = { 0 };
	int fd = daemon_listen(o, "ca", "workload-api.sock", &err);

	if (fd < 0) {
		log_err("no Workload API: %s", err.text);
		return NULL;
	}
	if (symlink("ca/workload-api.sock", link) != 0 && errno != EEXIST)
		log_debug("no link %s: %s", link, strerror(errno));
	return workload_api_new(s->loop, fd, s->authority, s->standalone);
}

struct server *server_new(struct loop *l, const struct daemon_options *o, struct authority *a,
			  int listen_fd)
{
	struct server *s = kv_zalloc(sizeof(*s));
	_cleanup_free_ char *router = kv_asprintf("%s/router/router.sock", o->run_dir);

	s->loop = l;
	s->authority = a;
	s->standalone = o->standalone;
	s->started_us = clock_mono_us();
	list_init(&s->watchers);
	s->ipc = ipc_server_new(l, listen_fd, methods, s);
	s->router = ipc_client_new(l, router);
	ipc_client_on_connect(s->router, on_router, s);
	s->workloads = serve_workloads(s, o);
	loop_timer_init(&s->tick, l, on_tick, s);
	loop_timer_set(&s->tick, TICK_MIN_US);
	server_say_status(s);
	return s;
}

void server_free(struct server *s)
{
	grpc_free(s->workloads);
	ipc_server_free(s->ipc);
	ipc_client_free(s->router);
	loop_timer_done(&s->tick);
	free(s);
}
