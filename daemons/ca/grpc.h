/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc: gRPC over HTTP/2 without TLS on a Unix socket, for clients that others wrote. Layer daemons/ca;
 * the only file here that knows nghttp2. Owns the listening socket, connections and calls; the methods
 * are in workload_api.c and sds.c. Who calls is what the kernel proves, as for Sign.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ca/policy.h"
#include "io/buf.h"
#include "io/loop.h"

#define GRPC_TEXT_MAX 400

enum grpc_status {
	GRPC_OK = 0,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_UNAVAILABLE = 14,
};

struct grpc;
struct grpc_call;

struct grpc_method {
	const char *path;
	bool is_duplex;                 /* many requests; else one, told once the caller has ended */
	bool is_marked;                 /* must carry the metadata workload.spiffe.io: true */
	size_t request_max;
	size_t state_bytes;             /* of grpc_state */
	/* One request, borrowed; may send, or end the call. */
	void (*on_request)(struct grpc_call *c, struct str request);
	/* Nothing waits to leave and something may be new; NULL: answered once. */
	void (*on_news)(struct grpc_call *c, int64_t now_s);
	void (*on_close)(struct grpc_call *c);  /* lets go of what the state holds; NULL nothing */
};

/* Takes fd, a listening socket. methods: ended by path NULL. standalone: there are no units here. */
struct grpc *grpc_new(struct loop *l, int fd, const struct grpc_method *methods, bool standalone,
		      void *arg);
void grpc_free(struct grpc *g);
void grpc_tell(struct grpc *g);         /* on_news of every open call */

void *grpc_arg(const struct grpc_call *c);
void *grpc_state(const struct grpc_call *c);    /* zeroed at first */
struct loop *grpc_loop(const struct grpc_call *c);
/* By the kernel; borrowed. KV_ERR_REFUSED: it is not who connected any more, or cannot be looked at. */
int grpc_identify(struct grpc_call *c, struct policy_caller *ret, struct err *err);
/* "uid 33 pid 812 unit nginx.service", for log lines. */
const char *grpc_who(const struct grpc_call *c, char *buf, size_t n);

void grpc_send(struct grpc_call *c, struct buf *message);       /* what is in it moves */
/* Once what was sent has left. Other than OK is logged. */
void grpc_end(struct grpc_call *c, enum grpc_status status, const char *text);
bool grpc_is_ended(const struct grpc_call *c);
/* The status for a code of authority.h and policy.h. */
enum grpc_status grpc_status_of(int code);
