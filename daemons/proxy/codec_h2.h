/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_h2: HTTP/2 on a connection, both sides, over libnghttp2 (RFC 9113). codec_h2.c holds the life of a
 * connection and its exchanges, codec_h2_in.c turns frames into leg events, codec_h2_rules.c judges messages,
 * codec_h2_out.c turns leg calls into frames, codec_h2_tunnel.c carries switched protocols (RFC 8441). Layer proxy;
 * this header is for these alone.
 *
 * Frames are packed once per loop turn, so that all exchanges of a turn share one send (dataplane 3.7).
 * An h2_stream lives from its first frame until nghttp2 closes it; its leg is detached as soon as both
 * directions are complete for us, what is queued then still leaves.
 */
#pragma once

#include <nghttp2/nghttp2.h>

#include "base/list.h"
#include "io/buf.h"
#include "io/loop.h"
#include "proxy/codec.h"
#include "proxy/conn.h"

/* What we announce between proxies (dataplane 3.7), and to clients of a gateway (security-model L8). */
#define H2_STREAMS_MAX 100
#define H2_STREAM_WINDOW (256 << 10)
#define H2_CONN_WINDOW (16 << 20)
#define H2_EDGE_STREAM_WINDOW (64 << 10)
#define H2_EDGE_CONN_WINDOW (1 << 20)
#define H2_HEADER_LIST_MAX (60u << 10)
#define H2_FIELDS_MAX 100
/*
 * The frames we take, and send where the peer does: an exchange's bytes arrive together, and leave in one write on
 * the other side.
 */
#define H2_FRAME_MAX (128u << 10)
/* Frames without use (empty, reset by us, malformed) that one connection may cause: security-model L11. */
#define H2_GLITCHES 100
#define H2_GLITCHES_PER_SECOND 10
/* Exchanges that the client gave up: L10. */
#define H2_RESETS 1000
#define H2_RESETS_PER_SECOND 33

/* How long a client may take to learn that no new exchange is wanted. */
#define H2_LAST_CALL_US (1000u * 1000)

/* Copied: the exchange may be over before they leave. */
struct h2_trailers {
	size_t n;
	nghttp2_nv v[];                 /* the bytes follow */
};

/* A bucket that drains with time. */
struct h2_bucket {
	uint64_t at_us;
	unsigned n;
};

struct h2_stream {
	struct list node;               /* of the connection */
	struct h2 *h;
	struct leg *leg;                /* NULL once detached */
	int32_t id;                     /* -1: request not submitted yet */
	struct buf out;                 /* DATA waiting for window or room */
	bool eof_out;                   /* END_STREAM goes behind out */
	bool deferred;                  /* nghttp2 waits for nghttp2_session_resume_data */
	bool full;                      /* leg was told that there is no room */
	bool final_out;                 /* our final head was submitted */
	bool final_in;                  /* the final head has come */
	bool left;                      /* our HEADERS frame was packed */
	/* a protocol asked for by extended CONNECT; head and stream see an HTTP/1.1 upgrade */
	bool tunnel, switched;          /* asked for; granted: bytes both ways */
	bool early_end;
	struct buf early;               /* server: bytes that came before the answer */
	const struct head *waits;       /* client: for the peer's SETTINGS, which say whether it can */
	unsigned refuse_status;         /* the head is not acceptable: what to answer; 0 fine */
	const char *refuse_reason;
	struct h2_trailers *trailers;   /* ours, until the last DATA frame is packed */
	struct loop_deadline unread;    /* the rest of an answer waits for a window */
	size_t unread_bytes;            /* of out, when last looked at */
	size_t held;                    /* received and not yet given back to the peer's window */
	unsigned seen;                  /* of the block that comes: bits of codec_h2_rules.c */
	unsigned status;                /* client: as it said */
	int64_t length;                 /* as it said, negative: nothing */
	int64_t body_left;              /* of the body that was announced, negative: of any length */
	bool to_head;                   /* client: the answer has no body, whatever it says */
	bool malformed;                 /* what comes breaks a rule */
	size_t header_bytes;
	unsigned fields, infos;
	struct str cookie;              /* crumbs joined */
};

struct h2 {
	struct conn *c;
	nghttp2_session *session;
	struct slab *slab;              /* the worker's */
	bool server;
	bool dead;                      /* closed; callbacks still on the stack must stop */
	bool in_recv;                   /* nghttp2 reads from c->in, which conn_close() would free */
	bool idle_news;                 /* the owner is told afterwards that there is room */
	bool taken;                     /* the block under nghttp2's eyes has gone on with its payload */
	bool introduced;                /* the peer's SETTINGS have come */
	bool last_call;                 /* server: told that it goes, still taking what is on its way */
	bool goaway;                    /* no further exchange */
	unsigned n_waits;               /* streams with waits set */
	struct loop_deadline final;     /* of the last call */
	struct loop_deadline alive;     /* client: the next PING, or its answer */
	bool asked;                     /* … has not come yet */
	bool broken;                    /* a request could not be submitted: to be killed, not from within a call */
	struct list streams;
	bool watch;                     /* after packing some of them are to be looked at */
	struct loop_later pack;         /* frames of this turn */
	struct h2_stream *block;        /* whose header fields come now, NULL nobody's */
	struct h2_stream *recent;       /* looked up last */
	uint64_t heads_sent;
	bool in_block;                  /* HEADERS without END_HEADERS: only CONTINUATION may follow */
	bool calm;                      /* ended for a flood; counted once */
	struct h2_bucket glitches, resets;
	uint64_t frames_idle;           /* frames since the last that moved a message forward */
	size_t unknown_bytes;           /* since the last frame of a known type or a living stream */
	size_t late_bytes;              /* so many may still come of exchanges that we gave up */
	uint64_t written_bytes;         /* of the connection, when last looked at */
};

static inline struct h2 *h2_of(const struct conn *c)
{
	return c->codec;
}

/* codec_h2_alive.c */
void h2_alive_init(struct h2 *h);
void h2_alive_heard(struct h2 *h);      /* a PING was answered */

/* codec_h2.c */
struct h2_stream *h2_stream_new(struct h2 *h, struct leg *l, int32_t id);
void h2_stream_free(struct h2_stream *hs);
/* Both directions complete for us: the leg goes. */
void h2_exchange_check(struct h2_stream *hs);
struct leg *h2_detach(struct h2_stream *hs);
void h2_pack_later(struct h2 *h);
/* The watch over what a finished exchange has left behind and its peer does not read. */
void h2_unread_init(struct h2_stream *hs);
/* One more frame without use, or exchange given up; too many end the connection. */
void h2_glitch(struct h2 *h);
void h2_client_reset(struct h2 *h);
/* RST_STREAM. What the peer has sent before it hears of it comes all the same, for nobody. */
void h2_give_up(struct h2 *h, int32_t id, uint32_t code);
/* A flood: GOAWAY ENHANCE_YOUR_CALM, then the end (security-model 5.3). */
void h2_calm(struct h2 *h);
/* An exchange less: room for another, or the end. */
void h2_exchange_gone(struct h2 *h);
/* Client: there may be room for another exchange, or nothing left to wait for. */
void h2_client_idle(struct h2 *h);
/* Server: what the connection waits for decides how long it may. */
void h2_server_timer(struct h2 *h);
const char *h2_bad_input(const struct h2 *h);
void h2_slots(struct h2 *h);
struct h2_stream *h2_stream_of(struct h2 *h, int32_t id);

/* Server: what is on its way has had its time; GOAWAY with the last exchange taken (RFC 9113 6.8). */
void h2_final_goaway(struct h2 *h);
/* Client: the peer goes and has not seen these; others may have them. */
void h2_unsent_refused(struct h2 *h);

/* codec_h2_rules.c: RFC 9113 8. False: the message is malformed. */
enum h2_pseudo {
	H2_PSEUDO_NONE,                 /* not known */
	H2_PSEUDO_METHOD, H2_PSEUDO_SCHEME, H2_PSEUDO_AUTHORITY, H2_PSEUDO_PATH, H2_PSEUDO_PROTOCOL,
	H2_PSEUDO_STATUS,
};
enum h2_pseudo h2_pseudo_of(struct str name);
bool h2_pseudo_ok(struct h2_stream *hs, enum h2_pseudo id, struct str value);
bool h2_field_ok(struct h2_stream *hs, const struct head_field *f);
void h2_block_begins(struct h2_stream *hs);
bool h2_block_ok(struct h2_stream *hs, bool end);       /* all its fields have come */
bool h2_body_ok(struct h2_stream *hs, size_t n, bool end);

/* codec_h2_in.c */
void h2_end_of_message(struct h2_stream *hs);
void h2_callbacks_in(nghttp2_session_callbacks *cb);
void h2_recv(struct conn *c);

/* codec_h2_out.c */
void h2_callbacks_out(nghttp2_session_callbacks *cb);
void h2_pack(struct h2 *h);
void h2_head(struct leg *l, struct head *hd, bool end);
void h2_data(struct leg *l, struct buf *b, bool end);
/* The head of a request, on a session that may take it. */
void h2_submit(struct h2_stream *hs, const struct head *hd, bool end);
void h2_resume(struct h2_stream *hs);

/* codec_h2_tunnel.c */
/* A request that came by extended CONNECT becomes an upgrade. 0: fine, else the status it gets. */
unsigned h2_tunnel_request(struct h2_stream *hs, struct head *hd, bool end);
/* The answer to ours. True: switched, and hd says so as HTTP/1.1 does. */
bool h2_tunnel_answer(struct h2_stream *hs, struct head *hd);
/* Bytes that come before a tunnel is granted wait. True: they were taken. */
bool h2_tunnel_keeps(struct h2_stream *hs, const uint8_t *data, size_t n);
void h2_tunnel_granted(struct h2_stream *hs);
/* Answered with success but not switched, which HTTP/2 has no word for. */
void h2_tunnel_declined(struct h2_stream *hs);
/* From h2_pack: what waited goes on. */
void h2_tunnel_early(struct h2_stream *hs);
void h2_tunnels_check(struct h2 *h);
