/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sock_diag: which user and cgroup own the local end of a TCP connection, asked from the kernel by
 * NETLINK_SOCK_DIAG (one exact look-up, no dump); and what listens, which is a dump. Layer io. Owns one netlink socket per thread:
 * making one for each accepted connection would cost more than the question.
 */
#include "io/sock.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/thread.h"

#define REPLY_BYTES 4096

struct question {
	struct nlmsghdr nl;
	struct inet_diag_req_v2 req;
};

/* Kernel sockets of IPv4-mapped addresses are found under IPv4. */
static bool put_addr(const struct sock_addr *a, uint8_t *family, __be32 ip[static 4], __be16 *port)
{
	if (a->len == 0)
		return false;
	if (a->sa.sa_family == AF_INET) {
		*family = AF_INET;
		ip[0] = a->in.sin_addr.s_addr;
		*port = a->in.sin_port;
		return true;
	}
	if (a->sa.sa_family != AF_INET6)
		return false;
	const struct in6_addr *ip6 = &a->in6.sin6_addr;

	*port = a->in6.sin6_port;
	if (IN6_IS_ADDR_V4MAPPED(ip6)) {
		*family = AF_INET;
		memcpy(&ip[0], ip6->s6_addr + 12, 4);
	} else {
		*family = AF_INET6;
		memcpy(ip, ip6->s6_addr, 16);
	}
	return true;
}

static bool make_question(const struct sock_addr *client, const struct sock_addr *server,
			  struct question *q)
{
	uint8_t client_family, server_family;
	struct inet_diag_sockid *id = &q->req.id;

	*q = (struct question){
		.nl = { .nlmsg_len = sizeof(*q), .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST },
		.req = { .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0u },
	};
	if (!put_addr(client, &client_family, id->idiag_src, &id->idiag_sport) ||
	    !put_addr(server, &server_family, id->idiag_dst, &id->idiag_dport) ||
	    client_family != server_family)
		return false;
	q->req.sdiag_family = client_family;
	id->idiag_cookie[0] = id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	return true;
}

static _Thread_local int diag_fd = -1;
static _Thread_local uint32_t last_seq;
static _Thread_local bool exit_armed;

static void close_diag(void)
{
	if (diag_fd >= 0)
		close(diag_fd);
	diag_fd = -1;
}

static bool open_diag(void)
{
	if (diag_fd < 0)
		diag_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (diag_fd >= 0 && !exit_armed) {
		exit_armed = true;
		thread_at_exit(close_diag);
	}
	return diag_fd >= 0;
}

/* The reply's length, or -1. The kernel answers within send(2), so recv never waits. */
static ssize_t ask_kernel(struct question *q, struct nlmsghdr *reply, size_t n)
{
	ssize_t r;

	if (!open_diag())
		return -1;
	q->nl.nlmsg_seq = ++last_seq;
	if (send(diag_fd, q, sizeof(*q), 0) != (ssize_t)sizeof(*q)) {
		close_diag();
		return -1;
	}
	do
		r = recv(diag_fd, reply, n, MSG_DONTWAIT);
	while (r >= (ssize_t)sizeof(*reply) && reply->nlmsg_seq != last_seq);
	return r;
}

static uint64_t find_cgroup(const struct nlmsghdr *nl)
{
	size_t at = NLMSG_LENGTH(NLMSG_ALIGN(sizeof(struct inet_diag_msg)));

	while (at + sizeof(struct rtattr) <= nl->nlmsg_len) {
		struct rtattr attr;
		uint64_t id;

		memcpy(&attr, (const char *)nl + at, sizeof(attr));
		if (attr.rta_len < sizeof(attr) || at + attr.rta_len > nl->nlmsg_len)
			break;
		if (attr.rta_type == INET_DIAG_CGROUP_ID &&
		    attr.rta_len == RTA_LENGTH(sizeof(id))) {
			memcpy(&id, (const char *)nl + at + RTA_LENGTH(0), sizeof(id));
			return id;
		}
		at += RTA_ALIGN(attr.rta_len);
	}
	return 0;
}

bool sock_tcp_owner(const struct sock_addr *client, const struct sock_addr *server,
		    struct sock_owner *ret)
{
	union {
		struct nlmsghdr nl;
		char bytes[REPLY_BYTES];
	} reply;
	struct question q;
	struct inet_diag_msg msg;

	*ret = (struct sock_owner){ .uid = (uid_t)-1 };
	if (!make_question(client, server, &q))
		return false;
	ssize_t n = ask_kernel(&q, &reply.nl, sizeof(reply));

	if (n < (ssize_t)NLMSG_LENGTH(sizeof(msg)) || reply.nl.nlmsg_len > (size_t)n ||
	    reply.nl.nlmsg_len < NLMSG_LENGTH(sizeof(msg)) ||
	    reply.nl.nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return false;
	memcpy(&msg, reply.bytes + NLMSG_HDRLEN, sizeof(msg));
	/*
	 * An orphan that only lingers (inode 0) has no owner to name. One that still asks to be connected is not
	 * the other end of what was accepted, but somebody who got the same port.
	 */
	if (msg.idiag_inode == 0 || msg.idiag_state == TCP_SYN_SENT)
		return false;
	ret->uid = msg.idiag_uid;
	ret->cgroup_id = find_cgroup(&reply.nl);
	return true;
}

/* ---- what listens ----------------------------------------------------------------------------- */

#define DUMP_BYTES 32768

static void tell_listener(const struct nlmsghdr *nl, sock_listener_fn *fn, void *arg)
{
	struct inet_diag_msg msg;
	struct sock_addr at = { .len = 0 };

	if (nl->nlmsg_type != SOCK_DIAG_BY_FAMILY || nl->nlmsg_len < NLMSG_LENGTH(sizeof(msg)))
		return;
	memcpy(&msg, (const char *)nl + NLMSG_HDRLEN, sizeof(msg));
	if (msg.idiag_family == AF_INET) {
		at.len = sizeof(at.in);
		at.in = (struct sockaddr_in){ .sin_family = AF_INET,
					      .sin_port = msg.id.idiag_sport,
					      .sin_addr.s_addr = msg.id.idiag_src[0] };
	} else {
		at.len = sizeof(at.in6);
		at.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
						.sin6_port = msg.id.idiag_sport };
		memcpy(&at.in6.sin6_addr, msg.id.idiag_src, sizeof(at.in6.sin6_addr));
	}
	fn(arg, &at, msg.idiag_inode);
}

/* 1: the dump goes on; 0: it is complete; a negative errno. */
static int read_dump(int fd, char *buf, sock_listener_fn *fn, void *arg)
{
	ssize_t n = recv(fd, buf, DUMP_BYTES, 0);

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	for (size_t at = 0; at + sizeof(struct nlmsghdr) <= (size_t)n;) {
		const struct nlmsghdr *nl = (const struct nlmsghdr *)(const void *)(buf + at);
		int error;

		if (nl->nlmsg_len < sizeof(*nl) || nl->nlmsg_len > (size_t)n - at)
			return -EBADMSG;
		if (nl->nlmsg_type == NLMSG_DONE)
			return 0;
		if (nl->nlmsg_type == NLMSG_ERROR && nl->nlmsg_len >= NLMSG_LENGTH(sizeof(error))) {
			memcpy(&error, buf + at + NLMSG_HDRLEN, sizeof(error));
			return error < 0 ? error : -EPROTO;
		}
		tell_listener(nl, fn, arg);
		at += NLMSG_ALIGN(nl->nlmsg_len);
	}
	return n == 0 ? -EBADMSG : 1;
}

static int dump_family(int fd, uint8_t family, char *buf, sock_listener_fn *fn, void *arg)
{
	struct question q = {
		.nl = { .nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.req = { .sdiag_family = family, .sdiag_protocol = IPPROTO_TCP,
			 .idiag_states = 1u << TCP_LISTEN },
	};
	int r;

	if (send(fd, &q, sizeof(q), 0) != (ssize_t)sizeof(q))
		return -errno;
	while ((r = read_dump(fd, buf, fn, arg)) > 0)
		;
	return r;
}

int sock_tcp_listeners(sock_listener_fn *fn, void *arg)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	char *buf;
	int r;

	if (fd < 0)
		return -errno;
	buf = kv_malloc(DUMP_BYTES);
	r = dump_family(fd, AF_INET, buf, fn, arg);
	if (r == 0)
		r = dump_family(fd, AF_INET6, buf, fn, arg);
	free(buf);
	close(fd);
	return r;
}
