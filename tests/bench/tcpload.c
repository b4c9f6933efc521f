/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcpload: both ends of an opaque TCP service for tests/bench. A client sends eight bytes, how much it
 * wants (host order), the server sends that much and reads the next wish.
 *   tcpload serve PORT                    until it is killed
 *   tcpload pull PORT CLIENTS SECONDS     one endless wish a client; prints the bytes that came
 *   tcpload connect PORT CLIENTS SECONDS  a connection for every wish of 64 bytes; prints how many
 * A line of output is JSON; failed counts what ended early.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SLOTS_MAX 4096
#define SMALL 64
#define PIECE (256 * 1024)
#define LATENCIES_MAX (1 << 20)

struct slot {
	int fd;
	uint64_t left;          /* to send (server) or to receive (client) */
	uint64_t since_us;
	bool asked, writing;
};

static struct slot slots[SLOTS_MAX];
static char piece[PIECE];
static uint32_t latencies[LATENCIES_MAX];
static int loop;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static struct sockaddr_in local(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons((uint16_t)port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void watch(struct slot *s, int op, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = s };

	if (epoll_ctl(loop, op, s->fd, &e) != 0)
		die("epoll_ctl");
}

/* ---- server --------------------------------------------------------------------------------- */
static void serve_drop(struct slot *s)
{
	close(s->fd);
	s->fd = -1;
}

/* False: the connection is gone. */
static bool serve_send(struct slot *s)
{
	while (s->left > 0) {
		size_t n = s->left < PIECE ? (size_t)s->left : PIECE;
		ssize_t sent = send(s->fd, piece, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN)
			break;
		if (sent <= 0) {
			serve_drop(s);
			return false;
		}
		s->left -= (uint64_t)sent;
	}
	if ((s->left > 0) != s->writing) {
		s->writing = s->left > 0;
		watch(s, EPOLL_CTL_MOD, s->writing ? EPOLLOUT : EPOLLIN);
	}
	return true;
}

/* A wish comes in one segment: it is eight bytes and the first or the only thing under way. */
static void serve_ready(struct slot *s)
{
	uint64_t want;

	if (s->writing) {
		serve_send(s);
		return;
	}
	ssize_t n = recv(s->fd, &want, sizeof(want), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n != sizeof(want)) {
		serve_drop(s);
		return;
	}
	s->left = want;
	serve_send(s);
}

static void serve_accept(int listener)
{
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		if (slots[i].fd >= 0)
			continue;
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		slots[i] = (struct slot){ .fd = fd };
		watch(&slots[i], EPOLL_CTL_ADD, EPOLLIN);
	}
}

static void serve(int port)
{
	struct sockaddr_in a = local(port);
	struct slot listener = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0) };

	setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(listener.fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(listener.fd, 1024) != 0)
		die("listen");
	watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
	for (;;) {
		struct epoll_event e[64];
		int n = epoll_wait(loop, e, 64, -1);

		for (int i = 0; i < n; i++) {
			if (e[i].data.ptr == &listener)
				serve_accept(listener.fd);
			else
				serve_ready(e[i].data.ptr);
		}
	}
}

/* ---- clients -------------------------------------------------------------------------------- */
static void client_open(struct slot *s, int port)
{
	struct sockaddr_in a = local(port);

	*s = (struct slot){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0),
			    .since_us = now_us() };
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	if (connect(s->fd, (struct sockaddr *)&a, sizeof(a)) != 0 && errno != EINPROGRESS)
		die("connect");
	watch(s, EPOLL_CTL_ADD, EPOLLOUT);
}

static void client_ask(struct slot *s, uint64_t want)
{
	if (send(s->fd, &want, sizeof(want), MSG_NOSIGNAL) != sizeof(want))
		return; /* the next recv tells */
	s->left = want;
	s->asked = true;
	watch(s, EPOLL_CTL_MOD, EPOLLIN);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void client(int port, size_t clients, uint64_t want, uint64_t for_us)
{
	uint64_t start = now_us(), bytes = 0, done = 0, failed = 0;

	for (size_t i = 0; i < clients; i++)
		client_open(&slots[i], port);
	while (now_us() - start < for_us) {
		struct epoll_event e[64];
		int n = epoll_wait(loop, e, 64, 100);

		for (int i = 0; i < n; i++) {
			struct slot *s = e[i].data.ptr;

			if (!s->asked && (e[i].events & EPOLLOUT)) {
				client_ask(s, want);
				continue;
			}
			ssize_t got = recv(s->fd, piece, PIECE, 0);

			if (got < 0 && errno == EAGAIN)
				continue;
			if (got > 0) {
				bytes += (uint64_t)got;
				s->left -= (uint64_t)got;
				if (s->left > 0)
					continue;
				latencies[done++ % LATENCIES_MAX] = (uint32_t)(now_us() - s->since_us);
			} else {
				failed++;
			}
			close(s->fd);
			client_open(s, port);
		}
	}
	size_t n = done < LATENCIES_MAX ? (size_t)done : LATENCIES_MAX;

	qsort(latencies, n, sizeof(latencies[0]), by_value);
	printf("{\"bytes\": %lu, \"connections\": %lu, \"failed\": %lu, \"seconds\": %.3f, "
	       "\"p50_us\": %u, \"p99_us\": %u}\n",
	       bytes, done, failed, (double)(now_us() - start) / 1e6, n ? latencies[n / 2] : 0,
	       n ? latencies[n * 99 / 100] : 0);
}

int main(int argc, char **argv)
{
	long number[3] = { 0 };

	for (int i = 2; i < argc && i < 5; i++)
		number[i - 2] = strtol(argv[i], NULL, 10);
	loop = epoll_create1(EPOLL_CLOEXEC);
	for (size_t i = 0; i < SLOTS_MAX; i++)
		slots[i].fd = -1;
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve((int)number[0]);
	if (argc != 5 || number[1] < 1 || number[1] > SLOTS_MAX || number[2] < 1) {
		fprintf(stderr, "usage: tcpload serve PORT | pull|connect PORT CLIENTS SECONDS\n");
		return 64;
	}
	bool pull = strcmp(argv[1], "pull") == 0;

	client((int)number[0], (size_t)number[1], pull ? UINT64_C(1) << 60 : SMALL,
	       (uint64_t)number[2] * 1000000);
	return 0;
}
