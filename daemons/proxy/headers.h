/* SPDX-License-Identifier: Apache-2.0 */
/*
 * headers: what the proxy itself takes out of heads and puts into them: identity and tracing
 * headers, Envoy's, our own between two proxies (Istio 2.13, promise P12). Route operations are
 * core/rewrite.h's. Layer proxy.
 */
#pragma once

#include "proxy/stream.h"

/*
 * Nothing internal that the caller could have made up goes further; x-request-id and -proto are
 * there.
 */
void headers_from_client(struct stream *s);
/* The request's path for logs: without tokens, also where nobody asks for them (promise P19). */
struct str headers_path_to_tell(struct stream *s);
/* Before each try. */
void headers_to_service(struct stream *s);
/* The final response: route operations, timing, server. */
void headers_to_client(struct stream *s);
/* server and date of answers that are made here. */
void headers_of_reply(struct stream *s, struct head *h);
/* Route and destination operations in Envoy's order (Istio 2.4.4). */
void headers_route_ops(struct stream *s, struct head *h, bool request);
/*
 * An address of X-Forwarded-For, counted from the right from 0 on. False: there are not so many, or it
 * is no address.
 */
bool headers_forwarded_for(const struct head *h, size_t from_right, struct sock_addr *ret);
