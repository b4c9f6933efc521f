/* SPDX-License-Identifier: Apache-2.0 */
/* ext_authz_grpc: see ext_authz_grpc.h. Layer proxy. */
#include "config.h"

#include "http/url.h"
#include "proxy/conn.h"
#include "proxy/ext_authz.h"
#include "proxy/ext_authz_grpc.h"
#include "proxy/listener.h"

#define PREFIX 5                        /* of a message: a flag byte, four of length */

/* ---- the question -------------------------------------------------------------------------- */

/* What of the request may be seen; the rest keeps its own arena. */
static struct head *visible(const struct stream *s, struct arena *a)
{
	struct head *h = arena_new(a, struct head);

	*h = s->req;
	h->arena = a;
	h->fields = NULL;
	h->n = h->cap = 0;
	for (size_t i = 0; i < s->req.n; i++)
		if (ext_authz_is_free(&s->req.fields[i]))
			head_add(h, s->req.fields[i].name, s->req.fields[i].value);
	return h;
}

static struct str own_principal(const struct stream *s)
{
	const struct snap *snap = stream_snap(s);
	int64_t workload = s->entry.inbound ? s->entry.target->workload : s->entry.workload;

	return workload < 0 ? STR_NULL : snap->identities.v[snap->workloads.v[workload].identity];
}

static struct authz_proto_request facts_of(const struct stream *s)
{
	const struct tls_facts *f = conn_tls(s->down.conn);

	return (struct authz_proto_request){
		.source = {
			.addr = &s->rec.down_remote,
			.port = sock_addr_port(&s->rec.down_remote),
			.principal = f && f->mutual ? f->peer_spiffe : STR_NULL,
		},
		.destination = {
			.addr = &s->rec.down_local,
			.port = s->entry.inbound ? s->entry.target->port : sock_addr_port(&s->rec.down_local),
			.principal = own_principal(s),
		},
		.sni = s->rec.sni,
		.time_us = s->rec.start_real_us,
	};
}

static void add_request(const struct stream *s, const struct snap_authorizer *to, struct arena *a,
			struct authz_proto_request *r)
{
	size_t max = (size_t)to->body_bytes;

	r->head = visible(s, a);
	r->id = head_value(&s->req, HEAD_ID_X_REQUEST_ID);
	r->with_body = max > 0;
	r->raw_body = to->raw_body;
	if (max == 0)
		return;
	r->body = ext_authz_held(s, max, a);
	r->partial = !s->down.end_in || s->held.n > max;
}

static void put_message(struct stream *q, const struct text *t)
{
	uint8_t prefix[PREFIX] = { 0, (uint8_t)(t->n >> 24), (uint8_t)(t->n >> 16), (uint8_t)(t->n >> 8),
				   (uint8_t)t->n };

	buf_append(&q->held, prefix, sizeof(prefix));
	buf_append(&q->held, t->p, t->n);
}

void ext_authz_grpc_ask(const struct stream *s, const struct snap_authorizer *to, struct stream *q)
{
	struct head *h = &q->req;
	struct authz_proto_request r = facts_of(s);
	struct text t = { 0 };

	if (s->http)
		add_request(s, to, &q->arena, &r);
	authz_proto_put(&r, &t);
	put_message(q, &t);
	text_done(&t);
	q->rec.protocol = RECORD_GRPC;
	q->host = stream_snap(s)->clusters.v[to->cluster].service;
	h->version = HEAD_VERSION_2;
	h->method = STR("POST");
	h->scheme = STR("http");
	h->authority = q->host;
	h->path = STR(AUTHZ_PROTO_PATH);
	h->body = HEAD_BODY_CHUNKED;
	h->te_trailers = true;
	head_add_id(h, HEAD_ID_CONTENT_TYPE, STR("application/grpc"));
	head_add_id(h, HEAD_ID_GRPC_TIMEOUT,
		    arena_printf(&q->arena, "%lldm", (long long)((to->timeout_us + 999) / 1000)));
}

/* ---- the answer ---------------------------------------------------------------------------- */

static bool is_status_ok(const struct stream *q)
{
	const struct head *in = head_find(&q->res_trailers, HEAD_ID_GRPC_STATUS) ? &q->res_trailers : &q->res;

	return str_eq(head_value(in, HEAD_ID_GRPC_STATUS), STR("0"));
}

/* One message, as it is: no compression was offered. */
bool ext_authz_grpc_read(const struct stream *q, struct str body, struct arena *a, struct authz_proto_answer *ret)
{
	if (!q->up.head_in || !q->up.end_in || q->res.status != 200 || !is_status_ok(q) ||
	    !grpc_is_content_type(head_value(&q->res, HEAD_ID_CONTENT_TYPE)))
		return false;
	if (body.n < PREFIX || body.p[0] != 0)
		return false;
	uint32_t n = (uint32_t)(uint8_t)body.p[1] << 24 | (uint32_t)(uint8_t)body.p[2] << 16 |
		     (uint32_t)(uint8_t)body.p[3] << 8 | (uint8_t)body.p[4];

	return n == body.n - PREFIX && authz_proto_read(str_skip(body, PREFIX), a, ret);
}

static void put_field(struct head *to, const struct authz_proto_header *h)
{
	bool there = head_find_name(to, h->name) != NULL;

	switch (h->how) {
	case AUTHZ_PROTO_SET:
		head_set(to, h->name, h->value);
		return;
	case AUTHZ_PROTO_IF_THERE:
		if (there)
			head_set(to, h->name, h->value);
		return;
	case AUTHZ_PROTO_APPEND:
		if (there)
			head_add(to, h->name, h->value);
		return;
	case AUTHZ_PROTO_IF_ABSENT:
		if (!there)
			head_add(to, h->name, h->value);
		return;
	case AUTHZ_PROTO_ADD:
		head_add(to, h->name, h->value);
		return;
	}
}

static bool is_free_name(struct str name)
{
	return head_is_token(name) && ext_authz_is_free(&(struct head_field){ .name = name, .id = head_id_of(name) });
}

void ext_authz_grpc_fields(struct head *to, const struct authz_proto_headers *fields)
{
	for (size_t i = 0; i < fields->n; i++)
		if (is_free_name(fields->v[i].name))
			put_field(to, &fields->v[i]);
}

/* ---- the query ----------------------------------------------------------------------------- */

static bool is_replaced(const struct authz_proto_answer *a, struct str param)
{
	ptrdiff_t eq = str_find(param, '=');
	struct str name = eq < 0 ? param : str_take(param, (size_t)eq);

	for (size_t i = 0; i < a->set_params.n; i++)
		if (str_eq(name, a->set_params.v[i].name))
			return true;
	for (size_t i = 0; i < a->remove_params.n; i++)
		if (str_eq(name, a->remove_params.v[i]))
			return true;
	return false;
}

static bool is_removed(const struct authz_proto_answer *a, size_t i)
{
	for (size_t k = i + 1; k < a->set_params.n; k++)
		if (str_eq(a->set_params.v[i].name, a->set_params.v[k].name))
			return true;    /* the last of a name counts */
	for (size_t k = 0; k < a->remove_params.n; k++)
		if (str_eq(a->set_params.v[i].name, a->remove_params.v[k]))
			return true;
	return false;
}

static void add_param(struct text *t, size_t path_bytes, struct str param)
{
	text_char(t, t->n == path_bytes ? '?' : '&');
	text_add(t, param);
}

static void change_query(struct stream *s, const struct authz_proto_answer *a)
{
	struct str path, query, param;
	struct text t = { 0 };

	if (a->set_params.n + a->remove_params.n == 0)
		return;
	url_split_query(s->req.path, &path, &query);
	text_add(&t, path);
	while (str_split(&query, '&', &param))
		if (!is_replaced(a, param))
			add_param(&t, path.n, param);
	for (size_t i = 0; i < a->set_params.n; i++) {
		if (is_removed(a, i))
			continue;
		add_param(&t, path.n, a->set_params.v[i].name);
		text_char(&t, '=');
		text_add(&t, a->set_params.v[i].value);
	}
	s->req.path = arena_str(&s->arena, str_from(t.p, t.n));
	text_done(&t);
}

void ext_authz_grpc_to_service(struct stream *s, const struct authz_proto_answer *a)
{
	if (!s->http)
		return;
	ext_authz_grpc_fields(&s->req, &a->to_service);
	for (size_t i = 0; i < a->remove.n; i++)
		if (is_free_name(a->remove.v[i]))
			head_remove(&s->req, a->remove.v[i]);
	change_query(s, a);
}
