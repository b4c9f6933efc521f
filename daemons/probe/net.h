/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net: one connection of an attempt, plain or TLS, to one address. Layer daemons/probe. Owns the
 * descriptor. What arrives is kept up to NET_IN_MAX bytes and no more: a probe needs a head.
 */
#pragma once

#include "doc/doc.h"
#include "io/buf.h"
#include "io/loop.h"
#include "io/sock.h"
#include "io/tls.h"

#define NET_IN_MAX (64u << 10)

struct net_ops {
	void (*open)(void *arg);                /* connected, and the handshake is over */
	void (*data)(void *arg, bool end);      /* more in net.in, or its end */
	void (*failed)(void *arg, const char *why);
};

struct net {
	struct loop *loop;
	int fd;                                 /* -1: closed */
	struct loop_fd io;
	bool connected, is_open, ended;
	struct tls_session *tls;                /* NULL: plain */
	struct buf in, out, cipher_in, cipher_out;
	const struct net_ops *ops;
	void *arg;
};

/* Connecting began, or a negative code with err. No callback runs before the loop's next turn. */
int net_open(struct net *n, struct loop *l, const struct sock_addr *to, bool tls,
	     const struct net_ops *ops, void *arg, struct err *err);
void net_write(struct net *n, struct str s);
/* Harmless twice; also inside a callback. */
void net_close(struct net *n);
/* An address as a list of probes names it; false: none. */
bool net_address(const struct doc *probe, struct sock_addr *ret);
