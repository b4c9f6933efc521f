/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sock: addresses, listeners, connections and what the kernel knows of a peer. Layer io.
 * Owns nothing: every descriptor goes to the caller. The owner of a TCP caller is in sock_diag.c.
 */
#include "config.h"
#include "io/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "io/sd.h"

#define BACKLOG 4096
/* linux/netfilter_ipv6/ip6_tables.h cannot be included together with netinet/in.h. */
#define IP6T_SO_ORIGINAL_DST_ 80
#define PEER_GROUPS_MAX 65536
#define GROUP_BUF_MAX (1u << 20)

/* ---- addresses ----------------------------------------------------------- */

static bool parse_unix(struct str s, struct sock_addr *ret)
{
	if (str_has_prefix(s, STR("//")))
		s = str_skip(s, 2);
	if (s.n < 2 || s.n >= sizeof(ret->un.sun_path) || memchr(s.p, '\0', s.n))
		return false;
	if (s.p[0] != '/' && s.p[0] != '@')
		return false;
	ret->un.sun_family = AF_UNIX;
	memcpy(ret->un.sun_path, s.p, s.n);
	ret->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + s.n);
	if (s.p[0] == '@')
		ret->un.sun_path[0] = '\0';     /* abstract: the length ends the name */
	else
		ret->len++;
	return true;
}

bool sock_addr_parse(struct str host, uint16_t port, struct sock_addr *ret)
{
	char text[INET6_ADDRSTRLEN];

	*ret = (struct sock_addr){ 0 };
	if (str_has_prefix(host, STR("unix:")))
		return parse_unix(str_skip(host, 5), ret);
	bool bracketed = host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';

	if (bracketed)
		host = str_from(host.p + 1, host.n - 2);
	if (host.n == 0 || host.n >= sizeof(text) || memchr(host.p, '\0', host.n))
		return false;
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	if (!bracketed && inet_pton(AF_INET, text, &ret->in.sin_addr) == 1) {
		ret->in.sin_family = AF_INET;
		ret->in.sin_port = htons(port);
		ret->len = sizeof(ret->in);
		return true;
	}
	if (inet_pton(AF_INET6, text, &ret->in6.sin6_addr) == 1) {
		ret->in6.sin6_family = AF_INET6;
		ret->in6.sin6_port = htons(port);
		ret->len = sizeof(ret->in6);
		return true;
	}
	*ret = (struct sock_addr){ 0 };
	return false;
}

static const char *unix_text(const struct sock_addr *a, char buf[static SOCK_ADDR_TEXT_MAX])
{
	size_t n = a->len > offsetof(struct sockaddr_un, sun_path)
			   ? a->len - offsetof(struct sockaddr_un, sun_path) : 0;

	if (n == 0)
		snprintf(buf, SOCK_ADDR_TEXT_MAX, "unix:");
	else if (a->un.sun_path[0] == '\0')
		snprintf(buf, SOCK_ADDR_TEXT_MAX, "unix://@%.*s", (int)n - 1, a->un.sun_path + 1);
	else
		snprintf(buf, SOCK_ADDR_TEXT_MAX, "unix:%.*s", (int)n, a->un.sun_path);
	return buf;
}

const char *sock_addr_host(const struct sock_addr *a, char buf[static SOCK_ADDR_TEXT_MAX])
{
	if (a->len > 0 && a->sa.sa_family == AF_UNIX)
		return unix_text(a, buf);
	const void *ip = a->sa.sa_family == AF_INET6 ? (const void *)&a->in6.sin6_addr
						     : (const void *)&a->in.sin_addr;

	if (a->len == 0 || !inet_ntop(a->sa.sa_family, ip, buf, SOCK_ADDR_TEXT_MAX))
		snprintf(buf, SOCK_ADDR_TEXT_MAX, "unknown");
	return buf;
}

const char *sock_addr_text(const struct sock_addr *a, char buf[static SOCK_ADDR_TEXT_MAX])
{
	char host[SOCK_ADDR_TEXT_MAX];

	sock_addr_host(a, host);
	if (a->len > 0 && a->sa.sa_family == AF_INET)
		snprintf(buf, SOCK_ADDR_TEXT_MAX, "%.46s:%u", host, sock_addr_port(a));
	else if (a->len > 0 && a->sa.sa_family == AF_INET6)
		snprintf(buf, SOCK_ADDR_TEXT_MAX, "[%.46s]:%u", host, sock_addr_port(a));
	else
		memcpy(buf, host, sizeof(host));
	return buf;
}

uint16_t sock_addr_port(const struct sock_addr *a)
{
	if (a->len > 0 && a->sa.sa_family == AF_INET)
		return ntohs(a->in.sin_port);
	if (a->len > 0 && a->sa.sa_family == AF_INET6)
		return ntohs(a->in6.sin6_port);
	return 0;
}

bool sock_addr_eq(const struct sock_addr *a, const struct sock_addr *b)
{
	if (a->len == 0 || b->len == 0)
		return a->len == b->len;
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_port == b->in.sin_port &&
		       a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	if (a->sa.sa_family == AF_INET6)
		return a->in6.sin6_port == b->in6.sin6_port &&
		       a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
		       memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
	return a->len == b->len && memcmp(&a->ss, &b->ss, a->len) == 0;
}

bool sock_addr_is_loopback(const struct sock_addr *a)
{
	if (a->len == 0)
		return false;
	if (a->sa.sa_family == AF_INET)
		return (ntohl(a->in.sin_addr.s_addr) >> 24) == 127;
	if (a->sa.sa_family == AF_INET6) {
		const struct in6_addr *ip = &a->in6.sin6_addr;

		return IN6_IS_ADDR_LOOPBACK(ip) ||
		       (IN6_IS_ADDR_V4MAPPED(ip) && ip->s6_addr[12] == 127);
	}
	return a->sa.sa_family == AF_UNIX;
}

bool sock_addr_is_any(const struct sock_addr *a)
{
	if (a->len == 0)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_addr.s_addr == htonl(INADDR_ANY);
	return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

void sock_addr_set_port(struct sock_addr *a, uint16_t port)
{
	if (a->sa.sa_family == AF_INET)
		a->in.sin_port = htons(port);
	else if (a->sa.sa_family == AF_INET6)
		a->in6.sin6_port = htons(port);
}

bool sock_addr_is_local(const struct sock_addr *a)
{
	struct sock_addr to = *a, from = { 0 };
	int fd = a->len > 0 ? socket(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;

	if (fd < 0)
		return false;
	bool known = connect(fd, &to.sa, to.len) == 0 && sock_local_addr(fd, &from) == 0;

	close(fd);
	sock_addr_set_port(&to, sock_addr_port(&from));
	return known && sock_addr_eq(&to, &from);
}

/* ---- listening ----------------------------------------------------------- */

static int set_one(int fd, int level, int option)
{
	int one = 1;

	return setsockopt(fd, level, option, &one, sizeof(one));
}

static int tune_listener(int fd, const struct sock_addr *a, unsigned flags)
{
	if (set_one(fd, SOL_SOCKET, SO_REUSEADDR) < 0 || set_one(fd, IPPROTO_TCP, TCP_NODELAY) < 0)
		return -1;
	if (a->sa.sa_family == AF_INET6 && set_one(fd, IPPROTO_IPV6, IPV6_V6ONLY) < 0)
		return -1;
	if ((flags & SOCK_REUSEPORT) != 0)
		return set_one(fd, SOL_SOCKET, SO_REUSEPORT);
	return 0;
}

int sock_listen_tcp(const struct sock_addr *a, unsigned flags, struct err *err)
{
	char text[SOCK_ADDR_TEXT_MAX];

	sock_addr_text(a, text);
	if (a->len == 0 || (a->sa.sa_family != AF_INET && a->sa.sa_family != AF_INET6))
		return err_set(err, -EAFNOSUPPORT, "cannot listen on %s: it is no TCP address",
			       text);
	int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_set(err, -errno, "cannot make a socket for %s: %s", text,
			       err_code_name(-errno));
	if (tune_listener(fd, a, flags) < 0 || bind(fd, &a->sa, a->len) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		int code = -errno;

		close(fd);
		return err_set(err, code, "cannot listen on %s: %s", text, err_code_name(code));
	}
	return fd;
}

/* C5: what a crash left behind does not prevent a start, but a live server is never replaced. */
static int remove_stale(const char *path, const struct sock_addr *a, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_set(err, -errno, "cannot look at %s: %s", path,
						     err_code_name(-errno));
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, -EEXIST,
			       "cannot listen on %s: a file that is no socket is there", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_set(err, -errno, "cannot make a socket: %s", err_code_name(-errno));
	bool stale = connect(fd, &a->sa, a->len) < 0 && errno == ECONNREFUSED;

	close(fd);
	if (!stale)
		return err_set(err, -EADDRINUSE, "cannot listen on %s: another process serves it",
			       path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(err, -errno, "cannot remove the stale socket %s: %s", path,
			       err_code_name(-errno));
	return 0;
}

static int bind_private(int fd, const struct sock_addr *a)
{
	mode_t old = umask(0177);
	int r = bind(fd, &a->sa, a->len);
	int code = errno;

	umask(old);
	errno = code;
	return r;
}

int sock_listen_unix(const char *path, mode_t mode, gid_t gid, struct err *err)
{
	struct sock_addr a = { 0 };

	if (path[0] != '/' || !parse_unix(str_c(path), &a))
		return err_set(err, -EINVAL,
			       "cannot listen on %s: the path must be absolute and shorter "
			       "than %zu bytes",
			       path, sizeof(a.un.sun_path));
	int r = remove_stale(path, &a, err);

	if (r < 0)
		return r;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_set(err, -errno, "cannot make a socket: %s", err_code_name(-errno));
	if (bind_private(fd, &a) < 0 || (gid != (gid_t)-1 && chown(path, (uid_t)-1, gid) < 0) ||
	    chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0) {
		int code = -errno;

		close(fd);
		return err_set(err, code, "cannot listen on %s: %s", path, err_code_name(code));
	}
	return fd;
}

/* ---- connections --------------------------------------------------------- */

static bool is_tcp(const struct sock_addr *a)
{
	return a->sa.sa_family == AF_INET || a->sa.sa_family == AF_INET6;
}

int sock_connect(const struct sock_addr *a, struct err *err)
{
	char text[SOCK_ADDR_TEXT_MAX];

	if (a->len == 0)
		return err_set(err, -EINVAL, "cannot connect: the address is empty");
	int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_set(err, -errno, "cannot make a socket for %s: %s",
			       sock_addr_text(a, text), err_code_name(-errno));
	if (is_tcp(a))
		set_one(fd, IPPROTO_TCP, TCP_NODELAY);
	if (connect(fd, &a->sa, a->len) < 0 && errno != EINPROGRESS) {
		int code = -errno;

		close(fd);
		return err_set(err, code, "cannot connect to %s: %s", sock_addr_text(a, text),
			       err_code_name(code));
	}
	return fd;
}

int sock_connect_unix(const char *path, struct err *err)
{
	struct sock_addr a = { 0 };

	if (path[0] != '/' || !parse_unix(str_c(path), &a))
		return err_set(err, -EINVAL,
			       "cannot connect to %s: the path must be absolute and shorter "
			       "than %zu bytes",
			       path, sizeof(a.un.sun_path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_set(err, -errno, "cannot make a socket: %s", err_code_name(-errno));
	if (connect(fd, &a.sa, a.len) < 0 || fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
		int code = -errno;

		close(fd);
		return err_set(err, code, "cannot connect to %s: %s", path, err_code_name(code));
	}
	return fd;
}

bool sock_listens_for(int fd, const struct sock_addr *a)
{
	struct sock_addr have;
	int listening = 0, v6only = 1;
	socklen_t n = sizeof(listening);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) < 0 || !listening ||
	    sock_local_addr(fd, &have) < 0)
		return false;
	if (sock_addr_eq(&have, a))
		return true;
	n = sizeof(v6only);
	return have.sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&have.in6.sin6_addr) &&
	       getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &n) == 0 && !v6only &&
	       a->sa.sa_family == AF_INET && a->in.sin_addr.s_addr == htonl(INADDR_ANY) &&
	       sock_addr_port(a) == sock_addr_port(&have);
}

int sock_accept(int fd, struct sock_addr *ret_peer)
{
	int r;

	*ret_peer = (struct sock_addr){ 0 };
	do {
		ret_peer->len = sizeof(ret_peer->ss);
		r = accept4(fd, &ret_peer->sa, &ret_peer->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (r < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (r < 0) {
		ret_peer->len = 0;
		return -errno;
	}
	return r;
}

void sock_no_delay(int fd)
{
	(void)set_one(fd, IPPROTO_TCP, TCP_NODELAY);
}

int sock_error(int fd)
{
	int code = 0;
	socklen_t n = sizeof(code);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &n) < 0)
		return -errno;
	return -code;
}

int sock_local_addr(int fd, struct sock_addr *ret)
{
	*ret = (struct sock_addr){ .len = sizeof(ret->ss) };
	if (getsockname(fd, &ret->sa, &ret->len) == 0)
		return 0;
	ret->len = 0;
	return -errno;
}

int sock_peer_addr(int fd, struct sock_addr *ret)
{
	*ret = (struct sock_addr){ .len = sizeof(ret->ss) };
	if (getpeername(fd, &ret->sa, &ret->len) == 0)
		return 0;
	ret->len = 0;
	return -errno;
}

bool sock_original_dst(int fd, struct sock_addr *ret)
{
	struct sock_addr local;

	if (sock_local_addr(fd, &local) < 0 || !is_tcp(&local))
		return false;
	bool v6 = local.sa.sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&local.in6.sin6_addr);

	*ret = (struct sock_addr){ .len = v6 ? sizeof(ret->in6) : sizeof(ret->in) };
	if (getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP,
		       v6 ? IP6T_SO_ORIGINAL_DST_ : SO_ORIGINAL_DST, &ret->sa, &ret->len) < 0)
		return false;
	/* A connection that conntrack knows but nobody redirected has our own address here. */
	return !sock_addr_eq(ret, &local);
}

/* ---- peers of Unix sockets ----------------------------------------------- */

int sock_peer_cred(int fd, struct sock_peer *ret)
{
	struct ucred cred;
	socklen_t n = sizeof(cred);

	*ret = (struct sock_peer){ .uid = (uid_t)-1, .gid = (gid_t)-1, .pid = -1 };
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
		return -errno;
	ret->uid = cred.uid;
	ret->gid = cred.gid;
	ret->pid = cred.pid;
	sd_unit_of_peer(fd, ret->unit, sizeof(ret->unit));
	return 0;
}

static bool group_id(const char *name, gid_t *ret)
{
	for (size_t n = 1024; n <= GROUP_BUF_MAX; n *= 4) {
		_cleanup_free_ char *buf = kv_malloc(n);
		struct group g, *found = NULL;
		int r = getgrnam_r(name, &g, buf, n, &found);

		if (r == ERANGE)
			continue;
		if (r != 0 || !found)
			return false;
		*ret = g.gr_gid;
		return true;
	}
	return false;
}

static bool user_in_group(const char *user, gid_t primary, gid_t gid)
{
	for (int n = 64; n <= PEER_GROUPS_MAX;) {
		_cleanup_free_ gid_t *groups = kv_malloc((size_t)n * sizeof(*groups));
		int have = n;

		if (getgrouplist(user, primary, groups, &have) < 0) {
			n = have > n ? have : n * 2;
			continue;
		}
		for (int i = 0; i < have; i++)
			if (groups[i] == gid)
				return true;
		return false;
	}
	return false;
}

bool sock_peer_in_group(const struct sock_peer *p, const char *group)
{
	char buf[4096];
	struct passwd pw, *found = NULL;
	gid_t gid;

	if (p->uid == (uid_t)-1 || !group_id(group, &gid))
		return false;
	if (p->gid == gid)
		return true;
	if (getpwuid_r(p->uid, &pw, buf, sizeof(buf), &found) != 0 || !found)
		return false;
	return user_in_group(pw.pw_name, pw.pw_gid, gid);
}
