/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sock: listen, connect, addresses, peer facts. Layer io. Every descriptor made here is
 * non-blocking and close-on-exec; TCP sockets have TCP_NODELAY.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <netinet/in.h>

#include "base/err.h"
#include "base/str.h"

struct sock_addr {
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
		struct sockaddr_storage ss;
	};
};
#define SOCK_ADDR_TEXT_MAX 128

/*
 * "127.0.0.1", "::1", "[::1]", "unix:/path", "unix:///path", "unix://@abstract"; numeric only, no
 * resolving, no IPv6 zone. port is left out of Unix addresses.
 */
bool sock_addr_parse(struct str host, uint16_t port, struct sock_addr *ret);
/* "127.0.0.1:80", "[::1]:80", "unix:/path"; returns buf. */
const char *sock_addr_text(const struct sock_addr *a, char buf[static SOCK_ADDR_TEXT_MAX]);
/* The same without port, as Istio's logs want it for addresses alone. */
const char *sock_addr_host(const struct sock_addr *a, char buf[static SOCK_ADDR_TEXT_MAX]);
uint16_t sock_addr_port(const struct sock_addr *a);
bool sock_addr_eq(const struct sock_addr *a, const struct sock_addr *b);
/* 127/8, ::1, also mapped; any Unix address. */
bool sock_addr_is_loopback(const struct sock_addr *a);
bool sock_addr_is_any(const struct sock_addr *a);               /* 0.0.0.0, :: */
/* An address of this host, by asking the kernel which it would call that one from. */
bool sock_addr_is_local(const struct sock_addr *a);
void sock_addr_set_port(struct sock_addr *a, uint16_t port);    /* harmless for Unix addresses */

#define SOCK_REUSEPORT 0x1u
/*
 * TCP listener, backlog 4096; an IPv6 one takes IPv6 only. Returns the descriptor or a negative
 * errno with err filled.
 */
int sock_listen_tcp(const struct sock_addr *a, unsigned flags, struct err *err);
/*
 * Unix listener: a stale file is removed (C5), created under umask 0177, then mode and group are
 * set (gid (gid_t)-1: leave). A file that is no socket, or that somebody serves, is an error.
 */
int sock_listen_unix(const char *path, mode_t mode, gid_t gid, struct err *err);
int sock_connect(const struct sock_addr *a, struct err *err);   /* in progress or done */
/* Connects before it returns; then the descriptor is non-blocking like all. */
int sock_connect_unix(const char *path, struct err *err);
/*
 * Does a listening socket that somebody else made take what is meant for a? [::] stands for 0.0.0.0
 * as well, unless it is for IPv6 alone.
 */
bool sock_listens_for(int fd, const struct sock_addr *a);
int sock_accept(int fd, struct sock_addr *ret_peer);            /* -errno; -EAGAIN: none waits */
/* Of a TCP listener it is inherited by what it accepts; our own have it, those of systemd have not. */
void sock_no_delay(int fd);
int sock_error(int fd);                                         /* SO_ERROR as -errno, or 0 */
int sock_local_addr(int fd, struct sock_addr *ret);
int sock_peer_addr(int fd, struct sock_addr *ret);
/* SO_ORIGINAL_DST of a redirected connection; false when it was not redirected. */
bool sock_original_dst(int fd, struct sock_addr *ret);

/* Who is at the other end of a Unix socket, read once per connection. */
struct sock_peer {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	char unit[256];                 /* system unit by cgroup, "" when none or unknown */
};
int sock_peer_cred(int fd, struct sock_peer *ret);
/* True when uid belongs to group gid (primary or supplementary by the group database). */
bool sock_peer_in_group(const struct sock_peer *p, const char *group);

/*
 * Owner of the local end of a TCP connection between two addresses of this host, by
 * NETLINK_SOCK_DIAG. client is the caller's address as accept(2) told it, server what the caller
 * dialled: our own address, or the original destination of a redirected connection.
 * False when the kernel does not know it (remote caller, no netlink).
 */
struct sock_owner {
	uid_t uid;
	uint64_t cgroup_id;             /* 0 when the kernel does not tell */
};
bool sock_tcp_owner(const struct sock_addr *client, const struct sock_addr *server,
		    struct sock_owner *ret);

/*
 * Every listening TCP socket of this network namespace, told to fn with its inode and the address
 * it is bound to. 0, or a negative errno.
 */
typedef void sock_listener_fn(void *arg, const struct sock_addr *at, uint64_t inode);
int sock_tcp_listeners(sock_listener_fn *fn, void *arg);
