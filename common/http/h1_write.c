/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_write: heads in canonical form (lower-case names, one space, CRLF, framing from head.body
 * alone). Layer http; owns nothing. Whatever codec a head came from, each string is checked again
 * before anything is written: a head that could be read in two ways does not get out.
 */
#include "http/h1.h"

#include "base/err.h"
#include "http/h1_priv.h"

/*
 * "content-length: N", "expect: 100-continue", "te: trailers", "connection: close, te, upgrade" …
 */
#define FRAMING_MAX 160

/* ---- checks -------------------------------------------------------------- */

static bool is_lower_token(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = (uint8_t)s.p[i];

		if (c == 0 || head_token_lower[c] != c)
			return false;
	}
	return s.n > 0;
}

static bool is_visible(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((uint8_t)s.p[i] <= ' ' || (uint8_t)s.p[i] >= 0x7f)
			return false;
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_trimmed_value(struct str s)
{
	return s.n == 0 || (!is_blank(s.p[0]) && !is_blank(s.p[s.n - 1]) && head_is_value(s));
}

/* The constant names of known fields need no look. */
bool h1_field_ok(const struct head_field *f)
{
	return (head_is_constant_name(f) || is_lower_token(f->name)) && is_trimmed_value(f->value);
}

static bool are_fields(const struct head *h)
{
	for (size_t i = 0; i < h->n; i++)
		if (!h1_field_ok(&h->fields[i]))
			return false;
	return true;
}

static bool is_request_target(const struct head *h)
{
	if (str_eq(h->method, STR("CONNECT")))
		return h->path.n == 0 && h->authority.n > 0;
	if (str_eq(h->path, STR("*")))
		return str_eq(h->method, STR("OPTIONS"));
	return h->path.n > 0 && h->path.p[0] == '/' && str_find(h->path, '#') < 0;
}

bool h1_request_line_ok(const struct head *h)
{
	return head_is_token(h->method) && is_request_target(h) && is_visible(h->path) &&
	       is_visible(h->authority) && is_trimmed_value(h->upgrade);
}

bool h1_request_ok(const struct head *h)
{
	return h1_request_line_ok(h) && are_fields(h);
}

bool h1_response_ok(const struct head *h)
{
	return h->status >= 100 && h->status <= 999 && head_is_value(h->reason) &&
	       is_trimmed_value(h->upgrade) && are_fields(h);
}

/* ---- sizes --------------------------------------------------------------- */

static size_t fields_size(const struct head *h)
{
	size_t n = 2;

	for (size_t i = 0; i < h->n; i++)
		n += h->fields[i].name.n + h->fields[i].value.n + 4;
	return n;
}

size_t h1_request_size(const struct head *h)
{
	return fields_size(h) + h->method.n + h->path.n + 2 * h->authority.n + h->upgrade.n +
	       FRAMING_MAX;
}

size_t h1_response_size(const struct head *h)
{
	size_t reason = h->reason.n > 0 ? h->reason.n : strlen(head_reason(h->status));

	return fields_size(h) + reason + h->upgrade.n + FRAMING_MAX;
}

size_t h1_trailers_size(const struct head *trailers)
{
	return 3 + (trailers ? fields_size(trailers) : 2);
}

/* ---- writing ------------------------------------------------------------- */

static char *put(char *out, struct str s)
{
	if (s.n > 0)
		memcpy(out, s.p, s.n);
	return out + s.n;
}

static char *put_field(char *out, struct str name, struct str value)
{
	out = put(out, name);
	out = put(out, STR(": "));
	out = put(out, value);
	return put(out, STR("\r\n"));
}

static char *put_number(char *out, uint64_t v)
{
	return out + str_put_u64(out, v);
}

static char *put_length(char *out, uint64_t v)
{
	out = put(out, STR("content-length: "));
	out = put_number(out, v);
	return put(out, STR("\r\n"));
}

static char *put_fields(char *out, const struct head *h, bool described_length)
{
	for (size_t i = 0; i < h->n; i++) {
		const struct head_field *f = &h->fields[i];

		if (!head_is_of_connection(f->id) || (described_length && f->id == HEAD_ID_CONTENT_LENGTH))
			out = put_field(out, f->name, f->value);
	}
	return out;
}

/* What this connection is told, in one Connection field. */
struct options {
	bool close, keep_alive, te, upgrade;
};

static char *put_options(char *out, struct options o)
{
	const struct { bool on; struct str name; } all[] = {
		{ o.close, STR("close") }, { o.keep_alive, STR("keep-alive") }, { o.te, STR("te") },
		{ o.upgrade, STR("upgrade") },
	};
	struct str before = STR("connection: ");
	char *start = out;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!all[i].on)
			continue;
		out = put(put(out, before), all[i].name);
		before = STR(", ");
	}
	return out == start ? out : put(out, STR("\r\n"));
}

/* Methods whose requests are expected to say that they have no body. */
static bool is_body_method(struct str m)
{
	return str_eq(m, STR("POST")) || str_eq(m, STR("PUT")) || str_eq(m, STR("PATCH"));
}

static char *put_request_framing(char *out, const struct head *h)
{
	switch (h->body) {
	case HEAD_BODY_LENGTH:
		out = put_length(out, h->content_length);
		break;
	case HEAD_BODY_CHUNKED:
	case HEAD_BODY_UNTIL_CLOSE:
		out = put(out, STR("transfer-encoding: chunked\r\n"));
		break;
	case HEAD_BODY_NONE:
		return is_body_method(h->method) ? put_length(out, 0) : out;
	}
	return h->expect_continue ? put(out, STR("expect: 100-continue\r\n")) : out;
}

size_t h1_write_request(const struct head *h, bool close, char *out)
{
	char *start = out;
	bool connect = str_eq(h->method, STR("CONNECT"));
	struct options o = { .close = close, .te = h->te_trailers, .upgrade = h->upgrade.n > 0 };

	if (!h1_request_ok(h))
		return 0;
	out = put(put(out, h->method), STR(" "));
	out = put(out, connect ? h->authority : h->path);
	out = put(out, STR(" HTTP/1.1\r\n"));
	out = put_field(out, STR("host"), h->authority);
	out = put_fields(out, h, false);
	out = put_request_framing(out, h);
	if (o.te)
		out = put(out, STR("te: trailers\r\n"));
	if (o.upgrade)
		out = put_field(out, STR("upgrade"), h->upgrade);
	out = put_options(out, o);
	out = put(out, STR("\r\n"));
	return (size_t)(out - start);
}

enum head_body h1_response_framing(const struct head *h, bool to_http10)
{
	if (h->body == HEAD_BODY_CHUNKED || h->body == HEAD_BODY_UNTIL_CLOSE)
		return to_http10 ? HEAD_BODY_UNTIL_CLOSE : HEAD_BODY_CHUNKED;
	return h->body;
}

size_t h1_write_response(const struct head *h, bool close, bool to_http10, char *out)
{
	char *start = out;
	enum head_body body = h1_response_framing(h, to_http10);
	bool interim = h->status < 200;
	struct options o = { .upgrade = h->upgrade.n > 0 && h->status == 101 };

	if (!h1_response_ok(h))
		return 0;
	if (!interim) {
		o.close = close || body == HEAD_BODY_UNTIL_CLOSE;
		o.keep_alive = to_http10 && !o.close;
	}
	out = put_number(put(out, STR("HTTP/1.1 ")), h->status);
	out = put(out, STR(" "));
	out = put(out, h->reason.n > 0 ? h->reason : str_c(head_reason(h->status)));
	out = put(out, STR("\r\n"));
	/* With no body, a length in the list describes what HEAD or 304 left out. */
	out = put_fields(out, h, body == HEAD_BODY_NONE && !interim && h->status != 204);
	if (body == HEAD_BODY_LENGTH && !interim && h->status != 204)
		out = put_length(out, h->content_length);
	else if (body == HEAD_BODY_CHUNKED)
		out = put(out, STR("transfer-encoding: chunked\r\n"));
	if (o.upgrade)
		out = put_field(out, STR("upgrade"), h->upgrade);
	out = put_options(out, o);
	out = put(out, STR("\r\n"));
	return (size_t)(out - start);
}

/* ---- chunks -------------------------------------------------------------- */

size_t h1_write_chunk_head(uint64_t n, char out[static H1_CHUNK_HEAD_MAX])
{
	unsigned digits = 1;

	while (digits < 16 && n >> (4 * digits) != 0)
		digits++;
	for (unsigned i = 0; i < digits; i++)
		out[i] = "0123456789abcdef"[n >> (4 * (digits - 1 - i)) & 15];
	out[digits] = '\r';
	out[digits + 1] = '\n';
	return digits + 2;
}

size_t h1_write_last_chunk(const struct head *trailers_or_null, char *out)
{
	char *start = out;

	out = put(out, STR("0\r\n"));
	for (size_t i = 0; trailers_or_null && i < trailers_or_null->n; i++) {
		const struct head_field *f = &trailers_or_null->fields[i];

		/* Dropped rather than refused: the end of the body must be told in any case. */
		if (h1_field_ok(f) && !h1_is_forbidden_trailer(f))
			out = put_field(out, f->name, f->value);
	}
	out = put(out, STR("\r\n"));
	return (size_t)(out - start);
}
