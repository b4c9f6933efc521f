/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_h2_alive: PING on connections to services, when their owner asks for it (conn.h): a peer whose
 * machine is gone says nothing, and requests would wait for their timeouts. Layer proxy.
 */
#include "config.h"

#include "proxy/codec_h2.h"
#include "proxy/worker.h"

static void arm(struct h2 *h, uint32_t after_ms)
{
	loop_deadline_set(&h->alive, loop_now_us(h->c->w->loop) + (uint64_t)after_ms * 1000);
}

static void on_alive(void *arg)
{
	struct h2 *h = arg;

	if (h->dead)
		return;
	if (h->asked) {
		h->c->error = KV_ERR_TIMEOUT;
		conn_kill(h->c);
		return;
	}
	h->asked = true;
	(void)nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
	h2_pack_later(h);
	arm(h, h->c->ping_timeout_ms);
}

void h2_alive_init(struct h2 *h)
{
	loop_deadline_init(&h->alive, h->c->w->loop, on_alive, h);
	if (!h->server && h->c->ping_ms > 0)
		arm(h, h->c->ping_ms);
}

void h2_alive_heard(struct h2 *h)
{
	if (!h->asked)
		return;
	h->asked = false;
	h->frames_idle = 0;             /* we wanted it */
	arm(h, h->c->ping_ms);
}
