/* SPDX-License-Identifier: Apache-2.0 */
/* sock: address text, listeners, connections, peers of Unix and TCP sockets. */
#include <config.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "io/sock.h"

#include "unit.h"

static struct sock_addr addr(const char *host, uint16_t port)
{
	struct sock_addr a;

	ck_assert_msg(sock_addr_parse(str_c(host), port, &a), "%s", host);
	return a;
}

START_TEST(addresses_as_text)
{
	static const struct { const char *in, *text, *host; } good[] = {
		{ "127.0.0.1", "127.0.0.1:80", "127.0.0.1" },
		{ "::1", "[::1]:80", "::1" },
		{ "[2001:DB8:0::7]", "[2001:db8::7]:80", "2001:db8::7" },
		{ "::ffff:10.0.0.1", "[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1" },
		{ "unix:/run/x.sock", "unix:/run/x.sock", "unix:/run/x.sock" },
		{ "unix:///run/x.sock", "unix:/run/x.sock", "unix:/run/x.sock" },
		{ "unix://@name", "unix://@name", "unix://@name" },
		{ "unix:@name", "unix://@name", "unix://@name" },
	};
	char buf[SOCK_ADDR_TEXT_MAX];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct sock_addr a = addr(good[i].in, 80);

		ck_assert_str_eq(sock_addr_text(&a, buf), good[i].text);
		ck_assert_str_eq(sock_addr_host(&a, buf), good[i].host);
		ck_assert_uint_eq(sock_addr_port(&a), a.sa.sa_family == AF_UNIX ? 0 : 80);
	}
	struct sock_addr none = { 0 };

	ck_assert_str_eq(sock_addr_text(&none, buf), "unknown");
}
END_TEST

START_TEST(addresses_that_are_none)
{
	static const char *const bad[] = {
		"", "localhost", "127.0.0.1:80", "127.1", "0127.0.0.1", " 127.0.0.1", "127.0.0.1 ",
		"[127.0.0.1]", "[::1", "::1]", "[]", "fe80::1%eth0", "::g", "1.2.3.4.5", "unix:",
		"unix:x", "unix://x", "unix://", "unix:/", "unix://@", "UNIX:/run/x",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999",
	};
	struct sock_addr a;
	char longer[200] = "unix:/";

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!sock_addr_parse(str_c(bad[i]), 80, &a), "%s", bad[i]);
	ck_assert(!sock_addr_parse(STR("127.0.0.1\0x"), 80, &a));
	ck_assert(!sock_addr_parse(STR("unix:/run/\0x"), 80, &a));
	memset(longer + 6, 'x', 150);
	ck_assert(!sock_addr_parse(str_c(longer), 0, &a));
	longer[5 + 107] = '\0';                 /* the longest path that fits with its NUL */
	ck_assert(sock_addr_parse(str_c(longer), 0, &a));
}
END_TEST

START_TEST(addresses_compared)
{
	struct sock_addr a = addr("127.0.0.1", 80), b = addr("127.0.0.1", 80), none = { 0 };

	memset(b.in.sin_zero, 1, sizeof(b.in.sin_zero));
	ck_assert(sock_addr_eq(&a, &b));
	b.in.sin_port = htons(81);
	ck_assert(!sock_addr_eq(&a, &b));
	ck_assert(!sock_addr_eq(&a, &none));
	ck_assert(sock_addr_eq(&none, &none));
	a = addr("unix:/a", 0);
	b = addr("unix:/b", 0);
	ck_assert(!sock_addr_eq(&a, &b));
	ck_assert(sock_addr_eq(&a, &a));
	a = addr("2001:db8::1", 80);
	b = addr("2001:db8::1", 80);
	ck_assert(sock_addr_eq(&a, &b));
	b.in6.sin6_scope_id = 3;
	ck_assert(!sock_addr_eq(&a, &b));
	ck_assert(!sock_addr_is_loopback(&a));
	a = addr("unix:/a", 0);
	ck_assert(sock_addr_is_loopback(&a));
	ck_assert(!sock_addr_is_loopback(&none));
	a = addr("127.9.9.9", 0);
	ck_assert(sock_addr_is_loopback(&a));
	a = addr("::ffff:127.0.0.1", 0);
	ck_assert(sock_addr_is_loopback(&a));
	a = addr("128.0.0.1", 0);
	ck_assert(!sock_addr_is_loopback(&a));
	a = addr("::2", 0);
	ck_assert(!sock_addr_is_loopback(&a));
}
END_TEST

/* ---- TCP ----------------------------------------------------------------- */

static int must(int fd, struct err *err)
{
	ck_assert_msg(fd >= 0, "%s", err->text);
	return fd;
}

static void has_flags(int fd)
{
	ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}

static void has_nodelay(int fd)
{
	int on = 0;
	socklen_t n = sizeof(on);

	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
	ck_assert_int_ne(on, 0);
}

struct link {
	int listener, client, server;
	struct sock_addr at, peer;
};

static void wait_for(int fd, short what)
{
	struct pollfd p = { .fd = fd, .events = what };

	ck_assert_int_eq(poll(&p, 1, 30000), 1);
}

static void link_up(struct link *l, const char *host)
{
	struct sock_addr any = addr(host, 0);
	struct err err;

	l->listener = must(sock_listen_tcp(&any, 0, &err), &err);
	ck_assert_int_eq(sock_local_addr(l->listener, &l->at), 0);
	l->client = must(sock_connect(&l->at, &err), &err);
	wait_for(l->client, POLLOUT);
	ck_assert_int_eq(sock_error(l->client), 0);
	wait_for(l->listener, POLLIN);
	l->server = sock_accept(l->listener, &l->peer);
	ck_assert_int_ge(l->server, 0);
}

static void link_down(struct link *l)
{
	close(l->listener);
	close(l->client);
	close(l->server);
}

START_TEST(tcp_end_to_end)
{
	struct link l;
	struct sock_addr a;

	link_up(&l, "127.0.0.1");
	ck_assert_int_eq(sock_accept(l.listener, &a), -EAGAIN);
	ck_assert_uint_eq(a.len, 0);
	has_flags(l.listener);
	has_flags(l.client);
	has_flags(l.server);
	has_nodelay(l.client);
	has_nodelay(l.server);
	ck_assert_int_eq(sock_peer_addr(l.client, &a), 0);
	ck_assert(sock_addr_eq(&a, &l.at));
	ck_assert_int_eq(sock_local_addr(l.client, &a), 0);
	ck_assert(sock_addr_eq(&a, &l.peer));
	ck_assert(!sock_original_dst(l.server, &a));
	link_down(&l);
	ck_assert_int_eq(sock_local_addr(-1, &a), -EBADF);
}
END_TEST

START_TEST(a_taken_port_is_told)
{
	struct sock_addr any = addr("127.0.0.1", 0), at;
	struct err err;
	char text[SOCK_ADDR_TEXT_MAX];
	int fd = must(sock_listen_tcp(&any, 0, &err), &err);

	ck_assert_int_eq(sock_local_addr(fd, &at), 0);
	ck_assert_int_eq(sock_listen_tcp(&at, 0, &err), -EADDRINUSE);
	ck_assert_msg(strstr(err.text, sock_addr_text(&at, text)), "%s", err.text);
	close(fd);
	struct sock_addr un = addr("unix:/x", 0);

	ck_assert_int_eq(sock_listen_tcp(&un, 0, &err), -EAFNOSUPPORT);
}
END_TEST

START_TEST(listeners_share_a_port_when_asked)
{
	struct sock_addr any = addr("127.0.0.1", 0), at;
	struct err err;
	int one = must(sock_listen_tcp(&any, SOCK_REUSEPORT, &err), &err);

	ck_assert_int_eq(sock_local_addr(one, &at), 0);
	int two = must(sock_listen_tcp(&at, SOCK_REUSEPORT, &err), &err);

	close(one);
	close(two);
}
END_TEST

START_TEST(nobody_there)
{
	struct sock_addr any = addr("127.0.0.1", 0), at;
	struct err err;
	int fd = must(sock_listen_tcp(&any, 0, &err), &err);

	ck_assert_int_eq(sock_local_addr(fd, &at), 0);
	close(fd);
	int c = sock_connect(&at, &err);

	if (c >= 0) {
		wait_for(c, POLLOUT);
		ck_assert_int_eq(sock_error(c), -ECONNREFUSED);
		close(c);
	} else {
		ck_assert_int_eq(c, -ECONNREFUSED);
	}
}
END_TEST

static void owner_is_me(const char *host)
{
	struct link l;
	struct sock_owner o;

	link_up(&l, host);
	ck_assert(sock_tcp_owner(&l.peer, &l.at, &o));
	ck_assert_uint_eq(o.uid, getuid());
	/* The other end of a connection that does not exist. */
	struct sock_addr other = l.peer;

	other.in.sin_port = htons((uint16_t)(ntohs(l.peer.in.sin_port) ^ 1));
	ck_assert(!sock_tcp_owner(&other, &l.at, &o));
	ck_assert_uint_eq(o.uid, (uid_t)-1);
	link_down(&l);
}

START_TEST(the_kernel_names_the_caller)
{
	struct sock_addr un = addr("unix:/x", 0), v4 = addr("127.0.0.1", 1), v6 = addr("::1", 1);
	struct sock_owner o;

	owner_is_me("127.0.0.1");
	/* A socket of both families shows as IPv4-mapped; the kernel files it under IPv4. */
	struct link l;
	struct sock_addr mapped = addr("::ffff:127.0.0.1", 0);

	link_up(&l, "127.0.0.1");
	mapped.in6.sin6_port = l.peer.in.sin_port;
	ck_assert(sock_tcp_owner(&mapped, &l.at, &o));
	link_down(&l);
	ck_assert(!sock_tcp_owner(&un, &v4, &o));
	ck_assert(!sock_tcp_owner(&v4, &v6, &o));
}
END_TEST

/* Each thread asks through its own socket, and takes it along. */
static void *ask_owner(void *arg)
{
	const struct link *l = arg;
	struct sock_owner o;

	for (int i = 0; i < 100; i++) {
		ck_assert(sock_tcp_owner(&l->peer, &l->at, &o));
		ck_assert_uint_eq(o.uid, getuid());
	}
	return NULL;
}

static int open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 1000; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(threads_ask_for_themselves)
{
	pthread_t t[4];
	struct link l;

	link_up(&l, "127.0.0.1");
	int before = open_descriptors();

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, ask_owner, &l), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	ck_assert_int_eq(open_descriptors(), before);
	link_down(&l);
}
END_TEST

START_TEST(the_kernel_names_the_caller_v6)
{
	struct sock_addr any = addr("::1", 0);
	int fd = sock_listen_tcp(&any, 0, NULL);

	if (fd < 0)
		return;         /* no IPv6 on this machine */
	close(fd);
	owner_is_me("::1");
}
END_TEST

/* ---- Unix ---------------------------------------------------------------- */

#define DIR_PATTERN "/tmp/kvmesh-test-sock-XXXXXX"
static char dir[] = DIR_PATTERN;
static char path[sizeof(dir) + 8];

static void in_dir(void)
{
	memcpy(dir, DIR_PATTERN, sizeof(dir));
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
}

static void out_dir(void)
{
	unlink(path);
	rmdir(dir);
}

START_TEST(unix_end_to_end)
{
	struct err err;
	struct sock_addr peer;
	struct sock_peer who;
	struct stat st;

	in_dir();
	int l = must(sock_listen_unix(path, 0660, (gid_t)-1, &err), &err);

	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0660);
	has_flags(l);
	int c = must(sock_connect_unix(path, &err), &err);
	int s = sock_accept(l, &peer);

	has_flags(c);
	has_flags(s);
	char text[SOCK_ADDR_TEXT_MAX];

	ck_assert_str_eq(sock_addr_text(&peer, text), "unix:");         /* clients have no name */
	ck_assert(!sock_original_dst(s, &peer));
	ck_assert_int_eq(sock_peer_cred(s, &who), 0);
	ck_assert_uint_eq(who.uid, getuid());
	ck_assert_uint_eq(who.gid, getgid());
	ck_assert_int_eq(who.pid, getpid());
	ck_assert_int_eq(sock_peer_cred(-1, &who), -EBADF);
	ck_assert_uint_eq(who.uid, (uid_t)-1);
	close(c);
	close(s);
	close(l);
	out_dir();
}
END_TEST

START_TEST(unix_path_taken)
{
	struct err err;

	in_dir();
	int l = must(sock_listen_unix(path, 0600, (gid_t)-1, &err), &err);

	/* Somebody serves it. */
	ck_assert_int_eq(sock_listen_unix(path, 0600, (gid_t)-1, &err), -EADDRINUSE);
	close(l);
	/* Nobody does any more: what a crash leaves behind. */
	l = must(sock_listen_unix(path, 0600, (gid_t)-1, &err), &err);
	close(l);
	unlink(path);
	/* A file is never removed. */
	l = open(path, O_CREAT | O_WRONLY, 0600);
	close(l);
	ck_assert_int_eq(sock_listen_unix(path, 0600, (gid_t)-1, &err), -EEXIST);
	ck_assert_int_eq(access(path, F_OK), 0);
	out_dir();
}
END_TEST

START_TEST(unix_path_refused)
{
	struct err err;
	char longer[300];

	memset(longer, '/', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	ck_assert_int_eq(sock_listen_unix(longer, 0600, (gid_t)-1, &err), -EINVAL);
	ck_assert_int_eq(sock_connect_unix("relative", &err), -EINVAL);
	ck_assert_int_eq(sock_connect_unix("/nonexistent/kvmesh.sock", &err), -ENOENT);
	ck_assert_msg(strstr(err.text, "/nonexistent/kvmesh.sock"), "%s", err.text);
}
END_TEST

START_TEST(groups_of_a_peer)
{
	struct sock_peer root = { .uid = 0, .gid = 12345 },
			 nobody = { .uid = 4000000001u, .gid = 0 };
	struct sock_peer unknown = { .uid = (uid_t)-1, .gid = 0 };

	ck_assert(sock_peer_in_group(&root, "root"));           /* by the user database */
	ck_assert(sock_peer_in_group(&nobody, "root"));         /* by the group of the process */
	nobody.gid = 4000000001u;
	ck_assert(!sock_peer_in_group(&nobody, "root"));
	ck_assert(!sock_peer_in_group(&root, "no-such-group-of-kvmesh"));
	ck_assert(!sock_peer_in_group(&unknown, "root"));
}
END_TEST

UNIT_MAIN("sock", addresses_as_text, addresses_that_are_none, addresses_compared, tcp_end_to_end,
	  a_taken_port_is_told, listeners_share_a_port_when_asked, nobody_there,
	  the_kernel_names_the_caller, threads_ask_for_themselves, the_kernel_names_the_caller_v6,
	  unix_end_to_end, unix_path_taken, unix_path_refused, groups_of_a_peer)
