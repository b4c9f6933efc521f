/* SPDX-License-Identifier: Apache-2.0 */
/* tunnel: see tunnel.h. Layer proxy. The codec's state is the sentence about its failure, or NULL. */
#include "config.h"

#include <stdio.h>

#include "proxy/conn.h"
#include "proxy/tunnel.h"

static void fail(struct conn *c, const char *why)
{
	c->codec = (void *)(uintptr_t)why;
	if (c->error == 0)
		c->error = KV_ERR_CLOSED;
	c->owner->failed(c);
}

/* The end of the head, behind the empty line; 0: it is not there yet. */
static size_t head_bytes(struct str s)
{
	for (size_t i = 3; i < s.n; i++)
		if (memcmp(s.p + i - 3, "\r\n\r\n", 4) == 0)
			return i + 1;
	return 0;
}

/* 2xx: from the end of the head on it is a tunnel, whatever lengths the head claims. */
static bool is_granted(struct str head)
{
	return head.n > 12 && str_has_prefix(head, STR("HTTP/1.")) && head.p[8] == ' ' && head.p[9] == '2';
}

static void tunnel_recv(struct conn *c)
{
	struct str in = buf_pullup(&c->in, TUNNEL_HEAD_MAX);
	size_t n = head_bytes(in);

	if (c->codec)
		return;                 /* it has failed already */
	if (n > 0 && is_granted(in)) {
		buf_consume(&c->in, n);
		c->owner->ready(c);
	} else if (n > 0) {
		fail(c, "the proxy refused the tunnel");
	} else if (in.n >= TUNNEL_HEAD_MAX) {
		fail(c, "the proxy's answer to CONNECT has no end");
	} else if (c->eof) {
		fail(c, "the proxy closed instead of opening a tunnel");
	}
}

static void tunnel_open(struct conn *c, bool server)
{
	(void)server;
	c->slots = 0;
}

static void tunnel_nothing(struct conn *c)
{
	(void)c;
}

static void tunnel_drain(struct conn *c)
{
	conn_close(c);
}

/* It carries no exchange, so no leg is ever on it. */
const struct codec_ops codec_tunnel = {
	.name = "tunnel",
	.open = tunnel_open,
	.recv = tunnel_recv,
	.writable = tunnel_nothing,
	.close = tunnel_nothing,
	.drain = tunnel_drain,
};

void tunnel_ask(struct conn *c, struct str to)
{
	c->codec = NULL;
	conn_set_codec(c, &codec_tunnel, false);
	buf_append_str(&c->out, STR("CONNECT "));
	buf_append_str(&c->out, to);
	buf_append_str(&c->out, STR(" HTTP/1.1\r\nHost: "));
	buf_append_str(&c->out, to);
	buf_append_str(&c->out, STR("\r\n\r\n"));
	conn_flush_later(c);
}

const char *tunnel_failure(const struct conn *c)
{
	return c->ops == &codec_tunnel ? c->codec : NULL;
}
