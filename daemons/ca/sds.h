/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sds: Envoy's Secret Discovery Service (v3, state of the world): "default" or a SPIFFE ID of the caller
 * is a certificate with its key, "ROOTCA" or the trust domain's SPIFFE ID the trust bundle; the names
 * are those of a SPIRE agent. Layer daemons/ca, called by grpc through the table in workload_api.c.
 */
#pragma once

#include "ca/grpc.h"

/* Envoys tell all of their extensions in the first request. */
#define SDS_REQUEST_MAX (256u << 10)
#define SDS_NAMES_MAX 16

/* The state of a call. */
struct sds_told {
	uint64_t bundle;
	char issuer[65];
	int64_t renew_s;                /* 0: no certificate among it */
	size_t n_own;
};
struct sds {
	char *names[SDS_NAMES_MAX];     /* n 0: all of the caller's */
	size_t n;
	bool subscribed, has_bundle;
	uint64_t version;               /* of the answer last sent; its nonce as well */
	struct sds_told told;
};
#define SDS_STATE_BYTES sizeof(struct sds)

void sds_on_stream(struct grpc_call *c, struct str request);
void sds_on_fetch(struct grpc_call *c, struct str request);
void sds_on_news(struct grpc_call *c, int64_t now_s);
void sds_on_close(struct grpc_call *c);
