/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvmesh-metrics: collects what the proxies count and serves it to Prometheus. Layer
 * daemons/metrics. One thread; it changes nothing, and nothing waits for it.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/sd.h"
#include "ipc/daemon.h"
#include "ipc/ipc.h"
#include "ipc/rights.h"
#include "metrics/evidence.h"
#include "metrics/http.h"
#include "metrics/scrape.h"
#include "metrics/settings.h"
#include "metrics/witnessed.h"

#define BIND_RETRY_US (2u * 1000 * 1000)
#define FLUSH_US (5u * 1000 * 1000)

static const struct daemon_program program = {
	.name = "kvmesh-metrics",
	.summary = "serves metrics to Prometheus (--listen ADDRESS:PORT instead of metrics.listen)",
};

struct metrics {
	const struct daemon_options *o;
	struct loop *loop;
	struct scrape *scrape;
	struct http *http;
	struct ipc_server *server;
	struct settings_watch *watch;   /* NULL: --listen was given */
	struct settings settings;
	struct witnessed witnessed;
	struct evidence *evidence;      /* NULL: its file cannot be used */
	struct loop_timer bind_retry, flush;
	struct daemon_signals signals;
	uint64_t started_us;
	bool ready;
	int exit_code;
};

/* ---- metrics.sock -------------------------------------------------------------------------- */

static void on_status(void *arg, struct ipc_call *call, const struct doc *parameters)
{
	struct metrics *m = arg;
	struct arena *a = ipc_call_arena(call);
	struct doc *d = doc_new_map(a);
	char text[SOCK_ADDR_TEXT_MAX];

	(void)parameters;
	doc_set_str(a, d, "software", STR(PACKAGE_VERSION));
	doc_set_int(a, d, "pid", getpid());
	doc_set_int(a, d, "uptimeSeconds", (int64_t)((clock_mono_us() - m->started_us) / 1000000));
	if (http_address(m->http))
		doc_set_str(a, d, "listen", str_c(sock_addr_text(http_address(m->http), text)));
	scrape_status(m->scrape, a, d);
	witnessed_status(&m->witnessed, a, d);
	ipc_reply(call, d);
}

/* A member of time in seconds since 1970. */
static int64_t seconds_us(const struct doc *d, const char *name, int64_t dflt_us)
{
	int64_t s = doc_get_int(d, name, -1);

	return s < 0 || s > INT64_MAX / 1000000 ? dflt_us : s * 1000000;
}

static void reply_no_evidence(struct ipc_call *call)
{
	ipc_reply_error(call, IPC_E_FAILED,
			"no evidence is kept: the journal of kvmesh-metrics says why");
}

static void on_evidence(void *arg, struct ipc_call *call, const struct doc *parameters)
{
	struct metrics *m = arg;
	struct arena *a = ipc_call_arena(call);
	struct doc *d = doc_new_map(a);
	struct err err = { 0 };
	int64_t now = clock_real_us();
	int64_t since = seconds_us(parameters, "since", 0);
	int64_t until = seconds_us(parameters, "until", now);

	if (!m->evidence) {
		reply_no_evidence(call);
	} else if (evidence_flush(m->evidence, now, &err) < 0 ||
		   evidence_report(m->evidence, since, until, a, d, &err) < 0) {
		ipc_reply_error(call, IPC_E_FAILED, "%s", err.text);
	} else {
		ipc_reply(call, d);
	}
}

static void on_seals(void *arg, struct ipc_call *call, const struct doc *parameters)
{
	struct metrics *m = arg;
	struct doc *d = doc_new_map(ipc_call_arena(call));
	struct err err = { 0 };

	(void)parameters;
	if (!m->evidence)
		reply_no_evidence(call);
	else if (evidence_seals(m->evidence, ipc_call_arena(call), d, &err) < 0)
		ipc_reply_error(call, IPC_E_FAILED, "%s", err.text);
	else
		ipc_reply(call, d);
}

/* What it says must come from it: a proxy is what it speaks about. */
static bool is_witness(const struct sock_peer *peer)
{
	return peer->uid == 0 || peer->uid == geteuid() ||
	       rights_is_user(peer->uid, RIGHTS_USER_WITNESS);
}

static void on_witnessed(void *arg, struct ipc_call *call, const struct doc *parameters)
{
	struct metrics *m = arg;
	struct err err = { 0 };
	uid_t uid = ipc_call_peer(call)->uid;

	if (!is_witness(ipc_call_peer(call))) {
		log_warn("ipc_refused: uid %u is not kvmesh-witness", (unsigned)uid);
		ipc_reply_error(call, IPC_E_NOT_PERMITTED, "the caller (user %u) is not "
				"kvmesh-witness", (unsigned)uid);
	} else if (witnessed_take(&m->witnessed, parameters, m->evidence, clock_real_us(), &err) < 0) {
		ipc_reply_error(call, err.code == KV_ERR_SCHEMA ? IPC_E_INVALID : IPC_E_FAILED, "%s",
				err.text);
	} else {
		ipc_reply(call, NULL);
	}
}

static const struct ipc_method methods[] = {
	{ "Status", IPC_ALLOW_READ, on_status, "How the scrapes go." },
	{ "Evidence", IPC_ALLOW_READ, on_evidence, "What went between whom, and how secured." },
	{ "Witnessed", IPC_ALLOW_ANY, on_witnessed, "Plain bytes that kvmesh-witness saw." },
	{ "Seals", IPC_ALLOW_READ, on_seals, "The chain over the finished days." },
	{ 0 },
};

/* ---- the address --------------------------------------------------------------------------- */

static void become_ready(struct metrics *m)
{
	struct err err = { 0 };

	if (m->ready)
		return;
	int fd = daemon_listen(m->o, "metrics", "metrics.sock", &err);

	if (fd < 0) {
		log_err("%s", err.text);
		m->exit_code = DAEMON_EXIT_FAILED;
		loop_stop(m->loop);
		return;
	}
	m->ready = true;
	m->server = ipc_server_new(m->loop, fd, methods, m);
	sd_ready("serving");
	sd_ready_fd(m->o->ready_fd);
}

static int bind_now(struct metrics *m, struct err *err)
{
	char text[SOCK_ADDR_TEXT_MAX];
	int r = http_listen(m->http, m->settings.listen.len > 0 ? &m->settings.listen : NULL, err);

	if (r == 0 && http_address(m->http))
		log_info("http://%s/metrics", sock_addr_text(http_address(m->http), text));
	return r;
}

/* A port that another program holds is no reason to end: collecting goes on, and the port may
 * become free. */
static void bind_again(void *arg)
{
	struct metrics *m = arg;
	struct err err = { 0 };

	if (bind_now(m, &err) < 0) {
		log_err("%s", err.text);
		loop_timer_set(&m->bind_retry, BIND_RETRY_US);
	}
	become_ready(m);
}

static void on_settings(void *arg, const struct settings *s)
{
	struct metrics *m = arg;

	m->settings = *s;
	scrape_set_interval(m->scrape, s->interval_us);
	loop_timer_stop(&m->bind_retry);
	bind_again(m);
}

static void on_generation(void *arg, int64_t generation)
{
	struct metrics *m = arg;

	(void)generation;
	if (m->watch)
		settings_watch_ask(m->watch);
}

static void on_reload(void *arg)
{
	on_generation(arg, 0);
}

/* ---- evidence ------------------------------------------------------------------------------ */

static void on_stats(void *arg, struct str proxy, const struct doc *d)
{
	struct metrics *m = arg;

	evidence_take(m->evidence, proxy, d, clock_real_us());
}

static void flush(struct metrics *m)
{
	struct err err = { 0 };

	if (m->evidence && evidence_flush(m->evidence, clock_real_us(), &err) < 0)
		log_err("evidence_not_written: %s", err.text);
}

static void on_flush(void *arg)
{
	struct metrics *m = arg;

	flush(m);
	loop_timer_set(&m->flush, FLUSH_US);
}

/* Metrics go on without it: who watches should not go blind because the past is damaged. */
static void open_evidence(struct metrics *m)
{
	_cleanup_free_ char *dir = NULL;
	_cleanup_free_ char *path = NULL;
	struct err err = { 0 };
	int r = daemon_state_dir(m->o, "metrics", &dir, &err);

	if (r == 0) {
		path = kv_asprintf("%s/evidence.db", dir);
		r = evidence_open(path, clock_real_us(), &m->evidence, &err);
	}
	if (r < 0) {
		log_err("evidence_not_kept: %s", err.text);
		return;
	}
	scrape_on_stats(m->scrape, on_stats, m);
	loop_timer_set(&m->flush, FLUSH_US);
}

/* ---- life ---------------------------------------------------------------------------------- */

/* An address given by hand is served or we end. Port 0: the kernel's choice, told by Status. */
static int listen_by_hand(struct metrics *m, const char *text, struct err *err)
{
	struct str s = str_c(text);
	bool any = str_has_suffix(s, STR(":0"));
	_cleanup_free_ char *with_port =
		any ? kv_asprintf("%.*s:1", (int)(s.n - 2), s.p) : kv_strdup(text);
	int r = settings_parse_listen(str_c(with_port), &m->settings.listen, err);

	if (r < 0)
		return r;
	if (any)        /* sin_port and sin6_port are at the same place */
		m->settings.listen.in.sin_port = 0;
	m->settings.interval_us = SETTINGS_INTERVAL_US;
	r = bind_now(m, err);
	if (r == 0) {
		scrape_set_interval(m->scrape, m->settings.interval_us);
		become_ready(m);
	}
	return r;
}

static int serve(struct metrics *m, const char *listen)
{
	struct err err = { 0 };

	m->loop = loop_new();
	loop_timer_init(&m->bind_retry, m->loop, bind_again, m);
	m->signals = (struct daemon_signals){ .loop = m->loop, .reload = on_reload, .arg = m };
	daemon_on_signals(&m->signals);
	m->scrape = scrape_new(m->loop, m->o->run_dir, on_generation, m);
	witnessed_init(&m->witnessed);
	scrape_on_own(m->scrape, witnessed_families, &m->witnessed);
	loop_timer_init(&m->flush, m->loop, on_flush, m);
	open_evidence(m);
	m->http = http_new(m->loop, m->scrape);
	if (!listen) {
		m->watch = settings_watch_new(m->loop, m->o->run_dir, on_settings, m);
	} else if (listen_by_hand(m, listen, &err) < 0) {
		log_err("--listen: %s", err.text);
		m->exit_code = DAEMON_EXIT_FAILED;
	}
	sd_watchdog_start(m->loop);
	if (m->exit_code == DAEMON_EXIT_OK)
		loop_run(m->loop);
	sd_stopping();
	ipc_server_free(m->server);
	settings_watch_free(m->watch);
	http_free(m->http);
	scrape_free(m->scrape);
	witnessed_done(&m->witnessed);
	flush(m);
	evidence_close(m->evidence);
	loop_timer_done(&m->flush);
	loop_timer_done(&m->bind_retry);
	loop_free(m->loop);
	return m->exit_code;
}

/* --listen is ours alone: taken out before the options that all daemons share. */
static bool take_listen(int *argc, char **argv, const char **ret)
{
	int n = 0;

	for (int i = 0; i < *argc; i++) {
		if (i > 0 && strncmp(argv[i], "--listen=", 9) == 0) {
			*ret = argv[i] + 9;
		} else if (i > 0 && strcmp(argv[i], "--listen") == 0) {
			if (i + 1 == *argc)
				return false;
			*ret = argv[++i];
		} else {
			argv[n++] = argv[i];
		}
	}
	argv[n] = NULL;
	*argc = n;
	return true;
}

int main(int argc, char **argv)
{
	struct daemon_options o;
	struct metrics m = { .o = &o, .started_us = clock_mono_us() };
	const char *listen = NULL;

	if (!take_listen(&argc, argv, &listen)) {
		fputs("kvmesh-metrics: --listen needs ADDRESS:PORT\n", stderr);
		return DAEMON_EXIT_USAGE;
	}
	int code = daemon_args(&program, argc, argv, &o);

	if (code != DAEMON_GO_ON)
		return code;
	daemon_init(&o);
	return serve(&m, listen);
}
