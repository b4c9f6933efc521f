/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head: the field list of a message and the names that the proxy knows by number. Layer http.
 * Everything lives in the arena of the exchange; nothing is owned here.
 */
#include "http/head.h"

#include "base/err.h"
#include "base/vec.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

const struct str head_id_names[HEAD_ID__N] = {
	[HEAD_ID_OTHER] = { "", 0 },
#define ID(id, name) [HEAD_ID_##id] = { name, sizeof(name) - 1 }
	ID(HOST, "host"),
	ID(CONTENT_LENGTH, "content-length"),
	ID(TRANSFER_ENCODING, "transfer-encoding"),
	ID(CONNECTION, "connection"),
	ID(UPGRADE, "upgrade"),
	ID(EXPECT, "expect"),
	ID(TE, "te"),
	ID(TRAILER, "trailer"),
	ID(KEEP_ALIVE, "keep-alive"),
	ID(PROXY_CONNECTION, "proxy-connection"),
	ID(PROXY_AUTHORIZATION, "proxy-authorization"),
	ID(PROXY_AUTHENTICATE, "proxy-authenticate"),
	ID(CONTENT_TYPE, "content-type"),
	ID(DATE, "date"),
	ID(SERVER, "server"),
	ID(LOCATION, "location"),
	ID(COOKIE, "cookie"),
	ID(USER_AGENT, "user-agent"),
	ID(AUTHORIZATION, "authorization"),
	ID(X_REQUEST_ID, "x-request-id"),
	ID(X_FORWARDED_FOR, "x-forwarded-for"),
	ID(X_FORWARDED_PROTO, "x-forwarded-proto"),
	ID(X_FORWARDED_HOST, "x-forwarded-host"),
	ID(X_FORWARDED_CLIENT_CERT, "x-forwarded-client-cert"),
	ID(X_ENVOY_ATTEMPT_COUNT, "x-envoy-attempt-count"),
	ID(X_ENVOY_ORIGINAL_PATH, "x-envoy-original-path"),
	ID(X_ENVOY_ORIGINAL_HOST, "x-envoy-original-host"),
	ID(X_ENVOY_UPSTREAM_SERVICE_TIME, "x-envoy-upstream-service-time"),
	ID(X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, "x-envoy-expected-rq-timeout-ms"),
	ID(X_ENVOY_OVERLOADED, "x-envoy-overloaded"),
	ID(X_ENVOY_PEER_METADATA, "x-envoy-peer-metadata"),
	ID(X_ENVOY_PEER_METADATA_ID, "x-envoy-peer-metadata-id"),
	ID(TRACEPARENT, "traceparent"),
	ID(TRACESTATE, "tracestate"),
	ID(B3, "b3"),
	ID(HTTP2_SETTINGS, "http2-settings"),
	ID(GRPC_STATUS, "grpc-status"),
	ID(GRPC_TIMEOUT, "grpc-timeout"),
	ID(RETRY_AFTER, "retry-after"),
	ID(ORIGIN, "origin"),
	ID(ACCEPT, "accept"),
	ID(ACCEPT_ENCODING, "accept-encoding"),
	ID(ACCEPT_LANGUAGE, "accept-language"),
	ID(ACCEPT_RANGES, "accept-ranges"),
	ID(CACHE_CONTROL, "cache-control"),
	ID(CONTENT_ENCODING, "content-encoding"),
	ID(ETAG, "etag"),
	ID(IF_MODIFIED_SINCE, "if-modified-since"),
	ID(LAST_MODIFIED, "last-modified"),
	ID(REFERER, "referer"),
	ID(SET_COOKIE, "set-cookie"),
	ID(VARY, "vary"),
	ID(GRPC_ACCEPT_ENCODING, "grpc-accept-encoding"),
	ID(GRPC_ENCODING, "grpc-encoding"),
	ID(GRPC_MESSAGE, "grpc-message"),
	ID(X_KVMESH_PEER, "x-kvmesh-peer"),
#undef ID
};

/* Which ids have a name of that length; 0 ends a row. test_head checks that none is forgotten. */
#define IDS_PER_LENGTH 6
#define LENGTH_MAX 30
static const uint8_t ids_by_length[LENGTH_MAX + 1][IDS_PER_LENGTH + 1] = {
	[2] = { HEAD_ID_TE, HEAD_ID_B3 },
	[4] = { HEAD_ID_HOST, HEAD_ID_DATE, HEAD_ID_ETAG, HEAD_ID_VARY },
	[6] = { HEAD_ID_COOKIE, HEAD_ID_SERVER, HEAD_ID_ACCEPT, HEAD_ID_EXPECT, HEAD_ID_ORIGIN },
	[7] = { HEAD_ID_REFERER, HEAD_ID_UPGRADE, HEAD_ID_TRAILER },
	[8] = { HEAD_ID_LOCATION },
	[10] = { HEAD_ID_CONNECTION, HEAD_ID_USER_AGENT, HEAD_ID_SET_COOKIE, HEAD_ID_KEEP_ALIVE,
		 HEAD_ID_TRACESTATE },
	[11] = { HEAD_ID_TRACEPARENT, HEAD_ID_GRPC_STATUS, HEAD_ID_RETRY_AFTER },
	[12] = { HEAD_ID_CONTENT_TYPE, HEAD_ID_X_REQUEST_ID, HEAD_ID_GRPC_TIMEOUT,
		 HEAD_ID_GRPC_MESSAGE },
	[13] = { HEAD_ID_X_KVMESH_PEER, HEAD_ID_AUTHORIZATION, HEAD_ID_ACCEPT_RANGES,
		 HEAD_ID_LAST_MODIFIED, HEAD_ID_CACHE_CONTROL, HEAD_ID_GRPC_ENCODING },
	[14] = { HEAD_ID_CONTENT_LENGTH, HEAD_ID_HTTP2_SETTINGS },
	[15] = { HEAD_ID_X_FORWARDED_FOR, HEAD_ID_ACCEPT_ENCODING, HEAD_ID_ACCEPT_LANGUAGE },
	[16] = { HEAD_ID_CONTENT_ENCODING, HEAD_ID_PROXY_CONNECTION, HEAD_ID_X_FORWARDED_HOST },
	[17] = { HEAD_ID_TRANSFER_ENCODING, HEAD_ID_X_FORWARDED_PROTO, HEAD_ID_IF_MODIFIED_SINCE },
	[18] = { HEAD_ID_PROXY_AUTHENTICATE, HEAD_ID_X_ENVOY_OVERLOADED },
	[19] = { HEAD_ID_PROXY_AUTHORIZATION },
	[20] = { HEAD_ID_GRPC_ACCEPT_ENCODING },
	[21] = { HEAD_ID_X_ENVOY_ATTEMPT_COUNT, HEAD_ID_X_ENVOY_ORIGINAL_PATH,
		 HEAD_ID_X_ENVOY_ORIGINAL_HOST, HEAD_ID_X_ENVOY_PEER_METADATA },
	[23] = { HEAD_ID_X_FORWARDED_CLIENT_CERT },
	[24] = { HEAD_ID_X_ENVOY_PEER_METADATA_ID },
	[29] = { HEAD_ID_X_ENVOY_UPSTREAM_SERVICE_TIME },
	[30] = { HEAD_ID_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS },
};

enum head_id head_id_of(struct str lower_name)
{
	if (lower_name.n > LENGTH_MAX || lower_name.n == 0)
		return HEAD_ID_OTHER;
	size_t last = lower_name.n - 1;

	/* Most candidates differ at the end. */
	for (const uint8_t *id = ids_by_length[lower_name.n]; *id != HEAD_ID_OTHER; id++)
		if (head_id_names[*id].p[last] == lower_name.p[last] &&
		    memcmp(head_id_names[*id].p, lower_name.p, last) == 0)
			return (enum head_id)*id;
	return HEAD_ID_OTHER;
}

void head_init(struct head *h, struct arena *a)
{
	*h = (struct head){ .arena = a };
}

void head_reserve(struct head *h, size_t n)
{
	kv_assert(h->n == 0);
	if (h->cap >= n)
		return;
	h->fields = arena_alloc(h->arena, n * sizeof(*h->fields));
	h->cap = n;
}

/* ---- reading ------------------------------------------------------------- */

static bool field_is(const struct head_field *f, enum head_id id, struct str lower_name)
{
	return id != HEAD_ID_OTHER ? f->id == id
				   : f->id == HEAD_ID_OTHER && str_eq(f->name, lower_name);
}

struct head_field *head_find(const struct head *h, enum head_id id)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->fields[i].id == id && id != HEAD_ID_OTHER)
			return &h->fields[i];
	return NULL;
}

struct head_field *head_find_name(const struct head *h, struct str lower_name)
{
	enum head_id id = head_id_of(lower_name);

	for (size_t i = 0; i < h->n; i++)
		if (field_is(&h->fields[i], id, lower_name))
			return &h->fields[i];
	return NULL;
}

struct str head_value(const struct head *h, enum head_id id)
{
	struct head_field *f = head_find(h, id);

	return f ? f->value : STR_NULL;
}

struct str head_joined(const struct head *h, struct str lower_name)
{
	struct head_field *first = head_find_name(h, lower_name);
	size_t n = 0, count = 0;

	if (!first)
		return STR_NULL;
	for (struct head_field *f = first; f < h->fields + h->n; f++) {
		if (field_is(f, first->id, lower_name)) {
			n += f->value.n + 1;
			count++;
		}
	}
	if (count == 1)
		return first->value;
	char *out = arena_alloc(h->arena, n), *at = out;

	for (struct head_field *f = first; f < h->fields + h->n; f++) {
		if (!field_is(f, first->id, lower_name))
			continue;
		if (f != first)
			*at++ = ',';
		if (f->value.n > 0)
			memcpy(at, f->value.p, f->value.n);
		at += f->value.n;
	}
	return str_from(out, n - 1);
}

/* ---- changing ------------------------------------------------------------ */

static void add(struct head *h, enum head_id id, struct str name, struct str value)
{
	*vec_push_arena(h->arena, h->fields, h->n, h->cap) =
		(struct head_field){ .name = id == HEAD_ID_OTHER ? name : head_id_names[id],
				     .value = value, .id = id };
}

void head_add(struct head *h, struct str lower_name, struct str value)
{
	add(h, head_id_of(lower_name), lower_name, value);
}

void head_add_id(struct head *h, enum head_id id, struct str value)
{
	kv_assert(id != HEAD_ID_OTHER && id < HEAD_ID__N);
	add(h, id, head_id_names[id], value);
}

static size_t remove_all(struct head *h, enum head_id id, struct str lower_name, size_t from)
{
	size_t kept = from;

	for (size_t i = from; i < h->n; i++)
		if (!field_is(&h->fields[i], id, lower_name))
			h->fields[kept++] = h->fields[i];
	size_t gone = h->n - kept;

	h->n = kept;
	return gone;
}

/* The first one keeps its place in the list. */
static void set(struct head *h, enum head_id id, struct str name, struct str value)
{
	for (size_t i = 0; i < h->n; i++) {
		if (!field_is(&h->fields[i], id, name))
			continue;
		h->fields[i].value = value;
		remove_all(h, id, name, i + 1);
		return;
	}
	add(h, id, name, value);
}

void head_set(struct head *h, struct str lower_name, struct str value)
{
	set(h, head_id_of(lower_name), lower_name, value);
}

void head_set_id(struct head *h, enum head_id id, struct str value)
{
	kv_assert(id != HEAD_ID_OTHER && id < HEAD_ID__N);
	set(h, id, head_id_names[id], value);
}

size_t head_remove(struct head *h, struct str lower_name)
{
	return remove_all(h, head_id_of(lower_name), lower_name, 0);
}

size_t head_remove_id(struct head *h, enum head_id id)
{
	kv_assert(id != HEAD_ID_OTHER && id < HEAD_ID__N);
	return remove_all(h, id, head_id_names[id], 0);
}

/* ---- what a string may hold ---------------------------------------------- */

const uint8_t head_token_lower[256] = {
	['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*',
	['+'] = '+', ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`', ['|'] = '|',
	['~'] = '~', ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5',
	['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c',
	['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i', ['J'] = 'j',
	['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q',
	['R'] = 'r', ['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x',
	['Y'] = 'y', ['Z'] = 'z', ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e',
	['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j', ['k'] = 'k', ['l'] = 'l',
	['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r', ['s'] = 's',
	['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y', ['z'] = 'z',
};

bool head_is_token(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (head_token_lower[(uint8_t)s.p[i]] == 0)
			return false;
	return s.n > 0;
}

static bool is_ctl(uint8_t c)
{
	return (c < ' ' && c != '\t') || c == 0x7f;
}

#ifdef __SSE2__
/* One bit for each byte that is a CTL. */
static unsigned ctl_bits(__m128i x)
{
	__m128i low = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x);
	__m128i ctl = _mm_andnot_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('\t')), low);

	return (unsigned)_mm_movemask_epi8(
		_mm_or_si128(ctl, _mm_cmpeq_epi8(x, _mm_set1_epi8(0x7f))));
}

static unsigned ctl_bits_16(const char *p)
{
	return ctl_bits(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static unsigned ctl_bits_8(const char *p)
{
	return ctl_bits(_mm_loadl_epi64((const __m128i *)(const void *)p)) & 0xff;
}

static unsigned ctl_bits_4(const char *p)
{
	int x;

	memcpy(&x, p, sizeof(x));
	return ctl_bits(_mm_cvtsi32_si128(x)) & 0xf;
}

/* n < 16 bytes by two loads that overlap. */
static unsigned ctl_bits_short(const char *p, size_t n)
{
	unsigned bits = 0;

	if (n >= 8)
		return ctl_bits_8(p) | ctl_bits_8(p + n - 8) << (n - 8);
	if (n >= 4)
		return ctl_bits_4(p) | ctl_bits_4(p + n - 4) << (n - 4);
	for (size_t i = 0; i < n; i++)
		bits |= (unsigned)is_ctl((uint8_t)p[i]) << i;
	return bits;
}

const char *head_find_ctl(const char *p, const char *end)
{
	bool is_long = end - p >= 16;
	unsigned bits;

	for (; end - p >= 16; p += 16) {
		bits = ctl_bits_16(p);
		if (bits != 0)
			return p + __builtin_ctz(bits);
	}
	size_t n = (size_t)(end - p);

	bits = is_long ? ctl_bits_16(end - 16) >> (16 - n) : ctl_bits_short(p, n);
	return bits != 0 ? p + __builtin_ctz(bits) : end;
}
#else
const char *head_find_ctl(const char *p, const char *end)
{
	while (p < end && !is_ctl((uint8_t)*p))
		p++;
	return p;
}
#endif

bool head_is_value(struct str s)
{
	return head_find_ctl(s.p, s.p + s.n) == s.p + s.n;
}

bool head_is_served_method(struct str m)
{
	if (str_eq(m, STR("CONNECT")) || str_eq(m, STR("TRACE")))
		return false;
	for (size_t i = 0; i < m.n; i++)
		if (m.p[i] >= 'a' && m.p[i] <= 'z')
			return false;
	return true;
}

const char *head_reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *reason;
	} reasons[] = {
		{ 100, "Continue" },
		{ 101, "Switching Protocols" },
		{ 102, "Processing" },
		{ 103, "Early Hints" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 203, "Non-Authoritative Information" },
		{ 204, "No Content" },
		{ 205, "Reset Content" },
		{ 206, "Partial Content" },
		{ 207, "Multi-Status" },
		{ 208, "Already Reported" },
		{ 226, "IM Used" },
		{ 300, "Multiple Choices" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 303, "See Other" },
		{ 304, "Not Modified" },
		{ 305, "Use Proxy" },
		{ 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 402, "Payment Required" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" },
		{ 407, "Proxy Authentication Required" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 416, "Range Not Satisfiable" },
		{ 417, "Expectation Failed" },
		{ 421, "Misdirected Request" },
		{ 422, "Unprocessable Content" },
		{ 423, "Locked" },
		{ 424, "Failed Dependency" },
		{ 425, "Too Early" },
		{ 426, "Upgrade Required" },
		{ 428, "Precondition Required" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 451, "Unavailable For Legal Reasons" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
		{ 506, "Variant Also Negotiates" },
		{ 507, "Insufficient Storage" },
		{ 508, "Loop Detected" },
		{ 511, "Network Authentication Required" },
	};

	if (status == 200)
		return "OK";
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "";
}
