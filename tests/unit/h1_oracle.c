/* SPDX-License-Identifier: Apache-2.0 */
/* h1_oracle: a slow and obvious reader of HTTP/1 heads, see h1_oracle.h. */
#include "config.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <strings.h>

#include "h1_oracle.h"

#define LIST_MAX 2048

/* What a message says, as far as it was read. */
struct message {
	struct arena *a;
	struct str line;
	struct { struct str name, value; } field[LIST_MAX];
	size_t n;
	struct str connection[LIST_MAX];        /* all options of all Connection fields, lower case */
	size_t n_connection;
	bool v10;
	struct str method, scheme, authority, path;
	unsigned status;
	struct str phrase;
	bool fragment;
	const char *body;
	uint64_t length;
	struct str upgrade;
	bool keep_alive, expect, te;
};

/* ---- text ------------------------------------------------------------------------------------ */

static bool one_of(char c, const char *set)
{
	return c != '\0' && strchr(set, c) != NULL;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_token(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum(s.p[i]) && !one_of(s.p[i], "!#$%&'*+-.^_`|~"))
			return false;
	return s.n > 0;
}

static struct str trimmed(struct str s)
{
	while (s.n > 0 && one_of(s.p[0], " \t"))
		s = str_from(s.p + 1, s.n - 1);
	while (s.n > 0 && one_of(s.p[s.n - 1], " \t"))
		s.n--;
	return s;
}

static struct str lower(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);

	for (size_t i = 0; i < s.n; i++)
		p[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + 32 : s.p[i]);
	return str_from(p, s.n);
}

static bool is(struct str s, const char *text)
{
	return s.n == strlen(text) && strncasecmp(s.p, text, s.n) == 0;
}

static bool is_exactly(struct str s, const char *text)
{
	return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

static bool begins(struct str s, const char *text)
{
	return s.n >= strlen(text) && strncasecmp(s.p, text, strlen(text)) == 0;
}

/* The pieces of a list, trimmed; n separators make n + 1 pieces. */
static size_t pieces(struct str s, char separator, struct str *ret)
{
	size_t n = 0, from = 0;

	for (size_t i = 0; i <= s.n && n < LIST_MAX; i++) {
		if (i < s.n && s.p[i] != separator)
			continue;
		ret[n++] = trimmed(str_from(s.p + from, i - from));
		from = i + 1;
	}
	return n;
}

/* ---- how far a head goes --------------------------------------------------------------------- */

/* Byte by byte: the first fault or limit that is met counts. */
static void find_end(struct str in, const struct h1_limits *lim, bool skip_empty, size_t *ret_start,
		     struct oracle *o)
{
	size_t start = 0, line = 0, lines = 0, i = 0;

	o->result = H1_BAD;
	for (; i < in.n; i++) {
		unsigned char c = (unsigned char)in.p[i];
		bool control = (c < 32 && c != '\t') || c == 127;

		if (lines == 0 && !control && i - line >= lim->line_max) {
			o->status = 414;
			o->reason = "too_large";
			return;
		}
		if (i - start >= lim->head_max)
			break;
		if (!control)
			continue;
		bool crlf = c == '\r' && (i + 1 == in.n || in.p[i + 1] == '\n');

		if (c == '\r' && i + 1 < in.n && i + 1 - start >= lim->head_max)
			break;
		if (c == '\r' && i + 1 == in.n)
			goto more;
		o->status = 400;
		o->reason = lines == 0 ? "bad_request_line" : "bad_field";
		if (!crlf)
			return;
		if (i > line) {
			lines++;
		} else if (lines > 0) {
			o->result = H1_DONE;
			o->used = i + 2;
			*ret_start = start;
			return;
		} else if (skip_empty && start == 0) {
			start = i + 2;
		} else {
			return;
		}
		line = i + 2;
		i++;
		if (lines > lim->fields_max + 1)
			break;
	}
	if (i < in.n) {
		o->status = 431;
		o->reason = "too_large";
		return;
	}
more:
	o->result = H1_MORE;
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* False: a line that is no field. The text holds whole lines that end with CRLF. */
static bool read_fields(struct message *m, struct str text)
{
	bool first = true;

	while (text.n > 0) {
		const char *end = memchr(text.p, '\r', text.n);
		struct str line = str_from(text.p, (size_t)(end - text.p));
		const char *colon = line.n > 0 ? memchr(line.p, ':', line.n) : NULL;

		text = str_from(end + 2, text.n - line.n - 2);
		if (first) {
			m->line = line;
			first = false;
			continue;
		}
		if (line.n == 0)
			return true;
		if (!colon || !is_token(str_from(line.p, (size_t)(colon - line.p))))
			return false;
		m->field[m->n].name = lower(m->a, str_from(line.p, (size_t)(colon - line.p)));
		m->field[m->n++].value =
			trimmed(str_from(colon + 1, (size_t)(line.p + line.n - colon - 1)));
	}
	return true;
}

static size_t count(const struct message *m, const char *name, struct str *ret_last)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n; i++)
		if (is(m->field[i].name, name)) {
			*ret_last = m->field[i].value;
			n++;
		}
	return n;
}

static bool has_option(const struct message *m, const char *name)
{
	for (size_t i = 0; i < m->n_connection; i++)
		if (is(m->connection[i], name))
			return true;
	return false;
}

/* False: an option that is no token, or too many of them. */
static bool read_connection(struct message *m)
{
	static struct str list[LIST_MAX];
	size_t others = 0;

	for (size_t i = 0; i < m->n; i++) {
		size_t n = is(m->field[i].name, "connection") ?
				   pieces(m->field[i].value, ',', list) : 0;

		for (size_t k = 0; k < n; k++) {
			if (list[k].n == 0)
				continue;
			if (!is_token(list[k]))
				return false;
			m->connection[m->n_connection++] = lower(m->a, list[k]);
			others += !is(list[k], "close") && !is(list[k], "keep-alive") &&
				  !is(list[k], "upgrade");
		}
	}
	return others <= 64;
}

/* ---- what stays of the fields ---------------------------------------------------------------- */

static bool in_list(struct str name, const char *const *list)
{
	for (; *list; list++)
		if (is(name, *list))
			return true;
	return false;
}

static bool is_of_connection(struct str name)
{
	static const char *const always[] = { "host", "content-length", "transfer-encoding",
		"connection", "upgrade", "te", "expect", "keep-alive", "proxy-connection",
		"http2-settings", NULL };

	return in_list(name, always);
}

static bool cannot_be_named(struct str name)
{
	static const char *const kept[] = { "authorization", "proxy-authorization",
		"proxy-authenticate", "cookie", "content-type", "x-request-id", "traceparent",
		"tracestate", "b3", "origin", "forwarded", "x-real-ip", NULL };
	static const char *const families[] = { "x-forwarded-", "x-envoy-", "x-kvmesh-", "x-b3-" };

	for (size_t i = 0; i < 4; i++)
		if (begins(name, families[i]))
			return true;
	return in_list(name, kept);
}

static bool stays(const struct message *m, struct str name)
{
	static const char *const words[] = { "close", "keep-alive", "upgrade", NULL };

	if (is_of_connection(name))
		return false;
	if (cannot_be_named(name) || in_list(name, words))
		return true;
	for (size_t i = 0; i < m->n_connection; i++)
		if (is_exactly(m->connection[i], "") || str_eq(m->connection[i], name))
			return false;
	return true;
}

/* ---- what the fields say --------------------------------------------------------------------- */

static void read_upgrade(struct message *m)
{
	static struct str list[LIST_MAX];

	for (size_t i = 0; i < m->n; i++) {
		size_t n = is(m->field[i].name, "upgrade") ?
				   pieces(m->field[i].value, ',', list) : 0;

		for (size_t k = 0; k < n && m->upgrade.n == 0; k++) {
			const char *slash = list[k].n > 0 ? memchr(list[k].p, '/', list[k].n) : NULL;
			struct str name = list[k];

			if (slash)
				name.n = (size_t)(slash - name.p);
			if (!is_token(name) || is(name, "h2c") || is(name, "h2"))
				continue;
			if (slash && !is_token(str_from(slash + 1, list[k].n - name.n - 1)))
				continue;
			m->upgrade = list[k];
		}
	}
}

static void read_te(struct message *m)
{
	static struct str list[LIST_MAX];

	for (size_t i = 0; i < m->n; i++) {
		size_t n = is(m->field[i].name, "te") ? pieces(m->field[i].value, ',', list) : 0;

		for (size_t k = 0; k < n; k++)
			m->te = m->te || is(list[k], "trailers");
	}
}

static bool number(struct str s, uint64_t *ret)
{
	*ret = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		if (*ret > 922337203685477580 || (*ret == 922337203685477580 && s.p[i] > '7'))
			return false;
		*ret = *ret * 10 + (uint64_t)(s.p[i] - '0');
	}
	return s.n > 0;
}

static bool is_kept_alive(const struct message *m)
{
	return !has_option(m, "close") && (!m->v10 || has_option(m, "keep-alive"));
}

/* ---- requests -------------------------------------------------------------------------------- */

static bool refuse(struct oracle *o, unsigned status, const char *reason)
{
	o->result = H1_BAD;
	o->status = status;
	o->reason = reason;
	return false;
}

static bool is_number_dot_number(struct str s)
{
	size_t digits = 0, dots = 0, after = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '.')
			dots++;
		else if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		else if (dots == 0)
			digits++;
		else
			after++;
	}
	return digits > 0 && dots == 1 && after > 0;
}

static bool read_request_line(struct message *m, struct str *ret_target, struct oracle *o)
{
	const char *one = memchr(m->line.p, ' ', m->line.n), *two = NULL;
	const char *end = m->line.p + m->line.n;

	for (const char *p = m->line.p; p < end; p++)
		two = *p == ' ' ? p : two;
	if (!one || one == two || one == m->line.p)
		return refuse(o, 400, "bad_request_line");
	m->method = str_from(m->line.p, (size_t)(one - m->line.p));
	*ret_target = str_from(one + 1, (size_t)(two - one - 1));
	struct str version = str_from(two + 1, (size_t)(end - two - 1));

	for (size_t i = 0; i < ret_target->n; i++)
		if (ret_target->p[i] <= ' ' || ret_target->p[i] > '~')
			return refuse(o, 400, "bad_request_line");
	if (!is_token(m->method) || ret_target->n == 0 || !begins(version, "HTTP/"))
		return refuse(o, 400, "bad_request_line");
	m->v10 = is_exactly(version, "HTTP/1.0");
	if (version.n == 8 && memcmp(version.p, "HTTP/1.", 7) == 0 && version.p[7] >= '0' &&
	    version.p[7] <= '9')
		return true;
	return refuse(o, is_number_dot_number(str_from(version.p + 5, version.n - 5)) ? 505 : 400,
		      "bad_version");
}

/* uri-host [":" port], without what nobody needs and tricks use. */
static bool split_authority(struct str s, struct str *ret_host, uint64_t *ret_port)
{
	char address[64] = "";
	unsigned char ip[16];
	size_t n = 0;

	*ret_port = 0;
	if (s.n > 0 && s.p[0] == '[') {
		while (n < s.n && s.p[n] != ']')
			n++;
		if (n == s.n || n - 1 >= 46 || memchr(s.p, '\0', n))
			return false;
		memcpy(address, s.p + 1, n - 1);
		*ret_host = str_from(s.p + 1, n - 1);
		n++;
		if (inet_pton(AF_INET6, address, ip) != 1)
			return false;
	} else {
		while (n < s.n && (is_alnum(s.p[n]) || one_of(s.p[n], "-._~")))
			n++;
		*ret_host = str_from(s.p, n);
		if (n == 0 || n > 255)
			return false;
	}
	if (n == s.n)
		return true;
	return s.p[n] == ':' && s.n - n <= 6 && number(str_from(s.p + n + 1, s.n - n - 1), ret_port) &&
	       *ret_port > 0 && *ret_port < 65536;
}

static bool hex(char c)
{
	return one_of(c, "0123456789abcdefABCDEF");
}

static bool is_path(struct str s)
{
	if (s.n == 0 || s.p[0] != '/')
		return false;
	for (size_t i = 0; i < s.n && s.p[i] != '?'; i++) {
		if (s.p[i] != '%')
			continue;
		if (i + 2 >= s.n || !hex(s.p[i + 1]) || !hex(s.p[i + 2]))
			return false;
		if (s.p[i + 1] == '0' && s.p[i + 2] == '0')
			return false;
	}
	return true;
}

static bool agrees_with_host(struct message *m, size_t hosts, struct str authority, uint64_t standard,
			     struct oracle *o)
{
	struct str host, other;
	uint64_t port, other_port;

	if (!split_authority(authority, &host, &port))
		return refuse(o, 400, "bad_host");
	if (hosts == 0) {
		m->authority = authority;
		return true;
	}
	split_authority(m->authority, &other, &other_port);
	port = port > 0 ? port : standard;
	other_port = other_port > 0 ? other_port : standard;
	if (port != other_port || host.n != other.n || strncasecmp(host.p, other.p, host.n) != 0)
		return refuse(o, 400, "host_mismatch");
	return true;
}

static bool read_connect(struct message *m, size_t hosts, struct str target, struct oracle *o)
{
	struct str host;
	uint64_t port;

	if (!split_authority(target, &host, &port) || port == 0)
		return refuse(o, 400, "bad_target");
	if (!agrees_with_host(m, hosts, target, port, o))
		return false;
	m->authority = target;
	return true;
}

static bool read_target(struct message *m, size_t hosts, struct str target, struct oracle *o)
{
	const char *mark = memchr(target.p, '#', target.n);

	m->scheme = STR("http");
	if (is_exactly(m->method, "CONNECT"))
		return read_connect(m, hosts, target, o);
	if (mark) {
		target.n = (size_t)(mark - target.p);
		m->fragment = true;
	}
	m->path = target;
	if (is_exactly(target, "*"))
		return is_exactly(m->method, "OPTIONS") ? true : refuse(o, 400, "bad_target");
	if (target.n > 0 && target.p[0] == '/')
		return is_path(target) ? true : refuse(o, 400, "bad_target");
	bool https = begins(target, "https://");

	if (!https && !begins(target, "http://"))
		return refuse(o, 400, "bad_target");
	struct str rest = str_from(target.p + (https ? 8 : 7), target.n - (https ? 8 : 7));
	size_t n = 0;

	while (n < rest.n && !one_of(rest.p[n], "/?"))
		n++;
	m->scheme = https ? STR("https") : STR("http");
	m->path = str_from(rest.p + n, rest.n - n);
	if (m->path.n == 0)
		m->path = is_exactly(m->method, "OPTIONS") ? STR("*") : STR("/");
	else if (m->path.p[0] == '?')
		m->path = arena_printf(m->a, "/%.*s", STR_ARG(m->path));
	if (!is_exactly(m->path, "*") && !is_path(m->path))
		return refuse(o, 400, "bad_target");
	return agrees_with_host(m, hosts, str_from(rest.p, n), https ? 443 : 80, o);
}

static bool read_coding(size_t n, struct str coding, struct oracle *o)
{
	static struct str list[LIST_MAX];
	size_t k = pieces(coding, ',', list);
	bool known_end = n == 1 && k > 1 && is(list[k - 1], "chunked");

	if (n == 1 && is(coding, "chunked"))
		return true;
	for (size_t i = 0; i + 1 < k; i++)
		known_end = known_end && is_token(list[i]) && !is(list[i], "chunked");
	return refuse(o, known_end ? 501 : 400, "bad_te");
}

static bool read_request_framing(struct message *m, struct oracle *o)
{
	struct str coding = STR(""), length = STR("");
	size_t n_te = count(m, "transfer-encoding", &coding);
	size_t n_cl = count(m, "content-length", &length);

	m->body = n_te > 0 ? "chunked" : n_cl > 0 ? "length" : "none";
	if (n_te > 0 && m->v10)
		return refuse(o, 400, "te_in_10");
	if (n_te > 0 && n_cl > 0)
		return refuse(o, 400, "cl_te");
	if (n_te > 0)
		return read_coding(n_te, coding, o);
	if (n_cl > 0 && (n_cl > 1 || !number(length, &m->length)))
		return refuse(o, 400, "bad_cl");
	return true;
}

static bool read_host(struct message *m, size_t *ret_n, struct oracle *o)
{
	struct str host = STR(""), name;
	uint64_t port;

	*ret_n = count(m, "host", &host);
	m->authority = host;
	if (*ret_n > 1 || (*ret_n == 0 && !m->v10) ||
	    (*ret_n == 1 && !split_authority(host, &name, &port)))
		return refuse(o, 400, "bad_host");
	return true;
}

static bool finish_request(struct message *m, struct oracle *o)
{
	for (size_t i = 0; i < m->n; i++) {
		if (!is(m->field[i].name, "expect"))
			continue;
		if (!is(m->field[i].value, "100-continue"))
			return refuse(o, 417, "expect");
		m->expect = !m->v10 && strcmp(m->body, "none") != 0;
	}
	if (is_exactly(m->method, "TRACE"))
		return refuse(o, 405, "method");
	read_te(m);
	m->te = m->te && !m->v10;
	read_upgrade(m);
	if (m->v10 || !has_option(m, "upgrade"))
		m->upgrade = STR("");
	m->keep_alive = is_kept_alive(m);
	return true;
}

static struct str tell(struct arena *a, const struct message *m)
{
	struct str out = arena_printf(
		a, "%.*s %.*s %.*s %.*s 1.%c %u (%.*s) body %s %llu upgrade %.*s%s%s%s%s\n",
		STR_ARG(m->method), STR_ARG(m->scheme), STR_ARG(m->authority), STR_ARG(m->path),
		m->v10 ? '0' : '1', m->status, STR_ARG(m->phrase), m->body,
		(unsigned long long)m->length, STR_ARG(m->upgrade), m->keep_alive ? " keep" : "",
		m->expect ? " expect" : "", m->te ? " te" : "", m->fragment ? " fragment" : "");

	for (size_t i = 0; i < m->n; i++)
		if (stays(m, m->field[i].name))
			out = arena_printf(a, "%.*s%.*s: %.*s\n", STR_ARG(out),
					   STR_ARG(m->field[i].name), STR_ARG(m->field[i].value));
	return out;
}

static struct message *message_new(struct arena *a)
{
	struct message *m = kv_zalloc(sizeof(*m));

	m->a = a;
	m->method = m->scheme = m->authority = m->path = m->phrase = m->upgrade = STR("");
	m->body = "none";
	return m;
}

static bool judge_request(struct message *m, bool fields_ok, struct oracle *o)
{
	struct str target;
	size_t hosts;

	if (!read_request_line(m, &target, o))
		return false;
	if (!fields_ok || !read_connection(m))
		return refuse(o, 400, "bad_field");
	return read_host(m, &hosts, o) && read_target(m, hosts, target, o) &&
	       read_request_framing(m, o) && finish_request(m, o);
}

void oracle_request(struct arena *a, const struct h1_limits *lim, struct str in, struct oracle *ret)
{
	struct message *m = message_new(a);
	size_t start = 0;

	*ret = (struct oracle){ 0 };
	find_end(in, lim, true, &start, ret);
	if (ret->result == H1_DONE &&
	    judge_request(m, read_fields(m, str_from(in.p + start, ret->used - start)), ret))
		ret->text = tell(a, m);
	free(m);
}

/* ---- responses ------------------------------------------------------------------------------- */

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool read_status_line(struct message *m)
{
	struct str s = m->line;

	if (s.n < 12 || memcmp(s.p, "HTTP/1.", 7) != 0 || !digit(s.p[7]) || s.p[8] != ' ')
		return false;
	if (!digit(s.p[9]) || !digit(s.p[10]) || !digit(s.p[11]) || s.p[9] == '0')
		return false;
	if (s.n > 12 && s.p[12] != ' ')
		return false;
	m->v10 = s.p[7] == '0';
	m->status = (unsigned)(s.p[9] - '0') * 100 + (unsigned)(s.p[10] - '0') * 10 +
		    (unsigned)(s.p[11] - '0');
	m->phrase = s.n > 13 ? str_from(s.p + 13, s.n - 13) : STR("");
	return true;
}

/* All that is said about the length says the same. */
static bool read_lengths(struct message *m)
{
	static struct str list[LIST_MAX];
	struct str first = STR("");
	size_t seen = 0;
	uint64_t v;

	for (size_t i = 0; i < m->n; i++) {
		if (!is(m->field[i].name, "content-length"))
			continue;
		if (seen++ > 0 && !str_eq(first, m->field[i].value))
			return false;
		first = m->field[i].value;
	}
	size_t n = seen > 0 ? pieces(first, ',', list) : 0;

	for (size_t k = 0; k < n; k++) {
		if (!number(list[k], &v) || (k > 0 && v != m->length))
			return false;
		m->length = v;
	}
	return true;
}

static bool read_response_framing(struct message *m, struct str method)
{
	struct str coding = STR(""), length = STR("");
	size_t n_te = count(m, "transfer-encoding", &coding);
	size_t n_cl = count(m, "content-length", &length);
	bool connect = is_exactly(method, "CONNECT");

	if (n_te > 0 && (n_te > 1 || n_cl > 0 || m->v10 || !is(coding, "chunked")))
		return false;
	if (!read_lengths(m))
		return false;
	bool none = m->status < 200 || m->status == 204 || m->status == 304 ||
		    is_exactly(method, "HEAD") || (connect && m->status < 300);

	m->body = none ? "none" : n_te > 0 ? "chunked" : n_cl > 0 ? "length" : "until-close";
	if (none && n_cl > 0 && m->status >= 200 && m->status != 204 && !connect) {
		/* A name that no field of a peer can have: it stays. */
		m->field[m->n].name = STR("content-length");
		m->field[m->n++].value =
			arena_printf(m->a, "%llu", (unsigned long long)m->length);
	}
	if (none)
		m->length = 0;
	return true;
}

static bool judge_response(struct message *m, bool fields_ok, struct str method)
{
	if (!read_status_line(m) || !fields_ok || !read_connection(m))
		return false;
	size_t told = m->n;

	if (!read_response_framing(m, method))
		return false;
	m->keep_alive = is_kept_alive(m) && strcmp(m->body, "until-close") != 0;
	if (m->status == 101)
		read_upgrade(m);
	if (m->n > told) {              /* its place is the end, its name is taken out elsewhere */
		m->n = told;
		struct str length = m->field[told].value;

		m->path = arena_printf(m->a, "described %.*s", STR_ARG(length));
	}
	return true;
}

void oracle_response(struct arena *a, const struct h1_limits *lim, struct str in, struct str method,
		     struct oracle *ret)
{
	struct message *m = message_new(a);
	struct str begin = str_from(in.p, in.n < 7 ? in.n : 7);
	bool like_http = memcmp(begin.p, "HTTP/1.", begin.n) == 0;
	size_t start = 0;

	*ret = (struct oracle){ 0 };
	find_end(in, lim, false, &start, ret);
	if (!like_http || ret->result == H1_BAD ||
	    (ret->result == H1_DONE &&
	     !judge_response(m, read_fields(m, str_from(in.p, ret->used)), method)))
		refuse(ret, 502, "bad_response");
	if (ret->result == H1_DONE)
		ret->text = tell(a, m);
	free(m);
}

/* ---- the parser's side ----------------------------------------------------------------------- */

struct str oracle_text(struct arena *a, const struct head *h, bool fragment)
{
	static const char *const bodies[] = { "none", "length", "chunked", "until-close" };
	struct str path = h->path, out;
	const struct head_field *described = head_find(h, HEAD_ID_CONTENT_LENGTH);

	if (described)
		path = arena_printf(a, "described %.*s", STR_ARG(described->value));
	out = arena_printf(a, "%.*s %.*s %.*s %.*s 1.%c %u (%.*s) body %s %llu upgrade %.*s%s%s%s%s\n",
			   STR_ARG(h->method), STR_ARG(h->scheme), STR_ARG(h->authority),
			   STR_ARG(path), h->version == HEAD_VERSION_10 ? '0' : '1', h->status,
			   STR_ARG(h->reason), bodies[h->body],
			   (unsigned long long)h->content_length, STR_ARG(h->upgrade),
			   h->keep_alive ? " keep" : "", h->expect_continue ? " expect" : "",
			   h->te_trailers ? " te" : "", fragment ? " fragment" : "");
	for (size_t i = 0; i < h->n; i++)
		if (h->fields[i].id != HEAD_ID_CONTENT_LENGTH)
			out = arena_printf(a, "%.*s%.*s: %.*s\n", STR_ARG(out),
					   STR_ARG(h->fields[i].name), STR_ARG(h->fields[i].value));
	return out;
}
