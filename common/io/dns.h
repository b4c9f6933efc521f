/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns: addresses of a name, from /etc/hosts, else from the servers of /etc/resolv.conf with their
 * time to live. Layer io, over libevent's evdns; one loop's thread. Both families are asked for at
 * once; when one has answered, the other has a second to come too (RFC 8305 3). Both files are read
 * again when they have changed.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"

#define DNS_NAME_MAX 253
#define DNS_ADDRESSES_MAX 64            /* of one name; more are left out */

struct dns_answer {
	const char *error;              /* NULL: answered, though n may be 0 (the name has none); n > 0: NULL */
	uint8_t (*v)[16];               /* as in base/cidr.h, sorted */
	size_t n;
	uint32_t ttl_s;                 /* the shortest; 0: not known */
};
typedef void (*dns_fn)(void *arg, const struct dns_answer *a);

struct dns;
struct dns *dns_new(struct loop *l);
void dns_free(struct dns *d);           /* no answer comes any more */
/* fn is called once, never from inside dns_ask, unless the query is cancelled before. */
struct dns_query *dns_ask(struct dns *d, const char *name, dns_fn fn, void *arg);
void dns_cancel(struct dns_query *q);   /* NULL is fine */
