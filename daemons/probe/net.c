/* SPDX-License-Identifier: Apache-2.0 */
/* net: see net.h. Layer daemons/probe. */
#include "config.h"

#include <errno.h>
#include <unistd.h>

#include "base/err.h"
#include "probe/net.h"

/* Certificates of probed services are not judged, as kubelet does not. One for the process. */
static struct tls_ctx *any_server(struct err *err)
{
	static struct tls_ctx *ctx;
	const struct tls_files files = { .skip_verify = true };

	if (!ctx && tls_ctx_new_client(&files, &ctx, err) < 0)
		return NULL;
	return ctx;
}

bool net_address(const struct doc *probe, struct sock_addr *ret)
{
	int64_t port = doc_get_int(probe, "port", 0);

	return port >= 0 && port <= UINT16_MAX &&
	       sock_addr_parse(doc_get_str(probe, "address", STR("")), (uint16_t)port, ret);
}

static void fail(struct net *n, const char *why)
{
	const struct net_ops *ops = n->ops;

	net_close(n);
	ops->failed(n->arg, why);
}

static void set_open(struct net *n)
{
	n->is_open = true;
	n->ops->open(n->arg);
}

static bool shake_hands(struct net *n)
{
	enum tls_result r = tls_handshake(n->tls, &n->cipher_in, &n->cipher_out);

	if (r == TLS_FAILED) {
		fail(n, tls_error(n->tls));
		return false;
	}
	if (r == TLS_OK)
		set_open(n);
	return n->fd >= 0;
}

/* False: closed. */
static bool decrypt(struct net *n)
{
	enum tls_result r;

	if (!n->is_open && !shake_hands(n))
		return false;
	while (n->is_open && n->in.n < NET_IN_MAX &&
	       (r = tls_decrypt(n->tls, &n->cipher_in, &n->in, NET_IN_MAX - n->in.n,
				&n->cipher_out)) != TLS_AGAIN) {
		if (r == TLS_FAILED) {
			fail(n, tls_error(n->tls));
			return false;
		}
		if (r != TLS_OK) {
			n->ended = true;
			break;
		}
	}
	return true;
}

static void flush(struct net *n)
{
	struct buf *out = n->tls ? &n->cipher_out : &n->out;

	if (n->fd < 0 || !n->connected)
		return;
	if (n->tls && n->is_open && n->out.n > 0 &&
	    tls_encrypt(n->tls, &n->out, &n->cipher_out) == TLS_FAILED) {
		fail(n, tls_error(n->tls));
		return;
	}
	ssize_t r = out->n > 0 ? buf_write_fd(out, n->fd) : 0;

	if (r < 0 && r != -EAGAIN) {
		fail(n, err_code_name((int)r));
		return;
	}
	loop_fd_want(&n->io, (n->ended ? 0u : LOOP_READ) | (out->n > 0 ? LOOP_WRITE : 0u));
}

static void on_readable(struct net *n)
{
	struct buf *to = n->tls ? &n->cipher_in : &n->in;
	ssize_t r = buf_read_fd(to, n->fd, BUF_BLOCK_BYTES);

	if (r == -EAGAIN)
		return;
	if (r < 0) {
		fail(n, err_code_name((int)r));
		return;
	}
	n->ended = r == 0;
	if (n->tls && !decrypt(n))
		return;
	if (!n->is_open) {
		if (n->ended)
			fail(n, "the connection was closed during the handshake");
		return;
	}
	n->ops->data(n->arg, n->ended);
	if (n->fd >= 0 && n->in.n >= NET_IN_MAX)
		fail(n, "too many bytes instead of an answer");
	else if (n->fd >= 0 && n->ended)
		fail(n, "the connection was closed before an answer");
}

static void on_connected(struct net *n)
{
	int r = sock_error(n->fd);

	if (r < 0) {
		fail(n, err_code_name(r));
		return;
	}
	n->connected = true;
	if (n->tls)
		shake_hands(n);
	else
		set_open(n);
}

static void on_io(void *arg, unsigned what)
{
	struct net *n = arg;

	if (!n->connected)
		on_connected(n);
	else if (what & LOOP_READ)
		on_readable(n);
	flush(n);
}

int net_open(struct net *n, struct loop *l, const struct sock_addr *to, bool tls,
	     const struct net_ops *ops, void *arg, struct err *err)
{
	struct tls_ctx *ctx = tls ? any_server(err) : NULL;

	*n = (struct net){ .loop = l, .fd = -1, .ops = ops, .arg = arg };
	if (tls && !ctx)
		return KV_ERR_TLS;
	int fd = sock_connect(to, err);

	if (fd < 0)
		return fd;
	n->fd = fd;
	if (tls)
		n->tls = tls_client_new_ctx(ctx, NULL, NULL, NULL, 0);
	loop_fd_init(&n->io, l, fd, LOOP_WRITE, on_io, n);
	return 0;
}

void net_write(struct net *n, struct str s)
{
	buf_append_str(&n->out, s);
	if (n->is_open)
		loop_fd_want(&n->io, LOOP_READ | LOOP_WRITE);
}

static void free_session(void *p)
{
	tls_session_free(p);
}

void net_close(struct net *n)
{
	if (n->fd < 0)
		return;
	loop_fd_done(&n->io);
	close(n->fd);
	n->fd = -1;
	/* tls_error may still be read in this turn. */
	if (n->tls)
		loop_defer_free(n->loop, free_session, n->tls);
	buf_done(&n->in);
	buf_done(&n->out);
	buf_done(&n->cipher_in);
	buf_done(&n->cipher_out);
}
