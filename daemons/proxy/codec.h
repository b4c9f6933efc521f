/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec: the seam between protocols and exchanges. A codec (codec_tcp.c, codec_h1.c) turns the
 * bytes of a connection into events of legs and back; stream.c never sees a byte of framing, a
 * codec never sees a route. Both include this file and never each other. Layer proxy.
 *
 * A leg is one side of one exchange: down towards the client, up towards the service. The stream
 * owns both; a codec points at those whose exchange is on its connection and detaches them
 * (leg->conn = NULL) when the exchange is complete in both directions, was reset, or the connection
 * goes away.
 *
 * Calls down into the codec never call back into the same leg before they return, but for
 * leg_on_writable; what they queue leaves with the connection's flush at the end of the loop turn.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/head.h"
#include "io/buf.h"
#include "proxy/fail.h"

struct conn;
struct stream;

/* Bytes queued for one leg before its source is stopped, and where it may go on (dataplane 3.8). */
#define CODEC_HIGH_BYTES (256u << 10)
#define CODEC_LOW_BYTES (128u << 10)

struct leg {
	struct stream *s;
	struct conn *conn;              /* NULL: not attached yet, or no longer */
	void *exchange;                 /* the codec's own, for codecs that carry several */
	bool up;                        /* which of the two it is */
	bool head_in, end_in;           /* what the peer has sent: final head, end of message */
	bool head_out, end_out;         /* what was given to the codec */
	bool paused;                    /* window(l, 0) was the last word */
	bool last;                      /* down: no exchange follows, the answer says so where it can */
	/* about the connection under it; kept when it is detached */
	bool reused;                    /* it had carried exchanges before */
	bool sent;                      /* bytes of this exchange have left */
	bool answered;                  /* a byte of the peer's message has come */
	bool refused;                   /* up: the peer says that it did nothing with it */
	bool no_upgrade;                /* up: the peer's protocol cannot switch; HTTP/1.1 could */
	struct str upgrade;             /* up: protocol asked for in the request, empty none */
	size_t room;                    /* bytes until it is full; 0: wait for leg_on_writable */
	struct head *head;              /* where the codec puts the head that comes in */
	struct head *trailers;          /* where it puts trailers; n == 0: none came */
	/* what leg_on_reset tells besides the kind */
	unsigned status;                /* FAIL_DOWN_PROTOCOL: what to answer */
	const char *reason;             /* word of security-model 5, or a sentence; NULL none */
};

struct codec_ops {
	const char *name;
	bool http;                      /* exchanges have heads; else bytes until both ends close */
	/*
	 * The connection speaks this protocol from now on. c->slots is the codec's to keep:
	 * exchanges it can still begin (client side): tcp 1 then 0, h1 0 or 1, h2 many.
	 */
	void (*open)(struct conn *c, bool server);
	/* Bytes wait in c->in, or c->eof or c->error was set. */
	void (*recv)(struct conn *c);
	/* The output that had gone over the high mark is below the low one. */
	void (*writable)(struct conn *c);
	/* The connection goes away: reset what is attached, free c->codec. */
	void (*close)(struct conn *c);
	/* Begin an exchange on a client connection with slots > 0. */
	void (*start)(struct conn *c, struct leg *l);
	/* 1xx, then the final head, then (trailers) once more with end. */
	void (*head)(struct leg *l, struct head *h, bool end);
	/* Takes all bytes of b. end with an empty b ends the message. */
	void (*data)(struct leg *l, struct buf *b, bool end);
	/* Let the peer send this much more; 0: stop. */
	void (*window)(struct leg *l, size_t room);
	/* Give the exchange up. Afterwards leg->conn is NULL. */
	void (*reset)(struct leg *l, enum fail why);
	/* No new exchange: finish what is under way, then close. */
	void (*drain)(struct conn *c);
	/* Server side, NULL: never idle. Idle times became shorter: look at the clock again. */
	void (*hurry)(struct conn *c);
};
extern const struct codec_ops codec_tcp, codec_h1, codec_h2;

/* What the stream calls: the codec's function and the facts beside it. l->conn is set. */
void leg_head(struct leg *l, struct head *h, bool end);
void leg_data(struct leg *l, struct buf *b, bool end);
void leg_window(struct leg *l, size_t room);
void leg_reset(struct leg *l, enum fail why);           /* harmless when detached */

/* ---- from the protocol up into the stream; all but leg_open end in stream_run() -------------- */

/* Server side: the first byte of a new exchange. The down leg of a new stream. */
struct leg *leg_open(struct conn *c);
/* l->head is filled. Called again for each 1xx before the final one. end: no body follows. */
void leg_on_head(struct leg *l, bool end);
/* Takes all bytes of b. */
void leg_on_data(struct leg *l, struct buf *b);
/* n bytes went into the tube that leads to the other leg (tube.h), which may be full now. */
void leg_on_moved(struct leg *l, size_t n);
/* The peer's message is complete; l->trailers may hold fields. */
void leg_on_end(struct leg *l);
/*
 * The exchange ends early; the codec has already detached the leg unless it can still answer
 * (FAIL_DOWN_PROTOCOL, FAIL_IDLE on a server connection: l->conn is set, head() and data() work).
 */
void leg_on_reset(struct leg *l, enum fail why);
void leg_on_writable(struct leg *l);
