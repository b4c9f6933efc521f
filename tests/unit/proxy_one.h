/* SPDX-License-Identifier: Apache-2.0 */
/* proxy_one: one proxy in front of one service, for tests of what passes and what does not. */
#pragma once

#include "proxy_net.h"

/* One view: host "app" leads to the service, a few routes answer themselves. */
#define ONE_SERVICE(routes) \
	NET_SETTINGS "," NET_NODE "," \
	"'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', 'port': 0}," \
	"  {'kind': 'READY', 'address': '127.0.0.1', 'port': 0}]," \
	"'views': [{'name': 'all', 'outbound': 'REGISTRY_ONLY', 'vhosts': [{'name': 'app:80', " \
	"'port': 80," \
	"  'domains': ['app', 'app.default.svc.cluster.local']," \
	"  'service': 'app.default.svc.cluster.local', 'routes': [" routes \
	"  {'name': 'default', 'destinations': [{'cluster': 0, 'weight': 1}], 'total_weight': 1}]" \
	"}]}]," \
	"'clusters': [{'name': 'outbound|80||app.default.svc.cluster.local'," \
	"  'service': 'app.default.svc.cluster.local', 'service_name': 'app', 'service_ns': " \
	"'default', 'port': 80," \
	"  'endpoints': [{'address': '127.0.0.1', 'port': %d, 'weight': 1, 'peer': -1}]}]"

struct fixture {
	struct net net;
	struct backend *app;
	uint16_t port;
};

static inline void setup(struct fixture *f)
{
	f->app = backend_start("app");
	net_start(&f->net, 1);
	net_publish(&f->net, ONE_SERVICE(""), backend_port(f->app));
	f->port = net_port(&f->net, "HTTP_PROXY");
}

static inline void teardown(struct fixture *f)
{
	net_stop(&f->net);
	backend_stop(f->app);
}

static inline void get(int fd, const char *path, struct answer *a)
{
	client_ask(fd, a, "GET %s HTTP/1.1\r\nHost: app\r\n\r\n", path);
}

