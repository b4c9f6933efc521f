/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_format: compiling and writing log lines, see access_format.h. Layer proxy.
 * The operators are those of Istio's default format and a few that name the peer;
 * istio-semantics 4.4.
 */
#include "config.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/vec.h"
#include "doc/doc.h"
#include "proxy/access_format.h"

#define FORMAT_BYTES_MAX 8192
#define TRUNCATE_MAX 65536

enum op_kind {
	OP_LITERAL,
	OP_VALUE,                       /* a string: v[value], else v[alt] */
	OP_ADDRESS,
	OP_START_TIME, OP_PROTOCOL, OP_FLAGS, OP_DETAILS, OP_TERMINATION,
	/* numbers: OP_STATUS and above */
	OP_STATUS, OP_BYTES_RECEIVED, OP_BYTES_SENT, OP_DURATION, OP_SERVICE_TIME, OP_GRPC_STATUS,
};

struct op {
	enum op_kind kind;
	enum access_value value, alt;   /* alt ACCESS__N: none */
	size_t truncate;                /* bytes, 0: whole */
	bool bare;                      /* not inside quotes: spaces of the value are escaped */
	char *literal;
	size_t n_literal;
};

struct program {
	char *key;                      /* JSON member, NULL for a text line */
	struct op *v;
	size_t n, cap;
};

struct access_format {
	bool json;
	struct program *v;              /* one for text */
	size_t n, cap;
};

static const char default_text[] =
	"[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" "
	"%RESPONSE_CODE% "
	"%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
	"\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
	"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "
	"\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% "
	"%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
	"%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

static const struct {
	const char *key, *format;
} default_json[] = {
	{ "start_time", "%START_TIME%" },
	{ "method", "%REQ(:METHOD)%" },
	{ "path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%" },
	{ "protocol", "%PROTOCOL%" },
	{ "response_code", "%RESPONSE_CODE%" },
	{ "response_flags", "%RESPONSE_FLAGS%" },
	{ "response_code_details", "%RESPONSE_CODE_DETAILS%" },
	{ "connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%" },
	{ "upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%" },
	{ "bytes_received", "%BYTES_RECEIVED%" },
	{ "bytes_sent", "%BYTES_SENT%" },
	{ "duration", "%DURATION%" },
	{ "upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%" },
	{ "x_forwarded_for", "%REQ(X-FORWARDED-FOR)%" },
	{ "user_agent", "%REQ(USER-AGENT)%" },
	{ "request_id", "%REQ(X-REQUEST-ID)%" },
	{ "authority", "%REQ(:AUTHORITY)%" },
	{ "upstream_host", "%UPSTREAM_HOST%" },
	{ "upstream_cluster", "%UPSTREAM_CLUSTER_RAW%" },
	{ "upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%" },
	{ "downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%" },
	{ "downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%" },
	{ "requested_server_name", "%REQUESTED_SERVER_NAME%" },
	{ "route_name", "%ROUTE_NAME%" },
	{ "tls_version", "%TLS_VERSION%" },
	{ "peer_principal", "%PEER_PRINCIPAL%" },
};

static const struct {
	const char *name;
	enum op_kind kind;
	enum access_value value;
} operators[] = {
	{ "START_TIME", OP_START_TIME, 0 },
	{ "PROTOCOL", OP_PROTOCOL, 0 },
	{ "RESPONSE_CODE", OP_STATUS, 0 },
	{ "RESPONSE_FLAGS", OP_FLAGS, 0 },
	{ "RESPONSE_CODE_DETAILS", OP_DETAILS, 0 },
	{ "CONNECTION_TERMINATION_DETAILS", OP_TERMINATION, 0 },
	{ "UPSTREAM_TRANSPORT_FAILURE_REASON", OP_VALUE, ACCESS_TRANSPORT_FAILURE },
	{ "BYTES_RECEIVED", OP_BYTES_RECEIVED, 0 },
	{ "BYTES_SENT", OP_BYTES_SENT, 0 },
	{ "DURATION", OP_DURATION, 0 },
	{ "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", OP_SERVICE_TIME, 0 },
	{ "GRPC_STATUS_NUMBER", OP_GRPC_STATUS, 0 },
	{ "UPSTREAM_HOST", OP_ADDRESS, ACCESS_UP_REMOTE },
	{ "UPSTREAM_REMOTE_ADDRESS", OP_ADDRESS, ACCESS_UP_REMOTE },
	{ "UPSTREAM_LOCAL_ADDRESS", OP_ADDRESS, ACCESS_UP_LOCAL },
	{ "DOWNSTREAM_LOCAL_ADDRESS", OP_ADDRESS, ACCESS_DOWN_LOCAL },
	{ "DOWNSTREAM_REMOTE_ADDRESS", OP_ADDRESS, ACCESS_DOWN_REMOTE },
	{ "UPSTREAM_CLUSTER", OP_VALUE, ACCESS_CLUSTER },
	{ "UPSTREAM_CLUSTER_RAW", OP_VALUE, ACCESS_CLUSTER },
	{ "REQUESTED_SERVER_NAME", OP_VALUE, ACCESS_SNI },
	{ "ROUTE_NAME", OP_VALUE, ACCESS_ROUTE },
	{ "PEER_PRINCIPAL", OP_VALUE, ACCESS_PEER },
	{ "TLS_VERSION", OP_VALUE, ACCESS_TLS },
};

static const struct {
	const char *name;
	enum access_value value;
} request_fields[] = {
	{ ":METHOD", ACCESS_METHOD },
	{ ":PATH", ACCESS_PATH },
	{ ":AUTHORITY", ACCESS_AUTHORITY },
	{ "X-ENVOY-ORIGINAL-PATH", ACCESS_ORIGINAL_PATH },
	{ "X-FORWARDED-FOR", ACCESS_FORWARDED_FOR },
	{ "USER-AGENT", ACCESS_USER_AGENT },
	{ "X-REQUEST-ID", ACCESS_REQUEST_ID },
};

/* ---- compiling ----------------------------------------------------------------------------- */

static bool request_field(struct str name, enum access_value *ret)
{
	for (size_t i = 0; i < sizeof(request_fields) / sizeof(request_fields[0]); i++)
		if (str_ieq(name, str_c(request_fields[i].name))) {
			*ret = request_fields[i].value;
			return true;
		}
	return false;
}

/* "REQ(NAME?ALTERNATIVE)" */
static bool parse_request(struct str s, struct op *op)
{
	struct str inner, name, alt;

	if (!str_has_prefix(s, STR("REQ(")) || !str_has_suffix(s, STR(")")))
		return false;
	inner = str_skip(str_take(s, s.n - 1), 4);
	(void)str_split(&inner, '?', &name);
	op->kind = OP_VALUE;
	op->alt = ACCESS__N;
	if (!request_field(name, &op->value))
		return false;
	if (!inner.p)
		return true;
	alt = inner;
	return request_field(alt, &op->alt);
}

static bool parse_named(struct str s, struct op *op)
{
	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
		if (str_ieq(s, str_c(operators[i].name))) {
			op->kind = operators[i].kind;
			op->value = operators[i].value;
			op->alt = ACCESS__N;
			return true;
		}
	return false;
}

/* What stands between two percent signs, with ":LENGTH" behind the parenthesis. */
static int parse_operator(struct str s, struct op *op, struct err *err)
{
	ptrdiff_t close = str_rfind(s, ')'), colon = str_rfind(s, ':');
	struct str name = s;
	uint64_t n = 0;

	if (colon > close && close >= 0) {
		name = str_take(s, (size_t)colon);
		if (!str_to_u64(str_skip(s, (size_t)colon + 1), &n) || n == 0 || n > TRUNCATE_MAX)
			return err_set(err, KV_ERR_SYNTAX,
				       "access log format: %%%.*s%% has no length behind the colon",
				       STR_ARG(s));
	}
	*op = (struct op){ .truncate = (size_t)n };
	if (!parse_named(name, op) && !parse_request(name, op))
		return err_set(
			err, KV_ERR_SCHEMA,
			"access log format: %%%.*s%% is not an operator that kvmesh's log knows",
			STR_ARG(s));
	return 0;
}

static void add_literal(struct program *p, struct str s)
{
	struct op *last = p->n > 0 ? &p->v[p->n - 1] : NULL;

	if (s.n == 0)
		return;
	if (!last || last->kind != OP_LITERAL) {
		last = vec_push(p->v, p->n, p->cap);
		*last = (struct op){ .kind = OP_LITERAL };
	}
	last->literal = kv_realloc(last->literal, last->n_literal + s.n);
	memcpy(last->literal + last->n_literal, s.p, s.n);
	last->n_literal += s.n;
}

static int compile(struct program *p, struct str s, struct err *err)
{
	bool quoted = false;

	while (s.n > 0) {
		ptrdiff_t at = str_find(s, '%');
		struct str text = str_take(s, at < 0 ? s.n : (size_t)at);

		for (size_t i = 0; i < text.n; i++)
			quoted ^= text.p[i] == '"';
		add_literal(p, text);
		s = str_skip(s, text.n);
		if (s.n == 0)
			break;
		ptrdiff_t end = str_find(str_skip(s, 1), '%');

		if (end < 0)
			return err_set(err, KV_ERR_SYNTAX,
				       "access log format: a %% has no second one; write %%%% for "
				       "the sign itself");
		if (end == 0) {
			add_literal(p, STR("%"));
		} else {
			struct op op;
			int r = parse_operator(str_take(str_skip(s, 1), (size_t)end), &op, err);

			if (r < 0)
				return r;
			op.bare = !quoted;
			*vec_push(p->v, p->n, p->cap) = op;
		}
		s = str_skip(s, (size_t)end + 2);
	}
	return 0;
}

static struct program *add_program(struct access_format *f, const char *key)
{
	struct program *p = vec_push(f->v, f->n, f->cap);

	*p = (struct program){ .key = key ? kv_strdup(key) : NULL };
	return p;
}

static int compile_text(struct access_format *f, struct str format, struct err *err)
{
	struct program *p = add_program(f, NULL);
	int r = compile(p, format.n > 0 ? format : str_c(default_text), err);

	if (r == 0 && !str_has_suffix(format, STR("\n")) && format.n > 0)
		add_literal(p, STR("\n"));
	return r;
}

static int compile_json(struct access_format *f, struct str format, struct err *err)
{
	struct arena a;
	struct doc *d;

	arena_init(&a, 0);
	int r = doc_read_json(format, &a, &d, err);

	if (r == 0 && d->kind != DOC_MAP)
		r = err_set(err, KV_ERR_SCHEMA,
			    "access log format: for JSON it is an object of names and formats");
	for (size_t i = 0; r == 0 && i < d->n; i++) {
		if (d->v[i]->kind != DOC_STR)
			r = err_set(err, KV_ERR_SCHEMA,
				    "access log format: \"%.*s\" is not a string",
				    STR_ARG(d->v[i]->key));
		else
			r = compile(add_program(f, arena_str(&a, d->v[i]->key).p), d->v[i]->s, err);
	}
	arena_done(&a);
	return r;
}

static void compile_default_json(struct access_format *f)
{
	for (size_t i = 0; i < sizeof(default_json) / sizeof(default_json[0]); i++) {
		int r = compile(add_program(f, default_json[i].key), str_c(default_json[i].format),
				NULL);

		kv_assert(r == 0);
	}
}

int access_format_new(bool json, struct str format, struct access_format **ret, struct err *err)
{
	struct access_format *f;
	int r = 0;

	if (format.n > FORMAT_BYTES_MAX)
		return err_set(err, KV_ERR_SCHEMA, "access log format: longer than %d bytes",
			       FORMAT_BYTES_MAX);
	f = kv_zalloc(sizeof(*f));
	f->json = json;
	if (!json)
		r = compile_text(f, format, err);
	else if (format.n > 0)
		r = compile_json(f, format, err);
	else
		compile_default_json(f);
	if (r < 0) {
		access_format_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

void access_format_free(struct access_format *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n; i++) {
		for (size_t k = 0; k < f->v[i].n; k++)
			free(f->v[i].v[k].literal);
		free(f->v[i].v);
		free(f->v[i].key);
	}
	free(f->v);
	free(f);
}

/* ---- writing ------------------------------------------------------------------------------- */

static const char *const versions[] = {
	[HEAD_VERSION_10] = "HTTP/1.0",
	[HEAD_VERSION_11] = "HTTP/1.1",
	[HEAD_VERSION_2] = "HTTP/2",
};

/* record_flags wants RECORD_FLAGS_MAX, less than an address. */
struct op_buf {
	char text[SOCK_ADDR_TEXT_MAX > CLOCK_RFC3339_MAX ? SOCK_ADDR_TEXT_MAX : CLOCK_RFC3339_MAX];
};

static struct str address(struct str raw, struct op_buf *buf)
{
	struct sock_addr a = { .len = 0 };

	if (raw.n == 0 || raw.n > sizeof(a.ss))
		return STR_NULL;
	memcpy(&a.ss, raw.p, raw.n);
	a.len = (socklen_t)raw.n;
	return str_c(sock_addr_text(&a, buf->text));
}

static struct str details(const struct access_line *l)
{
	if (l->v[ACCESS_DETAILS].n > 0)
		return l->v[ACCESS_DETAILS];
	if (l->fail != FAIL_NONE)
		return str_c(fail_rows[l->fail].details);
	return l->status > 0 ? STR("via_upstream") : STR_NULL;
}

/* Empty: there is none. */
static struct str string_of(const struct op *op, const struct access_line *l, struct op_buf *buf)
{
	bool tcp = l->protocol == RECORD_TCP;

	switch (op->kind) {
	case OP_VALUE:
		if (l->v[op->value].n == 0 && op->alt != ACCESS__N)
			return l->v[op->alt];
		return l->v[op->value];
	case OP_ADDRESS:
		return address(l->v[op->value], buf);
	case OP_START_TIME:
		return str_c(clock_rfc3339(l->start_real_us, buf->text));
	case OP_PROTOCOL:
		return tcp ? STR_NULL : str_c(versions[l->version]);
	case OP_FLAGS:
		return str_c(record_flags(l->fail, l->more, buf->text));
	case OP_DETAILS:
		return tcp ? STR_NULL : details(l);
	case OP_TERMINATION:
		return tcp ? details(l) : STR_NULL;
	case OP_LITERAL:
	case OP_STATUS:
	case OP_BYTES_RECEIVED:
	case OP_BYTES_SENT:
	case OP_DURATION:
	case OP_SERVICE_TIME: case OP_GRPC_STATUS:
		break;
	}
	return STR_NULL;
}

/* -1: there is none. */
static int64_t number_of(const struct op *op, const struct access_line *l)
{
	switch (op->kind) {
	case OP_STATUS:
		return l->status;
	case OP_BYTES_RECEIVED:
		return (int64_t)l->bytes_received;
	case OP_BYTES_SENT:
		return (int64_t)l->bytes_sent;
	case OP_DURATION:
		return (int64_t)(l->duration_us / 1000);
	case OP_SERVICE_TIME:
		return l->service_time_us < 0 ? -1 : l->service_time_us / 1000;
	case OP_GRPC_STATUS:
		return l->grpc_status;
	case OP_LITERAL:
	case OP_VALUE:
	case OP_ADDRESS:
	case OP_START_TIME:
	case OP_PROTOCOL:
	case OP_FLAGS:
	case OP_DETAILS: case OP_TERMINATION:
		break;
	}
	return -1;
}

/* Outside quotes no space of a value may look like the end of the field. */
static void write_escaped(struct text *t, const struct op *op, struct str s)
{
	bool words = op->kind == OP_DETAILS || op->kind == OP_TERMINATION;

	if (!op->bare) {
		text_plain(t, s);
		return;
	}
	for (struct str piece; str_split(&s, ' ', &piece); ) {
		text_plain(t, piece);
		if (s.p)
			text_add(t, words ? STR("_") : STR("\\x20"));   /* "_" as Envoy does */
	}
}

static void write_op(struct text *t, const struct op *op, const struct access_line *l)
{
	struct op_buf buf;

	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): of an array that is there when n > 0 */
	if (op->kind == OP_LITERAL) {
		text_bytes(t, op->literal, op->n_literal);
	} else if (op->kind >= OP_STATUS) {
		int64_t v = number_of(op, l);

		if (v < 0)
			text_char(t, '-');
		else
			text_i64(t, v);
	} else {
		struct str s = string_of(op, l, &buf);

		if (op->truncate > 0)
			s = str_take(s, op->truncate);
		if (s.n > 0)
			write_escaped(t, op, s);
		else
			text_char(t, '-');
	}
}

/* A member's value: one operator keeps its type and absence, a mixture is a string. */
static void write_json_value(struct text *t, const struct program *p, const struct access_line *l)
{
	struct op_buf buf;
	const struct op *op = p->n == 1 ? &p->v[0] : NULL;

	if (op && op->kind >= OP_STATUS) {
		int64_t v = number_of(op, l);

		if (v < 0)
			text_lit(t, "null");
		else
			text_i64(t, v);
	} else if (op && op->kind != OP_LITERAL) {
		struct str s = string_of(op, l, &buf);

		if (s.n == 0)
			text_lit(t, "null");
		else
			text_json(t, op->truncate > 0 ? str_take(s, op->truncate) : s);
	} else {
		struct text whole = { 0 };

		for (size_t i = 0; i < p->n; i++)
			write_op(&whole, &p->v[i], l);
		text_json(t, str_from(whole.p, whole.n));
		text_done(&whole);
	}
}

void access_format_write(const struct access_format *f, const struct access_line *l, struct text *t)
{
	if (!f->json) {
		for (size_t i = 0; i < f->v[0].n; i++)
			write_op(t, &f->v[0].v[i], l);
		return;
	}
	for (size_t i = 0; i < f->n; i++) {
		text_char(t, i == 0 ? '{' : ',');
		text_json(t, str_c(f->v[i].key));
		text_char(t, ':');
		write_json_value(t, &f->v[i], l);
	}
	text_bytes(t, f->n == 0 ? "{}\n" : "}\n", f->n == 0 ? 3 : 2);
}
