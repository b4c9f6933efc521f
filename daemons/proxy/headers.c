/* SPDX-License-Identifier: Apache-2.0 */
/* headers: the proxy's own headers, see headers.h. Layer proxy. */
#include "config.h"

#include <time.h>

#include "base/clock.h"
#include "core/rewrite.h"
#include "http/url.h"
#include "proxy/asked.h"
#include "proxy/conn.h"
#include "proxy/cross_origin.h"
#include "proxy/ext_authz.h"
#include "proxy/headers.h"

#define PEER_HEADER STR("x-kvmesh-peer")

/* ---- from the client ------------------------------------------------------------------------- */

static const struct tls_facts *down_tls(const struct stream *s)
{
	return s->down.conn ? conn_tls(s->down.conn) : NULL;
}

static bool is_from_peer(const struct stream *s)
{
	const struct tls_facts *f = down_tls(s);

	return f && f->peer_spiffe.n > 0;
}

static bool is_ours_or_envoys(struct str name)
{
	return name.n > 8 && name.p[0] == 'x' && name.p[1] == '-' &&
	       (str_has_prefix(name, STR("x-kvmesh-")) || str_has_prefix(name, STR("x-envoy-")));
}

/*
 * A peer's proxy speaks for its workload: its Envoy headers and the certificates it has seen are
 * kept.
 */
static bool goes_no_further(const struct head_field *f, bool from_peer, bool edge)
{
	if (f->id == HEAD_ID_X_FORWARDED_CLIENT_CERT)   /* gateways: settle_client_cert */
		return !from_peer && !edge;
	if (!is_ours_or_envoys(f->name))
		return false;
	return !from_peer || str_has_prefix(f->name, STR("x-kvmesh-")) ||
	       f->id == HEAD_ID_X_ENVOY_PEER_METADATA || f->id == HEAD_ID_X_ENVOY_PEER_METADATA_ID;
}

static void strip(struct stream *s, bool from_peer, bool edge)
{
	struct head *h = &s->req;
	size_t kept = 0;

	for (size_t i = 0; i < h->n; i++) {
		if (!goes_no_further(&h->fields[i], from_peer, edge))
			h->fields[kept++] = h->fields[i];
		else if (h->fields[i].id == HEAD_ID_OTHER)
			asked_note(s, &h->fields[i]);
	}
	h->n = kept;
}

static struct str concat(struct arena *a, const struct str *v, size_t n)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += v[i].n;
	char *p = arena_alloc(a, bytes + 1), *at = p;

	for (size_t i = 0; i < n; i++) {
		if (v[i].n > 0)
			memcpy(at, v[i].p, v[i].n);
		at += v[i].n;
	}
	return str_from(p, bytes);
}

/* UUID version 4 (RFC 9562); it names a request, it guards nothing. */
static struct str make_request_id(struct stream *s)
{
	static const char hex[] = "0123456789abcdef";
	uint64_t r[2] = { rng_next(&s->w->rng), rng_next(&s->w->rng) };
	char *p = arena_alloc(&s->arena, 36), *at = p;

	r[0] = (r[0] & ~UINT64_C(0xf000)) | UINT64_C(0x4000);
	r[1] = (r[1] & ~(UINT64_C(3) << 62)) | (UINT64_C(2) << 62);
	for (unsigned byte = 0; byte < 16; byte++) {
		unsigned v = r[byte / 8] >> (56 - 8 * (byte % 8)) & 0xff;

		if (byte == 4 || byte == 6 || byte == 8 || byte == 10)
			*at++ = '-';
		*at++ = hex[v >> 4];
		*at++ = hex[v & 0xf];
	}
	return str_from(p, 36);
}

struct str headers_path_to_tell(struct stream *s)
{
	struct str path = s->req.path;

	if (s->token_param.n > 0)
		path = url_query_remove(path, s->token_param, &s->arena);
	return url_query_remove(path, STR("access_token"), &s->arena);
}

static void note_field(struct record *r, const struct head_field *f)
{
	switch ((unsigned)f->id) {
	case HEAD_ID_USER_AGENT:
		r->user_agent = f->value;
		break;
	case HEAD_ID_X_FORWARDED_FOR:
		r->forwarded_for = f->value;
		break;
	case HEAD_ID_X_REQUEST_ID:
		r->request_id = f->value;
		break;
	case HEAD_ID_CONTENT_TYPE:
		r->protocol = grpc_is_content_type(f->value) ? RECORD_GRPC : RECORD_HTTP;
		break;
	default:
		break;
	}
}

static void note_request(struct stream *s)
{
	struct record *r = &s->rec;

	r->method = s->req.method;
	r->path = headers_path_to_tell(s);
	r->authority = s->req.authority;
	r->version = s->req.version;
	/* One walk; of a name that is there twice the first counts. */
	for (size_t i = s->req.n; i-- > 0;)
		note_field(r, &s->req.fields[i]);
}

/* What a list may hold bare (Istio 2.13.5). */
static bool needs_quotes(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == ',' || s.p[i] == ';' || s.p[i] == '=' || s.p[i] == '"')
			return true;
	return false;
}

static struct str quoted(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, 2 * s.n + 3), *at = p;

	*at++ = '"';
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' && (i == 0 || s.p[i - 1] != '\\'))
			*at++ = '\\';
		*at++ = s.p[i];
	}
	*at++ = '"';
	return str_from(p, (size_t)(at - p));
}

static struct str add_names(struct arena *a, struct str to, struct str word,
			    const struct tls_names *names)
{
	for (size_t i = 0; i < names->n; i++) {
		struct str name = needs_quotes(names->v[i]) ? quoted(a, names->v[i]) : names->v[i];
		const struct str parts[] = { to, word, name };

		to = concat(a, parts, 3);
	}
	return to;
}

/* The certificate that a client outside has shown, behind what it has told of others. */
static void set_client_cert(struct stream *s, const struct tls_facts *f, struct str before)
{
	struct arena *a = &s->arena;
	const struct str parts[] = { before, before.n > 0 ? STR(",") : STR(""), STR("Hash="),
				     str_c(f->peer_cert_sha256), STR(";Subject="),
				     quoted(a, str_c(f->peer_subject)) };
	struct str v = concat(a, parts, 6);

	if (f->peer_spiffe.n > 0) {
		const struct str uri[] = { v, STR(";URI="), f->peer_spiffe };

		v = concat(a, uri, 3);
	}
	v = add_names(a, v, STR(";URI="), &f->peer_uris);
	v = add_names(a, v, STR(";DNS="), &f->peer_dns);
	head_set_id(&s->req, HEAD_ID_X_FORWARDED_CLIENT_CERT, v);
}

bool headers_forwarded_for(const struct head *h, size_t from_right, struct sock_addr *ret)
{
	for (size_t i = h->n; i-- > 0;) {
		struct str rest = h->fields[i].id == HEAD_ID_X_FORWARDED_FOR ? h->fields[i].value : STR_NULL;

		while (rest.p) {
			ptrdiff_t comma = str_rfind(rest, ',');
			struct str last = str_trim(comma < 0 ? rest : str_skip(rest, (size_t)comma + 1));

			if (from_right-- == 0)
				return sock_addr_parse(last, 0, ret);
			rest = comma < 0 ? STR_NULL : str_take(rest, (size_t)comma);
		}
	}
	return false;
}

/*
 * The connection's other end is appended. With trusted proxies in front the client is who stands as
 * many places before it (2.13.1); fewer addresses than proxies: somebody came past them.
 */
static void set_forwarded_for(struct stream *s, size_t trusted)
{
	struct sock_addr peer = s->rec.down_remote, told;
	struct str before = head_joined(&s->req, STR("x-forwarded-for"));
	char ip[SOCK_ADDR_TEXT_MAX];
	const struct str hops[] = { before, before.n > 0 ? STR(",") : STR(""),
				    str_c(sock_addr_host(&peer, ip)) };

	if (trusted > 0 && headers_forwarded_for(&s->req, trusted - 1, &told))
		s->rec.down_remote = told;
	if (peer.len > 0)               /* else of a Unix socket */
		head_set_id(&s->req, HEAD_ID_X_FORWARDED_FOR, concat(&s->arena, hops, 3));
	if (s->rec.down_remote.len == 0)
		return;
	head_set(&s->req, STR("x-envoy-external-address"),
		 arena_str(&s->arena, str_c(sock_addr_host(&s->rec.down_remote, ip))));
}

/* The scheme between client and the first proxy that is trusted (2.13.2). */
static bool is_https_told(const struct stream *s, size_t trusted)
{
	return trusted > 0 && str_eq(head_value(&s->req, HEAD_ID_X_FORWARDED_PROTO), STR("https"));
}

/* 2.13.5, gatewayTopology.forwardClientCertDetails. */
static void settle_client_cert(struct stream *s, const struct tls_facts *f)
{
	bool proved = f && f->peer_cert_sha256;
	struct str told = head_joined(&s->req, STR("x-forwarded-client-cert"));

	switch ((enum snap_client_cert)stream_settings(s)->client_cert) {
	case SNAP_CLIENT_CERT_ALWAYS_FORWARD_ONLY:
		return;
	case SNAP_CLIENT_CERT_FORWARD_ONLY:
		if (proved)
			return;
		break;
	case SNAP_CLIENT_CERT_APPEND_FORWARD:
	case SNAP_CLIENT_CERT_SANITIZE_SET:
		if (proved) {
			set_client_cert(s, f, stream_settings(s)->client_cert == SNAP_CLIENT_CERT_APPEND_FORWARD ?
							  told : STR_NULL);
			return;
		}
		break;
	case SNAP_CLIENT_CERT_SANITIZE:
	case SNAP_CLIENT_CERT__N:
		break;
	}
	head_remove(&s->req, STR("x-forwarded-client-cert"));
}

/*
 * Nothing that a client outside says of itself is believed: who it is, how it came, which request
 * this is (Istio 2.13.1 to 2.13.5).
 */
static void from_outside(struct stream *s)
{
	const struct tls_facts *f = down_tls(s);
	size_t trusted = (size_t)stream_settings(s)->trusted_proxies;

	s->req.scheme = f || is_https_told(s, trusted) ? STR("https") : STR("http");
	set_forwarded_for(s, trusted);
	head_set_id(&s->req, HEAD_ID_X_FORWARDED_PROTO, s->req.scheme);
	/* Inside the mesh a request has its name already (2.13.3). */
	if (!is_from_peer(s) || !head_find(&s->req, HEAD_ID_X_REQUEST_ID))
		head_set_id(&s->req, HEAD_ID_X_REQUEST_ID, make_request_id(s));
	settle_client_cert(s, f);
}

void headers_from_client(struct stream *s)
{
	bool from_peer = is_from_peer(s), edge = entry_is_edge(s->down.conn->owner_data);

	/* A gateway is the source of what it passes on (Istio 4.2.4). */
	if (from_peer && !edge) {
		const struct head_field *named = head_find_name(&s->req, PEER_HEADER);
		struct conn *c = s->down.conn;

		s->from_proxy = named != NULL;
		s->rec.source = entry_source(c->owner_data, c, s->lease,
					     named ? named->value : STR_NULL);
	}
	strip(s, from_peer, edge);
	if (edge)
		from_outside(s);
	if (!head_find(&s->req, HEAD_ID_X_REQUEST_ID))
		head_add_id(&s->req, HEAD_ID_X_REQUEST_ID, make_request_id(s));
	if (!head_find(&s->req, HEAD_ID_X_FORWARDED_PROTO))
		head_add_id(&s->req, HEAD_ID_X_FORWARDED_PROTO, STR("http"));
	note_request(s);
}

/* ---- route operations ------------------------------------------------------------------------ */

static struct str addr_text(struct stream *s, const struct sock_addr *a, bool port)
{
	char buf[SOCK_ADDR_TEXT_MAX];

	if (a->len == 0)
		return STR_NULL;
	return arena_str(&s->arena, str_c(port ? sock_addr_text(a, buf) : sock_addr_host(a, buf)));
}

static struct rewrite_ctx context(struct stream *s)
{
	const struct record *r = &s->rec;
	const struct tls_facts *f = down_tls(s);

	return (struct rewrite_ctx){
		.req = &s->req,
		.res = s->res.status > 0 ? &s->res : NULL,
		.start_real_us = r->start_real_us,
		.protocol = r->version == HEAD_VERSION_10 ? STR("HTTP/1.0") :
			    r->version == HEAD_VERSION_2  ? STR("HTTP/2") : STR("HTTP/1.1"),
		.request_id = r->request_id,
		.downstream_remote_address = addr_text(s, &r->down_remote, true),
		.downstream_remote_ip = addr_text(s, &r->down_remote, false),
		.downstream_local_address = addr_text(s, &r->down_local, true),
		.downstream_local_ip = addr_text(s, &r->down_local, false),
		.downstream_peer_uri = f ? f->peer_spiffe : STR_NULL,
		.downstream_local_uri = f ? f->own_spiffe : STR_NULL,
		.downstream_tls_version = f ? str_c(f->version) : STR_NULL,
		.requested_server_name = r->sni,
		.upstream_host = addr_text(s, &r->up_remote, true),
		.upstream_cluster = r->cluster,
		.route_name = r->route_name,
		.hostname = stream_snap(s)->settings.node,
	};
}

static const struct snap_header_ops *ops_of(const struct snap_headers *h, bool request)
{
	return request ? h->request : h->response;
}

void headers_route_ops(struct stream *s, struct head *h, bool request)
{
	const struct snap_route *route = s->hit.route;
	const struct snap_header_ops *of_route = route ? ops_of(&route->headers, request) : NULL;
	const struct snap_header_ops *of_dest = s->dest ? ops_of(&s->dest->headers, request) : NULL;

	if (!of_route && !of_dest)
		return;
	struct rewrite_ctx ctx = context(s);

	if (route && route->destinations.n > 1) {
		rewrite_headers(of_dest, h, &ctx);
		rewrite_headers(of_route, h, &ctx);
	} else {
		rewrite_headers(of_route, h, &ctx);
		rewrite_headers(of_dest, h, &ctx);
	}
}

/* ---- to the service -------------------------------------------------------------------------- */

static struct str number(struct stream *s, uint64_t v)
{
	char digits[STR_U64_MAX];

	return arena_str(&s->arena, str_from(digits, str_put_u64(digits, v)));
}

static void set_expected_timeout(struct stream *s)
{
	int64_t us = s->timeout_us, per_try = s->per_try_us;

	if (per_try > 0 && (us == 0 || per_try < us))
		us = per_try;
	if (us > 0)
		head_set_id(&s->req, HEAD_ID_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
			    number(s, (uint64_t)us / 1000));
}

/*
 * For the other proxy only, and only inside mTLS. A try outside the mesh after one inside must not
 * carry it.
 */
static void set_peer_name(struct stream *s)
{
	if (s->rec.tries > 1)
		head_remove(&s->req, PEER_HEADER);
	if (s->target.identity && s->entry.workload >= 0)
		head_add(&s->req, PEER_HEADER, s->lease->callers[s->entry.workload]);
}

/* Istio 2.13.5: what this hop has verified is appended to what earlier hops have. */
static void append_client_cert(struct stream *s)
{
	const struct tls_facts *f = down_tls(s);

	if (!f || f->peer_spiffe.n == 0)
		return;
	struct str before = head_joined(&s->req, STR("x-forwarded-client-cert"));
	const struct str parts[] = {
		before, before.n > 0 ? STR(",") : STR(""),
		STR("By="), f->own_spiffe,
		STR(";Hash="), str_c(f->peer_cert_sha256),
		STR(";Subject=\""), str_c(f->peer_subject),
		STR("\";URI="), f->peer_spiffe,
	};

	head_set_id(&s->req, HEAD_ID_X_FORWARDED_CLIENT_CERT,
		    concat(&s->arena, parts, sizeof(parts) / sizeof(parts[0])));
}

void headers_to_service(struct stream *s)
{
	if (s->entry.inbound) {
		if (s->raced == 0)      /* sent again it is the same head */
			append_client_cert(s);
		return;
	}
	head_set_id(&s->req, HEAD_ID_X_ENVOY_ATTEMPT_COUNT, number(s, s->rec.tries));
	set_expected_timeout(s);
	set_peer_name(s);
}

/* ---- to the client --------------------------------------------------------------------------- */

static struct str server_name(const struct stream *s)
{
	bool edge = s->down.conn && entry_is_edge(s->down.conn->owner_data);
	bool outbound = !s->entry.inbound && s->entry.workload >= 0 && !edge;

	return outbound ? STR("envoy") : STR("istio-envoy");
}

static void note_grpc_status(struct stream *s, const struct head *h)
{
	uint64_t code;

	if (s->rec.protocol == RECORD_GRPC &&
	    str_to_u64(head_value(h, HEAD_ID_GRPC_STATUS), &code) && code < 1000)
		s->rec.grpc_status = (int)code;
}

/* What two proxies tell each other ends at the second. */
static void strip_response(struct head *h)
{
	size_t kept = 0;

	for (size_t i = 0; i < h->n; i++)
		if (h->fields[i].id != HEAD_ID_X_ENVOY_PEER_METADATA &&
		    h->fields[i].id != HEAD_ID_X_ENVOY_PEER_METADATA_ID)
			h->fields[kept++] = h->fields[i];
	h->n = kept;
}

void headers_to_client(struct stream *s)
{
	struct head *h = &s->res;
	uint64_t us = s->rec.up_head_us - s->rec.up_first_us;

	note_grpc_status(s, h);
	strip_response(h);
	if (!s->from_proxy)             /* it tells its client its own */
		head_set_id(h, HEAD_ID_X_ENVOY_UPSTREAM_SERVICE_TIME, number(s, us / 1000));
	if (s->hash_cookie.n > 0)
		head_add(h, STR("set-cookie"), s->hash_cookie);
	headers_route_ops(s, h, false);
	if (s->cross_origin.n > 0)
		cross_origin_put(s, h);
	if (s->check)
		ext_authz_to_client(s, h);
	head_set_id(h, HEAD_ID_SERVER, server_name(s));
}

/* Made anew once a second. */
static struct str date_now(struct worker *w)
{
	time_t now = (time_t)(clock_real_us() / 1000000);
	struct tm tm;

	if (w->date_n == 0 || w->date_at != now) {
		gmtime_r(&now, &tm);
		w->date_n = strftime(w->date, sizeof(w->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		w->date_at = now;
	}
	return str_from(w->date, w->date_n);
}

void headers_of_reply(struct stream *s, struct head *h)
{
	head_set_id(h, HEAD_ID_SERVER, server_name(s));
	head_set_id(h, HEAD_ID_DATE, date_now(s->w));
}
