/* SPDX-License-Identifier: Apache-2.0 */
/* authz_proto: see authz_proto.h. Layer proxy. */
#include "config.h"

#include "proxy/authz_proto.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* ---- writing --------------------------------------------------------------------------------- */

static void put_varint(struct text *t, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		text_char(t, (char)(uint8_t)(v | 0x80));
	text_char(t, (char)(uint8_t)v);
}

/* What is 0 is not sent. */
static void put_number(struct text *t, uint32_t field, uint64_t v)
{
	if (v == 0)
		return;
	put_varint(t, field << 3 | WIRE_VARINT);
	put_varint(t, v);
}

static void put_bytes(struct text *t, uint32_t field, struct str s)
{
	if (s.n == 0)
		return;
	put_varint(t, field << 3 | WIRE_BYTES);
	put_varint(t, s.n);
	text_add(t, s);
}

static void put_message(struct text *t, uint32_t field, struct text *inner)
{
	put_varint(t, field << 3 | WIRE_BYTES);
	put_varint(t, inner->n);
	text_bytes(t, inner->p, inner->n);
	text_done(inner);
}

static bool is_utf8(struct str s)
{
	uint32_t code;

	for (size_t n; s.n > 0; s = str_skip(s, n))
		if ((n = str_utf8(s, &code)) == 0)
			return false;
	return true;
}

/* Readers of protobuf refuse a whole message for one string that is not UTF-8. */
static void put_string(struct text *t, uint32_t field, struct str s)
{
	uint32_t code;

	if (is_utf8(s)) {
		put_bytes(t, field, s);
		return;
	}
	put_varint(t, field << 3 | WIRE_BYTES);
	put_varint(t, s.n);
	while (s.n > 0) {
		size_t n = str_utf8(s, &code);

		if (n > 0)
			text_add(t, str_take(s, n));
		else
			text_char(t, '!');
		s = str_skip(s, n > 0 ? n : 1);
	}
}

static void put_peer(struct text *t, uint32_t field, const struct authz_proto_peer *p)
{
	char host[SOCK_ADDR_TEXT_MAX];
	struct text peer = { 0 }, address = { 0 }, socket = { 0 };

	if (p->addr && p->addr->len > 0 && p->port > 0) {
		put_string(&socket, 2, str_c(sock_addr_host(p->addr, host)));
		put_number(&socket, 3, (uint64_t)p->port);
		put_message(&address, 1, &socket);
		put_message(&peer, 1, &address);
	}
	put_string(&peer, 4, p->principal);
	put_message(t, field, &peer);
}

static void put_pair(struct text *t, uint32_t field, struct str key, struct str value)
{
	struct text pair = { 0 };

	put_string(&pair, 1, key);
	put_string(&pair, 2, value);
	put_message(t, field, &pair);
}

/* All of a name are one entry of the map. */
static void put_headers(struct text *t, const struct authz_proto_request *r)
{
	const struct head *h = r->head;
	char n[STR_U64_MAX];

	put_pair(t, 3, STR(":method"), h->method);
	put_pair(t, 3, STR(":scheme"), h->scheme);
	put_pair(t, 3, STR(":authority"), h->authority);
	put_pair(t, 3, STR(":path"), h->path);
	for (size_t i = 0; i < h->n; i++)
		if (head_find_name(h, h->fields[i].name) == &h->fields[i])
			put_pair(t, 3, h->fields[i].name, head_joined(h, h->fields[i].name));
	if (h->body == HEAD_BODY_LENGTH)
		put_pair(t, 3, STR("content-length"), str_from(n, str_put_u64(n, h->content_length)));
	if (r->with_body)
		put_pair(t, 3, STR("x-envoy-auth-partial-body"), r->partial ? STR("true") : STR("false"));
}

static struct str version_of(const struct head *h)
{
	if (h->version == HEAD_VERSION_2)
		return STR("HTTP/2");
	return h->version == HEAD_VERSION_10 ? STR("HTTP/1.0") : STR("HTTP/1.1");
}

/* Not known is -1. */
static uint64_t size_of(const struct head *h)
{
	if (h->body == HEAD_BODY_NONE)
		return 0;
	return h->body == HEAD_BODY_LENGTH ? h->content_length : UINT64_MAX;
}

static void put_http(struct text *t, const struct authz_proto_request *r)
{
	struct text http = { 0 };
	const struct head *h = r->head;

	put_string(&http, 1, r->id);
	put_string(&http, 2, h->method);
	put_headers(&http, r);
	put_string(&http, 4, h->path);
	put_string(&http, 5, h->authority);
	put_string(&http, 6, h->scheme);
	put_number(&http, 9, size_of(h));
	put_string(&http, 10, version_of(h));
	if (r->raw_body)
		put_bytes(&http, 12, r->body);
	else
		put_string(&http, 11, r->body);
	put_message(t, 2, &http);
}

void authz_proto_put(const struct authz_proto_request *r, struct text *to)
{
	struct text attributes = { 0 }, request = { 0 }, time = { 0 }, tls = { 0 };

	put_peer(&attributes, 1, &r->source);
	put_peer(&attributes, 2, &r->destination);
	put_number(&time, 1, (uint64_t)(r->time_us / 1000000));
	put_number(&time, 2, (uint64_t)(r->time_us % 1000000) * 1000);
	put_message(&request, 1, &time);
	if (r->head)
		put_http(&request, r);
	put_message(&attributes, 4, &request);
	put_string(&tls, 1, r->sni);
	if (tls.n > 0)
		put_message(&attributes, 12, &tls);
	text_done(&tls);
	put_message(to, 1, &attributes);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct item {
	uint64_t field, v;
	unsigned wire;
	struct str bytes;
};

static bool take_varint(struct str *in, uint64_t *ret)
{
	*ret = 0;
	for (unsigned shift = 0; shift < 64 && in->n > 0; shift += 7) {
		uint8_t b = (uint8_t)in->p[0];

		if (shift == 63 && b > 1)
			return false;
		*in = str_skip(*in, 1);
		*ret |= (uint64_t)(b & 0x7f) << shift;
		if (b < 0x80)
			return true;
	}
	return false;
}

static bool take_item(struct str *in, struct item *ret)
{
	uint64_t tag, n;

	if (!take_varint(in, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
		return false;
	*ret = (struct item){ .field = tag >> 3, .wire = (unsigned)(tag & 7) };
	switch (ret->wire) {
	case WIRE_VARINT:
		return take_varint(in, &ret->v);
	case WIRE_64:
		n = 8;
		break;
	case WIRE_32:
		n = 4;
		break;
	case WIRE_BYTES:
		if (!take_varint(in, &n))
			return false;
		break;
	default:
		return false;
	}
	if (n > in->n)
		return false;
	ret->bytes = str_take(*in, (size_t)n);
	*in = str_skip(*in, (size_t)n);
	return true;
}

typedef bool (*item_fn)(void *to, const struct item *it);

static bool read_message(struct str in, item_fn fn, void *to)
{
	struct item it;

	while (in.n > 0)
		if (!take_item(&in, &it) || !fn(to, &it))
			return false;
	return true;
}

static bool read_inner(const struct item *it, item_fn fn, void *to)
{
	return it->wire == WIRE_BYTES && read_message(it->bytes, fn, to);
}

/* google.rpc.Status, HttpStatus, BoolValue: their first field is the number that counts. */
static bool on_first(void *to, const struct item *it)
{
	if (it->field != 1)
		return true;
	*(uint64_t *)to = it->v;
	return it->wire == WIRE_VARINT;
}

struct answer {
	struct authz_proto_answer *to;
	struct arena *arena;
	uint64_t code, status;
	bool error;                     /* it says that it could not decide */
};

/* One more of a list in the arena; NULL: it is full. */
#define PUSH(a, l, type)                                                                           \
	((l).n == AUTHZ_PROTO_FIELDS_MAX ?                                                         \
		 NULL :                                                                            \
		 ((l).v = (l).v ? (l).v : arena_new_n(a, type, AUTHZ_PROTO_FIELDS_MAX),            \
		  &(l).v[(l).n++]))

struct option {
	struct str name, value, raw;
	uint64_t append, action;
	bool has_append;
};

static bool on_header(void *to, const struct item *it)
{
	struct option *o = to;
	struct str *const parts[] = { &o->name, &o->value, &o->raw };

	if (it->field > 3)
		return true;
	*parts[it->field - 1] = it->bytes;
	return it->wire == WIRE_BYTES;
}

static bool on_option(void *to, const struct item *it)
{
	struct option *o = to;

	switch (it->field) {
	case 1:
		return read_inner(it, on_header, o);
	case 2:
		o->has_append = true;
		o->append = 0;
		return read_inner(it, on_first, &o->append);
	case 3:
		o->action = it->v;
		return it->wire == WIRE_VARINT;
	default:
		return true;
	}
}

static bool is_name(struct str s)
{
	return head_is_token(s.n > 0 && s.p[0] == ':' ? str_skip(s, 1) : s);
}

static struct str lower(struct str s, struct arena *a)
{
	char *p = arena_alloc(a, s.n + 1);

	for (size_t i = 0; i < s.n; i++)
		p[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] - 'A' + 'a') : s.p[i];
	return str_from(p, s.n);
}

static enum authz_proto_how how_of(const struct option *o, bool to_client)
{
	static const enum authz_proto_how actions[] = { AUTHZ_PROTO_ADD, AUTHZ_PROTO_IF_ABSENT, AUTHZ_PROTO_SET,
							AUTHZ_PROTO_IF_THERE };

	if (o->has_append && o->append)
		return to_client ? AUTHZ_PROTO_ADD : AUTHZ_PROTO_APPEND;
	/* What a client sent under a name that is set must not stay beside it. */
	if (o->has_append || (!to_client && o->action == 0))
		return AUTHZ_PROTO_SET;
	return actions[o->action];
}

static bool add_header(struct answer *r, struct authz_proto_headers *l, const struct item *it, bool to_client)
{
	struct option o = { 0 };

	if (!read_inner(it, on_option, &o))
		return false;
	struct str value = o.value.n > 0 ? o.value : o.raw;

	if (!is_name(o.name) || !head_is_value(value) || o.action > 3)
		return false;
	struct authz_proto_header *h = PUSH(r->arena, *l, struct authz_proto_header);

	if (!h)
		return false;
	*h = (struct authz_proto_header){ lower(o.name, r->arena), str_trim(value), how_of(&o, to_client) };
	return true;
}

static bool on_denied(void *arg, const struct item *it)
{
	struct answer *r = arg;

	switch (it->field) {
	case 1:
		return read_inner(it, on_first, &r->status);
	case 2:
		return add_header(r, &r->to->refusal, it, true);
	case 3:
		r->to->body = it->bytes;
		return it->wire == WIRE_BYTES;
	default:
		return true;
	}
}

/* What may stand in a query, between & and =. */
static bool is_of_query(struct str s, bool name)
{
	for (size_t i = 0; i < s.n; i++) {
		char ch = s.p[i];

		if (ch <= ' ' || ch >= 0x7f || ch == '#' || ch == '&' || (name && ch == '='))
			return false;
	}
	return !name || s.n > 0;
}

static bool on_param(void *to, const struct item *it)
{
	struct authz_proto_param *p = to;

	if (it->field > 2)
		return true;
	*(it->field == 1 ? &p->name : &p->value) = it->bytes;
	return it->wire == WIRE_BYTES;
}

static bool add_param(struct answer *r, const struct item *it)
{
	struct authz_proto_param p = { STR_NULL, STR_NULL };

	if (!read_inner(it, on_param, &p) || !is_of_query(p.name, true) || !is_of_query(p.value, false))
		return false;
	struct authz_proto_param *to = PUSH(r->arena, r->to->set_params, struct authz_proto_param);

	if (to)
		*to = p;
	return to != NULL;
}

static bool remove_header(struct answer *r, const struct item *it)
{
	if (it->wire != WIRE_BYTES || !is_name(it->bytes))
		return false;
	struct str *to = PUSH(r->arena, r->to->remove, struct str);

	if (to)
		*to = lower(it->bytes, r->arena);
	return to != NULL;
}

static bool remove_param(struct answer *r, const struct item *it)
{
	if (it->wire != WIRE_BYTES)
		return false;
	struct str *to = PUSH(r->arena, r->to->remove_params, struct str);

	if (to)
		*to = it->bytes;
	return to != NULL;
}

static bool on_ok(void *arg, const struct item *it)
{
	struct answer *r = arg;

	switch (it->field) {
	case 2:
		return add_header(r, &r->to->to_service, it, false);
	case 5:
		return remove_header(r, it);
	case 6:
		return add_header(r, &r->to->to_client, it, true);
	case 7:
		return add_param(r, it);
	case 8:
		return remove_param(r, it);
	default:
		return true;
	}
}

static bool on_answer(void *arg, const struct item *it)
{
	struct answer *r = arg;

	switch (it->field) {
	case 1:
		return read_inner(it, on_first, &r->code);
	case 2:
		return read_inner(it, on_denied, r);
	case 3:
		return read_inner(it, on_ok, r);
	case 5:
		r->error = true;
		return it->wire == WIRE_BYTES;
	default:
		return true;            /* dynamic_metadata: for filters that are not here */
	}
}

bool authz_proto_read(struct str message, struct arena *a, struct authz_proto_answer *ret)
{
	struct answer r = { .to = ret, .arena = a };

	*ret = (struct authz_proto_answer){ .allowed = false };
	if (!read_message(message, on_answer, &r))
		return false;
	if (r.code != 0 && r.error)
		return false;
	ret->allowed = r.code == 0;
	ret->status = r.status >= 200 && r.status <= 599 ? (unsigned)r.status : 403;
	return true;
}
