/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fail: why a stream ended otherwise than by the service's own answer; one row each with Envoy's
 * flag, the HTTP status and the detail word (istio-semantics 2.17). Layer proxy.
 */
#pragma once

#include <stdbool.h>

enum fail {
	FAIL_NONE,
	FAIL_NO_ROUTE,                  /* NR 404 route_not_found */
	FAIL_NO_CLUSTER,                /* NC 503 cluster_not_found */
	FAIL_NO_HEALTHY,                /* UH 503 no_healthy_upstream */
	FAIL_OVERFLOW,                  /* UO 503 circuit breaker, pool or our own limits */
	FAIL_LOOKUP,                    /* DF 503 the host that the request names has no address */
	FAIL_CONNECT,                   /* UF 503 refused, unreachable, TLS to the service failed */
	FAIL_CONNECT_TIMEOUT,           /* UF 503 */
	FAIL_UP_CLOSED,                 /* UC 503 closed before the response began */
	FAIL_UP_RESET,                  /* UR 503 */
	FAIL_UP_CUT,                    /* UC, response already begun: cut */
	FAIL_UP_PROTOCOL,               /* UPE 502 bad response */
	FAIL_TIMEOUT,                   /* UT 504 route timeout */
	FAIL_PER_TRY_TIMEOUT,           /* UT 504 */
	FAIL_IDLE,                      /* SI 408, 504 once the request went up */
	FAIL_MAX_DURATION,              /* DT an opaque connection was as old as it may get */
	FAIL_DOWN_CLOSED,               /* DC 0 the client went away */
	FAIL_DOWN_PROTOCOL,             /* DPE 400-class; status comes from the codec */
	FAIL_RETRY_LIMIT,               /* URX, added to the last outcome */
	FAIL_DENIED,                    /* - 403 rbac_access_denied */
	FAIL_MISDIRECTED,               /* - 421 the host is another server's of this gateway */
	FAIL_BLOCKED,                   /* - 502 REGISTRY_ONLY, unknown host */
	FAIL_PLAINTEXT,                 /* plain text on a STRICT port: closed, never answered */
	FAIL_TLS,                       /* downstream handshake failed */
	FAIL_FAULT,                     /* FI, the route's status: an abort was injected */
	FAIL_LOCAL,                     /* LR 503 our own shutdown or drain deadline */
	FAIL_EXT_AUTHZ,                 /* UAEX 403 an external authorizer refused, or did not answer */
	FAIL_RESIDENCY,                 /* RD 403 egressPolicy does not let data go there */
	FAIL__N
};

struct fail_row {
	const char *name;               /* "connect_timeout": kvmesh's own word */
	const char *flag;               /* "UF", "" none */
	unsigned status;                /* HTTP status of the local answer, 0 none (close) */
	const char *details;            /* %RESPONSE_CODE_DETAILS% */
	const char *body;               /* text users grep for, "" none */
};
extern const struct fail_row fail_rows[FAIL__N];
