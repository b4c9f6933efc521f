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

/* Remembers how far the search for the end of the head came, so that slow senders cost O(n). */
struct h1_parser {
	size_t scanned;
	unsigned status;                /* after H1_BAD: what to answer (400, 414, 431, 501, 505, …) */
	const char *reason;             /* after H1_BAD: word of security-model §5 ("bad_host") */
};
void h1_parser_init(struct h1_parser *p);

/*
 * Parse a request head at the start of in. Strings are copied into h->arena, names lower-cased.
 * Framing (body, content_length), Host rules, absolute-form, keep_alive, expect, upgrade are decided
 * and checked; hop-by-hop fields and those named by Connection are taken out of h.
 */
enum h1_result h1_parse_request(struct h1_parser *p, const struct h1_limits *lim, struct str in,
				struct head *h, size_t *ret_used);
/* request_method decides whether a body follows (HEAD, CONNECT). */
enum h1_result h1_parse_response(struct h1_parser *p, const struct h1_limits *lim, struct str in,
				 struct str request_method, struct head *h, size_t *ret_used);

/* Incremental chunked decoder (RFC 9112 7.1). Trailers end up in a head's field list. */
enum h1_chunk_state {
	H1_CHUNK_SIZE, H1_CHUNK_DATA, H1_CHUNK_DATA_CRLF, H1_CHUNK_TRAILER, H1_CHUNK_END
};
struct h1_chunked {
	enum h1_chunk_state state;
	uint64_t left;                  /* of the current chunk */
	size_t scanned;
	const char *reason;             /* after H1_BAD */
};
void h1_chunked_init(struct h1_chunked *c);
/*
 * Consume from in. H1_DONE: the body and its trailer section ended, *ret_used counts them.
 * H1_MORE with *ret_data.n > 0: a run of payload inside in; call again with the rest after
 * *ret_used. H1_MORE with no data: needs more bytes (after *ret_used).
 * trailers may be NULL: then trailer fields are checked and dropped.
 */
enum h1_result h1_chunked_next(struct h1_chunked *c, const struct h1_limits *lim, struct str in,
			       struct str *ret_data, size_t *ret_used, struct head *trailers);

/*
 * Writers: canonical form, so that what is forwarded can be read in one way only. They need at most
 * h1_*_size bytes and return what they wrote. Framing fields come from h->body alone.
 * close: "connection: close" is added (or "keep-alive" towards an HTTP/1.0 client that asked).
 */
size_t h1_request_size(const struct head *h);
size_t h1_write_request(const struct head *h, bool close, char *out);
size_t h1_response_size(const struct head *h);
size_t h1_write_response(const struct head *h, bool close, bool to_http10, char *out);
#define H1_CHUNK_HEAD_MAX 18                            /* hex size + CRLF */
size_t h1_write_chunk_head(uint64_t n, char out[static H1_CHUNK_HEAD_MAX]);
size_t h1_trailers_size(const struct head *trailers);   /* last chunk, trailers, final CRLF */
size_t h1_write_last_chunk(const struct head *trailers_or_null, char *out);
