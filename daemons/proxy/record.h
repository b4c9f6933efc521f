/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record: what happened to one stream. Filled as the stream walks, read once by record_emit, which
 * is the only place that feeds counters, edges and the access log: they can never disagree. Layer
 * proxy. Strings are borrowed from the stream's arena, its lease's snap or its connections: emit
 * before they go.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "http/head.h"
#include "io/sock.h"
#include "proxy/fail.h"
#include "snap/snap.h"

enum record_reporter { RECORD_SOURCE, RECORD_DESTINATION };
enum record_protocol { RECORD_HTTP, RECORD_GRPC, RECORD_TCP };

struct record {
	enum record_reporter reporter;
	enum record_protocol protocol;
	uint64_t serial;                /* of the lease whose snapshot is pointed to; 0: none */
	/* who */
	const struct snap_peer *source, *destination;   /* NULL: unknown */
	struct str source_principal,
		destination_principal; /* verified on this exchange; empty: none */
	struct str service, service_name,
		service_ns; /* FQDN or Host; PassthroughCluster, BlackHoleCluster */
	int64_t service_port;
	/* the secured leg between proxies: up at the source, down at the destination */
	bool mutual;
	const char *tls_version, *tls_cipher;           /* NULL: plain */
	struct str sni; /* %REQUESTED_SERVER_NAME% of the down leg */
	/* request */
	struct str method, path, original_path, authority, request_id, user_agent, forwarded_for;
	enum head_version version;
	/* decision */
	struct str route_name;
	struct str cluster; /* "outbound|80|v1|…", "inbound|8001||", … */
	struct sock_addr down_local, down_remote, up_local, up_remote;  /* len 0: none */
	unsigned tries;
	/* outcome */
	unsigned status;                                /* 0: none given */
	int grpc_status;                                /* -1: none */
	enum fail fail;
	bool retry_limit;                               /* adds URX */
	bool delayed;                                   /* adds DI */
	const char *details; /* NULL: via_upstream or fail_rows[fail].details */
	struct str transport_failure;                   /* TLS error text, empty none */
	/* amounts */
	uint64_t bytes_received, bytes_sent; /* body bytes; TCP: raw, from and to the client */
	uint64_t told_received, told_sent;   /* TCP: of these, what progress reports already told */
	uint64_t request_messages,
		response_messages; /* gRPC messages, 0 when they are not counted */
	bool first_on_conn; /* first exchange on its leg between proxies: counts the connection */
	/* times, monotonic microseconds; 0: did not happen */
	uint64_t start_us;                              /* first byte of the request / accept */
	uint64_t request_end_us;                        /* last byte of the request was received */
	uint64_t up_first_us; /* request head given to the upstream connection */
	uint64_t up_head_us;                            /* response head received from it */
	uint64_t end_us;
	int64_t start_real_us;
};

struct worker;
/* A TCP connection reports when it opens, every 5 s while bytes flow, and at its end. */
enum record_phase { RECORD_END, RECORD_TCP_OPEN, RECORD_TCP_PROGRESS };
/*
 * bytes_* are always totals of the exchange so far; a TCP progress report adds what is above
 * told_*, and the caller then sets told_* = bytes_*. Worker's thread.
 */
void record_emit(struct worker *w, const struct record *r, enum record_phase phase);
/* What adds to the flag of a failure. */
#define RECORD_RETRY_LIMIT 1u           /* URX */
#define RECORD_DELAYED 2u               /* DI */
static inline unsigned record_more(const struct record *r)
{
	return (r->retry_limit ? RECORD_RETRY_LIMIT : 0) | (r->delayed ? RECORD_DELAYED : 0);
}
/* "UF,URX" or "-": into buf. */
#define RECORD_FLAGS_MAX 32
const char *record_flags(enum fail fail, unsigned more, char buf[static RECORD_FLAGS_MAX]);
