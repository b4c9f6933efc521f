/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a small request costs once everything is warm: one read and one write for each hop and
 * direction, no change of what is waited for, no memory from malloc. This program stands in front
 * of the C library's functions and counts what the workers call.
 */
#define _GNU_SOURCE
#include "config.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proxy_one.h"
#include "proxy_two.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_MALLOC 0                 /* the sanitizer stands there already */
#else
#define COUNTS_MALLOC 1
#endif

#define WARM 100
#define N 400
#define STRAY (N / 20)                  /* timers, the statistics of other threads */

static atomic_long n_reads, n_writes, n_interests, n_mallocs;

/* ---- counting -------------------------------------------------------------------------------- */

static bool is_worker(void)
{
	static _Thread_local bool known;
	char name[16] = "";

	if (!known)
		known = prctl(PR_GET_NAME, name) == 0 && strncmp(name, "worker/", 7) == 0;
	return known;
}

static void count(atomic_long *n)
{
	if (is_worker())
		atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
	count(&n_reads);
	return syscall(SYS_recvfrom, fd, p, n, flags, NULL, NULL);
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	count(&n_reads);
	return syscall(SYS_recvmsg, fd, m, flags);
}

ssize_t readv(int fd, const struct iovec *v, int n)
{
	count(&n_reads);
	return syscall(SYS_readv, fd, v, n);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	count(&n_writes);
	return syscall(SYS_sendto, fd, p, n, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	count(&n_writes);
	return syscall(SYS_sendmsg, fd, m, flags);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	count(&n_writes);
	return syscall(SYS_writev, fd, v, n);
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *e)
{
	count(&n_interests);
	return (int)syscall(SYS_epoll_ctl, epfd, op, fd, e);
}

#if COUNTS_MALLOC
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);

void *malloc(size_t n)
{
	count(&n_mallocs);
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	count(&n_mallocs);
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	count(&n_mallocs);
	return __libc_realloc(p, n);
}
#endif

/* ---- a service that answers in one piece ------------------------------------------------------ */

static void answer_all(int fd, void *arg)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";
	char request[4096];
	size_t n = 0;
	ssize_t r;

	(void)arg;
	while ((r = read(fd, request + n, sizeof(request) - 1 - n)) > 0) {
		n += (size_t)r;
		request[n] = '\0';
		if (!strstr(request, "\r\n\r\n"))
			continue;
		n = 0;
		if (write(fd, answer, sizeof(answer) - 1) < 0)
			return;
	}
}

/* ---- what one request costs ------------------------------------------------------------------ */

struct cost {
	long reads, writes, interests, mallocs;
};

static struct cost so_far(void)
{
	return (struct cost){ atomic_load(&n_reads), atomic_load(&n_writes),
			      atomic_load(&n_interests), atomic_load(&n_mallocs) };
}

static void ask(int fd, int times)
{
	struct answer a;

	for (int i = 0; i < times; i++) {
		get(fd, "/ok", &a);
		ck_assert_uint_eq(a.status, 200);
		answer_done(&a);
	}
}

static struct cost cost_of_requests(uint16_t port)
{
	int fd = client_dial(port);

	ask(fd, WARM);
	struct cost before = so_far();

	ask(fd, N);
	struct cost after = so_far();

	close(fd);
	return (struct cost){ after.reads - before.reads, after.writes - before.writes,
			      after.interests - before.interests, after.mallocs - before.mallocs };
}

static void check(long n, long want, const char *what)
{
	ck_assert_msg(n <= want + STRAY, "%ld %s for %d requests, %ld expected", n, what, N, want);
}

START_TEST(one_hop)
{
	struct backend *app = backend_start_raw(answer_all, NULL);
	struct net net;

	net_start(&net, 1);
	net_publish(&net, ONE_SERVICE(""), backend_port(app));
	struct cost c = cost_of_requests(net_port(&net, "HTTP_PROXY"));

	check(c.reads, 2 * N, "reads");
	check(c.writes, 2 * N, "writes");
	check(c.interests, 0, "epoll_ctl");
	check(c.mallocs, 0, "allocations");
	ck_assert_int_ge(c.reads, 2 * N);       /* they are seen at all */
	ck_assert_int_ge(c.writes, 2 * N);
	net_stop(&net);
	backend_stop(app);
}
END_TEST

/*
 * Four records, and for each OpenSSL takes its buffer and two small pieces anew: the price of an
 * idle connection that holds none. Requests that share records share them.
 */
#define TLS_MALLOCS 12

START_TEST(two_hops_with_mtls_between)
{
	struct mesh m;

	m.ca = net_ca_new();
	mesh_setup_with(&m, m.ca, backend_start_raw(answer_all, NULL), "HTTP", 2);
	struct cost c = cost_of_requests(net_port(&m.client, "HTTP_PROXY"));

	check(c.reads, 4 * N, "reads");
	check(c.writes, 4 * N, "writes");
	check(c.interests, 0, "epoll_ctl");
	check(c.mallocs, TLS_MALLOCS * N, "allocations");
	ck_assert_int_ge(c.reads, 4 * N);
	mesh_teardown(&m);
}
END_TEST

UNIT_MAIN("proxy_hot", one_hop, two_hops_with_mtls_between)
