/* SPDX-License-Identifier: Apache-2.0 */
/* settings: asking the router for metrics = { … }, see settings.h. Layer metrics. */
#include "config.h"

#include <stdlib.h>

#include "base/log.h"
#include "ipc/ipc.h"
#include "metrics/settings.h"

#define SILENT_US (2u * 1000 * 1000)            /* then the defaults */
#define RETRY_US (100u * 1000)                  /* until the router has loaded its files */
#define RETRY_LATER_US (2u * 1000 * 1000)

struct settings_watch {
	void (*told)(void *arg, const struct settings *s);
	void *arg;
	struct ipc_client *client;
	struct loop_timer silent, retry;
	bool asking, told_once, answered;
	struct settings last;
};

int settings_parse_listen(struct str text, struct sock_addr *ret, struct err *err)
{
	ptrdiff_t colon = str_rfind(text, ':');
	struct str host = str_take(text, colon < 0 ? 0 : (size_t)colon);
	uint64_t port = 0;

	*ret = (struct sock_addr){ .len = 0 };
	if (text.n == 0)
		return 0;
	if (colon < 0 || !str_to_u64(str_skip(text, (size_t)colon + 1), &port) || port > 65535)
		return err_set(err, KV_ERR_SCHEMA, "\"%.*s\" is not ADDRESS:PORT", STR_ARG(text));
	if (port == 0)
		return 0;
	if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = str_take(str_skip(host, 1), host.n - 2);
	if (str_ieq(host, STR("localhost")))
		host = STR("127.0.0.1");
	if (!sock_addr_parse(host, (uint16_t)port, ret) || ret->sa.sa_family == AF_UNIX) {
		ret->len = 0;
		return err_set(err, KV_ERR_SCHEMA, "\"%.*s\" is not an address", STR_ARG(host));
	}
	return 0;
}

static void tell(struct settings_watch *w, const struct settings *s)
{
	loop_timer_stop(&w->silent);
	if (w->told_once && sock_addr_eq(&w->last.listen, &s->listen) &&
	    w->last.interval_us == s->interval_us)
		return;
	w->told_once = true;
	w->last = *s;
	w->told(w->arg, s);
}

static void tell_defaults(void *arg)
{
	struct settings s = { .interval_us = SETTINGS_INTERVAL_US };
	int r = settings_parse_listen(STR(SETTINGS_LISTEN), &s.listen, NULL);

	kv_assert(r == 0);
	log_info("the router is silent: listening on %s", SETTINGS_LISTEN);
	tell(arg, &s);
}

static void use_config(struct settings_watch *w, const struct doc *metrics)
{
	struct settings s = { .interval_us = SETTINGS_INTERVAL_US };
	struct err err;
	int64_t us;

	if (settings_parse_listen(doc_get_str(metrics, "listen", STR(SETTINGS_LISTEN)), &s.listen,
				  &err) < 0) {
		log_err("metrics.listen: %s", err.text);
		return;
	}
	if (str_to_duration_us(doc_get_str(metrics, "scrapeInterval", STR("")), &us) &&
	    us >= 1000 * 1000)
		s.interval_us = (uint64_t)us;
	tell(w, &s);
}

static void on_config(void *arg, const char *error_name, const struct doc *p, bool continues)
{
	struct settings_watch *w = arg;

	(void)continues;
	w->asking = false;
	if (error_name && strcmp(error_name, IPC_E_DISCONNECTED) == 0)
		return;                 /* asked again with the next connection */
	if (error_name) {
		loop_timer_set(&w->retry,
			       w->answered || !w->silent.armed ? RETRY_LATER_US : RETRY_US);
		return;
	}
	w->answered = true;
	use_config(w, doc_get(doc_get(p, STR("kvmesh")), STR("metrics")));
}

static void ask(void *arg)
{
	settings_watch_ask(arg);
}

void settings_watch_ask(struct settings_watch *w)
{
	if (w->asking || !ipc_client_is_connected(w->client))
		return;
	w->asking = true;
	ipc_client_call(w->client, "Config", NULL, false, on_config, w);
}

static void on_connect(void *arg, bool connected)
{
	if (connected)
		settings_watch_ask(arg);
}

struct settings_watch *settings_watch_new(struct loop *l, const char *run_dir,
					  void (*told)(void *arg, const struct settings *s),
					  void *arg)
{
	struct settings_watch *w = kv_zalloc(sizeof(*w));
	_cleanup_free_ char *path = kv_asprintf("%s/router/router.sock", run_dir);

	w->told = told;
	w->arg = arg;
	loop_timer_init(&w->silent, l, tell_defaults, w);
	loop_timer_init(&w->retry, l, ask, w);
	w->client = ipc_client_new(l, path);
	ipc_client_on_connect(w->client, on_connect, w);
	loop_timer_set(&w->silent, SILENT_US);
	return w;
}

void settings_watch_free(struct settings_watch *w)
{
	if (!w)
		return;
	ipc_client_free(w->client);
	loop_timer_done(&w->silent);
	loop_timer_done(&w->retry);
	free(w);
}
