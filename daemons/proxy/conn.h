/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn: one socket, plain or TLS, with its buffers and its deadline. The only place that knows TLS
 * from plain: everybody else reads c->in and writes c->out. Layer proxy; owns the descriptor, the
 * session, the buffers.
 *
 * Reading is level-triggered and one read a turn; writing is deferred to one flush at the end of
 * the turn, write interest exists only after EAGAIN (dataplane 3.1, 3.3). conn_kill() takes a
 * connection out of everything at once; its memory goes at the end of the turn.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "io/buf.h"
#include "io/loop.h"
#include "io/sock.h"
#include "io/tls.h"
#include "proxy/codec.h"

struct worker;
struct conn;

/*
 * What a turn may read from one connection before others have theirs (P18), and from one whose last
 * read brought so much that it is worth to take more at once.
 */
#define CONN_READ_BYTES BUF_READ_BYTES
#define CONN_READ_BULK (256u << 10)
#define CONN_BULK_FROM (32u << 10)
/*
 * A finished connection waits this long for the peer to read and close, and reads no more than
 * this.
 */
#define CONN_LINGER_US (2u * 1000 * 1000)
#define CONN_LINGER_BYTES (4u << 20)
/* How often a half-closed or paused peer is looked after: it may have gone altogether. */
#define CONN_WATCH_US (10u * 1000 * 1000)
/* A closing connection whose peer takes nothing of what is queued is cut. */
#define CONN_FLUSH_US (30u * 1000 * 1000)

/* Who made the connection: listener.c downstream, upstream.c upstream. */
struct conn_owner {
	void (*ready)(struct conn *c);          /* connected and handshake done: choose the codec */
	void (*failed)(struct conn *c);         /* will never be ready: c->error, conn_error_text */
	void (*idle)(struct conn *c);           /* an exchange is over: c->slots says what fits */
	void (*gone)(struct conn *c);           /* being killed; last call */
};

enum conn_state {
	CONN_CONNECTING, CONN_HANDSHAKE, CONN_OPEN,
	CONN_CLOSING,                   /* flushes, then shuts its write side, then lingers */
	CONN_DEAD,
};

/* An address in the room it needs: thousands of connections do nothing but wait. */
struct conn_addr {
	socklen_t len;                          /* 0: not known, or not IP */
	union {
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
};

struct conn {
	struct list node;                       /* of the owner */
	struct worker *w;
	const struct conn_owner *owner;
	void *owner_data;                       /* struct entry downstream, struct pool upstream */
	const struct codec_ops *ops;            /* NULL until the protocol is known */
	void *codec;                            /* the codec's own state */
	struct conn_tls *tls;                   /* NULL: plain */
	int fd;
	enum conn_state state;
	int error;                              /* negative; reading or writing failed */
	unsigned slots;                         /* the codec's, see codec.h */
	unsigned peer_slots;                    /* 1 + exchanges at once that such a peer takes; 0 unknown */
	unsigned max_slots;                     /* the owner's limit on exchanges at once; 0: none */
	unsigned exchanges;                     /* begun on this connection */
	unsigned active;                        /* under way, for codecs that carry several */
	bool eof;                               /* no byte comes after those in c->in */
	bool truncated;                         /* TLS ended without close_notify */
	bool raw_eof;                           /* of the socket; decrypted bytes may come */
	bool paused;                            /* no reading for now */
	bool patient;                           /* the codec's: the peer has nothing to say for now but its end */
	bool full, full_socket;                 /* over the high mark; the kernel takes no more */
	bool broken;                            /* writing failed: what is written is dropped */
	bool bulk;                      /* the last read brought much */
	bool kicked;                            /* process what waits at the end of the turn */
	bool shut_wanted, shut_done;
	bool last_word;                         /* the peer has said that nothing more comes from it */
	bool established;                       /* the owner's: it has been ready */
	bool raced;                             /* the owner's: the other address was tried as well */
	struct conn *rival;                     /* the owner's: the attempt there, or NULL */
	uint64_t since_us;                      /* the owner's: since then */
	uint32_t ping_ms, ping_timeout_ms;      /* the owner's: HTTP/2 asks so often whether the peer is there; 0 never */
	struct buf in, out;                     /* plaintext */
	struct tube *tube_in, *tube_out;        /* what is read goes there, what it holds goes out here; NULL: copied */
	size_t moved;                           /* into tube_in; the codec has not been told */
	uint64_t read_bytes, written_bytes;     /* on the socket */
	size_t lingered_bytes;
	struct loop_fd io;
	struct loop_later turn;
	struct loop_deadline timer;
	void (*on_timer)(struct conn *c);
	struct conn_addr local, remote;
};

struct conn_addr conn_addr_pack(const struct sock_addr *a);
struct sock_addr conn_addr_full(const struct conn_addr *a);

/* Takes fd; read from conn_begin on. owner_data is the caller's to free in owner->gone. local: where it came in, NULL not known. */
struct conn *conn_new(struct worker *w, int fd, const struct conn_addr *local, const struct conn_owner *owner,
		      void *owner_data);
/* A connection being made to addr (non-blocking). NULL with err filled when it failed at once. */
struct conn *conn_dial(struct worker *w, const struct sock_addr *addr,
		       const struct conn_owner *owner, void *owner_data, struct err *err);
/* One that came in: who made it and its codec are known, what it has sent already is read. */
void conn_begin(struct conn *c);
/*
 * Takes the session; what was read already is its ciphertext, what waits to leave does so in the
 * clear. owner->ready or ->failed follows.
 */
void conn_start_tls(struct conn *c, struct tls_session *session);
/* From now on the codec gets the bytes, those that wait first (in this turn, not in this call). */
void conn_set_codec(struct conn *c, const struct codec_ops *ops, bool server);

/* Something was appended to c->out: it leaves at the end of this turn. */
void conn_flush_later(struct conn *c);
/* Bytes that wait to leave, in whatever form. */
size_t conn_queued(const struct conn *c);
/*
 * Room below the high mark; marks the connection full (ops->writable will come) when there is none.
 */
size_t conn_room(struct conn *c);
void conn_pause(struct conn *c);                /* stop reading */
void conn_resume(struct conn *c);
/* Have ops->recv called again in this turn although nothing new came. */
void conn_kick(struct conn *c);
/* Once everything queued has left: FIN (close_notify first). Reading goes on. */
void conn_shut(struct conn *c);
/* Flush, shut, let the peer read, close. The codec is not called any more. */
void conn_close(struct conn *c);
void conn_kill(struct conn *c);
/* TCP keepalive; 0: the system's value. */
void conn_keepalive(struct conn *c, int64_t time_us, int64_t interval_us, int64_t probes);
/*
 * The peer sent FIN while we still owe it something. That is legal, and a closed peer looks the
 * same until it is told something: keepalive probes and a look now and then find out. Uses the
 * connection's timer.
 */
void conn_watch_half_closed(struct conn *c);
/* No event tells of a peer that resets while nothing is read: look now and then. Uses the timer. */
void conn_watch(struct conn *c);
/* One deadline at a time; after_us 0 clears. */
void conn_timer(struct conn *c, uint64_t after_us, void (*fn)(struct conn *c));
/*
 * Asks the kernel whether the peer has already closed an idle connection whose event has not come
 * yet.
 */
bool conn_is_stale(struct conn *c);
/* The same where bytes may wait: the peer sends nothing more, or there was an error. */
bool conn_has_hung_up(struct conn *c);

/* NULL: plain, or the handshake is not done. */
const struct tls_facts *conn_tls(const struct conn *c);
/* Between proxies: has that trust revoked the certificate of either side? */
bool conn_is_revoked(const struct conn *c, const struct tls_trust *t);
/* With the world outside: does a list of that context, newer than the connection, name the peer's certificate? */
bool conn_is_listed(const struct conn *c, const struct tls_ctx *now);
/* A sentence for c->error. */
const char *conn_error_text(const struct conn *c);
/* A word of a fixed set for counters: "no_certificate", "timeout", … */
const char *conn_error_reason(const struct conn *c);
