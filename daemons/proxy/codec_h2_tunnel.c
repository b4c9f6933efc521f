/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_h2_tunnel: switched protocols over HTTP/2: extended CONNECT (RFC 8441), see codec_h2.h. To everybody
 * else it is an HTTP/1.1 upgrade: GET with head.upgrade, answered with 101 or refused. Layer proxy.
 */
#include "config.h"

#include "proxy/codec_h2.h"

/* ---- as server ----------------------------------------------------------------------------------------- */

unsigned h2_tunnel_request(struct h2_stream *hs, struct head *hd, bool end)
{
	if (!str_ieq(hd->upgrade, STR("websocket")))
		return 501;             /* RFC 9220 3 */
	if (end || hd->body != HEAD_BODY_NONE)
		return 400;
	hs->tunnel = hs->h->watch = true;
	hd->method = STR("GET");
	hd->upgrade = STR("websocket");
	return 0;
}

/* A client need not wait for its answer; its window bounds what it can send. */
bool h2_tunnel_keeps(struct h2_stream *hs, const uint8_t *data, size_t n)
{
	if (!hs->tunnel || hs->switched)
		return false;
	buf_append(&hs->early, data, n);
	return true;
}

void h2_tunnel_granted(struct h2_stream *hs)
{
	hs->switched = true;
	hs->leg->end_in = false;
}

/* A 2xx would open the tunnel. The client may ask again in HTTP/1.1, where this can be said. */
void h2_tunnel_declined(struct h2_stream *hs)
{
	h2_give_up(hs->h, hs->id, NGHTTP2_HTTP_1_1_REQUIRED);
	hs->leg->end_in = hs->leg->end_out = true;
}

void h2_tunnel_early(struct h2_stream *hs)
{
	struct leg *l = hs->leg;
	struct h2 *h = hs->h;

	if (!hs->switched || !l || l->paused || (hs->early.n == 0 && !hs->early_end))
		return;
	if (hs->early.n > 0)
		leg_on_data(l, &hs->early);
	if (h->dead || !hs->leg)
		return;
	if (!l->paused && hs->held > 0) {
		(void)nghttp2_session_consume_stream(h->session, hs->id, hs->held);
		hs->held = 0;
	}
	if (!hs->early_end)
		return;
	hs->early_end = false;
	h2_end_of_message(hs);
}

/* ---- as client ----------------------------------------------------------------------------------------- */

bool h2_tunnel_answer(struct h2_stream *hs, struct head *hd)
{
	struct leg *l = hs->leg;

	if (hd->status < 200)
		return false;
	if (hd->status > 299) {         /* an answer as any other, and our side says nothing more */
		hs->tunnel = false;
		hs->eof_out = true;
		h2_resume(hs);
		return false;
	}
	hd->status = 101;
	hd->upgrade = l->upgrade;
	hd->body = HEAD_BODY_NONE;
	hs->switched = true;
	l->end_out = false;
	return true;
}

static void refuse(struct h2_stream *hs)
{
	struct h2 *h = hs->h;
	struct leg *l = h2_detach(hs);

	h2_stream_free(hs);
	l->sent = false;
	l->no_upgrade = true;
	leg_on_reset(l, FAIL_UP_RESET);
	h2_exchange_gone(h);
}

static struct h2_stream *first_that_waits(struct h2 *h)
{
	list_for_each(it, &h->streams) {
		struct h2_stream *hs = list_entry(it, struct h2_stream, node);

		if (hs->waits)
			return hs;
	}
	return NULL;
}

void h2_tunnels_check(struct h2 *h)
{
	struct h2_stream *hs;

	if (h->n_waits == 0 || !h->introduced)
		return;
	uint32_t can = nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL);

	while (!h->dead && (hs = first_that_waits(h)) != NULL) {
		const struct head *hd = hs->waits;

		hs->waits = NULL;
		h->n_waits--;
		if (can)
			h2_submit(hs, hd, false);
		else
			refuse(hs);
	}
}
