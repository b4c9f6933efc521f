/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch: the body of one https URL, for the control thread (security-model §5.6). Redirects are not
 * followed, link-local and metadata addresses are not dialled, http is for loopback alone. Layer
 * proxy.
 */
#pragma once

#include "base/str.h"
#include "io/dns.h"
#include "io/loop.h"
#include "io/sock.h"

#define FETCH_BYTES_MAX (1u << 20)      /* security-model L13 */

/* body: borrowed for the call; why not NULL: there is none. The fetch is gone when fn is called. */
typedef void (*fetch_fn)(void *arg, struct str body, const char *why);

/* May that address of the host be dialled? named: by looking it up. */
typedef bool (*fetch_allows)(void *arg, struct str host, const struct sock_addr *a, bool named,
			     struct err *err);

struct fetch;
/* Never calls fn from inside. timeout_us is for all of it. */
struct fetch *fetch_start(struct loop *l, struct dns *dns, struct str url, uint64_t timeout_us,
			  fetch_fn fn, void *arg);
/* Before it has begun, in the same turn. */
void fetch_guard(struct fetch *f, fetch_allows allows, void *arg);
void fetch_cancel(struct fetch *f);     /* NULL is fine */
