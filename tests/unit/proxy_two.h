/* SPDX-License-Identifier: Apache-2.0 */
/* proxy_two: the caller's proxy and the service's, mTLS between them, for tests of both together. */
#pragma once

#include <unistd.h>

#include "proxy_net.h"

#define ID_NODE1 "spiffe://cluster.local/ns/kvmesh-system/sa/n1"
#define ID_NODE2 "spiffe://cluster.local/ns/kvmesh-system/sa/n2"
#define ID_APP "spiffe://cluster.local/ns/default/sa/app"
#define ID_OTHER "spiffe://cluster.local/ns/default/sa/other"

#define PEERS \
	"'peers': [{'name': 'n1', 'ns': 'kvmesh-system', 'sa': 'n1', 'principal': " \
	"'" ID_NODE1 "'}," \
	"{'name': 'n2', 'ns': 'kvmesh-system', 'sa': 'n2', 'principal': '" ID_NODE2 "'}," \
	"{'name': 'app-v1', 'ns': 'default', 'sa': 'app', 'principal': '" ID_APP "', 'app': " \
		"'app', 'version': 'v1'}," \
	"{'name': 'other', 'ns': 'default', 'sa': 'other', 'principal': '" ID_OTHER "'}]"
#define SNI "inbound_.80_.app-v1_.app.default.svc.cluster.local"
#define SNI_ISTIO "outbound_.80_._.app.default.svc.cluster.local"

/* The node of the service: port of the application, its protocol. */
#define SERVER \
	NET_SETTINGS ", 'identities': ['" ID_NODE2 "', '" ID_APP "']," PEERS "," \
	"'workloads': [{'peer': 1, 'identity': 0, 'view': 0}, {'peer': 2, 'identity': 1, 'view': " \
	"0}]," \
	"'views': [{'name': 'v'}], 'listeners': [{'kind': 'MESH', 'address': '127.0.0.1', " \
	"'port': 0}]," \
	"'inbounds': [{'workload': 1, 'address': '127.0.0.1', 'port': %d, 'protocol': '%s', " \
	"'mtls': 'STRICT'," \
	"  'services': [{'service': 'app.default.svc.cluster.local', 'name': 'app', 'ns': " \
	"'default', 'port': 80}]}]," \
	"'snis': [{'name': '" SNI "', 'targets': [0], 'service': 0}," \
	"  {'name': '" SNI_ISTIO "', 'targets': [0], 'service': 0}]"

/* The node of the caller: port of the other's mesh listener, peer that the endpoint is. */
#define CLIENT CLIENT_WITH("")
#define CLIENT_WITH(cluster) \
	NET_SETTINGS ", 'identities': ['" ID_NODE1 "']," PEERS "," \
	"'workloads': [{'peer': 0, 'identity': 0, 'view': 0}]," \
	"'listeners': [{'kind': 'HTTP_PROXY', 'address': '127.0.0.1', 'port': 0}," \
	"  {'kind': 'TCP', 'address': '127.0.0.1', 'port': 0, 'service': " \
	"'app.default.svc.cluster.local'," \
	"   'service_port': 80}]," \
	"'views': [{'name': 'v', 'vhosts': [{'name': 'app:80', 'port': 80, 'domains': ['app']," \
	"  'service': 'app.default.svc.cluster.local', 'routes': [{'name': 'r', 'destinations':" \
	"  [{'cluster': 0, 'weight': 1}], 'total_weight': 1, 'retry': {'attempts': 2, 'on': 80, " \
	"'backoff_us': 1000," \
	"   'ignore_previous_hosts': true}}]}]," \
	"  'l4': [{'name': 'app', 'service': 'app.default.svc.cluster.local', 'port': 80, " \
	"'destinations':" \
	"  [{'cluster': 0, 'weight': 1}], 'total_weight': 1}]}]," \
	"'clusters': [{" cluster "'name': 'outbound|80||app.default.svc.cluster.local', " \
				 "'service_name': 'app'," \
	"  'service': 'app.default.svc.cluster.local', 'service_ns': 'default', 'port': 80," \
	"  'endpoints': [{'address': '127.0.0.1', 'port': 1, 'weight': 1, 'peer': %d," \
	"    'mesh_address': '127.0.0.1', 'mesh_port': %d, 'mesh_sni': '" SNI "'}]}]"

struct mesh {
	struct net_ca *ca;
	struct net client, server;
	struct backend *app;
	uint16_t mesh_port;
};

static inline void mesh_setup_with(struct mesh *m, struct net_ca *ca_of_client, struct backend *app,
				   const char *protocol, int peer)
{
	m->app = app;
	net_start(&m->server, 2);
	net_identity(&m->server, m->ca, ID_NODE2);
	net_identity(&m->server, m->ca, ID_APP);
	net_publish(&m->server, SERVER, backend_port(app), protocol);
	m->mesh_port = net_port(&m->server, "MESH");
	net_start(&m->client, 2);
	net_identity(&m->client, ca_of_client, ID_NODE1);
	net_publish(&m->client, CLIENT, peer, m->mesh_port);
}

static inline void mesh_setup(struct mesh *m)
{
	m->ca = net_ca_new();
	mesh_setup_with(m, m->ca, backend_start("app"), "HTTP", 2);
}

static inline void mesh_teardown(struct mesh *m)
{
	net_stop(&m->client);
	net_stop(&m->server);
	backend_stop(m->app);
	net_ca_free(m->ca);
}
