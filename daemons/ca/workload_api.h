/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload_api: the SPIFFE Workload API (X.509) on a Unix socket: gRPC over HTTP/2 without TLS, for
 * clients that others wrote. Layer daemons/ca; the only file here that knows nghttp2. Who calls is what
 * the kernel proves, as for Sign; what a caller gets are the identities of its own unit or user.
 */
#pragma once

#include <stdbool.h>

#include "ca/authority.h"
#include "io/loop.h"

struct workload_api;
/* Takes fd, a listening socket. standalone: there are no units here, the user decides. */
struct workload_api *workload_api_new(struct loop *l, int fd, struct authority *a, bool standalone);
void workload_api_free(struct workload_api *w);
/* Identities, trust or issuer may be others than before: streams are told what is new. */
void workload_api_tell(struct workload_api *w);
