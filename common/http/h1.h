/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1: HTTP/1.1 messages on spans (RFC 9112), strict by default. Layer http. No I/O, no state but
 * what the structs below hold. What is accepted and the status for what is not: security-model §5.1
 * (requests) and §5.2 (responses); docs/THREATS.md has the table.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/head.h"

struct h1_limits {
	size_t line_max;                /* request line; 414 beyond */
	size_t head_max;                /* whole header section; 431 (request) or 502 (response) */
	unsigned fields_max;
};
extern const struct h1_limits h1_limits_default;        /* 16 KiB, 60 KiB, 100: security-model L1 */

enum h1_result {
	H1_DONE,                        /* a whole head; *ret_used bytes belong to it */
	H1_MORE,                        /* incomplete: call again with more bytes, same start */
	H1_BAD,                         /* reason and status in the parser */
};

/* How far the search for the end of a head came, so that slow senders cost O(n). */
struct h1_scan {
	size_t pos;                     /* the next byte to look at */
	size_t start, line;             /* where the head and the current line begin */
	unsigned lines;                 /* that ended */
};

struct h1_parser {
	struct h1_scan scan;
	unsigned status;                /* after H1_BAD: what to answer (400, 414, 431, …) */
	const char *reason;             /* after H1_BAD: word of security-model §5 ("bad_host") */
	bool fragment;                  /* after H1_DONE: the target had one; it was dropped */
};
void h1_parser_init(struct h1_parser *p);

/*
 * Parse a request head at the start of in. Strings are copied into h->arena, names lower-cased.
 * Framing (body, content_length), Host rules, absolute-form, keep_alive, expect, upgrade are
 * decided and checked; Host goes to h->authority; hop-by-hop and framing fields, Expect, and those
 * named by Connection are taken out of h. Percent signs are checked in the path only: the query is
 * the service's. After H1_DONE the parser is ready for the next message. h is filled on H1_DONE
 * alone.
 */
enum h1_result h1_parse_request(struct h1_parser *p, const struct h1_limits *lim, struct str in,
				struct head *h, size_t *ret_used);
/*
 * request_method decides whether a body follows (HEAD, CONNECT). Status 502 for everything bad. A
 * Content-Length that only describes (HEAD, 304) stays in the list, with h->body NONE.
 */
enum h1_result h1_parse_response(struct h1_parser *p, const struct h1_limits *lim, struct str in,
				 struct str request_method, struct head *h, size_t *ret_used);

/* Incremental chunked decoder (RFC 9112 7.1). Trailers end up in a head's field list. */
enum h1_chunk_state {
	H1_CHUNK_SIZE, H1_CHUNK_DATA, H1_CHUNK_DATA_CRLF, H1_CHUNK_TRAILER, H1_CHUNK_END
};
struct h1_chunked {
	enum h1_chunk_state state;
	uint64_t left;                  /* of the current chunk; while its size is read: so far */
	uint32_t digits, extension;     /* of the size line */
	bool semicolon;
	bool cr;                        /* the last byte was the CR of a CRLF */
	struct h1_scan scan;            /* of the trailer section */
	const char *reason;             /* after H1_BAD: "bad_chunk", "bad_trailer", "too_large" */
};
void h1_chunked_init(struct h1_chunked *c);
/*
 * Consume from in. H1_DONE: the body and its trailer section ended, *ret_used counts them.
 * H1_MORE with *ret_data.n > 0: a run of payload inside in; call again with the rest after
 * *ret_used. H1_MORE with no data: needs more bytes (after *ret_used). Only the trailer section has
 * to come as one run: there bytes that were not used must be given again, with more behind them.
 * trailers may be NULL: then trailer fields are checked and dropped.
 */
enum h1_result h1_chunked_next(struct h1_chunked *c, const struct h1_limits *lim, struct str in,
			       struct str *ret_data, size_t *ret_used, struct head *trailers);

/*
 * Writers: canonical form, so that what is forwarded can be read in one way only. They need room
 * for h1_*_size bytes and return what they wrote. Every string is checked again, whatever codec it
 * came from: 0 means that this head must not be sent (a control byte, a name that is no lower-case
 * token, …) and nothing was written; then no byte of a body may follow either. h1_*_ok asks
 * beforehand. Framing comes from h->body alone: CHUNKED and UNTIL_CLOSE are sent chunked; fields of
 * those names in the list are left out.
 * A response without body to anything but HEAD has body LENGTH and content_length 0.
 * close: "connection: close" is added (or "keep-alive" towards an HTTP/1.0 client that asked).
 */
bool h1_request_ok(const struct head *h);
bool h1_response_ok(const struct head *h);
/* The parts of h1_request_ok, for a codec that sees field after field: all but the fields, and one of them. */
bool h1_request_line_ok(const struct head *h);
bool h1_field_ok(const struct head_field *f);
size_t h1_request_size(const struct head *h);
size_t h1_write_request(const struct head *h, bool close, char *out);
size_t h1_response_size(const struct head *h);
/* to_http10: no chunks; a body of unknown length ends with the connection, which then closes. */
size_t h1_write_response(const struct head *h, bool close, bool to_http10, char *out);
/* How the body that follows h1_write_response must be sent. */
enum head_body h1_response_framing(const struct head *h, bool to_http10);
#define H1_CHUNK_HEAD_MAX 18            /* hex size + CRLF; the data needs a CRLF behind it too */
size_t h1_write_chunk_head(uint64_t n, char out[static H1_CHUNK_HEAD_MAX]);
/*
 * Last chunk, trailers, final CRLF; trailers may be NULL. Fields that must not stand in a trailer
 * section, or that are malformed, are left out; the end is always written.
 */
size_t h1_trailers_size(const struct head *trailers);
size_t h1_write_last_chunk(const struct head *trailers_or_null, char *out);
