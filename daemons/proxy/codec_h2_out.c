/* SPDX-License-Identifier: Apache-2.0 */
/* codec_h2_out: leg calls into frames for an HTTP/2 peer, see codec_h2.h. Layer proxy. */
#include "config.h"

#include <stdlib.h>

#include "base/arena.h"
#include "proxy/codec_h2.h"
#include "proxy/worker.h"

#define NV_INLINE 64
#define TEACH_EVERY 256

/* ---- packing ----------------------------------------------------------------------------------------- */

/* Below the low mark again: its source may go on. */
static void tell_room(struct h2_stream *hs)
{
	struct leg *l = hs->leg;

	if (!l || !hs->full || hs->out.n > CODEC_LOW_BYTES)
		return;
	hs->full = false;
	l->room = CODEC_HIGH_BYTES - hs->out.n;
	leg_on_writable(l);
}

static void arm_unread(struct h2_stream *hs)
{
	struct worker *w = hs->h->c->w;

	hs->unread_bytes = hs->out.n;
	loop_deadline_set(&hs->unread, loop_now_us(w->loop) + (uint64_t)worker_settings(w)->stream_idle_timeout_us);
}

static void on_unread(void *arg)
{
	struct h2_stream *hs = arg;
	struct h2 *h = hs->h;

	if (h->dead || hs->leg)
		return;
	if (hs->out.n < hs->unread_bytes) {
		arm_unread(hs);
		return;
	}
	h2_give_up(h, hs->id, NGHTTP2_CANCEL);
	h2_pack_later(h);
}

void h2_unread_init(struct h2_stream *hs)
{
	loop_deadline_init(&hs->unread, hs->h->c->w->loop, on_unread, hs);
}

/* The exchange is over and recorded; its idle time goes on for the peer that leaves the window shut. */
static void watch_unread(struct h2_stream *hs)
{
	if (hs->h->server && !hs->leg && hs->out.n > 0 && hs->unread.at_us == 0)
		arm_unread(hs);
}

/* Nothing is under way and nothing more may begin, or an error ended the session; all of it has been packed. */
static bool is_over(struct h2 *h)
{
	bool want_read = nghttp2_session_want_read(h->session) != 0;

	if (nghttp2_session_want_write(h->session) || conn_room(h->c) == 0)
		return false;
	return !want_read || (h->goaway && list_is_empty(&h->streams));
}

/* Whole frames until the connection has enough. Everything a turn made leaves in one write. */
void h2_pack(struct h2 *h)
{
	struct conn *c = h->c;
	const uint8_t *data;
	ssize_t n = 0;

	h2_tunnels_check(h);
	while (!h->dead && conn_room(c) > 0 && (n = nghttp2_session_mem_send(h->session, &data)) > 0)
		buf_append(&c->out, data, (size_t)n);
	if (h->dead)
		return;
	if (h->broken) {
		conn_kill(c);
		return;
	}
	conn_flush_later(c);
	if (n < 0 || is_over(h)) {
		conn_close(c);
		return;
	}
	if (!h->watch)
		return;
	h->watch = false;
	for (struct list *it = h->streams.next, *next; !h->dead && it != &h->streams; it = next) {
		struct h2_stream *hs = list_entry(it, struct h2_stream, node);

		next = it->next;
		h->watch = h->watch || hs->full || hs->tunnel;
		watch_unread(hs);
		tell_room(hs);
		if (!h->dead)
			h2_tunnel_early(hs);
	}
}

/* How much of a stream's bytes the next DATA frame takes; they are moved, not copied, by on_send_data. */
static ssize_t read_data(nghttp2_session *session, int32_t id, uint8_t *to, size_t max, uint32_t *flags,
			 nghttp2_data_source *source, void *arg)
{
	struct h2_stream *hs = source->ptr;
	size_t n = hs->out.n < max ? hs->out.n : max;

	(void)to, (void)arg;
	if (n == 0 && !hs->eof_out) {
		hs->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n == hs->out.n && hs->eof_out) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		/* Only here do trailers follow the last DATA frame and do not overtake it. */
		if (hs->trailers && nghttp2_submit_trailer(session, id, hs->trailers->v, hs->trailers->n) == 0)
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	}
	return (ssize_t)n;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
			nghttp2_data_source *source, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *hs = source->ptr;

	(void)session, (void)frame;
	if (n > 0)
		h->frames_idle = 0;     /* what the peer said let us go on: many a client opens windows in small steps */
	struct buf b;

	buf_init(&b);
	buf_move_n(&b, &hs->out, n);
	buf_prepend(&b, head, 9);
	buf_move(&h->c->out, &b);
	return 0;
}

static ssize_t data_bytes(nghttp2_session *session, uint8_t type, int32_t id, int32_t conn_window, int32_t stream_window,
			  uint32_t max_frame, void *arg)
{
	ssize_t n = H2_FRAME_MAX;

	(void)session, (void)type, (void)id, (void)arg;
	if (n > conn_window)
		n = conn_window;
	if (n > stream_window)
		n = stream_window;
	return n > (ssize_t)max_frame ? (ssize_t)max_frame : n;
}

/* An answer is complete before its request is: the rest of that is not wanted (RFC 9113 8.1). */
static void stop_request(struct h2 *h, const nghttp2_frame *frame)
{
	bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

	if (end && nghttp2_session_get_stream_remote_close(h->session, frame->hd.stream_id) == 0)
		h2_give_up(h, frame->hd.stream_id, NGHTTP2_NO_ERROR);
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *hs;

	(void)session;
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	hs = h2_stream_of(h, frame->hd.stream_id);
	if (hs)
		hs->left = true;
	if (h->server && (!hs || !hs->leg))
		stop_request(h, frame);
	return 0;
}

void h2_callbacks_out(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
	nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
	nghttp2_session_callbacks_set_data_source_read_length_callback(cb, data_bytes);
}

/* ---- heads --------------------------------------------------------------------------------------------- */

struct nv_list {
	nghttp2_nv v[NV_INLINE], *p;
	size_t n;
	bool teach;                     /* names that only come with new values are put into the table */
	char length[STR_U64_MAX];
};

static void nv_add(struct nv_list *l, struct str name, struct str value, unsigned flags)
{
	l->p[l->n++] = (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name.p, .namelen = name.n,
				     .value = (uint8_t *)(uintptr_t)value.p, .valuelen = value.n,
				     .flags = (uint8_t)flags };
}

static void nv_own(struct nv_list *l, struct str constant_name, struct str value)
{
	nv_add(l, constant_name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

static void nv_begin(struct nv_list *l, const struct head *hd)
{
	l->n = 0;
	l->p = hd->n + 8 <= NV_INLINE ? l->v : kv_malloc((hd->n + 8) * sizeof(nghttp2_nv));
}

static void nv_end(struct nv_list *l)
{
	if (l->p != l->v)
		free(l->p);
}

/*
 * A value that never comes again must not go into the table of the peer and ours: it would push out those that do,
 * and each search for that name would walk past all its old values. One now and then keeps the name itself in there,
 * which else is spelled out each time.
 */
static unsigned flags_of(const struct nv_list *l, const struct head_field *f)
{
	unsigned flags = head_is_constant_name(f) ? NGHTTP2_NV_FLAG_NO_COPY_NAME : 0;
	bool once = f->id == HEAD_ID_X_REQUEST_ID || f->id == HEAD_ID_TRACEPARENT || f->id == HEAD_ID_B3;

	return once && !l->teach ? flags | NGHTTP2_NV_FLAG_NO_INDEX : flags;
}

static void nv_fields(struct nv_list *l, const struct head *hd)
{
	for (size_t i = 0; i < hd->n; i++) {
		const struct head_field *f = &hd->fields[i];

		if (f->id != HEAD_ID_HOST)
			nv_add(l, f->name, f->value, flags_of(l, f));
	}
}

static void nv_length(struct nv_list *l, const struct head *hd)
{
	if (hd->body == HEAD_BODY_LENGTH)
		nv_own(l, STR("content-length"), str_from(l->length, str_put_u64(l->length, hd->content_length)));
}

static void nv_request(struct nv_list *l, const struct head *hd, bool tunnel)
{
	if (tunnel)
		nv_own(l, STR(":protocol"), hd->upgrade);
	nv_own(l, STR(":method"), tunnel ? STR("CONNECT") : hd->method);
	nv_own(l, STR(":scheme"), hd->scheme.n > 0 ? hd->scheme : STR("http"));
	nv_own(l, STR(":authority"), hd->authority);
	nv_own(l, STR(":path"), hd->path.n > 0 ? hd->path : STR("/"));
	nv_length(l, hd);
	if (hd->te_trailers)
		nv_own(l, STR("te"), STR("trailers"));
	if (hd->expect_continue)
		nv_own(l, STR("expect"), STR("100-continue"));
	nv_fields(l, hd);
}

static nghttp2_data_provider provider(struct h2_stream *hs)
{
	return (nghttp2_data_provider){ .source = { .ptr = hs }, .read_callback = read_data };
}

static void put_request(struct h2_stream *hs, struct nv_list *nv, const struct head *hd, bool end)
{
	struct h2 *h = hs->h;
	nghttp2_data_provider p = provider(hs);

	hs->to_head = str_eq(hd->method, STR("HEAD"));
	nv_request(nv, hd, hs->tunnel);
	hs->id = nghttp2_submit_request(h->session, NULL, nv->p, nv->n, end ? NULL : &p, hs);
	if (hs->id < 0) {               /* ids are used up: another connection must take it */
		hs->id = -1;
		h->broken = true;
		return;
	}
}

static void put_response(struct h2_stream *hs, struct nv_list *nv, const struct head *hd, bool end)
{
	char status[4] = { (char)('0' + hd->status / 100 % 10), (char)('0' + hd->status / 10 % 10),
			   (char)('0' + hd->status % 10), '\0' };
	nghttp2_data_provider p = provider(hs);

	nv_own(nv, STR(":status"), hd->status == 101 ? STR("200") : str_from(status, 3));
	if (hd->status >= 200)
		nv_length(nv, hd);
	nv_fields(nv, hd);
	if (hd->status < 200 && hd->status != 101)
		(void)nghttp2_submit_headers(hs->h->session, NGHTTP2_FLAG_NONE, hs->id, NULL, nv->p, nv->n, NULL);
	else
		(void)nghttp2_submit_response(hs->h->session, hs->id, nv->p, nv->n, end ? NULL : &p);
}

void h2_resume(struct h2_stream *hs)
{
	if (!hs->deferred)
		return;
	hs->deferred = false;
	(void)nghttp2_session_resume_data(hs->h->session, hs->id);
}

static struct h2_trailers *copy_trailers(const struct head *hd)
{
	size_t bytes = 0;

	for (size_t i = 0; i < hd->n; i++)
		bytes += hd->fields[i].name.n + hd->fields[i].value.n;
	struct h2_trailers *t = kv_malloc(sizeof(*t) + hd->n * sizeof(t->v[0]) + bytes);
	uint8_t *to = (uint8_t *)(t->v + hd->n);

	t->n = hd->n;
	for (size_t i = 0; i < hd->n; i++) {
		const struct head_field *f = &hd->fields[i];

		t->v[i] = (nghttp2_nv){ .name = to, .namelen = f->name.n, .value = to + f->name.n, .valuelen = f->value.n };
		memcpy(to, f->name.p, f->name.n);
		memcpy(to + f->name.n, f->value.n > 0 ? f->value.p : "", f->value.n);
		to += f->name.n + f->value.n;
	}
	return t;
}

static void put_trailers(struct h2_stream *hs, const struct head *hd)
{
	if (hd->n > 0 && !hs->trailers)
		hs->trailers = copy_trailers(hd);
	hs->eof_out = true;
	h2_resume(hs);
}

static bool is_final(const struct h2_stream *hs, const struct head *hd)
{
	return !hs->h->server || hd->status >= 200 || hd->status == 101;
}

void h2_submit(struct h2_stream *hs, const struct head *hd, bool end)
{
	_scratch_ struct nv_list nv;

	nv_begin(&nv, hd);
	nv.teach = hs->h->heads_sent++ % TEACH_EVERY == 0;
	if (hs->h->server)
		put_response(hs, &nv, hd, end);
	else
		put_request(hs, &nv, hd, end);
	nv_end(&nv);
}

static void put_head(struct h2_stream *hs, const struct head *hd, bool end)
{
	struct h2 *h = hs->h;

	hs->final_out = is_final(hs, hd);
	if (!h->server && hd->upgrade.n > 0) {
		hs->tunnel = h->watch = true;
		hs->waits = hd;         /* h2_tunnels_check sends it, now or when SETTINGS have come */
		h->n_waits++;
		return;
	}
	if (hs->tunnel && hd->status >= 200 && hd->status <= 299) {
		h2_tunnel_declined(hs);
		return;
	}
	if (hs->tunnel && hd->status == 101)
		h2_tunnel_granted(hs);
	h2_submit(hs, hd, end);
	hs->eof_out = end;
}

void h2_head(struct leg *l, struct head *hd, bool end)
{
	struct h2 *h = h2_of(l->conn);
	struct h2_stream *hs = l->exchange;

	if (hs->final_out)
		put_trailers(hs, hd);
	else
		put_head(hs, hd, end);
	h2_pack_later(h);
	h2_exchange_check(hs);
}

/* ---- bodies --------------------------------------------------------------------------------------------- */

void h2_data(struct leg *l, struct buf *b, bool end)
{
	struct h2 *h = h2_of(l->conn);
	struct h2_stream *hs = l->exchange;

	buf_move(&hs->out, b);
	hs->eof_out = hs->eof_out || end;
	l->room = hs->out.n < CODEC_HIGH_BYTES ? CODEC_HIGH_BYTES - hs->out.n : 0;
	hs->full = hs->full || l->room == 0;    /* the source that was stopped waits for leg_on_writable */
	h->watch = h->watch || hs->full;
	h2_resume(hs);
	h2_pack_later(h);
	h2_exchange_check(hs);
}
