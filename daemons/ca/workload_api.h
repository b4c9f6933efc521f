/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload_api: the SPIFFE Workload API (X.509 and JWT) and Envoy's SDS on one Unix socket. Layer
 * daemons/ca, above grpc. What a caller gets are the identities of its own unit or user.
 */
#pragma once

#include "ca/authority.h"
#include "ca/grpc.h"
#include "ca/svid.h"

struct grpc *workload_api_new(struct loop *l, int fd, struct authority *a, bool standalone);

/* ---- for sds.c -------------------------------------------------------------------------------- */
/* A caller's identities that are not revoked. */
struct workload_api_own {
	const struct authority *authority;
	size_t n;
	const struct registry_identity *first;
};
struct workload_api_own workload_api_own_of(const struct authority *a,
					    const struct policy_caller *caller);
/* Who is it and has it an identity at all? False: the call is ended. */
bool workload_api_admit(struct grpc_call *c, struct svid_ask *ret, struct workload_api_own *ret_own);
bool workload_api_is_ready(const struct authority *a);  /* somebody could be told something */
void workload_api_log(const struct grpc_call *c, const char *what, size_t n);
