/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openload: HTTP/1.1 GETs at a fixed rate, whatever the answers do (open loop), for tests/bench.
 * Request i is meant to leave at start + i / RATE; its latency counts from then, also when it had to
 * wait for a free connection: a proxy that stalls for 50 ms is charged for every request due meanwhile.
 *   openload PORT HOST PATH RATE CONNECTIONS SECONDS
 * Prints one line of JSON; answers must carry Content-Length.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1024
#define HEAD_MAX 8192

struct conn {
	int fd;
	uint64_t due_ns;
	size_t have;            /* bytes of the head so far */
	uint64_t body_left;
	bool in_body;
	char head[HEAD_MAX];
};

static struct conn conns[CONNECTIONS_MAX];
static struct conn *idle[CONNECTIONS_MAX];
static size_t n_idle;
static uint32_t *latencies;     /* µs, of the answers so far */
static uint64_t n_done, n_failed;
static char request[1024];
static int loop, port;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void conn_open(struct conn *c)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };

	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	c->have = 0;
	c->in_body = false;
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof(a)) != 0)
		die("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	if (epoll_ctl(loop, EPOLL_CTL_ADD, c->fd, &e) != 0)
		die("epoll_ctl");
	idle[n_idle++] = c;
}

static void conn_failed(struct conn *c)
{
	n_failed++;
	close(c->fd);
	conn_open(c);
}

static void conn_answered(struct conn *c)
{
	latencies[n_done++] = (uint32_t)((now_ns() - c->due_ns) / 1000);
	c->have = 0;
	c->in_body = false;
	idle[n_idle++] = c;
}

/* The head is complete: its status and length, then what of the body came with it. */
static bool head_read(struct conn *c, const char *end)
{
	static const char name[] = "\r\ncontent-length:";

	if (strncmp(c->head, "HTTP/1.1 200", 12) != 0)
		return false;
	for (const char *p = c->head; p < end; p++) {
		if (*p == '\r' && strncasecmp(p, name, sizeof(name) - 1) == 0) {
			c->body_left = strtoull(p + sizeof(name) - 1, NULL, 10);
			c->in_body = true;
			break;
		}
	}
	size_t more = c->have - (size_t)(end - c->head);

	if (!c->in_body || more > c->body_left)
		return false;
	c->body_left -= more;
	return true;
}

static void conn_readable(struct conn *c)
{
	static char body[65536];
	ssize_t n = c->in_body ? recv(c->fd, body, sizeof(body), MSG_DONTWAIT)
			       : recv(c->fd, c->head + c->have, HEAD_MAX - 1 - c->have, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		/* Closed while idle: a new one takes its place, no request is lost. */
		for (size_t i = 0; i < n_idle; i++)
			if (idle[i] == c) {
				idle[i] = idle[--n_idle];
				close(c->fd);
				conn_open(c);
				return;
			}
		conn_failed(c);
		return;
	}
	if (c->in_body) {
		c->body_left -= (uint64_t)n < c->body_left ? (uint64_t)n : c->body_left;
	} else {
		c->have += (size_t)n;
		c->head[c->have] = '\0';
		char *end = strstr(c->head, "\r\n\r\n");

		if (!end)
			return;
		if (!head_read(c, end + 4)) {
			conn_failed(c);
			return;
		}
	}
	if (c->body_left == 0)
		conn_answered(c);
}

static void send_due(uint64_t due_ns)
{
	struct conn *c = idle[--n_idle];

	c->due_ns = due_ns;
	if (send(c->fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
		conn_failed(c);
}

static void run(uint64_t rate, uint64_t total)
{
	uint64_t start = now_ns(), sent = 0;
	uint64_t give_up = start + total * 1000000000 / rate + UINT64_C(5000000000);

	while (n_done + n_failed < total && now_ns() < give_up) {
		uint64_t now = now_ns(), next = start + sent * 1000000000 / rate;

		while (sent < total && n_idle > 0 && next <= now) {
			send_due(next);
			next = start + ++sent * 1000000000 / rate;
		}
		int64_t wait = sent < total && n_idle > 0 ? (int64_t)(next - now) : 100000000;
		struct timespec t = { .tv_nsec = wait < 0 ? 0 : wait > 100000000 ? 100000000 : wait };
		struct epoll_event e[64];
		int n = epoll_pwait2(loop, e, 64, &t, NULL);

		for (int i = 0; i < n; i++)
			conn_readable(e[i].data.ptr);
	}
	n_failed += total - n_done - n_failed;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double at(double share)
{
	size_t i = (size_t)(share * (double)n_done);

	return n_done ? latencies[i < n_done ? i : n_done - 1] / 1000.0 : 0;
}

int main(int argc, char **argv)
{
	if (argc != 7) {
		fprintf(stderr, "usage: openload PORT HOST PATH RATE CONNECTIONS SECONDS\n");
		return 64;
	}
	long rate = strtol(argv[4], NULL, 10), n = strtol(argv[5], NULL, 10);
	long seconds = strtol(argv[6], NULL, 10);

	if (rate < 1 || n < 1 || n > CONNECTIONS_MAX || seconds < 1)
		return 64;
	port = (int)strtol(argv[1], NULL, 10);
	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", argv[3], argv[2]);
	prctl(PR_SET_TIMERSLACK, 1);
	loop = epoll_create1(EPOLL_CLOEXEC);
	uint64_t total = (uint64_t)(rate * seconds);

	latencies = calloc(total, sizeof(latencies[0]));
	if (!latencies)
		die("calloc");
	for (long i = 0; i < n; i++)
		conn_open(&conns[i]);
	run((uint64_t)rate, total);
	qsort(latencies, n_done, sizeof(latencies[0]), by_value);
	printf("{\"requests\": %lu, \"failed\": %lu, \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, "
	       "\"p999\": %.3f, \"max\": %.3f}\n",
	       n_done, n_failed, at(0.5), at(0.9), at(0.99), at(0.999), at(1));
	return 0;
}
