/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc: see grpc.h. Layer daemons/ca. A call holds at most one answer that has not left; what changes
 * meanwhile is told once it has. Requests are kept up to their method's limit, and up to CONN_KEEPS_MAX
 * of one connection together.
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
#include "ca/grpc.h"
#include "ca/program.h"
#include "io/sock.h"

#define CONNS_MAX 256
#define CONNS_PER_UID_MAX 64
#define CALLS_MAX 16                    /* of one connection */
#define CONN_KEEPS_MAX (320u << 10)     /* bytes of requests that are not whole yet */
#define OUT_MAX (4u << 20)              /* to a caller that does not read */
#define IDLE_US (30u * 1000 * 1000)     /* without a call, and a call without a whole request */
#define TICK_US (1u * 1000 * 1000)
#define SECOND_US 1000000ll
#define FRAME_HEAD 5                    /* of gRPC: a flag and the length */

struct grpc {
	struct loop *loop;
	const struct grpc_method *methods;
	void *arg;
	bool standalone;
	int fd;
	struct loop_fd accept;
	struct loop_timer tick;
	struct list conns;
	size_t n_conns;
};

struct conn {
	struct list node;
	struct grpc *g;
	int fd;
	struct loop_fd io;
	nghttp2_session *session;
	struct buf in, out;
	struct attest who;
	bool known;                     /* who is filled, and its pidfd held */
	bool dead;
	uint64_t connected_boot_us, idle_since_us;
	struct sock_peer peer;
	struct list calls;
	size_t n_calls;
};

struct grpc_call {
	struct list node;
	struct conn *c;
	int32_t id;
	char path[96];
	bool marked;                    /* workload.spiffe.io: true */
	const struct grpc_method *method;       /* NULL: not known, or not yet */
	void *state;
	struct buf request;             /* what has not been told */
	uint64_t began_us;
	bool asked;                     /* at least one request was told */
	bool caller_ended;
	bool open;                      /* its head has been answered */
	bool ended;
	enum grpc_status status;
	char text[3 * GRPC_TEXT_MAX];   /* as it goes out */
	struct buf message;             /* what has not left */
};

/* ---- who calls ----------------------------------------------------------------------------- */

static int identify(struct conn *c, struct err *err)
{
	if (c->known)
		return c->who.pidfd < 0 ? 0 : attest_confirm(&c->who, err);
	c->who = (struct attest){ .pidfd = -1, .pid = c->peer.pid, .uid = c->peer.uid };
	int r = c->g->standalone ? 0
				 : attest_begin(&c->peer, c->connected_boot_us, &c->who, err);

	c->known = r == 0;
	return r;
}

int grpc_identify(struct grpc_call *call, struct policy_caller *ret, struct err *err)
{
	struct attest *who = &call->c->who;
	int r = identify(call->c, err);

	*ret = (struct policy_caller){
		.uid = who->uid, .unit = who->unit, .executable = who->executable,
		.runs = program_runs, .process = who,
	};
	return r;
}

const char *grpc_who(const struct grpc_call *call, char *buf, size_t n)
{
	const struct conn *c = call->c;

	snprintf(buf, n, "uid %u pid %d unit %s", (unsigned)c->peer.uid, (int)c->peer.pid,
		 c->known && c->who.unit[0] ? c->who.unit : "-");
	return buf;
}

void *grpc_arg(const struct grpc_call *call)
{
	return call->c->g->arg;
}

void *grpc_state(const struct grpc_call *call)
{
	return call->state;
}

struct loop *grpc_loop(const struct grpc_call *call)
{
	return call->c->g->loop;
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

/* What strangers sent may be part of it: bytes outside printable ASCII as %XX, as gRPC has it. */
static void set_text(struct grpc_call *call, const char *text)
{
	size_t n = 0, length = strnlen(text, GRPC_TEXT_MAX - 1);

	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= ' ' && c <= '~' && c != '%')
			call->text[n++] = (char)c;
		else
			n += (size_t)snprintf(call->text + n, 4, "%%%02X", c);
	}
	call->text[n] = '\0';
}

/* Head and status at once: nothing was streamed. */
static void refuse(struct grpc_call *call)
{
	char number[12];
	nghttp2_nv nv[4];

	snprintf(number, sizeof(number), "%d", (int)call->status);
	nv_set(&nv[0], ":status", "200");
	nv_set(&nv[1], "content-type", "application/grpc");
	nv_set(&nv[2], "grpc-status", number);
	nv_set(&nv[3], "grpc-message", call->text);
	(void)nghttp2_submit_response(call->c->session, call->id, nv, 4, NULL);
}

static void end_with_status(struct grpc_call *call)
{
	char number[12];
	nghttp2_nv nv[2];

	snprintf(number, sizeof(number), "%d", (int)call->status);
	nv_set(&nv[0], "grpc-status", number);
	nv_set(&nv[1], "grpc-message", call->text);
	(void)nghttp2_submit_trailer(call->c->session, call->id, nv, 2);
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t n, uint32_t *flags,
		       nghttp2_data_source *source, void *arg)
{
	struct grpc_call *call = source->ptr;
	size_t got = 0;

	(void)session, (void)id, (void)arg;
	while (got < n && call->message.n > 0) {
		struct str run = str_take(buf_peek(&call->message), n - got);

		memcpy(to + got, run.p, run.n);
		got += run.n;
		buf_consume(&call->message, run.n);
	}
	if (call->message.n > 0)
		return (ssize_t)got;
	if (call->ended) {
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		end_with_status(call);
		return (ssize_t)got;
	}
	return got > 0 ? (ssize_t)got : NGHTTP2_ERR_DEFERRED;
}

static void begin_answer(struct grpc_call *call)
{
	const nghttp2_data_provider from = { .source.ptr = call, .read_callback = on_read };
	nghttp2_nv nv[2];

	nv_set(&nv[0], ":status", "200");
	nv_set(&nv[1], "content-type", "application/grpc");
	if (nghttp2_submit_response(call->c->session, call->id, nv, 2, &from) == 0)
		call->open = true;
}

void grpc_send(struct grpc_call *call, struct buf *message)
{
	size_t n = message->n;
	const unsigned char head[FRAME_HEAD] = { 0, (unsigned char)(n >> 24), (unsigned char)(n >> 16),
						 (unsigned char)(n >> 8), (unsigned char)n };

	buf_append(&call->message, head, sizeof(head));
	buf_move(&call->message, message);
	if (!call->open)
		begin_answer(call);
	else
		(void)nghttp2_session_resume_data(call->c->session, call->id);
}

void grpc_end(struct grpc_call *call, enum grpc_status status, const char *text)
{
	char who[400];

	if (call->ended)
		return;
	if (status != GRPC_OK)
		log_warn("workload_api: %s: %s", grpc_who(call, who, sizeof(who)), text);
	call->ended = true;
	call->status = status;
	set_text(call, text);
	buf_done(&call->request);
	if (call->open)
		(void)nghttp2_session_resume_data(call->c->session, call->id);
	else
		refuse(call);
}

bool grpc_is_ended(const struct grpc_call *call)
{
	return call->ended;
}

enum grpc_status grpc_status_of(int code)
{
	if (code == KV_ERR_REFUSED || code == KV_ERR_NOT_FOUND)
		return GRPC_PERMISSION_DENIED;
	return code == KV_ERR_SCHEMA || code == KV_ERR_LIMIT ? GRPC_INVALID_ARGUMENT
							     : GRPC_UNAVAILABLE;
}

/* ---- requests ------------------------------------------------------------------------------ */

/* The first request, if it is whole. False: there is none yet, or the call has ended. */
static bool next_request(struct grpc_call *call, struct str *ret)
{
	struct str head = buf_pullup(&call->request, FRAME_HEAD);

	if (head.n < FRAME_HEAD)
		return false;
	const unsigned char *p = (const unsigned char *)head.p;
	size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];

	if (p[0] != 0) {
		grpc_end(call, GRPC_UNIMPLEMENTED, "compressed requests are not understood");
		return false;
	}
	if (n > call->method->request_max) {
		grpc_end(call, GRPC_RESOURCE_EXHAUSTED, "the request is too long");
		return false;
	}
	if (call->request.n < FRAME_HEAD + n)
		return false;
	*ret = str_skip(str_take(buf_pullup(&call->request, FRAME_HEAD + n), FRAME_HEAD + n),
			FRAME_HEAD);
	return true;
}

static void tell_request(struct grpc_call *call, struct str request)
{
	call->asked = true;
	call->method->on_request(call, request);
	if (!call->ended)
		buf_consume(&call->request, FRAME_HEAD + request.n);
}

static void serve_duplex(struct grpc_call *call)
{
	struct str request;

	while (!call->ended && next_request(call, &request))
		tell_request(call, request);
	if (!call->caller_ended || call->ended)
		return;
	if (call->request.n > 0)
		grpc_end(call, GRPC_INVALID_ARGUMENT, "the last request is cut short");
	else
		grpc_end(call, GRPC_OK, "");
}

static void serve_single(struct grpc_call *call)
{
	struct str request = STR("");

	/* Whoever says nothing at all says an empty message. */
	if (call->request.n > 0 && (!next_request(call, &request) ||
				    call->request.n != FRAME_HEAD + request.n)) {
		grpc_end(call, GRPC_INVALID_ARGUMENT, "one whole request is needed");
		return;
	}
	call->asked = true;
	call->method->on_request(call, request);
	buf_done(&call->request);
}

static void serve(struct grpc_call *call)
{
	if (call->ended)
		return;
	if (call->method->is_duplex)
		serve_duplex(call);
	else if (call->caller_ended && !call->asked)
		serve_single(call);
}

static void find_method(struct grpc_call *call)
{
	const struct grpc_method *m = call->c->g->methods;

	while (m->path && strcmp(m->path, call->path) != 0)
		m++;
	if (!m->path) {
		grpc_end(call, GRPC_UNIMPLEMENTED, "no such method is served here");
	} else if (m->is_marked && !call->marked) {
		grpc_end(call, GRPC_INVALID_ARGUMENT,
			 "security header missing from request (workload.spiffe.io: true)");
	} else {
		call->method = m;
		call->state = kv_zalloc(m->state_bytes + 1);
	}
}

static size_t bytes_kept(const struct conn *c)
{
	size_t n = 0;

	list_for_each(it, &c->calls)
		n += list_entry(it, struct grpc_call, node)->request.n;
	return n;
}

/* ---- HTTP/2 -------------------------------------------------------------------------------- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct conn *c = arg;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	struct grpc_call *call = kv_zalloc(sizeof(*call));

	call->c = c;
	call->id = frame->hd.stream_id;
	call->began_us = loop_now_us(c->g->loop);
	buf_init(&call->message);
	buf_init(&call->request);
	list_push_back(&c->calls, &call->node);
	c->n_calls++;
	return nghttp2_session_set_stream_user_data(session, call->id, call);
}

static bool is(const uint8_t *p, size_t n, const char *text)
{
	return str_eq(str_from((const char *)p, n), str_c(text));
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	struct grpc_call *call =
		nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)flags, (void)arg;
	if (!call)
		return 0;
	if (is(name, name_n, ":path"))
		snprintf(call->path, sizeof(call->path), "%.*s", (int)value_n, (const char *)value);
	else if (is(name, name_n, "workload.spiffe.io"))
		call->marked = is(value, value_n, "true");
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
		   void *arg)
{
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, id);
	struct conn *c = arg;

	(void)flags;
	if (!call || call->ended)
		return 0;
	if (bytes_kept(c) + n > CONN_KEEPS_MAX) {
		grpc_end(call, GRPC_RESOURCE_EXHAUSTED, "the request is too long");
		return 0;
	}
	buf_append(&call->request, p, n);
	if (call->method && call->method->is_duplex)
		serve(call);
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct grpc_call *call =
		nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)arg;
	if (!call || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		find_method(call);
	call->caller_ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
	if (call->caller_ended)
		serve(call);
	return 0;
}

/* RFC 9113 8.1: after a whole answer the rest of the request is of no interest. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct grpc_call *call =
		nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)arg;
	if (call && frame->hd.type == NGHTTP2_HEADERS && !call->caller_ended &&
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->id,
						NGHTTP2_NO_ERROR);
	return 0;
}

static void call_free(struct grpc_call *call)
{
	if (call->method && call->method->on_close)
		call->method->on_close(call);
	list_del(&call->node);
	call->c->n_calls--;
	if (call->c->n_calls == 0)
		call->c->idle_since_us = loop_now_us(call->c->g->loop);
	buf_done(&call->message);
	buf_done(&call->request);
	free(call->state);
	free(call);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, id);

	(void)code, (void)arg;
	if (call)
		call_free(call);
	return 0;
}

static nghttp2_session *session_new(struct conn *c)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, CALLS_MAX },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 16384 },
	};
	nghttp2_session_callbacks *cb;
	nghttp2_session *session = NULL;

	kv_assert(nghttp2_session_callbacks_new(&cb) == 0);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_sent);
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
	while (!list_is_empty(&c->calls))
		call_free(list_entry(c->calls.next, struct grpc_call, node));
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
	c->g->n_conns--;
	loop_fd_done(&c->io);
	close(c->fd);
	if (c->known && c->who.pidfd >= 0)
		attest_end(&c->who);
	loop_defer_free(c->g->loop, conn_free, c);
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

static size_t conns_of(const struct grpc *g, uid_t uid)
{
	size_t n = 0;

	list_for_each(it, &g->conns)
		n += list_entry(it, struct conn, node)->peer.uid == uid;
	return n;
}

static void take_conn(struct grpc *g, int fd)
{
	struct conn *c = kv_zalloc(sizeof(*c));

	if (sock_peer_cred(fd, &c->peer) < 0 || g->n_conns >= CONNS_MAX ||
	    conns_of(g, c->peer.uid) >= CONNS_PER_UID_MAX) {
		close(fd);
		free(c);
		return;
	}
	c->g = g;
	c->fd = fd;
	c->connected_boot_us = clock_boot_us();
	c->idle_since_us = loop_now_us(g->loop);
	list_init(&c->calls);
	buf_init(&c->in);
	buf_init(&c->out);
	c->session = session_new(c);
	list_push_back(&g->conns, &c->node);
	g->n_conns++;
	loop_fd_init(&c->io, g->loop, fd, LOOP_READ, on_io, c);
	conn_flush(c);
}

static void on_acceptable(void *arg, unsigned what)
{
	struct grpc *g = arg;
	struct sock_addr peer;
	int fd = sock_accept(g->fd, &peer);

	(void)what;
	if (fd >= 0)
		take_conn(g, fd);
}

/* ---- news ---------------------------------------------------------------------------------- */

static void tell_conn(struct conn *c, int64_t now_s)
{
	list_for_each_safe(it, &c->calls) {
		struct grpc_call *call = list_entry(it, struct grpc_call, node);

		if (call->open && !call->ended && call->message.n == 0 && call->method->on_news)
			call->method->on_news(call, now_s);
	}
	conn_flush(c);
}

void grpc_tell(struct grpc *g)
{
	int64_t now_s = clock_real_us() / SECOND_US;

	list_for_each_safe(it, &g->conns)
		tell_conn(list_entry(it, struct conn, node), now_s);
}

/* Whoever holds something and says nothing. */
static void look_after(struct conn *c, uint64_t now)
{
	list_for_each_safe(it, &c->calls) {
		struct grpc_call *call = list_entry(it, struct grpc_call, node);

		if (!call->asked && now - call->began_us > IDLE_US)
			grpc_end(call, GRPC_DEADLINE_EXCEEDED, "the request did not come");
	}
	if (c->n_calls == 0 && now - c->idle_since_us > IDLE_US)
		conn_kill(c);
}

static void on_tick(void *arg)
{
	struct grpc *g = arg;

	list_for_each_safe(it, &g->conns)
		look_after(list_entry(it, struct conn, node), loop_now_us(g->loop));
	grpc_tell(g);
	loop_timer_set(&g->tick, TICK_US);
}

struct grpc *grpc_new(struct loop *l, int fd, const struct grpc_method *methods, bool standalone,
		      void *arg)
{
	struct grpc *g = kv_zalloc(sizeof(*g));

	g->loop = l;
	g->fd = fd;
	g->methods = methods;
	g->arg = arg;
	g->standalone = standalone;
	list_init(&g->conns);
	loop_fd_init(&g->accept, l, fd, LOOP_READ, on_acceptable, g);
	loop_timer_init(&g->tick, l, on_tick, g);
	loop_timer_set(&g->tick, TICK_US);
	return g;
}

void grpc_free(struct grpc *g)
{
	if (!g)
		return;
	while (!list_is_empty(&g->conns))
		conn_kill(list_entry(g->conns.next, struct conn, node));
	loop_fd_done(&g->accept);
	loop_timer_done(&g->tick);
	close(g->fd);
	free(g);
}
