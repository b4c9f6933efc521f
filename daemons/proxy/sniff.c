/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sniff: what a connection speaks, by policy and its first bytes (Istio 2.10.5 to 2.10.9). A codec
 * of its own for that moment: it reads without consuming and then hands over to another. Waiting is
 * bounded, so that protocols in which the server speaks first do not stall where nothing was
 * declared. Layer proxy.
 */
#include "config.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"
#include "io/proxy_protocol.h"
#include "core/match.h"
#include "proxy/conn.h"
#include "proxy/entry.h"
#include "proxy/gate.h"
#include "proxy/listener.h"
#include "proxy/worker.h"

#define DETECTION_MAX_US (50u * 1000)
#define LEARNED_US (5u * 1000)          /* where the last caller waited for the server */
#define LAST_CALL_US (1u * 1000 * 1000)
#define HELLO_MAX (16u << 10)
#define METHOD_MAX 20

/* Accepted from peers, ours first in their order. */
static const char *const alpn_mesh[] = { "istio-h2", "istio-http/1.1", "istio-peer-exchange",
					 "istio", "h2", "http/1.1", NULL };

enum verdict {
	VERDICT_MORE,                   /* not enough bytes yet */
	VERDICT_HTTP, VERDICT_H2, VERDICT_TCP, VERDICT_MTLS,
	VERDICT_EDGE,                   /* TLS to a gateway's server, by e->sni */
	VERDICT_ANNOUNCED,              /* a gateway's client, told by a PROXY header that is read now */
	VERDICT_PLAINTEXT,              /* plain where STRICT forbids it */
	VERDICT_RESET,                  /* TLS of nobody's here */
};

struct look {
	enum verdict (*decide)(struct conn *c, struct str in);
	enum verdict on_silence;        /* when the time is over */
};

/* ---- first bytes ----------------------------------------------------------------------------- */

/* A request line begins with a method in capitals, and so does HTTP/2's preface: codec_h1 hands that over. */
static enum verdict http_or_tcp(struct str in)
{
	size_t n = 0;

	while (n < in.n && n < METHOD_MAX && ((in.p[n] >= 'A' && in.p[n] <= 'Z') || in.p[n] == '-'))
		n++;
	if (n == in.n && n < METHOD_MAX)
		return VERDICT_MORE;
	if (n < 3 || n == METHOD_MAX || in.p[n] != ' ')
		return VERDICT_TCP;
	return VERDICT_HTTP;
}

static bool is_mesh_hello(const struct tls_hello *h)
{
	static const char *const names[] = { "istio", "istio-peer-exchange", "istio-http/1.0",
					     "istio-http/1.1", "istio-h2" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (tls_alpn_has(h->alpn_list, str_c(names[i])))
			return true;
	return false;
}

static enum verdict by_protocol(int64_t protocol, struct str in)
{
	if (protocol == SNAP_PROTOCOL_AUTO)
		return http_or_tcp(in);
	return protocol == SNAP_PROTOCOL_TCP || protocol == SNAP_PROTOCOL_TLS ? VERDICT_TCP :
										 VERDICT_HTTP;
}

static const struct snap_inbound *inbound_of(struct conn *c)
{
	struct entry_view v;

	entry_resolve_now(c->owner_data, c, &v);
	return v.target;
}

/* Every door of a local workload's port but the mesh port. */
static enum verdict decide_inbound(struct conn *c, struct str in)
{
	const struct snap_inbound *to = inbound_of(c);
	struct tls_hello hello;
	int tls = tls_sniff_hello(in, &hello);

	if (!to)
		return VERDICT_RESET;
	if (to->mtls == SNAP_MTLS_DISABLE)
		return by_protocol(to->protocol, in);
	if (tls < 0)
		return VERDICT_MORE;
	if (to->mtls == SNAP_MTLS_STRICT)
		return tls > 0 ? VERDICT_MTLS : VERDICT_PLAINTEXT;
	if (tls == 0)
		return by_protocol(to->protocol, in);
	if (is_mesh_hello(&hello))
		return VERDICT_MTLS;
	return by_protocol(to->protocol, STR("\x16")) == VERDICT_HTTP ? VERDICT_RESET : VERDICT_TCP;
}

static void keep_sni(struct conn *c, struct str sni)
{
	struct entry *e = c->owner_data;
	char *copy;

	if (sni.n == 0 || e->sni.n > 0)
		return;
	copy = kv_malloc(sni.n);
	memcpy(copy, sni.p, sni.n);
	e->sni = str_from(copy, sni.n);
}

static enum verdict decide_gateway(struct conn *c, struct str in)
{
	struct tls_hello hello;
	int tls = tls_sniff_hello(in, &hello);

	if (tls > 0)
		keep_sni(c, hello.sni);
	return tls < 0 ? VERDICT_MORE : tls > 0 ? VERDICT_EDGE : VERDICT_RESET;
}

/* From here on the connection is the client's: what is counted, logged and told names it. */
static enum verdict decide_announced(struct conn *c, struct str in)
{
	struct entry *e = c->owner_data;
	struct sock_addr from;
	int n = proxy_protocol_get(in, &from);

	if (n < 0)
		return VERDICT_MORE;
	if (n == 0) {
		stats_add_reason(c->w->stats, "kvmesh_bad_input_total", "proxy_protocol", "bad_header");
		return VERDICT_RESET;
	}
	buf_consume(&c->in, (size_t)n);
	if (from.len > 0) {
		e->direct = kv_malloc(sizeof(*e->direct));
		*e->direct = conn_addr_full(&c->remote);
		c->remote = conn_addr_pack(&from);
	}
	return VERDICT_ANNOUNCED;
}

static enum verdict decide_outbound(struct conn *c, struct str in)
{
	struct tls_hello hello;
	int tls = tls_sniff_hello(in, &hello);

	if (tls < 0)
		return VERDICT_MORE;
	if (tls == 0)
		return http_or_tcp(in);
	keep_sni(c, hello.sni);
	return VERDICT_TCP;
}

static enum verdict decide_service(struct conn *c, struct str in)
{
	struct tls_hello hello;
	int tls = tls_sniff_hello(in, &hello);

	if (tls < 0)
		return VERDICT_MORE;
	if (tls > 0)
		keep_sni(c, hello.sni);
	return VERDICT_TCP;
}

static enum verdict decide_inside_tls(struct conn *c, struct str in)
{
	(void)c;
	return http_or_tcp(in);
}

/* ---- what follows ---------------------------------------------------------------------------- */

/* Not a byte goes back: the peer learns nothing but that it is closed (promise P1). */
static void refuse_plaintext(struct conn *c)
{
	const struct snap_inbound *to = inbound_of(c);
	const struct snap *s = c->w->lease->at->snap;
	struct str name = s->peers.v[s->workloads.v[to->workload].peer].name;
	char word[128];
	size_t n = name.n < sizeof(word) - 1 ? name.n : sizeof(word) - 1;

	memcpy(word, name.p, n);
	word[n] = '\0';
	stats_add_reason(c->w->stats, "kvmesh_plaintext_refused_total", NULL, word);
	log_debug("plain text refused on a STRICT port of %s", word);
	conn_kill(c);
}

static void on_handshake_timeout(struct conn *c)
{
	c->error = KV_ERR_TIMEOUT;
	c->owner->failed(c);
}

bool sniff_may_handshake(struct conn *c)
{
	struct entry *e = c->owner_data;
	const char *why = gate_take_handshake(c->w->gate, &c->w->rng, c);

	e->in_handshake = !why;
	if (!why)
		return true;
	stats_add_reason(c->w->stats, "kvmesh_overload_shed_total", NULL, why);
	stats_add_reason(c->w->stats, "kvmesh_tls_refused_total", NULL, "too_many");
	conn_kill(c);
	return false;
}

static struct tls_identity *gateway_identity(void *arg, struct str sni)
{
	const struct attached *at = ((struct conn *)arg)->w->lease->at;

	(void)sni;
	return at->identities[at->snap->workloads.v[0].identity];
}

/* NULL: there is no certificate to show. */
static struct tls_session *edge_session(struct conn *c, const struct snap_server *desc,
					const struct server_state *st)
{
	static const char *const alpn[] = { "h2", "http/1.1", NULL };

	if (desc->tls.mode == SNAP_TLS_ISTIO_MUTUAL) {
		if (!gateway_identity(c, STR_NULL))
			return NULL;
		struct tls_session *s = tls_server_new(gateway_identity, c, alpn_mesh);

		tls_server_want(s, desc->tls.sans.v, desc->tls.sans.n);
		return s;
	}
	return st->tls ? tls_server_new_ctx(st->tls, desc->opaque ? NULL : alpn) : NULL;
}

static void refuse_edge(struct conn *c, const char *why)
{
	stats_add_reason(c->w->stats, "kvmesh_tls_refused_total", NULL, why);
	conn_kill(c);
}

static void open_gateway(struct conn *c);
static void settle(struct conn *c, enum verdict v);     /* it comes back here for TLS */

static void start_edge(struct conn *c)
{
	struct entry *e = c->owner_data;
	const struct attached_gateway *g = entry_gateway(e, c->w->lease->at);
	int64_t i = g ? match_server(g->desc, e->sni) : -1;

	if (i < 0) {
		refuse_edge(c, "unknown_name");
		return;
	}
	const struct snap_server *desc = &g->desc->servers.v[i];

	if (desc->tls.mode == SNAP_TLS_DISABLE) {
		settle(c, VERDICT_TCP);
		return;
	}
	struct tls_session *s = edge_session(c, desc, g->servers[i]);

	if (!s) {
		refuse_edge(c, "no_certificate");
	} else if (sniff_may_handshake(c)) {
		e->proved = server_state_ref(g->servers[i]);
		conn_timer(c, LISTENER_HANDSHAKE_US, on_handshake_timeout);
		conn_start_tls(c, s);
	} else {
		tls_session_free(s);
	}
}

static void speak(struct conn *c, const struct codec_ops *ops)
{
	conn_set_codec(c, ops, true);
	if (c->w->draining)
		ops->drain(c);
}

static void settle(struct conn *c, enum verdict v)
{
	c->ops = NULL;
	c->codec = NULL;
	conn_timer(c, 0, NULL);
	switch (v) {
	case VERDICT_HTTP:
		speak(c, &codec_h1);
		break;
	case VERDICT_H2:
		speak(c, &codec_h2);
		break;
	case VERDICT_TCP:
		conn_set_codec(c, &codec_tcp, true);
		break;
	case VERDICT_MTLS:
		sniff_start_mtls(c);
		break;
	case VERDICT_EDGE:
		start_edge(c);
		break;
	case VERDICT_ANNOUNCED:
		open_gateway(c);
		break;
	case VERDICT_PLAINTEXT:
		refuse_plaintext(c);
		break;
	case VERDICT_RESET:
	case VERDICT_MORE:
		stats_add(c->w->stats, STATS_DOWN_REFUSED, 1);
		conn_kill(c);
		break;
	}
}

/*
 * Where servers speak first is learned, for redirected calls of local workloads to what nobody declared: they are waited
 * for once, and hardly after that.
 */
static uint64_t *silent_slot(struct conn *c, uint64_t *ret_hash)
{
	const struct entry *e = c->owner_data;
	uint8_t bytes[18];

	if (e->listener->kind != SNAP_LISTENER_OUTBOUND || !e->original_dst || !entry_addr_bytes(e->original_dst, bytes))
		return NULL;
	uint16_t port = sock_addr_port(e->original_dst);

	memcpy(bytes + 16, &port, sizeof(port));
	*ret_hash = hash_bytes(bytes, sizeof(bytes), 0);
	return &c->w->silent[*ret_hash % WORKER_SILENT];
}

static bool is_learned(struct conn *c)
{
	uint64_t hash;
	const uint64_t *slot = silent_slot(c, &hash);

	return slot && *slot == hash;
}

static void learn(struct conn *c, bool silent)
{
	uint64_t hash, *slot = silent_slot(c, &hash);

	if (slot && (silent || *slot == hash))
		*slot = silent ? hash : 0;
}

static void sniff_recv(struct conn *c)
{
	const struct look *look = c->codec;
	struct str in;

	if (!buf_linear(&c->in, HELLO_MAX, &in))
		in = buf_peek(&c->in);
	enum verdict v = look->decide(c, in);

	if (in.n > 0)
		learn(c, false);
	if (v == VERDICT_MORE && (c->eof || in.n >= HELLO_MAX))
		v = look->on_silence;
	if (v != VERDICT_MORE)
		settle(c, v);
	else if (c->eof)
		conn_kill(c);
}

static void on_silence(struct conn *c)
{
	if (c->in.n == 0)
		learn(c, true);
	settle(c, ((const struct look *)c->codec)->on_silence);
}

static void sniff_close(struct conn *c)
{
	c->codec = NULL;
}

static void sniff_open(struct conn *c, bool server)
{
	(void)c, (void)server;
}

static void sniff_writable(struct conn *c)
{
	(void)c;
}

/* Who says nothing is asked to no longer; who is about to speak is heard (codec_h1, codec_h2). */
static void sniff_drain(struct conn *c)
{
	if (((const struct look *)c->codec)->on_silence == VERDICT_RESET)
		conn_timer(c, LAST_CALL_US, conn_close);
}

/* No leg is ever attached: the calls that need one do not happen. */
static const struct codec_ops codec_sniff = {
	.name = "sniff",
	.open = sniff_open,
	.recv = sniff_recv,
	.writable = sniff_writable,
	.close = sniff_close,
	.drain = sniff_drain,
};

static void start(struct conn *c, const struct look *look, uint64_t patience_us)
{
	conn_set_codec(c, &codec_sniff, true);
	c->codec = (void *)(uintptr_t)look;
	conn_timer(c, patience_us, on_silence);
}

static uint64_t detection_us(struct conn *c)
{
	int64_t us = worker_settings(c->w)->detection_timeout_us;
	uint64_t full = us > 0 && us < DETECTION_MAX_US ? (uint64_t)us : DETECTION_MAX_US;

	return is_learned(c) && full > LEARNED_US ? LEARNED_US : full;
}

/* ---- doors ----------------------------------------------------------------------------------- */

void sniff_inbound(struct conn *c)
{
	static const struct look insist = { decide_inbound, VERDICT_RESET };
	static const struct look tcp_if_silent = { decide_inbound, VERDICT_TCP };
	const struct snap_inbound *to = inbound_of(c);

	if (!to) {
		settle(c, VERDICT_RESET);
		return;
	}
	bool http = by_protocol(to->protocol, STR("\x16")) == VERDICT_HTTP;

	if (to->mtls == SNAP_MTLS_DISABLE && to->protocol != SNAP_PROTOCOL_AUTO)
		settle(c, http ? VERDICT_HTTP : VERDICT_TCP);
	else if (to->mtls == SNAP_MTLS_STRICT || http)
		start(c, &insist, LISTENER_HANDSHAKE_US);
	else
		start(c, &tcp_if_silent, detection_us(c));
}

static void open_gateway(struct conn *c)
{
	static const struct look insist = { decide_gateway, VERDICT_RESET };
	const struct attached_gateway *g = entry_gateway(c->owner_data, c->w->lease->at);

	if (!g)
		settle(c, VERDICT_RESET);
	else if (g->desc->servers.n > 0)
		start(c, &insist, LISTENER_HANDSHAKE_US);
	else
		settle(c, g->desc->opaque ? VERDICT_TCP : VERDICT_HTTP);
}

void sniff_gateway(struct conn *c)
{
	static const struct look announced = { decide_announced, VERDICT_RESET };

	if (worker_settings(c->w)->proxy_protocol)
		start(c, &announced, LISTENER_HANDSHAKE_US);
	else
		open_gateway(c);
}

/*
 * What the port's services were declared as: rows by name need the first bytes, HTTP and addresses
 * do not.
 */
struct declared {
	bool http, by_sni;
};

static struct declared declared_on(const struct snap_view *v, int64_t port)
{
	struct declared d = { 0 };

	for (size_t i = 0; i < v->vhosts.n && !d.http; i++)
		d.http = v->vhosts.v[i].port == port;
	for (size_t i = 0; i < v->l4.n && !d.by_sni; i++)
		d.by_sni = v->l4.v[i].port == port && v->l4.v[i].sni.n > 0;
	return d;
}

void sniff_outbound(struct conn *c)
{
	static const struct look tcp_if_silent = { decide_outbound, VERDICT_TCP };
	const struct attached *at = c->w->lease->at;
	struct entry *e = c->owner_data;
	struct entry_view v;

	entry_resolve(e, c, c->w->lease, &c->w->rng, &v);
	if (!e->original_dst || v.view < 0) {
		settle(c, VERDICT_HTTP);        /* not redirected: by Host, as explicitly */
		return;
	}
	struct match_l4_facts f = { .port = sock_addr_port(e->original_dst) };
	struct declared d = declared_on(&at->snap->views.v[v.view], f.port);

	f.has_addr = entry_addr_bytes(e->original_dst, f.addr);
	const struct snap_l4 *row = match_l4(at->match, v.view, &f);

	if (row && row->addresses.n > 0 && !d.by_sni)
		settle(c, VERDICT_TCP);
	else if (d.http && !d.by_sni && !row)
		settle(c, VERDICT_HTTP);
	else
		start(c, &tcp_if_silent, detection_us(c));
}

/* The door of one service: its bytes are passed on; only routes by server name look at them (2.14.5). */
void sniff_service(struct conn *c)
{
	static const struct look name_if_any = { decide_service, VERDICT_TCP };
	const struct entry *e = c->owner_data;
	const struct listener *l = e->listener;
	struct entry_view v;
	bool by_sni = false;

	entry_resolve(c->owner_data, c, c->w->lease, &c->w->rng, &v);
	const struct snap_view *view = v.view < 0 ? NULL : &c->w->lease->at->snap->views.v[v.view];

	for (size_t i = 0; view && i < view->l4.n && !by_sni; i++)
		by_sni = view->l4.v[i].port == l->service_port && view->l4.v[i].sni.n > 0 &&
			 str_eq(view->l4.v[i].service, l->service);
	if (by_sni)
		start(c, &name_if_any, LISTENER_HANDSHAKE_US);
	else
		settle(c, VERDICT_TCP);
}

/* ---- TLS that ends here ---------------------------------------------------------------------- */

static struct tls_identity *pick_identity(void *arg, struct str sni)
{
	struct conn *c = arg;
	const struct entry *e = c->owner_data;
	const struct attached *at = c->w->lease->at;

	if (e->listener->kind == SNAP_LISTENER_MESH) {
		struct tls_identity *id = entry_pick_identity(at, sni, &c->w->rng);
		const struct lease *before = c->w->previous;

		return id || !before ? id : entry_pick_identity(before->at, sni, &c->w->rng);
	}
	const struct snap_inbound *to = inbound_of(c);

	return to ? at->identities[at->snap->workloads.v[to->workload].identity] : NULL;
}

void sniff_start_mtls(struct conn *c)
{
	if (!sniff_may_handshake(c))
		return;
	conn_timer(c, LISTENER_HANDSHAKE_US, on_handshake_timeout);
	conn_start_tls(c, tls_server_new(pick_identity, c, alpn_mesh));
}

/* A server that has gone meanwhile is told so by HTTP. */
static bool edge_is_opaque(struct conn *c)
{
	struct entry *e = c->owner_data;
	const struct attached_gateway *g = entry_gateway(e, c->w->lease->at);
	int64_t i = g ? match_server(g->desc, conn_tls(c)->sni) : -1;

	return i >= 0 && g->desc->servers.v[i].opaque;
}

void sniff_after_handshake(struct conn *c)
{
	static const struct look tcp_if_silent = { decide_inside_tls, VERDICT_TCP };
	struct str alpn = conn_tls(c)->alpn;
	bool h2 = str_eq(alpn, STR("istio-h2")) || str_eq(alpn, STR("h2"));

	if (entry_is_edge(c->owner_data)) {
		settle(c, edge_is_opaque(c) ? VERDICT_TCP : h2 ? VERDICT_H2 : VERDICT_HTTP);
		return;
	}
	const struct snap_inbound *to = inbound_of(c);

	if (!to)
		settle(c, VERDICT_RESET);
	else if (h2 && (to->protocol == SNAP_PROTOCOL_AUTO || by_protocol(to->protocol, STR_NULL) == VERDICT_HTTP))
		settle(c, VERDICT_H2);
	else if (to->protocol != SNAP_PROTOCOL_AUTO)
		settle(c, by_protocol(to->protocol, STR_NULL));
	else if (str_eq(alpn, STR("istio-http/1.1")) || str_eq(alpn, STR("http/1.1")))
		settle(c, VERDICT_HTTP);
	else if (alpn.n > 0)
		settle(c, VERDICT_TCP);
	else
		start(c, &tcp_if_silent, detection_us(c));
}
