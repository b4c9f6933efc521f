/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_workload_api: workload-api.sock of a whole CA fed with a caller's bytes over a real socket: the
 * Workload API of SPIFFE and Envoy's SDS. Input: mode, then bytes. Mode 128: the bytes follow the
 * preface as they are. Else they are the body of one call (with gRPC's frame heads when 64 is set) in
 * DATA frames, and the low bits say of which method. Whatever comes: the connection ends once the
 * caller has ended it, with nothing left behind.
 */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ca/workload_api.h"
#include "fuzz_ca.h"
#include "io/sock.h"

enum { RAW = 128, FRAMED = 64, UNMARKED = 32, SMALL = 16 };
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
#define INPUT_MAX 16384u

static const char *const paths[] = {
	"/SpiffeWorkloadAPI/FetchX509SVID", "/SpiffeWorkloadAPI/FetchX509Bundles",
	"/SpiffeWorkloadAPI/FetchJWTSVID", "/SpiffeWorkloadAPI/FetchJWTBundles",
	"/SpiffeWorkloadAPI/ValidateJWTSVID",
	"/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
	"/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets", "/Nobody/Nothing",
};

static struct caller {
	struct loop *loop;
	struct grpc *grpc;
	struct sockaddr_un addr;
	socklen_t addr_n;
	int fd;
	struct loop_fd io;
} C;

static void start(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	C.loop = loop_new();
	C.addr.sun_family = AF_UNIX;    /* the kernel chooses an abstract name */
	fuzz_assert(bind(fd, (struct sockaddr *)&C.addr, sizeof(sa_family_t)) == 0 && listen(fd, 1) == 0);
	C.addr_n = sizeof(C.addr);
	fuzz_assert(getsockname(fd, (struct sockaddr *)&C.addr, &C.addr_n) == 0);
	C.grpc = workload_api_new(C.loop, fd, &fuzz_ca, true);
}

/* ---- frames ------------------------------------------------------------------------------------ */

static void put_frame(struct buf *to, uint8_t type, uint8_t flags, struct str payload)
{
	const uint8_t head[9] = { (uint8_t)(payload.n >> 16), (uint8_t)(payload.n >> 8),
				  (uint8_t)payload.n, type, flags, 0, 0, 0, 1 };

	buf_append(to, head, sizeof(head));
	buf_append(to, payload.p, payload.n);
}

/* A literal without index; both lengths are below 127. */
static void put_field(struct buf *to, const char *name, const char *value)
{
	const uint8_t n = (uint8_t)strlen(name), v = (uint8_t)strlen(value);

	buf_append(to, (const uint8_t[]){ 0, n }, 2);
	buf_append(to, name, n);
	buf_append(to, &v, 1);
	buf_append(to, value, v);
}

static void put_call(struct buf *to, uint8_t mode, struct str body)
{
	const size_t piece = mode & SMALL ? 7 : 16384;
	struct buf head, message;

	buf_init(&head);
	buf_init(&message);
	put_field(&head, ":method", "POST");
	put_field(&head, ":scheme", "http");
	put_field(&head, ":authority", "localhost");
	put_field(&head, ":path", paths[mode % (sizeof(paths) / sizeof(paths[0]))]);
	put_field(&head, "workload.spiffe.io", mode & UNMARKED ? "false" : "true");
	put_frame(to, 1, 4, buf_pullup(&head, head.n));
	if (mode & FRAMED)
		buf_append(&message, (const uint8_t[]){ 0, 0, 0, (uint8_t)(body.n >> 8), (uint8_t)body.n }, 5);
	buf_append(&message, body.p, body.n);
	struct str rest = buf_pullup(&message, message.n);

	while (rest.n > piece) {
		put_frame(to, 0, 0, str_take(rest, piece));
		rest = str_skip(rest, piece);
	}
	put_frame(to, 0, 1, rest);
	buf_done(&head);
	buf_done(&message);
}

/* ---- one connection ---------------------------------------------------------------------------- */

static void on_answer(void *arg, unsigned what)
{
	char waste[65536];

	(void)arg, (void)what;
	for (;;) {
		ssize_t n = recv(C.fd, waste, sizeof(waste), 0);

		if (n > 0)
			continue;
		if (n == 0 || errno != EAGAIN)
			loop_stop(C.loop);
		return;
	}
}

static void converse(struct str bytes)
{
	C.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	fuzz_assert(connect(C.fd, (struct sockaddr *)&C.addr, C.addr_n) == 0);
	fuzz_assert(send(C.fd, bytes.p, bytes.n, MSG_NOSIGNAL) == (ssize_t)bytes.n);
	fuzz_assert(shutdown(C.fd, SHUT_WR) == 0);
	loop_fd_init(&C.io, C.loop, C.fd, LOOP_READ, on_answer, NULL);
	loop_run(C.loop);
	loop_fd_done(&C.io);
	close(C.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf bytes;

	fuzz_ca_start();
	if (!C.loop)
		start();
	if (size == 0 || size > INPUT_MAX)
		return 0;
	struct str body = str_from((const char *)data + 1, size - 1);

	buf_init(&bytes);
	buf_append(&bytes, PREFACE, sizeof(PREFACE) - 1);
	if (data[0] & RAW)
		buf_append(&bytes, body.p, body.n);
	else
		put_call(&bytes, data[0], body);
	converse(buf_pullup(&bytes, bytes.n));
	buf_done(&bytes);
	return 0;
}
