/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt_grpc: grpc.health.v1.Health/Check over HTTP/2 without TLS; SERVING is healthy. Layer
 * daemons/probe; the only file here that knows nghttp2.
 */
#include "config.h"

#include <string.h>

#include <nghttp2/nghttp2.h>

#include "probe/attempt.h"
#include "probe/net.h"

#define PREFIX_BYTES 5                  /* of a gRPC message: compressed?, length */
#define ANSWER_MAX 256
#define HEADER_LIST_MAX (16u << 10)

struct grpc {
	struct attempt *attempt;
	struct net net;
	nghttp2_session *session;
	struct str question;
	size_t asked;                   /* bytes of the question that were sent */
	uint8_t answer[ANSWER_MAX];
	size_t n_answer;
	char status[4], grpc_status[8];
};

/* ---- protobuf, as much as a health check needs -------------------------------------------- */

static size_t put_varint(uint8_t *out, uint64_t v)
{
	size_t n = 0;

	do {
		out[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
		v >>= 7;
	} while (v > 0);
	return n;
}

static bool take_varint(struct str *s, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (s->n == 0)
			return false;
		uint8_t b = (uint8_t)s->p[0];

		*s = str_skip(*s, 1);
		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*ret = v;
			return true;
		}
	}
	return false;
}

static struct str make_question(struct arena *a, struct str service)
{
	uint8_t *out = arena_alloc(a, PREFIX_BYTES + 12 + service.n), *p = out + PREFIX_BYTES;

	if (service.n > 0) {
		*p++ = 1 << 3 | 2;      /* field 1, of given length */
		p += put_varint(p, service.n);
		memcpy(p, service.p, service.n);
		p += service.n;
	}
	size_t n = (size_t)(p - out) - PREFIX_BYTES;

	out[0] = 0;
	for (size_t i = 0; i < 4; i++)
		out[1 + i] = (uint8_t)(n >> (24 - 8 * i));
	return str_from((char *)out, PREFIX_BYTES + n);
}

static bool skip_field(struct str *s, uint64_t tag)
{
	uint64_t v;
	size_t n;

	switch (tag & 7) {
	case 0:
		return take_varint(s, &v);
	case 1:
		n = 8;
		break;
	case 2:
		if (!take_varint(s, &v) || v > s->n)
			return false;
		n = (size_t)v;
		break;
	case 5:
		n = 4;
		break;
	default:
		return false;
	}
	if (s->n < n)
		return false;
	*s = str_skip(*s, n);
	return true;
}

/* ServingStatus of a HealthCheckResponse; absent is 0, UNKNOWN. */
static bool read_answer(struct str s, uint64_t *ret)
{
	uint64_t tag;

	*ret = 0;
	if (s.n < PREFIX_BYTES || s.p[0] != 0)
		return false;
	s = str_skip(s, PREFIX_BYTES);
	while (s.n > 0) {
		if (!take_varint(&s, &tag))
			return false;
		bool ok = tag == (1 << 3) ? take_varint(&s, ret) : skip_field(&s, tag);

		if (!ok)
			return false;
	}
	return true;
}

/* ---- the exchange -------------------------------------------------------------------------- */

static void judge(struct grpc *g)
{
	static const char *const words[] = { "UNKNOWN", "SERVING", "NOT_SERVING",
					     "SERVICE_UNKNOWN" };
	uint64_t status;

	if (!str_eq(str_c(g->status), STR("200")))
		attempt_end(g->attempt, false, "grpc probe: HTTP status %s",
			    g->status[0] ? g->status : "missing");
	else if (!str_eq(str_c(g->grpc_status), STR("0")))
		attempt_end(g->attempt, false, "grpc probe: grpc-status %s",
			    g->grpc_status[0] ? g->grpc_status : "missing");
	else if (!read_answer(str_from((char *)g->answer, g->n_answer), &status))
		attempt_end(g->attempt, false, "grpc probe: no HealthCheckResponse");
	else
		attempt_end(g->attempt, status == 1, "grpc probe: %s",
			    status < 4 ? words[status] : "an unknown status");
}

static ssize_t read_question(nghttp2_session *s, int32_t stream, uint8_t *out, size_t room,
			     uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct grpc *g = arg;
	struct str left = str_take(str_skip(g->question, g->asked), room);

	(void)s;
	(void)stream;
	(void)source;
	memcpy(out, left.p, left.n);
	g->asked += left.n;
	if (g->asked == g->question.n)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)left.n;
}

static void copy_value(char *to, size_t room, const uint8_t *p, size_t n)
{
	struct str s = str_take(str_from((const char *)p, n), room - 1);

	memcpy(to, s.p, s.n);
	to[s.n] = '\0';
}

static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t n_name,
		     const uint8_t *value, size_t n_value, uint8_t flags, void *arg)
{
	struct grpc *g = arg;
	struct str key = str_from((const char *)name, n_name);

	(void)s;
	(void)f;
	(void)flags;
	if (str_eq(key, STR(":status")))
		copy_value(g->status, sizeof(g->status), value, n_value);
	else if (str_eq(key, STR("grpc-status")))
		copy_value(g->grpc_status, sizeof(g->grpc_status), value, n_value);
	return 0;
}

static int on_chunk(nghttp2_session *s, uint8_t flags, int32_t stream, const uint8_t *p, size_t n,
		    void *arg)
{
	struct grpc *g = arg;

	(void)s;
	(void)flags;
	(void)stream;
	if (n > sizeof(g->answer) - g->n_answer)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	memcpy(g->answer + g->n_answer, p, n);
	g->n_answer += n;
	return 0;
}

static int on_close(nghttp2_session *s, int32_t stream, uint32_t code, void *arg)
{
	struct grpc *g = arg;

	(void)s;
	(void)stream;
	if (code != NGHTTP2_NO_ERROR)
		attempt_end(g->attempt, false, "grpc probe: the stream was reset: %s",
			    nghttp2_http2_strerror(code));
	else
		judge(g);
	return 0;
}

static void send_all(struct grpc *g)
{
	const uint8_t *p;
	ssize_t n;

	while (g->net.fd >= 0 && (n = nghttp2_session_mem_send(g->session, &p)) > 0)
		net_write(&g->net, str_from((const char *)p, (size_t)n));
}

static nghttp2_nv nv(const char *name, struct str value)
{
	union {
		const char *in;
		uint8_t *out;
	} n = { .in = name }, v = { .in = value.p };

	return (nghttp2_nv){ .name = n.out, .value = v.out, .namelen = strlen(name),
			     .valuelen = value.n };
}

static bool make_session(struct grpc *g)
{
	nghttp2_session_callbacks *c = NULL;

	if (nghttp2_session_callbacks_new(&c) != 0)
		return false;
	nghttp2_session_callbacks_set_on_header_callback(c, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(c, on_close);
	int r = nghttp2_session_client_new(&g->session, c, g);

	nghttp2_session_callbacks_del(c);
	return r == 0;
}

static bool submit(struct grpc *g)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_MAX },
	};
	const nghttp2_nv head[] = {
		nv(":method", STR("POST")), nv(":scheme", STR("http")),
		nv(":path", STR("/grpc.health.v1.Health/Check")),
		nv(":authority", STR("localhost")), nv("content-type", STR("application/grpc")),
		nv("te", STR("trailers")), nv("user-agent", STR("kvmesh-probe/" PACKAGE_VERSION)),
	};
	const nghttp2_data_provider body = { .read_callback = read_question };

	return nghttp2_submit_settings(g->session, 0, settings, 2) == 0 &&
	       nghttp2_submit_request(g->session, NULL, head, sizeof(head) / sizeof(head[0]),
				      &body, NULL) > 0;
}

static void on_open(void *arg)
{
	struct grpc *g = arg;

	if (!make_session(g) || !submit(g))
		attempt_end(g->attempt, false, "grpc probe: the request could not be made");
	else
		send_all(g);
}

static void on_data(void *arg, bool end)
{
	struct grpc *g = arg;

	(void)end;
	while (g->net.fd >= 0 && g->net.in.n > 0) {
		struct str in = buf_peek(&g->net.in);
		ssize_t n = nghttp2_session_mem_recv(g->session, (const uint8_t *)in.p, in.n);

		if (n < 0) {
			attempt_end(g->attempt, false, "grpc probe: %s", nghttp2_strerror((int)n));
			return;
		}
		if (g->net.fd >= 0)
			buf_consume(&g->net.in, (size_t)n);
	}
	send_all(g);
}

static void on_failed(void *arg, const char *why)
{
	struct grpc *g = arg;

	attempt_end(g->attempt, false, "grpc probe: %s", why);
}

static void start(struct attempt *a, const struct doc *spec)
{
	static const struct net_ops ops = { on_open, on_data, on_failed };
	struct grpc *g = arena_new(attempt_arena(a), struct grpc);
	struct sock_addr to;
	struct err err = { 0 };

	g->attempt = a;
	g->net.fd = -1;
	attempt_set_state(a, g);
	g->question = make_question(attempt_arena(a), doc_get_str(spec, "service", STR("")));
	if (!net_address(spec, &to))
		attempt_end(a, false, "grpc probe: no address to connect to");
	else if (net_open(&g->net, attempt_loop(a), &to, false, &ops, g, &err) < 0)
		attempt_end(a, false, "grpc probe: %s", err.text);
}

static void free_session(void *p)
{
	nghttp2_session_del(p);
}

/* Perhaps from inside of the session: it goes at the end of the turn. */
static void stop(struct attempt *a)
{
	struct grpc *g = attempt_state(a);

	net_close(&g->net);
	if (g->session)
		loop_defer_free(attempt_loop(a), free_session, g->session);
}

const struct attempt_method attempt_grpc = { "grpc", start, stop };
