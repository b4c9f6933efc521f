/* SPDX-License-Identifier: Apache-2.0 */
/* step_head: facts, limits, the normal form of the request. First step of a stream. Layer proxy. */
#include "config.h"

#include "http/url.h"
#include "proxy/conn.h"
#include "proxy/headers.h"
#include "proxy/listener.h"
#include "proxy/reply.h"
#include "proxy/stream.h"

#define TCP_IDLE_US (3600ull * 1000 * 1000)     /* Istio 2.8.6 */

static const struct entry *entry_of(const struct stream *s)
{
	return s->down.conn->owner_data;
}

/* ---- facts of the connection ----------------------------------------------------------------- */

static const struct snap_peer *local_peer(const struct stream *s)
{
	const struct snap *snap = stream_snap(s);

	if (s->entry.workload < 0)
		return NULL;
	return &snap->peers.v[snap->workloads.v[s->entry.workload].peer];
}

static void note_inbound(struct stream *s)
{
	struct record *r = &s->rec;
	const struct tls_facts *f = conn_tls(s->down.conn);

	r->reporter = RECORD_DESTINATION;
	r->destination = local_peer(s);
	if (!f)
		return;
	r->mutual = f->mutual;
	r->tls_version = f->version;
	r->tls_cipher = f->cipher;
	r->source_principal = f->peer_spiffe;
	r->destination_principal = f->own_spiffe;
	r->first_on_conn = s->down.conn->exchanges <= 1;
	if (!s->http)
		r->source = entry_source(s->down.conn->owner_data, s->down.conn, s->lease,
					 STR_NULL);
}

static void note_connection(struct stream *s)
{
	s->rec.protocol = s->http ? RECORD_HTTP : RECORD_TCP;
	s->rec.sni = entry_sni(s->down.conn);
	if (s->entry.inbound)
		note_inbound(s);
	else
		s->rec.source = local_peer(s);
}

/* ---- the request ----------------------------------------------------------------------------- */

static enum next refuse(struct stream *s, unsigned status, const char *reason)
{
	stats_add_reason(s->w->stats, "kvmesh_bad_input_total", "http", reason);
	s->down.status = status;
	s->down.reason = reason;
	s->fail = FAIL_DOWN_PROTOCOL;
	return NEXT_FAIL;
}

static int64_t port_of(const struct stream *s, uint16_t in_authority)
{
	const struct entry *e = entry_of(s);

	if (e->original_dst)
		return sock_addr_port(e->original_dst);
	if (e->listener->kind == SNAP_LISTENER_GATEWAY || e->listener->kind == SNAP_LISTENER_PORT)
		return entry_gateway_port(e);
	return in_authority > 0 ? in_authority : 80;
}

static void split_authority(struct stream *s)
{
	uint16_t port = 0;

	if (!url_split_authority(s->req.authority, &s->host, &port))
		s->host = STR_NULL;     /* HTTP/1.0 without Host: nothing else gets here */
	s->port = port_of(s, port);
}

/* Only WebSocket is switched to; everything else stays HTTP (security-model 5.1). */
static void allow_upgrade(struct stream *s)
{
	if (!str_ieq(s->req.upgrade, STR("websocket")) || s->req.body != HEAD_BODY_NONE)
		s->req.upgrade = STR_NULL;
	s->up.upgrade = s->req.upgrade;
}

static enum next answer_ready(struct stream *s)
{
	if (!str_eq(s->req.path, STR("/healthz/ready")))
		reply_status(s, 404, STR_NULL, "route_not_found");
	else if (worker_is_ready(s->w))
		reply_status(s, 200, STR_NULL, "ready");
	else
		reply_status(s, 503, STR_NULL, "not_ready");
	return NEXT_END;
}

/*
 * How far an OPTIONS may still go (RFC 9110 7.6.2): each proxy counts down, and at 0 it ends here.
 */
static enum next count_forward(struct stream *s)
{
	struct head_field *f = head_find_name(&s->req, STR("max-forwards"));
	uint64_t left;

	if (!f)
		return NEXT_STEP;
	if (!str_to_u64(f->value, &left))
		return refuse(s, 400, "bad_field");
	if (left > 0) {
		f->value = arena_printf(&s->arena, "%llu", (unsigned long long)left - 1);
		return NEXT_STEP;
	}
	reply_status(s, 200, STR_NULL, "max_forwards");
	return NEXT_END;
}

static enum next http_head(struct stream *s)
{
	const struct snap_settings *set = stream_settings(s);
	int64_t max = set->max_body_bytes;

	if (entry_of(s)->listener->kind == SNAP_LISTENER_READY)
		return answer_ready(s);
	if (!head_is_served_method(s->req.method))
		return refuse(s, 405, "method");
	if (!url_normalize(s->req.path, (enum url_normalize)set->path_normalization, &s->arena,
			   &s->req.path))
		return refuse(s, 400, "bad_target");
	if (max > 0 && s->req.body == HEAD_BODY_LENGTH && s->req.content_length > (uint64_t)max)
		return refuse(s, 413, "too_large");
	allow_upgrade(s);
	split_authority(s);
	headers_from_client(s);
	return str_eq(s->req.method, STR("OPTIONS")) ? count_forward(s) : NEXT_STEP;
}

/*
 * Near the end of what this process may use (docs/overload.md): connections go after this exchange,
 * and at last exchanges are refused. Connections between proxies stay: each new one costs more.
 */
static bool give_way(struct stream *s)
{
	const struct entry *e = entry_of(s);
	struct conn *c = s->down.conn;

	if (e->listener->kind == SNAP_LISTENER_READY)
		return false;
	if (s->http && e->listener->kind != SNAP_LISTENER_MESH) {
		stats_add_reason(s->w->stats, "kvmesh_overload_shed_total", NULL, "keepalive");
		c->ops->drain(c);
	}
	if (s->w->level < OVERLOAD_FULL)
		return false;
	stats_add_reason(s->w->stats, "kvmesh_overload_shed_total", NULL, "requests");
	return true;
}

enum next step_head(struct stream *s)
{
	if (!s->down.head_in && s->http)
		return NEXT_WAIT;
	note_connection(s);
	if (s->w->level >= OVERLOAD_SHED && give_way(s)) {
		s->fail = FAIL_OVERFLOW;
		return NEXT_FAIL;
	}
	s->idle_us = s->http ? (uint64_t)stream_settings(s)->stream_idle_timeout_us : TCP_IDLE_US;
	stream_touch(s);
	return s->http ? http_head(s) : NEXT_STEP;
}
