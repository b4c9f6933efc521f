/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_h1: HTTP/1.1 on a connection, both sides, over the span parser of http/h1.h. codec_h1.c
 * holds the life of a connection, codec_h1_in.c turns bytes into leg events, codec_h1_out.c turns
 * leg calls into bytes. Layer proxy; this header is for these three alone. One exchange at a time:
 * pipelined requests wait in c->in.
 */
#pragma once

#include "http/h1.h"
#include "proxy/codec.h"
#include "proxy/conn.h"

/*
 * What waits on a connection whose exchange is under way (pipelined requests) before reading stops.
 */
#define H1_PIPELINE_BYTES (32u << 10)
/* Informational responses before the final one (security-model 5.2). */
#define H1_INFO_MAX 16

enum h1_in {
	H1_IN_HEAD,
	H1_IN_LENGTH, H1_IN_CHUNKED, H1_IN_RAW,         /* RAW: until the end of the connection */
	H1_IN_DONE,                                     /* the message is complete */
	H1_IN_IGNORE,                                   /* broken: no further byte is interpreted */
};
enum h1_out {
	H1_OUT_HEAD,
	H1_OUT_LENGTH, H1_OUT_CHUNKED, H1_OUT_RAW,
	H1_OUT_NOTHING,                         /* a head without body by rule: data is dropped */
	H1_OUT_DONE,
};

struct h1 {
	struct conn *c;
	struct leg *leg;                /* exchange under way, NULL between two */
	bool server;
	bool busy;                      /* h1_recv is on the stack */
	bool last;                      /* draining: no further exchange */
	bool close;                     /* this exchange is the last of the connection */
	bool half_closed;               /* the peer ended its side during an exchange */
	bool tunnel;                    /* switched protocols: bytes both ways */
	bool keep_alive, http10;        /* server: what the request said */
	bool no_body, awaits_100;       /* server: HEAD request; it waits for 100-continue */
	enum h1_in in;
	enum h1_out out;
	uint64_t in_left, out_left;
	uint64_t start_written;
	unsigned infos;
	struct str method;              /* client: of the request */
	struct h1_limits limits;
	struct h1_parser parser;
	struct h1_chunked chunked;
};

static inline struct h1 *h1_of(struct conn *c)
{
	return c->codec;
}

/* codec_h1.c */
void h1_exchange_begin(struct h1 *h, struct leg *l);
/* If both directions are complete: let the leg go, then the next exchange or the end. */
void h1_exchange_check(struct h1 *h);
struct leg *h1_detach(struct h1 *h);
/* The connection is another codec's from now on. */
void h1_hand_over(struct h1 *h);
void h1_count_bad(struct h1 *h, const char *reason);

/* codec_h1_in.c */
void h1_recv(struct conn *c);
void h1_await_request(struct h1 *h);

/* codec_h1_out.c */
void h1_head(struct leg *l, struct head *hd, bool end);
void h1_data(struct leg *l, struct buf *b, bool end);
