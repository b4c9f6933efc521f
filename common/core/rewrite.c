/* SPDX-License-Identifier: Apache-2.0 */
/* rewrite: path, authority, Location, header values. Layer core. */
#include "core/rewrite.h"

#include "base/clock.h"
#include "http/url.h"

/* ---- path and authority --------------------------------------------------------------------- */
static struct str join(struct arena *a, struct str x, struct str y, struct str z)
{
	char *p = arena_alloc(a, x.n + y.n + z.n + 1), *at = p;
	for (int i = 0; i < 3; i++) {
		struct str s = i == 0 ? x : i == 1 ? y : z;
		if (s.n > 0)
			memcpy(at, s.p, s.n);
		at += s.n;
	}
	*at = '\0';
	return str_from(p, x.n + y.n + z.n);
}

/*
 * The matched prefix text is swapped; after an exact or regex match the whole path is
 * (Istio 2.6.1).
 */
static struct str swap_path(struct str path, struct str uri, const struct snap_match *m,
			    struct arena *a)
{
	size_t prefix = 1;              /* no uri match: "/" is the prefix */
	if (m && m->uri)
		prefix = m->uri->kind == SNAP_MATCH_PREFIX ? m->uri->value.n : path.n;
	struct str rest = str_skip(path, prefix);
	bool slash = uri.n > 0 ? uri.p[0] == '/' : rest.n > 0 && rest.p[0] == '/';
	return join(a, slash ? STR("") : STR("/"), uri, rest);
}

/* "?query" of a target, or nothing. */
static struct str query_part(struct str target, struct str path)
{
	return str_skip(target, path.n);
}

static void rewrite_path(const struct match_hit *hit, struct head *req,
			 struct regex_scratch *scratch)
{
	const struct snap_rewrite *rw = hit->route->rewrite;
	struct str path, query, to = STR_NULL;
	url_split_query(req->path, &path, &query);
	if (path.n == 0 || path.p[0] != '/')
		return;                 /* "*" and CONNECT have no path */
	if (hit->rewrite) {
		if (regex_replace(hit->rewrite, path, rw->substitution, scratch, req->arena, &to) !=
		    REGEX_YES)
			return;
		if (to.n == 0 || to.p[0] != '/')
			to = join(req->arena, STR("/"), to, STR(""));
	} else if (rw->uri.p) {
		to = swap_path(path, rw->uri, hit->match, req->arena);
	}
	if (!to.p)
		return;
	struct str old = req->path;
	req->path = join(req->arena, to, query_part(old, path), STR(""));
	head_set_id(req, HEAD_ID_X_ENVOY_ORIGINAL_PATH, old);
}

static void set_authority(struct head *req, struct str to)
{
	if (str_eq(req->authority, to))
		return;
	if (!head_find(req, HEAD_ID_X_ENVOY_ORIGINAL_HOST))
		head_set_id(req, HEAD_ID_X_ENVOY_ORIGINAL_HOST, req->authority);
	req->authority = to;
}

void rewrite_request(const struct match_hit *hit, struct head *req, struct regex_scratch *scratch)
{
	const struct snap_rewrite *rw = hit->route->rewrite;
	if (!rw)
		return;
	rewrite_path(hit, req, scratch);
	if (rw->authority.p)
		set_authority(req, rw->authority);
}

/* ---- redirect ------------------------------------------------------------------------------- */
static uint16_t default_port(struct str scheme)
{
	return str_ieq(scheme, STR("https")) ? 443 : 80;
}

/*
 * Port to write behind the host; 0: none. host_port: the one that the host came with (Istio 2.6.6).
 */
static int64_t location_port(const struct snap_redirect *r, const struct rewrite_origin *from,
			     struct str scheme, uint16_t host_port)
{
	if (r->port > 0)
		return r->port;
	if (r->derive_port == SNAP_DERIVE_PORT_PROTOCOL)
		return 0;
	if (r->derive_port == SNAP_DERIVE_PORT_REQUEST &&
	    from->listener_port != default_port(scheme))
		return from->listener_port;
	bool scheme_changed = !str_ieq(scheme, from->scheme);
	if (scheme_changed && !r->authority.p && host_port == default_port(from->scheme))
		return 0;
	return host_port;
}

static struct str location_path(const struct snap_redirect *r, const struct snap_match *m,
				struct str target, struct arena *a)
{
	struct str path, query;
	url_split_query(target, &path, &query);
	struct str tail = query_part(target, path);
	if (r->uri.p)
		return join(a, r->uri, str_find(r->uri, '?') < 0 ? tail : STR(""), STR(""));
	if (r->prefix_rewrite.p)
		return join(a, swap_path(path, r->prefix_rewrite, m, a), tail, STR(""));
	return target;
}

struct str rewrite_location(const struct snap_redirect *r, const struct snap_match *m,
			    const struct rewrite_origin *from, struct arena *a)
{
	struct str scheme = r->scheme.p ? r->scheme : from->scheme;
	struct str authority = r->authority.p ? r->authority : from->authority, host;
	uint16_t host_port = 0;
	if (!url_split_authority(authority, &host, &host_port))
		host = authority;
	int64_t port = location_port(r, from, scheme, host_port);
	bool v6 = str_find(host, ':') >= 0;
	char tail[16] = "";
	if (port > 0)
		snprintf(tail, sizeof(tail), ":%d", (int)port);
	struct str path = location_path(r, m, from->path, a);
	return arena_printf(a, "%.*s://%s%.*s%s%s%.*s", STR_ARG(scheme), v6 ? "[" : "",
			    STR_ARG(host), v6 ? "]" : "", tail, STR_ARG(path));
}

/* ---- %OPERATORS% ---------------------------------------------------------------------------- */
static const struct {
	const char *name;
	size_t offset;
} operators[] = {
#define OP(name, member) { name, offsetof(struct rewrite_ctx, member) }
	OP("PROTOCOL", protocol),
	OP("REQUEST_ID", request_id),
	OP("STREAM_ID", request_id),
	OP("DOWNSTREAM_REMOTE_ADDRESS", downstream_remote_address),
	OP("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", downstream_remote_ip),
	OP("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", downstream_remote_address),
	OP("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", downstream_remote_ip),
	OP("DOWNSTREAM_LOCAL_ADDRESS", downstream_local_address),
	OP("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", downstream_local_ip),
	OP("DOWNSTREAM_PEER_URI_SAN", downstream_peer_uri),
	OP("DOWNSTREAM_LOCAL_URI_SAN", downstream_local_uri),
	OP("DOWNSTREAM_TLS_VERSION", downstream_tls_version),
	OP("REQUESTED_SERVER_NAME", requested_server_name),
	OP("UPSTREAM_HOST", upstream_host),
	OP("UPSTREAM_REMOTE_ADDRESS", upstream_host),
	OP("UPSTREAM_CLUSTER", upstream_cluster),
	OP("ROUTE_NAME", route_name),
	OP("HOSTNAME", hostname),
#undef OP
};

static struct str lower(struct str s, struct arena *a)
{
	char *p = arena_alloc(a, s.n + 1);
	for (size_t i = 0; i < s.n; i++)
		p[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 0x20) : s.p[i];
	p[s.n] = '\0';
	return str_from(p, s.n);
}

static struct str header_text(const struct head *h, struct str name, bool request)
{
	if (name.n == 0 || !h)
		return STR_NULL;
	if (name.p[0] != ':')
		return head_joined(h, name);
	if (request && str_eq(name, STR(":authority")))
		return h->authority;
	if (request && str_eq(name, STR(":method")))
		return h->method;
	if (request && str_eq(name, STR(":path")))
		return h->path;
	return request && str_eq(name, STR(":scheme")) ? h->scheme : STR_NULL;
}

/* REQ(NAME?ALTERNATIVE):MAX and RESP(…); false: not of that form. */
static bool header_operator(struct str op, const char *word, const struct head *h, bool request,
			    struct arena *a, struct str *ret)
{
	if (!str_has_prefix(op, str_c(word)))
		return false;
	struct str rest = str_skip(op, strlen(word));
	ptrdiff_t close = str_find(rest, ')');
	if (rest.n == 0 || rest.p[0] != '(' || close < 0)
		return false;
	struct str names = lower(str_take(str_skip(rest, 1), (size_t)close - 1), a);
	struct str limit = str_skip(rest, (size_t)close + 1);
	uint64_t max = UINT64_MAX;
	if (limit.n > 0 && (limit.p[0] != ':' || !str_to_u64(str_skip(limit, 1), &max)))
		return false;
	*ret = STR_NULL;
	for (struct str name; !ret->p && str_split(&names, '?', &name);)
		*ret = header_text(h, name, request);
	if (ret->n > max)
		ret->n = (size_t)max;
	return true;
}

static struct str start_time(const struct rewrite_ctx *ctx, struct arena *a)
{
	char buf[CLOCK_RFC3339_MAX];
	return arena_str(a, str_c(clock_rfc3339(ctx->start_real_us, buf)));
}

/* What stands between two percent signs; false: no operator. */
static bool operator_text(struct str op, const struct rewrite_ctx *ctx, struct arena *a,
			  struct str *ret)
{
	if (header_operator(op, "REQ", ctx->req, true, a, ret) ||
	    header_operator(op, "RESP", ctx->res, false, a, ret))
		return true;
	if (str_eq(op, STR("START_TIME"))) {
		*ret = start_time(ctx, a);
		return true;
	}
	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
		if (str_eq(op, str_c(operators[i].name))) {
			memcpy(ret, (const char *)ctx + operators[i].offset, sizeof(*ret));
			return true;
		}
	}
	return false;
}

struct text {
	char *v;
	size_t n, cap;
};

static void text_add(struct text *t, struct str s, struct arena *a)
{
	if (s.n == 0 || t->n > REWRITE_VALUE_MAX)
		return;
	if (t->n + s.n > t->cap) {
		t->cap = (t->n + s.n) * 2;
		t->v = arena_grow(a, t->v, t->n, t->cap);
	}
	memcpy(t->v + t->n, s.p, s.n);
	t->n += s.n;
}

struct str rewrite_value(struct str value, const struct rewrite_ctx *ctx, struct arena *a)
{
	struct text out = { 0 };
	bool any = false;
	for (ptrdiff_t at; (at = str_find(value, '%')) >= 0; any = true) {
		text_add(&out, str_take(value, (size_t)at), a);
		struct str rest = str_skip(value, (size_t)at + 1), got;
		ptrdiff_t end = str_find(rest, '%');
		if (end < 0 || !operator_text(str_take(rest, (size_t)end), ctx, a, &got)) {
			/* "%%", a lone sign, or a word that is no operator: the sign itself. */
			text_add(&out, STR("%"), a);
			value = str_skip(rest, end == 0);
			continue;
		}
		text_add(&out, got, a);
		value = str_skip(rest, (size_t)end + 1);
	}
	if (!any)
		return value;
	text_add(&out, value, a);
	return out.n > REWRITE_VALUE_MAX ? STR_NULL : str_from(out.v, out.n);
}

/* ---- header operations ---------------------------------------------------------------------- */
static bool expand(const struct snap_pair *p, const struct head *h, const struct rewrite_ctx *ctx,
		   struct str *ret)
{
	*ret = rewrite_value(p->value, ctx, h->arena);
	return (ret->n > 0 || p->value.n == 0) && head_is_value(*ret);
}

static bool names_authority(struct str name)
{
	return str_eq(name, STR("host")) || str_eq(name, STR(":authority"));
}

void rewrite_headers(const struct snap_header_ops *ops, struct head *h,
		     const struct rewrite_ctx *ctx)
{
	struct str value;
	if (!ops)
		return;
	for (size_t i = 0; i < ops->remove.n; i++)
		head_remove(h, ops->remove.v[i]);
	for (size_t i = 0; i < ops->set.n; i++) {
		const struct snap_pair *p = &ops->set.v[i];
		if (!expand(p, h, ctx, &value))
			continue;
		if (!names_authority(p->name))
			head_set(h, p->name, value);
		else if (h->method.p && value.n > 0)
			set_authority(h, value);
	}
	for (size_t i = 0; i < ops->add.n; i++) {
		const struct snap_pair *p = &ops->add.v[i];
		if (expand(p, h, ctx, &value) && !names_authority(p->name))
			head_add(h, p->name, value);
	}
}
