/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_backend: a service for proxy tests that does what the path says, see proxy_net.h. Blocking,
 * a thread each.
 */
#include "config.h"

#include "proxy_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNS_MAX 4096
#define HEAD_MAX 131072

struct backend {
	const char *name;
	void (*raw)(int fd, void *arg);
	void *raw_arg;
	int fd;
	uint16_t port;
	pthread_t acceptor;
	atomic_bool stopping;
	atomic_uint accepted, requests;
	atomic_int idle_round;          /* grows: connections without a request close */
	pthread_mutex_t lock;
	pthread_t threads[CONNS_MAX];
	int fds[CONNS_MAX];             /* -1 closed */
	unsigned n;
};

struct serve {
	struct backend *b;
	unsigned slot;
	int fd;
	char *in;                       /* HEAD_MAX */
	size_t n;
};

/* ---- bytes ----------------------------------------------------------------------------------- */

static bool put(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t r = send(fd, at, n, MSG_NOSIGNAL);

		if (r <= 0)
			return false;
		at += r;
		n -= (size_t)r;
	}
	return true;
}

static bool putf(int fd, const char *fmt, ...)
{
	char text[8192];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);

	va_end(ap);
	return put(fd, text, (size_t)n);
}

/* More bytes into s->in; false: the end, or told to stop. */
static bool more(struct serve *s, bool idle)
{
	int round = atomic_load(&s->b->idle_round);
	struct pollfd p = { .fd = s->fd, .events = POLLIN };

	while (poll(&p, 1, 20) == 0) {
		if (atomic_load(&s->b->stopping))
			return false;
		if (idle && s->n == 0 && atomic_load(&s->b->idle_round) != round)
			return false;
	}
	ssize_t r = recv(s->fd, s->in + s->n, HEAD_MAX - s->n, 0);

	if (r <= 0)
		return false;
	s->n += (size_t)r;
	return true;
}

static void drop_front(struct serve *s, size_t n)
{
	memmove(s->in, s->in + n, s->n - n);
	s->n -= n;
}

/* ---- requests -------------------------------------------------------------------------------- */

struct request {
	char method[32], path[512];
	char head[HEAD_MAX];
	size_t head_n;
	unsigned long length;
	bool chunked;
};

static bool read_request(struct serve *s, struct request *r)
{
	char *end;

	while (!(end = memmem(s->in, s->n, "\r\n\r\n", 4)))
		if (s->n == HEAD_MAX || !more(s, true))
			return false;
	r->head_n = (size_t)(end - s->in) + 4;
	memcpy(r->head, s->in, r->head_n);
	r->head[r->head_n] = '\0';
	drop_front(s, r->head_n);
	if (sscanf(r->head, "%31s %511s", r->method, r->path) != 2)
		return false;
	const char *length = strcasestr(r->head, "\r\ncontent-length:");

	r->length = length ? strtoul(length + 17, NULL, 10) : 0;
	r->chunked = strcasestr(r->head, "\r\ntransfer-encoding: chunked") != NULL;
	atomic_fetch_add(&s->b->requests, 1);
	return true;
}

/* n body bytes, each run given to fn. */
static bool read_length(struct serve *s, unsigned long n, bool (*fn)(struct serve *s,
	const char *p, size_t n))
{
	while (n > 0) {
		if (s->n == 0 && !more(s, false))
			return false;
		size_t now = s->n < n ? s->n : n;

		if (fn && !fn(s, s->in, now))
			return false;
		drop_front(s, now);
		n -= now;
	}
	return true;
}

static bool read_line(struct serve *s, char *line, size_t room)
{
	char *end;

	while (!(end = memmem(s->in, s->n, "\r\n", 2)))
		if (!more(s, false))
			return false;
	size_t n = (size_t)(end - s->in);

	if (n >= room)
		return false;
	memcpy(line, s->in, n);
	line[n] = '\0';
	drop_front(s, n + 2);
	return true;
}

static bool read_body(struct serve *s, const struct request *r, bool (*fn)(struct serve *s,
	const char *p, size_t n))
{
	char line[256];

	if (!r->chunked)
		return read_length(s, r->length, fn);
	for (;;) {
		if (!read_line(s, line, sizeof(line)))
			return false;
		unsigned long n = strtoul(line, NULL, 16);

		if (n == 0)
			break;
		if (!read_length(s, n, fn) || !read_line(s, line, sizeof(line)))
			return false;
	}
	do
		if (!read_line(s, line, sizeof(line)))
			return false;
	while (line[0] != '\0');
	return true;
}

/* ---- answers --------------------------------------------------------------------------------- */

static bool echo_chunk(struct serve *s, const char *p, size_t n)
{
	return putf(s->fd, "%zx\r\n", n) && put(s->fd, p, n) && put(s->fd, "\r\n", 2);
}

static bool answer_echo(struct serve *s, const struct request *r)
{
	return putf(s->fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") &&
	       read_body(s, r, echo_chunk) && putf(s->fd, "0\r\n\r\n");
}

static bool answer_text(struct serve *s, const struct request *r, const char *text)
{
	bool head = strcmp(r->method, "HEAD") == 0;

	return putf(s->fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nContent-Type: text/plain\r\n"
			   "X-Backend: %s\r\n\r\n", strlen(text), s->b->name) &&
	       (head || put(s->fd, text, strlen(text)));
}

static bool answer_big(struct serve *s, size_t n)
{
	char block[16384];

	memset(block, 'x', sizeof(block));
	if (!putf(s->fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n))
		return false;
	while (n > 0) {
		size_t now = n < sizeof(block) ? n : sizeof(block);

		if (!put(s->fd, block, now))
			return false;
		n -= now;
	}
	return true;
}

static void answer_websocket(struct serve *s)
{
	if (!putf(s->fd, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
			 "Upgrade\r\n\r\n"
			 "first"))
		return;
	do {
		if (s->n > 0 && !put(s->fd, s->in, s->n))
			return;
		s->n = 0;
	} while (more(s, false));
}

static void hang(struct serve *s)
{
	char c;

	while (!atomic_load(&s->b->stopping)) {
		struct pollfd p = { .fd = s->fd, .events = POLLIN };

		if (poll(&p, 1, 20) > 0 && recv(s->fd, &c, 1, 0) <= 0)
			return;
	}
}

static void reset(struct serve *s)
{
	struct linger l = { .l_onoff = 1 };

	setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

/* What ends the connection whatever else; true: done with it. */
static bool answer_last(struct serve *s, const struct request *r)
{
	const char *p = r->path;

	if (strcmp(p, "/nolength") == 0)
		putf(s->fd, "HTTP/1.1 200 OK\r\n\r\nuntil the end");
	else if (strcmp(p, "/close") == 0)
		putf(s->fd, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbye");
	else if (strcmp(p, "/once") == 0)
		putf(s->fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nonce");
	else if (strcmp(p, "/cut") == 0)
		putf(s->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
	else if (strcmp(p, "/cut-chunked") == 0)
		putf(s->fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
	else if (strcmp(p, "/junk") == 0)
		putf(s->fd, "+OK this is no HTTP\r\n\r\n");
	else if (strcmp(p, "/reset") == 0)
		reset(s);
	else if (strcmp(p, "/hang") == 0)
		hang(s);
	else if (strcmp(p, "/ws") == 0)
		answer_websocket(s);
	else
		return strcmp(p, "/drop") == 0;
	return true;
}

static bool answer_more(struct serve *s, const struct request *r)
{
	unsigned long n;

	if (strcmp(r->path, "/echo") == 0)
		return answer_echo(s, r);
	if (strcmp(r->path, "/continue") == 0)
		return putf(s->fd, "HTTP/1.1 100 Continue\r\n\r\n") && answer_echo(s, r);
	if (!read_body(s, r, NULL))
		return false;
	if (strcmp(r->path, "/chunked") == 0)
		return putf(s->fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"
				   "hello\r\n7\r\n, world\r\n"
				   "0\r\n\r\n");
	if (strcmp(r->path, "/trailers") == 0)
		return putf(s->fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"
				   "hello\r\n0\r\n"
				   "X-Sum: 42\r\n\r\n");
	if (strcmp(r->path, "/info") == 0)
		return putf(s->fd,
			    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") && answer_text(s, r,
				    "info");
	if (strcmp(r->path, "/empty") == 0)
		return putf(s->fd, "HTTP/1.1 204 No Content\r\n\r\n");
	if (strcmp(r->path, "/excess") == 0)
		return putf(s->fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 "
				   "OK\r\n"
				   "Content-Length: 4\r\n\r\nevil");
	if (sscanf(r->path, "/status/%lu", &n) == 1)
		return putf(s->fd, "HTTP/1.1 %lu Whatever\r\nContent-Length: 6\r\n\r\nstatus", n);
	if (sscanf(r->path, "/big/%lu", &n) == 1)
		return answer_big(s, n);
	if (strncmp(r->path, "/headers", 8) == 0)
		return answer_text(s, r, r->head);
	return answer_text(s, r, s->b->name);
}

static void serve_http(struct serve *s)
{
	struct request *r = malloc(sizeof(*r));

	s->in = malloc(HEAD_MAX);
	while (read_request(s, r))
		if (answer_last(s, r) || !answer_more(s, r))
			break;
	free(s->in);
	free(r);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void *run(void *arg)
{
	struct serve *s = arg;
	struct backend *b = s->b;

	if (b->raw)
		b->raw(s->fd, b->raw_arg);
	else
		serve_http(s);
	pthread_mutex_lock(&b->lock);
	close(s->fd);
	b->fds[s->slot] = -1;
	pthread_mutex_unlock(&b->lock);
	free(s);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct backend *b = arg;

	for (;;) {
		struct pollfd p = { .fd = b->fd, .events = POLLIN };

		/* accept4 holds a descriptor while it waits: tests count those that are left. */
		poll(&p, 1, -1);
		int fd = accept4(b->fd, NULL, NULL, SOCK_CLOEXEC), on = 1;

		if (fd < 0 && (errno == EMFILE || errno == EINTR)) {
			usleep(2000);
			continue;
		}
		if (fd < 0)
			return NULL;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		pthread_mutex_lock(&b->lock);
		struct serve *s = calloc(1, sizeof(*s));

		*s = (struct serve){ .b = b, .slot = b->n, .fd = fd };
		b->fds[b->n] = fd;
		pthread_create(&b->threads[b->n], NULL, run, s);
		b->n++;
		atomic_fetch_add(&b->accepted, 1);
		bool full = b->n == CONNS_MAX;

		pthread_mutex_unlock(&b->lock);
		if (full)
			return NULL;
	}
}

static struct backend *start(const char *name, void (*raw)(int fd, void *arg), void *arg)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	struct backend *b = calloc(1, sizeof(*b));

	*b = (struct backend){ .name = name, .raw = raw, .raw_arg = arg };
	pthread_mutex_init(&b->lock, NULL);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	b->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert(bind(b->fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(b->fd, 1024) == 0);
	ck_assert(getsockname(b->fd, (struct sockaddr *)&a, &len) == 0);
	b->port = ntohs(a.sin_port);
	pthread_create(&b->acceptor, NULL, accept_all, b);
	return b;
}

struct backend *backend_start(const char *name)
{
	return start(name, NULL, NULL);
}

struct backend *backend_start_raw(void (*fn)(int fd, void *arg), void *arg)
{
	return start("raw", fn, arg);
}

uint16_t backend_port(const struct backend *b)
{
	return b->port;
}

unsigned backend_accepted(const struct backend *b)
{
	return atomic_load(&b->accepted);
}

unsigned backend_requests(const struct backend *b)
{
	return atomic_load(&b->requests);
}

void backend_close_idle(struct backend *b)
{
	atomic_fetch_add(&b->idle_round, 1);
}

void backend_stop(struct backend *b)
{
	atomic_store(&b->stopping, true);
	shutdown(b->fd, SHUT_RDWR);
	pthread_join(b->acceptor, NULL);
	pthread_mutex_lock(&b->lock);
	for (unsigned i = 0; i < b->n; i++)
		if (b->fds[i] >= 0)
			shutdown(b->fds[i], SHUT_RDWR);
	pthread_mutex_unlock(&b->lock);
	for (unsigned i = 0; i < b->n; i++)
		pthread_join(b->threads[i], NULL);
	close(b->fd);
	free(b);
}
