/* SPDX-License-Identifier: Apache-2.0 */
/* h2_oracle: see h2_oracle.h. */
#include "h2_oracle.h"

#include <string.h>

#include "fuzz.h"

#define WINDOW (16 << 20)

static struct h2_oracle_stream *stream_of(struct h2_oracle *o, int32_t id)
{
	for (size_t i = 0; i < o->n; i++)
		if (o->v[i].id == id)
			return &o->v[i];
	if (o->n == H2_ORACLE_STREAMS) {
		o->blind = true;
		return NULL;
	}
	o->v[o->n] = (struct h2_oracle_stream){ .id = id };
	return &o->v[o->n++];
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2_oracle *o = arg;
	struct h2_oracle_stream *s;

	(void)session;
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	s = stream_of(o, frame->hd.stream_id);
	if (s) {
		s->heads += frame->hd.type == NGHTTP2_HEADERS;
		s->ended = s->ended || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
	}
	return 0;
}

/* What it says goes nowhere. */
static void drain(struct h2_oracle *o)
{
	const uint8_t *out;

	while (nghttp2_session_mem_send(o->session, &out) > 0)
		;
}

void h2_oracle_init(struct h2_oracle *o, bool server, const nghttp2_settings_entry *mine, size_t n)
{
	nghttp2_session_callbacks *cb;

	memset(o, 0, sizeof(*o));
	fuzz_assert(nghttp2_session_callbacks_new(&cb) == 0);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	fuzz_assert((server ? nghttp2_session_server_new(&o->session, cb, o) :
			      nghttp2_session_client_new(&o->session, cb, o)) == 0);
	nghttp2_session_callbacks_del(cb);
	fuzz_assert(nghttp2_submit_settings(o->session, NGHTTP2_FLAG_NONE, mine, n) == 0);
	fuzz_assert(nghttp2_session_set_local_window_size(o->session, NGHTTP2_FLAG_NONE, 0, WINDOW) == 0);
	drain(o);
}

void h2_oracle_done(struct h2_oracle *o)
{
	nghttp2_session_del(o->session);
}

static ssize_t no_bytes(nghttp2_session *session, int32_t id, uint8_t *buf, size_t n, uint32_t *flags,
			nghttp2_data_source *source, void *arg)
{
	(void)session, (void)id, (void)buf, (void)n, (void)flags, (void)source, (void)arg;
	return NGHTTP2_ERR_DEFERRED;
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){ (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), 0 };
}

void h2_oracle_ask(struct h2_oracle *o, int32_t id, const char *method, bool tunnel)
{
	const nghttp2_data_provider endless = { .read_callback = no_bytes };
	nghttp2_nv v[5] = { nv(":method", tunnel ? "CONNECT" : method), nv(":scheme", "http"), nv(":path", "/x"),
			    nv(":authority", "a"), nv(":protocol", "websocket") };

	if (o->blind)
		return;
	if (nghttp2_session_set_next_stream_id(o->session, id) != 0 ||
	    nghttp2_submit_request(o->session, NULL, v, tunnel ? 5 : 4, tunnel ? &endless : NULL, NULL) != id)
		o->blind = true;
	drain(o);
}

void h2_oracle_feed(struct h2_oracle *o, const void *p, size_t n)
{
	if (o->blind)
		return;
	/* Where an exchange of the codec is over already, an error of the connection is none there. */
	if (nghttp2_session_mem_recv(o->session, p, n) != (ssize_t)n || !nghttp2_session_want_read(o->session))
		o->blind = true;
	drain(o);
}

bool h2_oracle_passed(const struct h2_oracle *o, int32_t id, unsigned heads, bool end)
{
	for (size_t i = 0; i < o->n; i++)
		if (o->v[i].id == id)
			return o->v[i].heads >= heads && (o->v[i].ended || !end);
	return o->blind;
}
