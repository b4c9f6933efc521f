/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control: snapshots from the router (or from disk) to the workers, see control.h. Layer proxy.
 *
 * A snapshot is loaded, attached and published, or refused with a sentence and nothing changes (F5,
 * F6). It is acknowledged once its identities have live certificates. The last good one is on disk
 * for a start without the router (F3).
 */
#include "config.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/sd.h"
#include "ipc/daemon.h"
#include "ipc/kept.h"
#include "proxy/barrier.h"
#include "proxy/egress.h"
#include "proxy/control_int.h"
#include "proxy/tokens.h"

#define SILENT_US (1u * 1000 * 1000)    /* the router says nothing at start: the last good one */
#define WATCH_RETRY_US (1u * 1000 * 1000)
#define WATCH_RETRY_START_US (100u * 1000)
#define ACK_RETRY_US (500u * 1000)
#define REFUSED_RETRY_US (5u * 1000 * 1000)     /* nothing is served, what came was refused */
#define ACK_DEADLINE_US (5u * 1000 * 1000)      /* missing certificates hold an ack no longer */
#define REPUBLISH_US (20u * 1000)       /* certificates that come together are one attachment */
#define PROBE_US (1u * 1000 * 1000)
#define TRIM_US (100u * 1000)

/* ---- acknowledging ------------------------------------------------------------------------- */

static void on_acked(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct control *c = arg;

	(void)continues;
	if (!error_name) {
		c->ack.told = true;
		return;
	}
	log_debug("ack: %s: %.*s", error_name, STR_ARG(doc_get_str(p, "message", STR(""))));
	if (!c->stopping)
		loop_timer_set(&c->ack_retry, ACK_RETRY_US);
}

static void send_ack(void *arg)
{
	struct control *c = arg;
	struct arena a;

	if (c->ack.version == 0 || c->ack.waiting || c->ack.told || c->stopping)
		return;
	loop_timer_stop(&c->ack_retry);
	arena_init(&a, 0);
	struct doc *p = doc_new_map(&a);

	doc_set_str(&a, p, "proxy", str_c(c->instance));
	doc_set_int(&a, p, "version", c->ack.version);
	doc_set_int(&a, p, "pid", getpid());
	doc_set_str(&a, p, "software", STR(PACKAGE_VERSION));
	if (c->ack.error)
		doc_set_str(&a, p, "error", str_c(c->ack.error));
	ipc_client_call(c->call, "Ack", p, false, on_acked, c);
	arena_done(&a);
}

static void ack_as(struct control *c, int64_t version, const char *error, bool waiting)
{
	free(c->ack.error);
	c->ack = (struct control_ack){
		.version = version,
		.error = error ? kv_strdup(error) : NULL,
		.waiting = waiting,
	};
	if (waiting)
		loop_timer_set(&c->ack_deadline, ACK_DEADLINE_US);
	else
		loop_timer_stop(&c->ack_deadline);
	send_ack(c);
}

static void on_ack_deadline(void *arg)
{
	struct control *c = arg;

	if (!c->ack.waiting)
		return;
	log_warn("snapshot %lld is served, but not all of its identities have certificates yet",
		 (long long)c->ack.version);
	c->ack.waiting = false;
	send_ack(c);
}

/* ---- ready --------------------------------------------------------------------------------- */

bool control_is_ready(const struct control *c)
{
	return c->at && secrets_are_live(c->secrets, &c->at->snap->identities);
}

static void announce(struct control *c)
{
	sd_ready("serving snapshot %lld", (long long)c->at->snap->version);
	if (c->ready_fd >= 0)
		sd_ready_fd(c->ready_fd);
}

/* After what workers serve has changed. */
static void check_ready(struct control *c)
{
	if (!control_is_ready(c))
		return;
	if (c->at->n_missing > 0)
		return;         /* a certificate came just now: the next attachment has it */
	if (c->ack.waiting) {
		c->ack.waiting = false;
		loop_timer_stop(&c->ack_deadline);
		send_ack(c);
	}
	if (c->ready)
		return;
	c->ready = true;
	log_info("ready: snapshot %lld%s", (long long)c->at->snap->version,
		 c->stale ? " from disk, the router is silent" : "");
	if (c->server)
		announce(c);
	c->on_ready(c->arg);
}

void control_take_over(struct control *c)
{
	control_serve(c);
	if (c->ready)
		announce(c);
}

int control_socket(const struct control *c)
{
	return c->socket_fd;
}

void control_leave(struct control *c)
{
	if (c->server)
		ipc_server_leave(c->server);
	close(c->socket_fd);
	c->socket_fd = -1;
}

void control_use_upgrade(struct control *c, struct upgrade *u)
{
	c->upgrade = u;
}

/* ---- publishing ---------------------------------------------------------------------------- */

/* Nobody waits for the certificate of an identity that is revoked. */
static void attach_trust(struct control *c, struct attached *at)
{
	struct tls_trust *trust = secrets_trust(c->secrets);

	at->trust = trust ? tls_trust_ref(trust) : NULL;
	for (size_t i = 0; i < at->snap->identities.n; i++)
		if (!at->identities[i] && secrets_is_revoked(c->secrets, at->snap->identities.v[i]))
			at->n_missing--;
}

/* All workers serve some attachment now; if it is the last one, the CA is told. */
static void on_taken(void *arg)
{
	struct control *c = arg;

	if (c->n_taking > 0 && --c->n_taking == 0 && !c->stopping)
		secrets_in_force(c->secrets, &c->published);
}

#define UNKNOWN_US (UINT64_C(1) * 1000 * 1000)

/* From now on such tokens are told again. */
static void on_unknown_over(void *arg)
{
	const struct control *c = arg;

	if (c->at)
		tokens_forget(c->at->tokens);
}

/* A worker has seen a token of a key that is not known. */
static void on_unknown(void *arg)
{
	struct control *c = arg;

	if (c->stopping)
		return;
	for (size_t i = 0; c->at && i < c->at->snap->jwt_rules.n; i++)
		if (tokens_unknown(c->at->tokens, i))
			jwks_hurry(c->jwks, &c->at->snap->jwt_rules.v[i]);
	if (!c->unknown.armed)
		loop_timer_set(&c->unknown, UNKNOWN_US);
}

static int publish(struct control *c, struct snap *snap, struct err *err)
{
	struct attached *at, *old = c->at;
	int r = attach_new(c->states, snap, secrets_identities(c->secrets), old, &at, err);

	if (r < 0)
		return r;
	attach_trust(c, at);
	tokens_watch(at->tokens, c->loop, on_unknown, c);
	egress_attach(c->egress, at);
	r = worker_publish(c->ws, at, err);
	if (r < 0) {
		attach_unref(at);
		attach_state_sweep(c->states);
		return r;
	}
	c->published = secrets_mark(c->secrets);
	c->n_taking++;
	barrier_wait(c->ws, c->loop, on_taken, c);
	c->at = at;
	attach_unref(old);
	attach_state_sweep(c->states);
	return 0;
}

static int publish_given(struct control *c, struct snap *given, struct err *err)
{
	struct snap *named, *s;
	int r = lookup_resolve(c->lookup, given, &named, err);

	if (r < 0)
		return r;
	r = jwks_fill(c->jwks, named, &s, err);
	snap_unref(named);
	if (r < 0)
		return r;
	r = publish(c, s, err);
	snap_unref(s);
	return r;
}

/* The same snapshot over other certificates. */
static void on_republish(void *arg)
{
	struct control *c = arg;
	struct err err = { 0 };

	if (!c->at || c->stopping)
		return;
	if (publish(c, c->at->snap, &err) < 0)
		log_err("renewed certificates cannot be used yet: %s", err.text);
	check_ready(c);
}

/* Names have addresses, URLs have keys, or others than before. */
static void on_lookup(void *arg)
{
	struct control *c = arg;
	struct err err = { 0 };

	if (!c->given || c->stopping)
		return;
	if (publish_given(c, c->given, &err) < 0)
		log_err("what was looked up cannot be used: %s", err.text);
	check_ready(c);
}

/* Keys of tokens come from outside as well. */
static bool may_fetch(void *arg, struct str host, const struct sock_addr *a, bool named, struct err *err)
{
	struct control *c = arg;
	struct attached_way way = { .outside = true, .named = named };

	if (c->at && c->at->residency && named)
		egress_way_of_entry(c->at, host, &way);
	return !c->at || egress_allows(c->at, c->own, &way, a, err);
}

static void on_secrets(void *arg)
{
	struct control *c = arg;

	if (!c->stopping && !c->republish.armed)
		loop_timer_set(&c->republish, REPUBLISH_US);
}

static int check_snap(const struct control *c, const struct snap *s, struct err *err)
{
	const struct snap_settings *set = &s->settings;

	if (!str_eq(s->proxy, str_c(c->instance)))
		return err_set(err, KV_ERR_CHECK,
			       "the snapshot is for proxy \"%.*s\", not for \"%s\"",
			       STR_ARG(s->proxy), c->instance);
	if (set->access_log.n > 0)
		return access_log_check(set->access_log_json, set->access_log_format, err);
	return 0;
}

/* A log that cannot be opened is no reason to refuse a policy. */
static void use_log(struct control *c, const struct snap_settings *set)
{
	struct err err = { 0 };

	if (access_log_configure(c->log, set->access_log, set->access_log_json,
				 set->access_log_format, &err) < 0)
		log_err("%s", err.text);
}

/* Takes the reference. */
static int apply(struct control *c, struct snap *snap, struct err *err)
{
	int r = check_snap(c, snap, err);

	if (r == 0)
		r = publish_given(c, snap, err);
	if (r == 0) {
		snap_unref(c->given);
		c->given = snap_ref(snap);
		lookup_want(c->lookup, snap);
		jwks_want(c->jwks, snap);
		use_log(c, &snap->settings);
		overload_configure(c->overload, &snap->settings);
		secrets_want(c->secrets, &snap->identities);
		c->last_ok_real_us = clock_real_us();
	}
	c->last_load_ok = r == 0;
	snap_unref(snap);
	return r;
}

/* ---- the last good one --------------------------------------------------------------------- */

static void start_from_disk(void *arg)
{
	struct control *c = arg;
	struct err err = { 0 };
	char *json = NULL;
	struct snap *snap;
	size_t n;

	if (c->at || c->stopping)
		return;
	int r = kept_load(c->kept_path, IPC_REPLY_MAX, &json, &n, &err);

	if (r == -ENOENT) {
		log_info("the router is silent and there is no snapshot of an earlier run: nothing "
			 "is served yet");
		return;
	}
	if (r == 0)
		r = snap_load(str_from(json, n), &snap, &err);
	free(json);
	if (r == 0)
		r = apply(c, snap, &err);
	if (r < 0) {
		log_err("the last snapshot cannot be used: %s", err.text);
		return;
	}
	c->stale = true;
	log_warn("the router is silent: serving snapshot %lld of an earlier run",
		 /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): apply sets it, else r < 0 */
		 (long long)c->at->snap->version);
	check_ready(c);
}

/* ---- the router ---------------------------------------------------------------------------- */

/* What we serve already, told again after a new connection. */
static bool is_current(const struct control *c, int64_t version, const struct snap *s)
{
	return c->at && c->at->snap->version == version &&
	       snap_content_hash(s) == snap_content_hash(c->given);
}

static void refuse(struct control *c, int64_t version, const struct err *err)
{
	log_err("config_rejected: snapshot %lld: %s%s", (long long)version, err->text,
		c->at ? "; the one before stays" : "");
	ack_as(c, version, err->text, false);
	if (!c->at)
		start_from_disk(c);
	/* The reason may go away by itself: a port that another program still holds. */
	if (!c->at)
		loop_timer_set(&c->redial, REFUSED_RETRY_US);
}

/* For a start without the router. */
static void keep(struct control *c, const struct doc *body)
{
	struct err err = { 0 };
	struct arena a;

	arena_init(&a, 64u << 10);
	if (kept_save(c->kept_path, doc_to_json(body, &a, false), &err) < 0)
		log_err("the snapshot cannot be kept for the next start: %s", err.text);
	arena_done(&a);
}

static void take_snapshot(struct control *c, int64_t version, const struct doc *body)
{
	struct err err = { 0 };
	struct snap *snap;
	int r = snap_read(body, &snap, &err);

	if (r == 0 && is_current(c, version, snap)) {
		c->stale = false;
		snap_unref(snap);
		ack_as(c, version, NULL, !control_is_ready(c));
		return;
	}
	if (r == 0)
		r = apply(c, snap, &err);
	else
		c->last_load_ok = false;
	if (r < 0) {
		refuse(c, version, &err);
		return;
	}
	c->stale = false;
	log_info("config_applied: snapshot %lld", (long long)version);
	if (c->ready)
		sd_status("serving snapshot %lld", (long long)version);
	ack_as(c, version, NULL, true);
	check_ready(c);
	keep(c, body);
}

static void on_snapshot(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct control *c = arg;
	const struct doc *body = error_name ? NULL : doc_get(p, STR("snapshot"));

	if (c->stopping)
		return;
	if (error_name && strcmp(error_name, IPC_E_DISCONNECTED) == 0)
		return;
	if (!continues)
		loop_timer_set(&c->watch_retry, c->at ? WATCH_RETRY_US : WATCH_RETRY_START_US);
	if (error_name)
		log_warn("router: %s: %.*s", error_name,
			 STR_ARG(doc_get_str(p, "message", STR(""))));
	if (!body)
		return;
	take_snapshot(c, doc_get_int(p, "version", 0), body);
	/* The message goes when this returns, and what it took is not needed until the next. */
	loop_timer_set(&c->trim, TRIM_US);
}

static void watch(void *arg)
{
	struct control *c = arg;
	struct arena a;

	if (!ipc_client_is_connected(c->watch))
		return;                 /* on_watch_connected comes back here */
	arena_init(&a, 0);
	struct doc *p = doc_new_map(&a);

	doc_set_str(&a, p, "proxy", str_c(c->instance));
	ipc_client_call(c->watch, "Watch", p, true, on_snapshot, c);
	arena_done(&a);
}

static void on_watch_connected(void *arg, bool connected)
{
	if (connected)
		watch(arg);
}

static void on_call_connected(void *arg, bool connected)
{
	if (connected)
		send_ack(arg);
}

static struct ipc_client *dial_router(struct control *c,
				      void (*connected)(void *arg, bool connected))
{
	_cleanup_free_ char *path = kv_asprintf("%s/router/router.sock", c->run_dir);
	struct ipc_client *client = ipc_client_new(c->loop, path);

	ipc_client_on_connect(client, connected, c);
	return client;
}

static void trim(void *arg)
{
	(void)arg;
	(void)malloc_trim(0);
}

static void redial(void *arg)
{
	struct control *c = arg;

	ipc_client_free(c->watch);
	c->watch = dial_router(c, on_watch_connected);
}

/* ---- counters ------------------------------------------------------------------------------ */

static void on_probe(void *arg)
{
	struct control *c = arg;

	for (size_t i = 0; i < worker_count(c->ws); i++) {
		struct worker *w = worker_at(c->ws, i);

		stats_probe_loop(w->stats, w->loop);
	}
	/* Renewed certificates in files are used without being told, as other countries are. */
	if (c->at && (egress_is_outdated(c->egress) || attach_is_outdated(c->at)))
		on_secrets(c);
	loop_timer_set(&c->probe, PROBE_US);
}

struct stats **control_all_stats(struct control *c, size_t *ret_n)
{
	size_t n;
	struct stats *const *workers = worker_stats(c->ws, &n);
	struct stats **all = kv_malloc((n + 1) * sizeof(struct stats *));
	uint64_t lost = access_log_lost(c->log);

	stats_add(c->own, STATS_LOG_DROPPED, (int64_t)(lost - c->lost_lines));
	c->lost_lines = lost;
	for (size_t i = 0; i < n; i++)
		all[i] = workers[i];
	all[n] = c->own;
	*ret_n = n + 1;
	return all;
}

/* ---- life ---------------------------------------------------------------------------------- */

static int make_kept_path(struct control *c, const struct control_options *o, struct err *err)
{
	const struct daemon_options d = { .state_dir = o->state_dir };
	_cleanup_free_ char *dir = NULL;
	int r = daemon_state_dir(&d, "proxy", &dir, err);

	if (r < 0)
		return r;
	c->kept_path = kv_asprintf("%s/%s.snapshot", dir, o->instance);
	return 0;
}

static void start(struct control *c)
{
	const size_t n = worker_count(c->ws);

	loop_timer_init(&c->watch_retry, c->loop, watch, c);
	loop_timer_init(&c->silent, c->loop, start_from_disk, c);
	loop_timer_init(&c->ack_retry, c->loop, send_ack, c);
	loop_timer_init(&c->ack_deadline, c->loop, on_ack_deadline, c);
	loop_timer_init(&c->republish, c->loop, on_republish, c);
	loop_timer_init(&c->unknown, c->loop, on_unknown_over, c);
	loop_timer_init(&c->probe, c->loop, on_probe, c);
	loop_timer_init(&c->redial, c->loop, redial, c);
	loop_timer_init(&c->trim, c->loop, trim, c);
	c->states = attach_state_new();
	c->egress = egress_new();
	c->own = stats_new();
	c->overload = overload_new(c->loop, c->ws);
	c->log = access_log_writer_new(c->loop, n);
	c->resolver = resolver_new(c->loop);
	/* Before the first publish, whose post makes it visible to the worker. */
	for (size_t i = 0; i < n; i++) {
		worker_at(c->ws, i)->log = access_log_ring(c->log, i);
		named_use(worker_at(c->ws, i)->names, c->resolver);
	}
	c->lookup = lookup_new(c->loop, on_lookup, c);
	c->jwks = jwks_new(c->loop, on_lookup, may_fetch, c);
	c->secrets = secrets_new(c->loop, c->run_dir, c->instance, on_secrets, c);
	c->watch = dial_router(c, on_watch_connected);
	c->call = dial_router(c, on_call_connected);
	loop_timer_set(&c->silent, SILENT_US);
	loop_timer_set(&c->probe, PROBE_US);
}

struct control *control_new(struct loop *l, struct worker_set *ws, const struct control_options *o,
			    void (*ready)(void *arg), void *arg, struct err *err)
{
	struct control *c = kv_zalloc(sizeof(*c));

	c->loop = l;
	c->ws = ws;
	c->run_dir = kv_strdup(o->run_dir);
	c->instance = kv_strdup(o->instance);
	c->ready_fd = o->ready_fd;
	c->socket_fd = o->socket_fd;
	c->on_ready = ready;
	c->arg = arg;
	c->started_us = clock_mono_us();
	c->started_real_us = clock_real_us();
	if (make_kept_path(c, o, err) < 0 || (c->socket_fd < 0 && control_listen(c, err) < 0)) {
		free(c->kept_path);
		free(c->instance);
		free(c->run_dir);
		free(c);
		return NULL;
	}
	start(c);
	if (o->socket_fd < 0)
		control_serve(c);
	return c;
}

void control_reload(struct control *c)
{
	if (c->stopping)
		return;
	access_log_reopen(c->log);
	secrets_retry(c->secrets);
	/* Replaced files of SIMPLE and MUTUAL clusters are read again. */
	loop_timer_set(&c->republish, REPUBLISH_US);
	redial(c);
}

static void stop_timers(struct control *c)
{
	struct loop_timer *all[] = { &c->watch_retry, &c->silent, &c->ack_retry, &c->ack_deadline,
				     &c->republish,   &c->unknown, &c->probe,    &c->redial,
				     &c->trim };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		loop_timer_stop(all[i]);
}

void control_stopping(struct control *c)
{
	c->stopping = true;
	stop_timers(c);
}

void control_free(struct control *c)
{
	if (!c)
		return;
	control_stopping(c);
	ipc_server_free(c->server);
	if (c->socket_fd >= 0)
		close(c->socket_fd);
	ipc_client_free(c->watch);
	ipc_client_free(c->call);
	secrets_free(c->secrets);
	jwks_free(c->jwks);
	lookup_free(c->lookup);
	egress_free(c->egress);
	resolver_free(c->resolver);
	snap_unref(c->given);
	attach_unref(c->at);
	attach_state_free(c->states);
	access_log_writer_free(c->log);
	overload_free(c->overload);
	stats_free(c->own);
	free(c->ack.error);
	free(c->kept_path);
	free(c->instance);
	free(c->run_dir);
	free(c);
}
