/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload_api: connections, streams, and the two methods with their answers. Layer daemons/ca. Owns
 * the listening socket. A stream holds at most one answer that has not left; what changes meanwhile is
 * told once it has.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "ca/attest.h"
#include "ca/svid.h"
#include "ca/workload_api.h"
#include "io/buf.h"
#include "io/sock.h"

#define CONNS_MAX 256
#define CONNS_PER_UID_MAX 64
#define STREAMS_MAX 16                  /* of one connection */
#define BODY_MAX 4096                   /* requests of this API are empty */
#define OUT_MAX (4u << 20)              /* a caller that does not read is cut */
#define IDLE_US (30u * 1000 * 1000)     /* without a stream */
#define TICK_US (1u * 1000 * 1000)
#define SECOND_US 1000000ll

enum grpc_status {
	GRPC_OK = 0,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_UNAVAILABLE = 14,
};

enum method { METHOD_NONE, METHOD_SVIDS, METHOD_BUNDLES };

struct workload_api {
	struct loop *loop;
	struct authority *authority;
	bool standalone;
	int fd;
	struct loop_fd accept;
	struct loop_timer tick;
	struct list conns;
	size_t n_conns;
};

struct conn {
	struct list node;
	struct workload_api *w;
	int fd;
	struct loop_fd io;
	nghttp2_session *session;
	struct buf in, out;
	struct attest who;
	bool known;                     /* who is filled, and its pidfd held */
	bool dead;
	uint64_t connected_boot_us, idle_since_us;
	struct sock_peer peer;
	struct list streams;
	size_t n_streams;
};

struct stream {
	struct list node;
	struct conn *c;
	int32_t id;
	char path[64];
	bool marked;                    /* workload.spiffe.io: true */
	size_t body;
	enum method method;
	bool open;                      /* answered with a stream of messages */
	bool ending;
	enum grpc_status status;
	char text[200];
	struct buf message;             /* what has not left */
	int64_t generation;             /* of what was told last */
	char issuer[KEYSTORE_ISSUER_ID_MAX];
	int64_t renew_s;                /* 0: never by itself */
	size_t n_svids;
};

/* ---- who calls ----------------------------------------------------------------------------- */

static int identify(struct conn *c, struct err *err)
{
	if (c->known)
		return c->who.pidfd < 0 ? 0 : attest_confirm(&c->who, err);
	c->who = (struct attest){ .pidfd = -1, .pid = c->peer.pid, .uid = c->peer.uid };
	int r = c->w->standalone ? 0
				 : attest_begin(&c->peer, c->connected_boot_us, &c->who, err);

	c->known = r == 0;
	return r;
}

static struct policy_caller caller_of(const struct conn *c)
{
	return (struct policy_caller){
		.uid = c->who.uid, .unit = c->who.unit, .executable = c->who.executable,
	};
}

/* ---- answers ------------------------------------------------------------------------------- */

static void nv_set(nghttp2_nv *nv, const char *name, const char *value)
{
	*nv = (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name,
		.namelen = strlen(name),
		.value = (uint8_t *)(uintptr_t)value,
		.valuelen = strlen(value),
	};
}

/* Header block and status at once: nothing was streamed. */
static void refuse(struct stream *s, enum grpc_status status, const char *text)
{
	char number[12];
	nghttp2_nv nv[4];

	snprintf(number, sizeof(number), "%d", (int)status);
	nv_set(&nv[0], ":status", "200");
	nv_set(&nv[1], "content-type", "application/grpc");
	nv_set(&nv[2], "grpc-status", number);
	nv_set(&nv[3], "grpc-message", text);
	(void)nghttp2_submit_response(s->c->session, s->id, nv, 4, NULL);
}

static void end_with_status(struct stream *s)
{
	char number[12];
	nghttp2_nv nv[2];

	snprintf(number, sizeof(number), "%d", (int)s->status);
	nv_set(&nv[0], "grpc-status", number);
	nv_set(&nv[1], "grpc-message", s->text);
	(void)nghttp2_submit_trailer(s->c->session, s->id, nv, 2);
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t n, uint32_t *flags,
		       nghttp2_data_source *source, void *arg)
{
	struct stream *s = source->ptr;
	size_t got = 0;

	(void)session, (void)id, (void)arg;
	while (got < n && s->message.n > 0) {
		struct str run = str_take(buf_peek(&s->message), n - got);

		memcpy(to + got, run.p, run.n);
		got += run.n;
		buf_consume(&s->message, run.n);
	}
	if (s->message.n > 0)
		return (ssize_t)got;
	if (s->ending) {
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		end_with_status(s);
		return (ssize_t)got;
	}
	return got > 0 ? (ssize_t)got : NGHTTP2_ERR_DEFERRED;
}

static void begin_stream(struct stream *s)
{
	const nghttp2_data_provider from = { .source.ptr = s, .read_callback = on_read };
	nghttp2_nv nv[2];

	nv_set(&nv[0], ":status", "200");
	nv_set(&nv[1], "content-type", "application/grpc");
	if (nghttp2_submit_response(s->c->session, s->id, nv, 2, &from) == 0)
		s->open = true;
}

static void fail(struct stream *s, enum grpc_status status, const char *text)
{
	log_warn("workload_api: pid %d uid %u unit %s: %s", (int)s->c->who.pid,
		 (unsigned)s->c->peer.uid, s->c->who.unit[0] ? s->c->who.unit : "-", text);
	if (!s->open) {
		refuse(s, status, text);
		return;
	}
	s->ending = true;
	s->status = status;
	snprintf(s->text, sizeof(s->text), "%s", text);
	(void)nghttp2_session_resume_data(s->c->session, s->id);
}

/* One gRPC message: a flag, its length, its bytes. */
static void send_message(struct stream *s, struct buf *body)
{
	size_t n = body->n;
	const unsigned char head[5] = { 0, (unsigned char)(n >> 24), (unsigned char)(n >> 16),
					(unsigned char)(n >> 8), (unsigned char)n };

	buf_append(&s->message, head, sizeof(head));
	buf_move(&s->message, body);
	if (!s->open)
		begin_stream(s);
	else
		(void)nghttp2_session_resume_data(s->c->session, s->id);
}

static enum grpc_status status_of(int code)
{
	if (code == KV_ERR_REFUSED || code == KV_ERR_NOT_FOUND)
		return GRPC_PERMISSION_DENIED;
	return GRPC_UNAVAILABLE;
}

/* ---- the two methods ----------------------------------------------------------------------- */

struct gathering {
	struct stream *s;
	struct svid_ask ask;
	struct buf *to;
	int64_t first_end_s;
	size_t n;
	int code;                       /* of the last one that failed */
	struct err err;
};

static void add_svid(void *arg, const struct registry_identity *id)
{
	struct gathering *g = arg;
	struct authority *a = g->s->c->w->authority;
	int64_t end_s;

	if (revoked_has(a->revoked, id->spiffe))
		return;
	int r = svid_append(a, &g->ask, id->spiffe, g->to, &end_s, &g->err);

	if (r < 0) {
		g->code = r;
		return;
	}
	g->n++;
	if (g->first_end_s == 0 || end_s < g->first_end_s)
		g->first_end_s = end_s;
}

static void tell_svids(struct stream *s)
{
	struct authority *a = s->c->w->authority;
	struct buf body;
	struct gathering g = {
		.s = s,
		.ask = { .caller = caller_of(s->c),
			 .now_us = clock_real_us(),
			 .mono_us = loop_now_us(s->c->w->loop) },
		.to = &body,
	};

	buf_init(&body);
	policy_each_own(&a->rules, a->registry, &g.ask.caller, add_svid, &g);
	if (g.n == 0 || g.code < 0) {
		enum grpc_status status = g.code < 0 ? status_of(g.code) : GRPC_PERMISSION_DENIED;

		fail(s, status, g.code < 0 ? g.err.text : "no identity issued");
	} else {
		s->renew_s = g.ask.now_us / SECOND_US +
			     (g.first_end_s - g.ask.now_us / SECOND_US) / 2;
		s->n_svids = g.n;
		log_info("cert_issued: %zu identities by the Workload API, uid %u pid %d unit %s",
			 g.n, (unsigned)s->c->who.uid, (int)s->c->who.pid,
			 s->c->who.unit[0] ? s->c->who.unit : "-");
		send_message(s, &body);
	}
	buf_done(&body);
}

static void tell_bundles(struct stream *s)
{
	struct buf body;
	struct err err = { 0 };

	buf_init(&body);
	if (svid_append_bundle(s->c->w->authority, &body, &err) < 0)
		fail(s, GRPC_UNAVAILABLE, err.text);
	else
		send_message(s, &body);
	buf_done(&body);
}

static void count_own(void *arg, const struct registry_identity *id)
{
	(void)id;
	++*(size_t *)arg;
}

static void tell(struct stream *s)
{
	struct authority *a = s->c->w->authority;
	struct err err = { 0 };
	size_t n_own = 0;

	if (authority_can_sign(a, &err) < 0) {
		fail(s, GRPC_UNAVAILABLE, err.text);
		return;
	}
	if (identify(s->c, &err) < 0) {
		fail(s, GRPC_PERMISSION_DENIED, err.text);
		return;
	}
	s->generation = (int64_t)keystore_generation(a->keystore);
	snprintf(s->issuer, sizeof(s->issuer), "%s", keystore_issuer_id(a->keystore));
	if (s->method == METHOD_SVIDS) {
		tell_svids(s);
		return;
	}
	const struct policy_caller caller = caller_of(s->c);

	policy_each_own(&a->rules, a->registry, &caller, count_own, &n_own);
	if (n_own == 0)
		fail(s, GRPC_PERMISSION_DENIED, "no identity issued");
	else
		tell_bundles(s);
}

static void count_valid_own(void *arg, const struct registry_identity *id)
{
	struct gathering *g = arg;

	g->n += !revoked_has(g->s->c->w->authority->revoked, id->spiffe);
}

/* Something that this stream was told is not so any more. */
static bool is_news(const struct stream *s, int64_t now_s)
{
	struct authority *a = s->c->w->authority;
	const struct policy_caller caller = caller_of(s->c);
	struct gathering g = { .s = (struct stream *)(uintptr_t)s };

	if (!a->keystore || !a->registry || !keystore_issuer_key(a->keystore))
		return false;
	if (s->generation != (int64_t)keystore_generation(a->keystore))
		return true;
	if (s->method != METHOD_SVIDS)
		return false;
	policy_each_own(&a->rules, a->registry, &caller, count_valid_own, &g);
	return now_s >= s->renew_s || g.n != s->n_svids ||
	       strcmp(s->issuer, keystore_issuer_id(a->keystore)) != 0;
}

static void serve(struct stream *s)
{
	static const char svids[] = "/SpiffeWorkloadAPI/FetchX509SVID";
	static const char bundles[] = "/SpiffeWorkloadAPI/FetchX509Bundles";

	if (strcmp(s->path, svids) == 0)
		s->method = METHOD_SVIDS;
	else if (strcmp(s->path, bundles) == 0)
		s->method = METHOD_BUNDLES;
	if (!s->marked)
		refuse(s, GRPC_INVALID_ARGUMENT,
		       "security header missing from request (workload.spiffe.io: true)");
	else if (s->method == METHOD_NONE)
		refuse(s, GRPC_UNIMPLEMENTED, "X.509 identities and bundles are served here");
	else
		tell(s);
}

/* ---- HTTP/2 -------------------------------------------------------------------------------- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct conn *c = arg;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	struct stream *s = kv_zalloc(sizeof(*s));

	s->c = c;
	s->id = frame->hd.stream_id;
	buf_init(&s->message);
	list_push_back(&c->streams, &s->node);
	c->n_streams++;
	return nghttp2_session_set_stream_user_data(session, s->id, s);
}

static bool is(const uint8_t *p, size_t n, const char *text)
{
	return str_eq(str_from((const char *)p, n), str_c(text));
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)flags, (void)arg;
	if (!s)
		return 0;
	if (is(name, name_n, ":path"))
		snprintf(s->path, sizeof(s->path), "%.*s", (int)value_n, (const char *)value);
	else if (is(name, name_n, "workload.spiffe.io"))
		s->marked = is(value, value_n, "true");
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
		   void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)flags, (void)p, (void)arg;
	if (s && (s->body += n) > BODY_MAX)
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id,
						NGHTTP2_ENHANCE_YOUR_CALM);
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)arg;
	if (s && !s->open && !s->ending && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
	    (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA))
		serve(s);
	return 0;
}

static void stream_free(struct stream *s)
{
	list_del(&s->node);
	s->c->n_streams--;
	if (s->c->n_streams == 0)
		s->c->idle_since_us = loop_now_us(s->c->w->loop);
	buf_done(&s->message);
	free(s);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)code, (void)arg;
	if (s)
		stream_free(s);
	return 0;
}

static nghttp2_session *session_new(struct conn *c)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 16384 },
	};
	nghttp2_session_callbacks *cb;
	nghttp2_session *session = NULL;

	kv_assert(nghttp2_session_callbacks_new(&cb) == 0);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	int r = nghttp2_session_server_new(&session, cb, c);

	nghttp2_session_callbacks_del(cb);
	kv_assert(r == 0);
	kv_assert(nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 2) == 0);
	return session;
}

/* ---- connections --------------------------------------------------------------------------- */

static void conn_free(void *p)
{
	struct conn *c = p;

	/* nghttp2 calls nobody back here: what is open goes by hand. */
	nghttp2_session_del(c->session);
	while (!list_is_empty(&c->streams))
		stream_free(list_entry(c->streams.next, struct stream, node));
	buf_done(&c->in);
	buf_done(&c->out);
	free(c);
}

static void conn_kill(struct conn *c)
{
	if (c->dead)
		return;
	c->dead = true;
	list_del(&c->node);
	c->w->n_conns--;
	loop_fd_done(&c->io);
	close(c->fd);
	if (c->known && c->who.pidfd >= 0)
		attest_end(&c->who);
	loop_defer_free(c->w->loop, conn_free, c);
}

static void conn_flush(struct conn *c)
{
	const uint8_t *p;
	ssize_t n;

	while (c->out.n < OUT_MAX && (n = nghttp2_session_mem_send(c->session, &p)) > 0)
		buf_append(&c->out, p, (size_t)n);
	n = c->out.n > 0 ? buf_write_fd(&c->out, c->fd) : 0;
	if ((n < 0 && n != -EAGAIN) ||
	    (c->out.n == 0 && !nghttp2_session_want_read(c->session) &&
	     !nghttp2_session_want_write(c->session))) {
		conn_kill(c);
		return;
	}
	loop_fd_want(&c->io, LOOP_READ | (c->out.n > 0 ? LOOP_WRITE : 0));
}

static void on_io(void *arg, unsigned what)
{
	struct conn *c = arg;

	if (c->dead)
		return;
	if (what & LOOP_READ) {
		ssize_t n = buf_read_fd(&c->in, c->fd, BUF_READ_BYTES);

		if (n == 0 || (n < 0 && n != -EAGAIN)) {
			conn_kill(c);
			return;
		}
		while (c->in.n > 0) {
			struct str run = buf_peek(&c->in);
			ssize_t used = nghttp2_session_mem_recv(c->session, (const uint8_t *)run.p,
								run.n);

			if (used < 0) {
				conn_kill(c);
				return;
			}
			buf_consume(&c->in, run.n);
		}
	}
	conn_flush(c);
}

static size_t conns_of(const struct workload_api *w, uid_t uid)
{
	size_t n = 0;

	list_for_each(it, &w->conns)
		n += list_entry(it, struct conn, node)->peer.uid == uid;
	return n;
}

static void take_conn(struct workload_api *w, int fd)
{
	struct conn *c = kv_zalloc(sizeof(*c));

	if (sock_peer_cred(fd, &c->peer) < 0 || w->n_conns >= CONNS_MAX ||
	    conns_of(w, c->peer.uid) >= CONNS_PER_UID_MAX) {
		close(fd);
		free(c);
		return;
	}
	c->w = w;
	c->fd = fd;
	c->connected_boot_us = clock_boot_us();
	c->idle_since_us = loop_now_us(w->loop);
	list_init(&c->streams);
	buf_init(&c->in);
	buf_init(&c->out);
	c->session = session_new(c);
	list_push_back(&w->conns, &c->node);
	w->n_conns++;
	loop_fd_init(&c->io, w->loop, fd, LOOP_READ, on_io, c);
	conn_flush(c);
}

static void on_acceptable(void *arg, unsigned what)
{
	struct workload_api *w = arg;
	struct sock_addr peer;
	int fd = sock_accept(w->fd, &peer);

	(void)what;
	if (fd >= 0)
		take_conn(w, fd);
}

/* ---- news ---------------------------------------------------------------------------------- */

static void tell_conn(struct conn *c, int64_t now_s)
{
	list_for_each_safe(it, &c->streams) {
		struct stream *s = list_entry(it, struct stream, node);

		if (s->open && !s->ending && s->message.n == 0 && is_news(s, now_s))
			tell(s);
	}
	conn_flush(c);
}

void workload_api_tell(struct workload_api *w)
{
	int64_t now_s = clock_real_us() / SECOND_US;

	list_for_each_safe(it, &w->conns)
		tell_conn(list_entry(it, struct conn, node), now_s);
}

static void on_tick(void *arg)
{
	struct workload_api *w = arg;
	uint64_t now = loop_now_us(w->loop);

	list_for_each_safe(it, &w->conns) {
		struct conn *c = list_entry(it, struct conn, node);

		if (c->n_streams == 0 && now - c->idle_since_us > IDLE_US)
			conn_kill(c);
	}
	workload_api_tell(w);
	loop_timer_set(&w->tick, TICK_US);
}

struct workload_api *workload_api_new(struct loop *l, int fd, struct authority *a, bool standalone)
{
	struct workload_api *w = kv_zalloc(sizeof(*w));

	w->loop = l;
	w->fd = fd;
	w->authority = a;
	w->standalone = standalone;
	list_init(&w->conns);
	loop_fd_init(&w->accept, l, fd, LOOP_READ, on_acceptable, w);
	loop_timer_init(&w->tick, l, on_tick, w);
	loop_timer_set(&w->tick, TICK_US);
	return w;
}

void workload_api_free(struct workload_api *w)
{
	if (!w)
		return;
	while (!list_is_empty(&w->conns))
		conn_kill(list_entry(w->conns.next, struct conn, node));
	loop_fd_done(&w->accept);
	loop_timer_done(&w->tick);
	close(w->fd);
	free(w);
}
