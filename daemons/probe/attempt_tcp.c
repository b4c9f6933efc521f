/* SPDX-License-Identifier: Apache-2.0 */
/* attempt_tcp: whoever accepts a connection is healthy. Layer daemons/probe. */
#include "config.h"

#include "probe/attempt.h"
#include "probe/net.h"

struct tcp {
	struct attempt *attempt;
	struct net net;
};

static void on_open(void *arg)
{
	struct tcp *t = arg;

	attempt_end(t->attempt, true, "tcp probe: connected");
}

static void on_data(void *arg, bool end)
{
	(void)arg;
	(void)end;
}

static void on_failed(void *arg, const char *why)
{
	struct tcp *t = arg;

	attempt_end(t->attempt, false, "tcp probe: %s", why);
}

static void start(struct attempt *a, const struct doc *spec)
{
	static const struct net_ops ops = { on_open, on_data, on_failed };
	struct tcp *t = arena_new(attempt_arena(a), struct tcp);
	struct sock_addr to;
	struct err err = { 0 };

	t->attempt = a;
	t->net.fd = -1;
	attempt_set_state(a, t);
	if (!net_address(spec, &to))
		attempt_end(a, false, "tcp probe: no address to connect to");
	else if (net_open(&t->net, attempt_loop(a), &to, false, &ops, t, &err) < 0)
		attempt_end(a, false, "tcp probe: %s", err.text);
}

static void stop(struct attempt *a)
{
	struct tcp *t = attempt_state(a);

	net_close(&t->net);
}

const struct attempt_method attempt_tcp = { "tcp", start, stop };
