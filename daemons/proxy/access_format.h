/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_format: a log line from facts, as a format says: Istio's default, a user's format string,
 * or JSON. Layer proxy. A format is compiled once; values come from peers and are escaped on their
 * way out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "proxy/record.h"
#include "proxy/text.h"

/* The values of a line, as they travel through the ring. */
enum access_value {
	ACCESS_METHOD,
	ACCESS_PATH,
	ACCESS_ORIGINAL_PATH,
	ACCESS_AUTHORITY,
	ACCESS_REQUEST_ID,
	ACCESS_USER_AGENT,
	ACCESS_FORWARDED_FOR,
	ACCESS_SNI,
	ACCESS_ROUTE,
	ACCESS_CLUSTER,
	ACCESS_DETAILS,
	ACCESS_TRANSPORT_FAILURE,
	ACCESS_PEER,
	ACCESS_TLS,
	/* struct sock_addr up to its len */
	ACCESS_UP_REMOTE,
	ACCESS_UP_LOCAL,
	ACCESS_DOWN_LOCAL,
	ACCESS_DOWN_REMOTE,
	ACCESS__N
};

struct access_line {
	int64_t start_real_us;
	uint64_t bytes_received, bytes_sent, duration_us;
	int64_t service_time_us;        /* -1: none */
	enum record_protocol protocol;
	enum head_version version;
	enum fail fail;
	unsigned more;                  /* RECORD_RETRY_LIMIT, RECORD_DELAYED */
	unsigned status;
	int grpc_status;                /* -1: none */
	struct str v[ACCESS__N];
};

struct access_format;
int access_format_new(bool json, struct str format, struct access_format **ret, struct err *err);
void access_format_free(struct access_format *f);
/* One line with its newline. */
void access_format_write(const struct access_format *f, const struct access_line *l,
			 struct text *t);
