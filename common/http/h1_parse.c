/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_parse: request and response heads (RFC 9112). Layer http; owns nothing.
 * The whole head is copied into the arena once and becomes spans: names are lower-cased there. What
 * is refused and with which word: security-model §5.1 and §5.2. Every rule about framing is here
 * and nowhere else, because two readers that disagree about it are a request smuggled.
 */
#include "http/h1.h"

#include "base/vec.h"
#include "http/h1_priv.h"
#include "http/url.h"

const struct h1_limits h1_limits_default = {
	.line_max = 16384, .head_max = 61440, .fields_max = 100,
};

void h1_parser_init(struct h1_parser *p)
{
	*p = (struct h1_parser){ 0 };
}

static enum h1_result bad(struct h1_parser *p, unsigned status, const char *reason)
{
	p->status = status;
	p->reason = reason;
	return H1_BAD;
}

/* ---- request line -------------------------------------------------------- */

static bool is_visible(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((uint8_t)s.p[i] <= ' ' || (uint8_t)s.p[i] >= 0x7f)
			return false;
	return s.n > 0;
}

static bool skip_digits(struct str *s)
{
	size_t n = 0;

	while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9')
		n++;
	*s = str_skip(*s, n);
	return n > 0;
}

/* "HTTP/D.D" exactly; other things that mean to be a version get 505, the rest 400. */
static enum h1_result read_version(struct h1_parser *p, struct str v, struct head *h)
{
	struct str rest = str_skip(v, 5);

	if (!str_has_iprefix(v, STR("HTTP/")))
		return bad(p, 400, "bad_request_line");
	if (v.n == 8 && str_has_prefix(v, STR("HTTP/1.")) && v.p[7] >= '0' && v.p[7] <= '9') {
		h->version = v.p[7] == '0' ? HEAD_VERSION_10 : HEAD_VERSION_11;
		return H1_DONE;
	}
	bool number = skip_digits(&rest) && rest.n > 0 && rest.p[0] == '.';

	rest = str_skip(rest, 1);
	number = number && skip_digits(&rest) && rest.n == 0;
	return bad(p, number ? 505 : 400, "bad_version");
}

/* method SP target SP version, three parts and two spaces. */
static enum h1_result read_request_line(struct h1_parser *p, struct str line, struct head *h,
					struct str *ret_target)
{
	ptrdiff_t one = str_find(line, ' '), two = str_rfind(line, ' ');

	if (one <= 0 || two <= one)
		return bad(p, 400, "bad_request_line");
	h->method = str_take(line, (size_t)one);
	*ret_target = str_from(line.p + one + 1, (size_t)(two - one - 1));
	if (!head_is_token(h->method) || !is_visible(*ret_target))
		return bad(p, 400, "bad_request_line");
	return read_version(p, str_skip(line, (size_t)two + 1), h);
}

/* ---- target and Host ----------------------------------------------------- */

static bool percent_ok(struct str path)
{
	struct str out, before, query;
	struct arena none = { 0 };

	url_split_query(path, &before, &query);
	/* NONE changes nothing, so nothing is ever taken from the arena. */
	return url_normalize(before, URL_NORMALIZE_NONE, &none, &out);
}

static uint16_t default_port_of(struct str scheme)
{
	return str_eq(scheme, STR("https")) ? 443 : 80;
}

static enum h1_result check_host(struct h1_parser *p, const struct h1_wire *w, struct head *h)
{
	struct str host;
	uint16_t port;

	if (w->n_host > 1 || (w->n_host == 0 && h->version != HEAD_VERSION_10))
		return bad(p, 400, "bad_host");
	if (w->n_host == 1 && !url_split_authority(w->host, &host, &port))
		return bad(p, 400, "bad_host");
	h->authority = w->host;
	return H1_DONE;
}

/* The target names a host itself: Host must say the same (or nothing, in HTTP/1.0). */
static enum h1_result check_same_host(struct h1_parser *p, const struct h1_wire *w, struct head *h,
				      struct str authority, uint16_t default_port)
{
	struct str host, other;
	uint16_t port, other_port;

	if (!url_split_authority(authority, &host, &port))
		return bad(p, 400, "bad_host");
	if (w->n_host == 0) {
		h->authority = authority;
		return H1_DONE;
	}
	url_split_authority(w->host, &other, &other_port);
	port = port != 0 ? port : default_port;
	other_port = other_port != 0 ? other_port : default_port;
	if (!str_ieq(host, other) || port != other_port)
		return bad(p, 400, "host_mismatch");
	return H1_DONE;
}

static enum h1_result read_connect(struct h1_parser *p, const struct h1_wire *w, struct head *h,
				   struct str target)
{
	struct str host;
	uint16_t port;

	if (!url_split_authority(target, &host, &port) || port == 0)
		return bad(p, 400, "bad_target");
	enum h1_result r = check_same_host(p, w, h, target, port);

	h->authority = target;
	return r;
}

/* "http://authority/path": what follows the authority becomes the path. */
static enum h1_result read_absolute(struct h1_parser *p, const struct h1_wire *w, struct head *h,
				    struct str target)
{
	bool https = str_has_iprefix(target, STR("https://"));

	if (!https && !str_has_iprefix(target, STR("http://")))
		return bad(p, 400, "bad_target");
	struct str rest = str_skip(target, https ? 8 : 7);
	size_t n = 0;

	while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
		n++;
	h->scheme = https ? STR("https") : STR("http");
	h->path = str_skip(rest, n);
	if (h->path.n == 0)
		h->path = str_eq(h->method, STR("OPTIONS")) ? STR("*") : STR("/");
	else if (h->path.p[0] == '?')
		h->path = arena_printf(h->arena, "/%.*s", STR_ARG(h->path));
	if (!str_eq(h->path, STR("*")) && !percent_ok(h->path))
		return bad(p, 400, "bad_target");
	return check_same_host(p, w, h, str_take(rest, n), default_port_of(h->scheme));
}

static enum h1_result read_target(struct h1_parser *p, const struct h1_wire *w, struct head *h,
				  struct str target)
{
	ptrdiff_t fragment = str_find(target, '#');

	h->scheme = STR("http");
	if (str_eq(h->method, STR("CONNECT")))
		return read_connect(p, w, h, target);
	if (fragment >= 0) {
		target = str_take(target, (size_t)fragment);
		p->fragment = true;
	}
	if (target.n == 0)
		return bad(p, 400, "bad_target");
	h->path = target;
	if (str_eq(target, STR("*")))
		return str_eq(h->method, STR("OPTIONS")) ? H1_DONE : bad(p, 400, "bad_target");
	if (target.p[0] != '/')
		return read_absolute(p, w, h, target);
	return percent_ok(target) ? H1_DONE : bad(p, 400, "bad_target");
}

/* ---- request framing ----------------------------------------------------- */

/* Not exactly "chunked": 501 when only the coding is unknown, 400 when the length is in doubt. */
static enum h1_result bad_coding(struct h1_parser *p, const struct h1_wire *w)
{
	ptrdiff_t comma = str_rfind(w->coding, ',');
	struct str last = str_trim(str_skip(w->coding, (size_t)(comma + 1)));
	bool final = w->n_te == 1 && comma >= 0 && str_ieq(last, STR("chunked"));
	struct str one, rest = comma >= 0 ? str_take(w->coding, (size_t)comma) : STR_NULL;

	while (final && str_split(&rest, ',', &one))
		final = head_is_token(str_trim(one)) && !str_ieq(str_trim(one), STR("chunked"));
	return bad(p, final ? 501 : 400, "bad_te");
}

static enum h1_result frame_request(struct h1_parser *p, const struct h1_wire *w, struct head *h)
{
	h->body = HEAD_BODY_NONE;
	if (w->n_te > 0 && h->version == HEAD_VERSION_10)
		return bad(p, 400, "te_in_10");
	if (w->n_te > 0 && w->n_cl > 0)
		return bad(p, 400, "cl_te");
	if (w->n_te > 0) {
		if (w->n_te > 1 || !str_ieq(w->coding, STR("chunked")))
			return bad_coding(p, w);
		h->body = HEAD_BODY_CHUNKED;
	}
	if (w->n_cl > 0) {
		if (w->n_cl > 1 || !h1_read_number(w->length, &h->content_length))
			return bad(p, 400, "bad_cl");
		h->body = HEAD_BODY_LENGTH;
	}
	return H1_DONE;
}

static enum h1_result finish_request(struct h1_parser *p, const struct h1_wire *w, struct head *h)
{
	bool v11 = h->version != HEAD_VERSION_10;

	h->keep_alive = h1_keeps_alive(h, w);
	h->te_trailers = w->te_trailers && v11;
	if (w->wants_upgrade && v11)
		h->upgrade = w->upgrade;
	if (w->expect_other)
		return bad(p, 417, "expect");
	h->expect_continue = w->expect_100 && v11 && h->body != HEAD_BODY_NONE;
	if (str_eq(h->method, STR("TRACE")))
		return bad(p, 405, "method");
	return H1_DONE;
}

/* ---- both ---------------------------------------------------------------- */

/* The private copy of a scanned head; the first line is cut off it. */
static char *copy_head(const struct h1_scan *s, struct str in, struct arena *a,
		       struct str *ret_line, char **ret_end)
{
	size_t n = s->pos - s->start;
	char *p = arena_alloc(a, n);

	memcpy(p, in.p + s->start, n);
	*ret_end = p + n;
	char *cr = memchr(p, '\r', n);

	*ret_line = str_from(p, (size_t)(cr - p));
	return cr + 2;
}

static enum h1_result parse_request(struct h1_parser *p, struct str in, struct head *h)
{
	_scratch_ struct h1_wire w;
	struct str line, target;
	char *end, *fields = copy_head(&p->scan, in, h->arena, &line, &end);
	enum h1_result r = read_request_line(p, line, h, &target);

	h1_wire_init(&w);
	if (r != H1_DONE)
		return r;
	if (!h1_read_fields(h, fields, end, p->scan.lines) || !h1_split_fields(h, &w))
		return bad(p, 400, "bad_field");
	r = check_host(p, &w, h);
	if (r == H1_DONE)
		r = read_target(p, &w, h, target);
	if (r == H1_DONE)
		r = frame_request(p, &w, h);
	return r == H1_DONE ? finish_request(p, &w, h) : r;
}

static enum h1_result bad_scan(struct h1_parser *p, enum h1_scanned what)
{
	if (what == H1_SCANNED_CTL)
		return bad(p, 400, p->scan.lines == 0 ? "bad_request_line" : "bad_field");
	return bad(p, what == H1_SCANNED_LINE ? 414 : 431, "too_large");
}

/* Start over for the next message; what the parser said about this one stays. */
static enum h1_result done(struct h1_parser *p, size_t *ret_used)
{
	*ret_used = p->scan.pos;
	p->scan = (struct h1_scan){ 0 };
	return H1_DONE;
}

enum h1_result h1_parse_request(struct h1_parser *p, const struct h1_limits *lim, struct str in,
				struct head *h, size_t *ret_used)
{
	struct h1_scan_rules rules = { .lim = lim, .first_lines = 1, .skip_empty = true };
	enum h1_scanned got = h1_scan_head(&p->scan, &rules, in);

	*ret_used = 0;
	if (got == H1_SCANNED_MORE)
		return H1_MORE;
	if (got != H1_SCANNED_END)
		return bad_scan(p, got);
	p->fragment = false;
	struct head new = { .arena = h->arena };
	enum h1_result r = parse_request(p, in, &new);

	if (r != H1_DONE)
		return r;
	*h = new;
	return done(p, ret_used);
}

/* ---- responses ----------------------------------------------------------- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* HTTP/1.D SP 3DIGIT [SP reason]. */
static bool read_status_line(struct str line, struct head *h)
{
	const char *p = line.p;

	if (line.n < 12 || !str_has_prefix(line, STR("HTTP/1.")) || !is_digit(p[7]) ||
	    p[8] != ' ' || !is_digit(p[9]) || !is_digit(p[10]) || !is_digit(p[11]) || p[9] == '0')
		return false;
	if (line.n > 12 && p[12] != ' ')
		return false;
	h->version = p[7] == '0' ? HEAD_VERSION_10 : HEAD_VERSION_11;
	h->status = (unsigned)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0'));
	h->reason = str_skip(line, 13);
	return true;
}

/* One number, or the same one several times. */
static bool read_same_numbers(const struct h1_wire *w, uint64_t *ret)
{
	struct str list = w->length, one;
	uint64_t v;
	bool first = true;

	if (w->length_differs)
		return false;
	while (str_split(&list, ',', &one)) {
		if (!h1_read_number(str_trim(one), &v) || (!first && v != *ret))
			return false;
		*ret = v;
		first = false;
	}
	return !first;
}

static bool has_no_body(const struct head *h, struct str method)
{
	return h->status < 200 || h->status == 204 || h->status == 304 ||
	       str_eq(method, STR("HEAD")) || (str_eq(method, STR("CONNECT")) && h->status < 300);
}

/* A length that describes what is not there: HEAD and 304 may carry it on. */
static void keep_described_length(const struct h1_wire *w, struct head *h, struct str method)
{
	char digits[STR_U64_MAX];

	if (w->n_cl == 0 || h->status < 200 || h->status == 204 || str_eq(method, STR("CONNECT")))
		return;
	head_add_id(h, HEAD_ID_CONTENT_LENGTH,
		    arena_str(h->arena, str_from(digits, str_put_u64(digits, h->content_length))));
}

static bool frame_response(const struct h1_wire *w, struct head *h, struct str method)
{
	if (w->n_te > 0 && (w->n_cl > 0 || w->n_te > 1 || h->version == HEAD_VERSION_10 ||
			    !str_ieq(w->coding, STR("chunked"))))
		return false;
	if (w->n_cl > 0 && !read_same_numbers(w, &h->content_length))
		return false;
	if (has_no_body(h, method)) {
		keep_described_length(w, h, method);
		h->body = HEAD_BODY_NONE;
		h->content_length = 0;
	} else if (w->n_te > 0) {
		h->body = HEAD_BODY_CHUNKED;
	} else {
		h->body = w->n_cl > 0 ? HEAD_BODY_LENGTH : HEAD_BODY_UNTIL_CLOSE;
	}
	return true;
}

static bool parse_response(struct h1_parser *p, struct str in, struct str method, struct head *h)
{
	_scratch_ struct h1_wire w;
	struct str line;
	char *end, *fields = copy_head(&p->scan, in, h->arena, &line, &end);

	h1_wire_init(&w);
	if (!read_status_line(line, h) || !h1_read_fields(h, fields, end, p->scan.lines) ||
	    !h1_split_fields(h, &w) || !frame_response(&w, h, method))
		return false;
	h->keep_alive = h1_keeps_alive(h, &w) && h->body != HEAD_BODY_UNTIL_CLOSE;
	if (h->status == 101)
		h->upgrade = w.upgrade;
	return true;
}

/* A service that speaks something else is told from one that is slow by its first bytes. */
static bool begins_like_http(struct str in)
{
	static const struct str begin = { "HTTP/1.", 7 };

	return str_has_prefix(begin, str_take(in, begin.n));
}

enum h1_result h1_parse_response(struct h1_parser *p, const struct h1_limits *lim, struct str in,
				 struct str request_method, struct head *h, size_t *ret_used)
{
	struct h1_scan_rules rules = { .lim = lim, .first_lines = 1 };
	struct head new = { .arena = h->arena };
	enum h1_scanned got = begins_like_http(in) ? h1_scan_head(&p->scan, &rules, in)
						   : H1_SCANNED_CTL;

	*ret_used = 0;
	if (got == H1_SCANNED_MORE)
		return H1_MORE;
	if (got != H1_SCANNED_END || !parse_response(p, in, request_method, &new))
		return bad(p, 502, "bad_response");
	*h = new;
	return done(p, ret_used);
}
