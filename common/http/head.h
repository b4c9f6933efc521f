/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head: a request or response head, the same for every protocol version. Layer http.
 * Names and values are borrowed from the arena of the exchange (codecs copy them there once).
 * Names are stored in lower case; hop-by-hop fields are the codec's and never appear here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

/*
 * Fields that the proxy itself looks at, an index instead of a string compare; and those that most
 * messages have, whose names then need neither a copy nor a look at their bytes.
 */
enum head_id {
	HEAD_ID_OTHER = 0,
	HEAD_ID_HOST, HEAD_ID_CONTENT_LENGTH, HEAD_ID_TRANSFER_ENCODING, HEAD_ID_CONNECTION,
	HEAD_ID_UPGRADE, HEAD_ID_EXPECT, HEAD_ID_TE, HEAD_ID_TRAILER, HEAD_ID_KEEP_ALIVE,
	HEAD_ID_PROXY_CONNECTION, HEAD_ID_PROXY_AUTHORIZATION, HEAD_ID_PROXY_AUTHENTICATE,
	HEAD_ID_CONTENT_TYPE, HEAD_ID_DATE, HEAD_ID_SERVER, HEAD_ID_LOCATION, HEAD_ID_COOKIE,
	HEAD_ID_USER_AGENT, HEAD_ID_AUTHORIZATION, HEAD_ID_X_REQUEST_ID, HEAD_ID_X_FORWARDED_FOR,
	HEAD_ID_X_FORWARDED_PROTO, HEAD_ID_X_FORWARDED_HOST, HEAD_ID_X_FORWARDED_CLIENT_CERT,
	HEAD_ID_X_ENVOY_ATTEMPT_COUNT, HEAD_ID_X_ENVOY_ORIGINAL_PATH, HEAD_ID_X_ENVOY_ORIGINAL_HOST,
	HEAD_ID_X_ENVOY_UPSTREAM_SERVICE_TIME, HEAD_ID_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
	HEAD_ID_X_ENVOY_OVERLOADED, HEAD_ID_X_ENVOY_PEER_METADATA, HEAD_ID_X_ENVOY_PEER_METADATA_ID,
	HEAD_ID_TRACEPARENT, HEAD_ID_TRACESTATE, HEAD_ID_B3, HEAD_ID_HTTP2_SETTINGS,
	HEAD_ID_GRPC_STATUS, HEAD_ID_GRPC_TIMEOUT, HEAD_ID_RETRY_AFTER, HEAD_ID_ORIGIN,
	HEAD_ID_ACCEPT, HEAD_ID_ACCEPT_ENCODING, HEAD_ID_ACCEPT_LANGUAGE, HEAD_ID_ACCEPT_RANGES,
	HEAD_ID_CACHE_CONTROL, HEAD_ID_CONTENT_ENCODING, HEAD_ID_ETAG, HEAD_ID_IF_MODIFIED_SINCE,
	HEAD_ID_LAST_MODIFIED, HEAD_ID_REFERER, HEAD_ID_SET_COOKIE, HEAD_ID_VARY,
	HEAD_ID_GRPC_ACCEPT_ENCODING, HEAD_ID_GRPC_ENCODING, HEAD_ID_GRPC_MESSAGE, HEAD_ID_X_KVMESH_PEER,
	HEAD_ID__N
};
enum head_id head_id_of(struct str lower_name);         /* HEAD_ID_OTHER when not listed */
extern const struct str head_id_names[HEAD_ID__N];
static inline struct str head_id_name(enum head_id id)
{
	return head_id_names[id < HEAD_ID__N ? id : HEAD_ID_OTHER];
}

struct head_field {
	struct str name, value;         /* the name of a known id is constant: never freed, a token */
	enum head_id id;
};

enum head_version { HEAD_VERSION_10, HEAD_VERSION_11, HEAD_VERSION_2 };

/* How long the body is, as framing told it. */
enum head_body { HEAD_BODY_NONE, HEAD_BODY_LENGTH, HEAD_BODY_CHUNKED, HEAD_BODY_UNTIL_CLOSE };

struct head {
	struct arena *arena;            /* where fields and strings live */
	enum head_version version;
	/* request */
	struct str method;
	struct str scheme;              /* "http" unless the target said otherwise */
	struct str authority;           /* Host or :authority as sent, port included */
	struct str path;                /* origin-form and query; "*" for OPTIONS; CONNECT: empty */
	/* response */
	unsigned status;
	struct str reason;
	/* both */
	struct head_field *fields;
	size_t n, cap;
	enum head_body body;
	uint64_t content_length;        /* when body is HEAD_BODY_LENGTH */
	struct str upgrade;             /* protocol asked for, or taken (101), else empty */
	bool expect_continue;
	bool keep_alive;                /* of the connection that it came from */
	bool te_trailers;
};

/* Fields that say how a message is framed, or that end with the connection (RFC 9110 7.6.1). */
static inline bool head_is_of_connection(enum head_id id)
{
	switch ((unsigned)id) {
	case HEAD_ID_HOST:
	case HEAD_ID_CONTENT_LENGTH:
	case HEAD_ID_TRANSFER_ENCODING:
	case HEAD_ID_CONNECTION:
	case HEAD_ID_UPGRADE:
	case HEAD_ID_EXPECT:
	case HEAD_ID_TE:
	case HEAD_ID_KEEP_ALIVE:
	case HEAD_ID_PROXY_CONNECTION:
	case HEAD_ID_HTTP2_SETTINGS:
		return true;
	default:
		return false;
	}
}

/* Is its name the one of its id, not merely equal to it? */
static inline bool head_is_constant_name(const struct head_field *f)
{
	return f->id != HEAD_ID_OTHER && f->name.p == head_id_name(f->id).p;
}

void head_init(struct head *h, struct arena *a);
/* Room for so many fields in an empty list, so that it does not grow by copies. */
void head_reserve(struct head *h, size_t n);
/* First field of that id or name (lower case), or NULL. */
struct head_field *head_find(const struct head *h, enum head_id id);
struct head_field *head_find_name(const struct head *h, struct str lower_name);
struct str head_value(const struct head *h, enum head_id id);   /* STR_NULL when absent */
/*
 * All values of a repeated field joined by ",": borrowed when single, made in the arena when not.
 */
struct str head_joined(const struct head *h, struct str lower_name);
/* Append; name must be lower case and outlive the head, as must value. */
void head_add(struct head *h, struct str lower_name, struct str value);
void head_add_id(struct head *h, enum head_id id, struct str value);
/* Replace all of that name by one. */
void head_set(struct head *h, struct str lower_name, struct str value);
void head_set_id(struct head *h, enum head_id id, struct str value);
size_t head_remove(struct head *h, struct str lower_name);      /* how many went */
size_t head_remove_id(struct head *h, enum head_id id);
bool head_is_token(struct str s);                       /* RFC 9110 5.6.2, not empty */
/* Lower case of each byte that a token may hold, 0 for the others. */
extern const uint8_t head_token_lower[256];
bool head_is_value(struct str s);                       /* RFC 9110 5.5: no CTL but HTAB */
const char *head_find_ctl(const char *p, const char *end);      /* first CTL but HTAB, or end */
/*
 * CONNECT has no tunnel here, TRACE would send back what only the service may see; methods are
 * capitals.
 */
bool head_is_served_method(struct str m);
const char *head_reason(unsigned status);               /* "Not Found"; "" when not known */
