/* SPDX-License-Identifier: Apache-2.0 */
/* conn: one socket, plain or TLS, see conn.h. Layer proxy. */
#include "config.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "proxy/conn.h"
#include "proxy/revoke.h"
#include "proxy/tube.h"
#include "proxy/worker.h"

struct conn_tls {
	struct tls_session *session;
	struct buf in, out;             /* ciphertext */
	const struct tls_facts *facts;  /* after the handshake */
	bool shut;                      /* close_notify is queued */
};

/* What is on its way to the socket. */
static struct buf *wire_out(struct conn *c)
{
	return c->tls ? &c->tls->out : &c->out;
}

static size_t wire_bytes(struct conn *c)
{
	return wire_out(c)->n + tube_bytes(c->tube_out);
}

static void update_interest(struct conn *c)
{
	unsigned want = 0;

	if (c->state == CONN_CONNECTING)
		want = LOOP_WRITE;
	else {
		if (!c->raw_eof && c->error == 0 && (!c->paused || c->state == CONN_CLOSING))
			want |= LOOP_READ;
		if (!c->broken && wire_bytes(c) > 0 && c->full_socket)
			want |= LOOP_WRITE;
	}
	/* Most that come for one request are gone before the kernel is to be asked. */
	if (c->patient && c->state == CONN_OPEN && want == LOOP_READ)
		loop_fd_want_soon(&c->io, want);
	else
		loop_fd_want(&c->io, want);
}

/* ---- timers ---------------------------------------------------------------------------------- */

static void on_deadline(void *arg)
{
	struct conn *c = arg;

	if (c->state != CONN_DEAD && c->on_timer)
		c->on_timer(c);
}

void conn_timer(struct conn *c, uint64_t after_us, void (*fn)(struct conn *c))
{
	c->on_timer = fn;
	loop_deadline_set(&c->timer, after_us > 0 ? loop_now_us(c->w->loop) + after_us : 0);
}

/* ---- death ----------------------------------------------------------------------------------- */

static void free_conn(void *p)
{
	struct conn *c = p;

	if (c->tls) {
		tls_session_free(c->tls->session);
		buf_done(&c->tls->in);
		buf_done(&c->tls->out);
		free(c->tls);
	}
	buf_done(&c->in);
	buf_done(&c->out);
	free(c);
}

void conn_kill(struct conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	c->state = CONN_DEAD;
	list_del(&c->node);             /* first: what runs in close() must not find it again */
	if (c->ops)
		c->ops->close(c);
	c->ops = NULL;
	tube_seal(c->tube_in);
	tube_free(c->tube_out);
	loop_fd_done(&c->io);
	loop_deadline_done(&c->timer);
	loop_later_done(&c->turn);
	close(c->fd);
	c->fd = -1;
	c->owner->gone(c);
	loop_defer_free(c->w->loop, free_conn, c);
}

/* ---- writing --------------------------------------------------------------------------------- */

size_t conn_queued(const struct conn *c)
{
	return c->out.n + (c->tls ? c->tls->out.n : 0) + tube_bytes(c->tube_out);
}

size_t conn_room(struct conn *c)
{
	size_t queued = conn_queued(c);

	if (c->broken)
		return CODEC_HIGH_BYTES;        /* what is written is dropped */
	if (c->tube_out && !c->tube_out->full)
		return CODEC_HIGH_BYTES;
	if (!c->tube_out && queued < CODEC_HIGH_BYTES)
		return CODEC_HIGH_BYTES - queued;
	c->full = true;
	return 0;
}

void conn_flush_later(struct conn *c)
{
	if (c->state != CONN_DEAD)
		loop_later(c->w->loop, &c->turn);
}

static void drop_output(struct conn *c)
{
	buf_done(&c->out);
	tube_free(c->tube_out);
	if (c->tls)
		buf_done(&c->tls->out);
}

/* The peer takes nothing more. What it has sent before may still wait to be read. */
static void write_failed(struct conn *c, int code)
{
	c->broken = true;
	drop_output(c);
	if (c->state == CONN_CLOSING || c->raw_eof || c->paused) {
		c->error = code;
		c->eof = true;
	}
}

static void linger_expired(struct conn *c)
{
	conn_kill(c);
}

/*
 * The peer has said that its last word was spoken, all of it was read, and what it gets is on its way: an end without
 * waiting is one that it can read. Bytes that are unread would make a reset of it; those of a peer that goes on all
 * the same do, but only behind what was sent before.
 */
static bool is_done_with(const struct conn *c)
{
	int unread = 0, unsent = 0;

	return c->state == CONN_CLOSING && c->last_word && !c->tls && !c->broken &&
	       ioctl(c->fd, FIONREAD, &unread) == 0 && unread == 0 &&
	       ioctl(c->fd, SIOCOUTQNSD, &unsent) == 0 && unsent == 0;
}

/* Everything has left: tell the peer, then give it time to read. */
static void finish_writing(struct conn *c)
{
	if (c->shut_done)
		return;
	c->shut_done = true;
	(void)shutdown(c->fd, SHUT_WR);
	if (c->state == CONN_CLOSING)
		conn_timer(c, CONN_LINGER_US, linger_expired);
}

static void encrypt(struct conn *c)
{
	if (c->tls && c->out.n > 0 && c->state != CONN_HANDSHAKE &&
	    tls_encrypt(c->tls->session, &c->out, &c->tls->out) == TLS_FAILED)
		write_failed(c, KV_ERR_TLS);
	if (c->tls && c->tls->facts && c->shut_wanted && !c->tls->shut && !c->broken) {
		c->tls->shut = true;
		tls_shutdown(c->tls->session, &c->tls->out);
	}
}

/* What was queued here came before what the tube holds. */
static ssize_t write_some(struct conn *c)
{
	struct buf *b = wire_out(c);
	ssize_t n = b->n > 0 ? buf_write_fd(b, c->fd) : 0;

	if (n < 0 || b->n > 0 || tube_bytes(c->tube_out) == 0)
		return n;
	ssize_t more = tube_drain(c->tube_out);

	return more >= 0 ? n + more : n > 0 ? n : more;
}

static void write_out(struct conn *c)
{
	c->full_socket = false;
	if (wire_bytes(c) == 0 || c->broken)
		return;
	ssize_t n = write_some(c);

	if (n > 0) {
		c->written_bytes += (size_t)n;
		if (c->state == CONN_CLOSING)
			conn_timer(c, CONN_FLUSH_US, linger_expired);
	} else if (n < 0 && n != -EAGAIN) {
		write_failed(c, (int)n);
		return;
	}
	c->full_socket = wire_bytes(c) > 0;
}

static void flush(struct conn *c)
{
	if (c->state == CONN_CONNECTING)
		return;
	if (c->broken)
		drop_output(c);
	encrypt(c);
	write_out(c);
	bool all_left = c->shut_wanted && (c->broken || conn_queued(c) == 0);

	if (all_left && is_done_with(c)) {
		conn_kill(c);
		return;
	}
	if (all_left)
		finish_writing(c);
	if (c->state == CONN_CLOSING && (c->broken || (c->shut_done && c->raw_eof))) {
		conn_kill(c);
		return;
	}
	update_interest(c);
	if (c->full && (c->tube_out ? !c->tube_out->full : conn_queued(c) <= CODEC_LOW_BYTES)) {
		c->full = false;
		if (c->ops && c->state == CONN_OPEN)
			c->ops->writable(c);
	}
}

void conn_shut(struct conn *c)
{
	c->shut_wanted = true;
	conn_flush_later(c);
}

void conn_close(struct conn *c)
{
	if (c->state == CONN_CLOSING || c->state == CONN_DEAD)
		return;
	if (c->state == CONN_CONNECTING || c->broken) {
		conn_kill(c);
		return;
	}
	c->state = CONN_CLOSING;
	c->shut_wanted = true;
	buf_done(&c->in);
	tube_seal(c->tube_in);
	tube_seal(c->tube_out);
	conn_timer(c, CONN_FLUSH_US, linger_expired);
	conn_flush_later(c);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void deliver(struct conn *c)
{
	if (c->ops && c->state == CONN_OPEN && (c->in.n > 0 || c->eof || c->tube_in))
		c->ops->recv(c);
}

/* What came, at most a turn's share. */
static void decrypt(struct conn *c)
{
	struct conn_tls *t = c->tls;
	size_t budget = c->bulk ? CONN_READ_BULK : CONN_READ_BYTES;
	enum tls_result r = TLS_OK;

	while (r == TLS_OK && budget > 0) {
		size_t n = c->in.n;

		r = tls_decrypt(t->session, &t->in, &c->in, budget, &t->out);
		budget -= c->in.n - n < budget ? c->in.n - n : budget;
	}
	if (r == TLS_OK) {              /* the rest after the others had their turn */
		c->kicked = true;
		loop_next(c->w->loop, &c->turn);
	} else if (r == TLS_CLOSED) {
		c->eof = true;
	} else if (r == TLS_FAILED) {
		c->error = KV_ERR_TLS;
	} else if (c->raw_eof) {
		c->truncated = true;
	}
	if (c->error != 0 || c->truncated)
		c->eof = true;
	if (t->out.n > 0)
		conn_flush_later(c);
}

static void fail(struct conn *c, int code)
{
	c->error = code;
	flush(c);                       /* an alert may wait */
	if (c->state != CONN_DEAD)
		c->owner->failed(c);
}

static void handshake(struct conn *c)
{
	struct conn_tls *t = c->tls;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a connection in a handshake has its TLS */
	enum tls_result r = tls_handshake(t->session, &t->in, &t->out);

	if (r == TLS_FAILED || r == TLS_CLOSED) {
		fail(c, KV_ERR_TLS);
		return;
	}
	if (r != TLS_OK) {
		flush(c);
		if (c->raw_eof)
			fail(c, c->error != 0 ? c->error : KV_ERR_CLOSED);
		return;
	}
	t->facts = tls_facts(t->session);
	if (revoke_forbids(c)) {
		fail(c, KV_ERR_REFUSED);
		return;
	}
	c->state = CONN_OPEN;
	stats_add(c->w->stats, STATS_TLS_HANDSHAKES, 1);
	if (t->facts->resumed)
		stats_add(c->w->stats, STATS_TLS_RESUMED, 1);
	conn_kick(c);
	c->owner->ready(c);
}

/* What waits in the buffers goes one step up. */
static void process(struct conn *c)
{
	if (c->state == CONN_HANDSHAKE)
		handshake(c);
	else if (c->state == CONN_OPEN) {
		if (c->tls)
			decrypt(c);
		deliver(c);
	}
}

static void discard(struct conn *c)
{
	struct buf *b = c->tls ? &c->tls->in : &c->in;

	c->lingered_bytes += b->n;
	buf_consume(b, b->n);
	if (c->lingered_bytes > CONN_LINGER_BYTES || (c->raw_eof && c->shut_done))
		conn_kill(c);
	else
		update_interest(c);
}

static ssize_t read_some(struct conn *c)
{
	if (!c->tube_in)
		return buf_read_fd(c->tls ? &c->tls->in : &c->in, c->fd,
				   c->bulk ? CONN_READ_BULK : CONN_READ_BYTES);
	ssize_t n = tube_fill(c->tube_in);

	if (n > 0)
		c->moved += (size_t)n;
	return n;
}

static void read_in(struct conn *c)
{
	ssize_t n = read_some(c);

	if (n == -EAGAIN) {
		if (c->tube_in)
			deliver(c);     /* it may be full */
		return;
	}
	c->bulk = n >= (ssize_t)CONN_BULK_FROM;
	if (n > 0)
		c->read_bytes += (size_t)n;
	else
		c->raw_eof = true;
	if (n < 0)
		c->error = (int)n;
	if (c->raw_eof && (!c->tls || c->error != 0))
		c->eof = true;
	if (c->state == CONN_CLOSING) {
		discard(c);
		return;
	}
	process(c);
	if (c->state != CONN_DEAD && (c->raw_eof || c->error != 0))
		update_interest(c);
}

void conn_kick(struct conn *c)
{
	c->kicked = true;
	conn_flush_later(c);
}

void conn_pause(struct conn *c)
{
	c->paused = true;
	update_interest(c);
}

void conn_resume(struct conn *c)
{
	if (!c->paused)
		return;
	c->paused = false;
	update_interest(c);
	if (c->in.n > 0 || c->eof ||
	    (c->tls && (c->tls->in.n > 0 || tls_has_pending(c->tls->session))))
		conn_kick(c);
}

/* End of the turn: what was put off, then one write for everything that this turn queued. */
static void on_turn(void *arg)
{
	struct conn *c = arg;

	if (c->state == CONN_DEAD)
		return;
	if (c->kicked) {
		c->kicked = false;
		if (c->state == CONN_HANDSHAKE || c->state == CONN_OPEN)
			process(c);
	}
	if (c->state != CONN_DEAD)
		flush(c);
	if (c->state == CONN_OPEN && c->broken && c->error != 0)
		deliver(c);
}

/* ---- addresses --------------------------------------------------------------------------------- */

struct conn_addr conn_addr_pack(const struct sock_addr *a)
{
	struct conn_addr packed = { 0 };

	/* On a socket for both families an IPv4 client is one of IPv4. */
	if (a->len > 0 && a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr)) {
		packed.len = sizeof(packed.in);
		packed.in.sin_family = AF_INET;
		packed.in.sin_port = a->in6.sin6_port;
		memcpy(&packed.in.sin_addr, &a->in6.sin6_addr.s6_addr[12], 4);
		return packed;
	}
	if (a->len <= sizeof(packed.in6) && a->sa.sa_family != AF_UNIX) {
		packed.len = a->len;
		memcpy(&packed.in6, &a->in6, a->len);
	}
	return packed;
}

struct sock_addr conn_addr_full(const struct conn_addr *a)
{
	struct sock_addr full = { .len = a->len };

	memcpy(&full.in6, &a->in6, a->len);
	return full;
}

static void learn_local(struct conn *c)
{
	struct sock_addr a = { 0 };

	if (sock_local_addr(c->fd, &a) == 0)
		c->local = conn_addr_pack(&a);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void connected(struct conn *c)
{
	int r = sock_error(c->fd);

	if (r < 0) {
		c->error = r;
		c->owner->failed(c);
		return;
	}
	c->state = CONN_OPEN;
	learn_local(c);
	update_interest(c);
	c->owner->ready(c);
}

static void on_io(void *arg, unsigned what)
{
	struct conn *c = arg;

	if (c->state == CONN_DEAD)
		return;
	if (c->state == CONN_CONNECTING) {
		connected(c);
		return;
	}
	if (what & LOOP_READ)
		read_in(c);
	if ((what & LOOP_WRITE) && c->state != CONN_DEAD)
		conn_flush_later(c);
}

static struct conn *make(struct worker *w, int fd, const struct conn_owner *owner, void *owner_data)
{
	struct conn *c = kv_zalloc(sizeof(*c));

	list_init(&c->node);
	c->w = w;
	c->fd = fd;
	c->owner = owner;
	c->owner_data = owner_data;
	buf_init(&c->in);
	buf_init(&c->out);
	loop_later_init(&c->turn, on_turn, c);
	loop_deadline_init(&c->timer, w->loop, on_deadline, c);
	return c;
}

struct conn *conn_new(struct worker *w, int fd, const struct conn_addr *local, const struct conn_owner *owner,
		      void *owner_data)
{
	struct conn *c = make(w, fd, owner, owner_data);

	c->state = CONN_OPEN;
	if (local)
		c->local = *local;
	else
		learn_local(c);
	loop_fd_init(&c->io, w->loop, fd, 0, on_io, c);
	return c;
}

void conn_begin(struct conn *c)
{
	if (c->state != CONN_DEAD)
		read_in(c);
	if (c->state != CONN_DEAD)
		update_interest(c);
}

struct conn *conn_dial(struct worker *w, const struct sock_addr *addr,
		       const struct conn_owner *owner, void *owner_data, struct err *err)
{
	int fd = sock_connect(addr, err);

	if (fd < 0)
		return NULL;
	struct conn *c = make(w, fd, owner, owner_data);

	c->state = CONN_CONNECTING;
	c->remote = conn_addr_pack(addr);
	loop_fd_init(&c->io, w->loop, fd, LOOP_WRITE, on_io, c);
	return c;
}

void conn_start_tls(struct conn *c, struct tls_session *session)
{
	kv_assert(c->state == CONN_OPEN && !c->tls);
	c->tls = kv_zalloc(sizeof(*c->tls));
	c->tls->session = session;
	buf_init(&c->tls->in);
	buf_init(&c->tls->out);
	buf_move(&c->tls->in, &c->in);
	buf_move(&c->tls->out, &c->out);
	c->eof = false;
	c->state = CONN_HANDSHAKE;
	conn_kick(c);
}

void conn_set_codec(struct conn *c, const struct codec_ops *ops, bool server)
{
	c->ops = ops;
	ops->open(c, server);
	if (c->in.n > 0 || c->eof)
		conn_kick(c);
}

/* ---- keepalive --------------------------------------------------------------------------------- */

/* A Unix socket refuses these and needs none. */
static void set_option(const struct conn *c, int level, int option, int64_t value)
{
	const int v = (int)value;

	if (value > 0 && value <= INT32_MAX)
		(void)setsockopt(c->fd, level, option, &v, sizeof(v));
}

static int64_t whole_seconds(int64_t us)
{
	return (us + 999999) / 1000000;
}

void conn_keepalive(struct conn *c, int64_t time_us, int64_t interval_us, int64_t probes)
{
	set_option(c, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(c, IPPROTO_TCP, TCP_KEEPIDLE, whole_seconds(time_us));
	set_option(c, IPPROTO_TCP, TCP_KEEPINTVL, whole_seconds(interval_us));
	set_option(c, IPPROTO_TCP, TCP_KEEPCNT, probes);
}

/* ---- half-closed peers ----------------------------------------------------------------------- */

static bool is_gone(const struct conn *c)
{
	struct tcp_info info;
	socklen_t n = sizeof(info);

	return getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 &&
	       info.tcpi_state == TCP_CLOSE;
}

static void look_after(struct conn *c)
{
	if (c->state != CONN_OPEN)
		return;
	if (!is_gone(c)) {
		conn_timer(c, CONN_WATCH_US, look_after);
		return;
	}
	c->error = KV_ERR_CLOSED;
	c->eof = true;
	deliver(c);
}

void conn_watch(struct conn *c)
{
	conn_timer(c, CONN_WATCH_US, look_after);
}

void conn_watch_half_closed(struct conn *c)
{
	conn_keepalive(c, CONN_WATCH_US, CONN_WATCH_US, 3);
	conn_watch(c);
}

/* ---- facts ----------------------------------------------------------------------------------- */

bool conn_is_stale(struct conn *c)
{
	char byte;

	/*
	 * Anything at all is wrong on an idle connection: bytes nobody asked for, an end, an error.
	 */
	return c->eof || recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
	       (errno != EAGAIN && errno != EINTR);
}

bool conn_has_hung_up(struct conn *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };

	return c->eof || (poll(&p, 1, 0) > 0 && p.revents != 0);
}

const struct tls_facts *conn_tls(const struct conn *c)
{
	return c->tls ? c->tls->facts : NULL;
}

bool conn_is_revoked(const struct conn *c, const struct tls_trust *t)
{
	return c->tls && c->tls->facts && tls_is_revoked(c->tls->session, t);
}

bool conn_is_listed(const struct conn *c, const struct tls_ctx *now)
{
	return c->tls && c->tls->facts && tls_ctx_revokes(now, c->tls->session);
}

const char *conn_error_text(const struct conn *c)
{
	if (c->error == KV_ERR_TLS && c->tls)
		return tls_error(c->tls->session);
	if (c->error == KV_ERR_TIMEOUT)
		return c->tls ? "the TLS handshake took too long" : "the connection took too long";
	if (c->error == KV_ERR_REFUSED)
		return "certificate_revoked: the list came during the handshake";
	return err_code_name(c->error);
}

const char *conn_error_reason(const struct conn *c)
{
	if (c->error == KV_ERR_TLS && c->tls)
		return tls_error_reason(c->tls->session);
	if (c->error == KV_ERR_REFUSED)
		return "certificate_revoked";
	return c->error == KV_ERR_TIMEOUT ? "timeout" : "closed";
}
