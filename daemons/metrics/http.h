/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http: GET /metrics, /stats/prometheus and /healthz on one address, for local readers. Layer
 * metrics. The only file here that knows evhttp. Names other than this machine's are refused, so
 * that no web page reaches it through a rebound name (security-model 5.7, B10); nothing is accepted
 * but reads.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"
#include "io/sock.h"
#include "metrics/scrape.h"

struct http;
struct http *http_new(struct loop *l, struct scrape *s);
void http_free(struct http *h);
/* Serve this address instead of the one before, which stays on an error; NULL: none. */
int http_listen(struct http *h, const struct sock_addr *a, struct err *err);
/* Where it listens, the port as bound; NULL: nowhere. */
const struct sock_addr *http_address(const struct http *h);

/* "HOST", "HOST:PORT", "[V6]:PORT" of a request: localhost, an address or this machine's name. */
bool http_is_own_host(struct str host, struct str own_name);
