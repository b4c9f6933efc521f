/* SPDX-License-Identifier: Apache-2.0 */
/*
 * named: the address of a host that only a request names (semantics 2.15.1 DYNAMIC_DNS, 2.3.13): where
 * it is not known yet, the control thread asks for it and the exchange waits. Each worker remembers
 * what it was told for its time to live, up to a number of names. Layer proxy, worker's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/str.h"
#include "io/loop.h"
#include "io/sock.h"

#define NAMED_MAX 1024                  /* names that a worker remembers */
#define NAMED_ASKED_MAX 64              /* of them under way at once */

struct named;
struct resolver;

/* The control thread's half: it asks the servers of resolv.conf. Made before any worker serves. */
struct resolver *resolver_new(struct loop *l);
void resolver_free(struct resolver *r);         /* when no worker runs any more */

/* One exchange that waits. */
struct named_wait {
	struct list node;
	bool waiting;
	void (*fn)(struct named_wait *wait);    /* it is known now, or that it is not: ask again */
};

enum named_result {
	NAMED_READY,
	NAMED_WAIT,
	NAMED_UNKNOWN,                  /* there is no such name, or no server says so */
	NAMED_FULL,                     /* as many as may be are being asked for */
};

struct named *named_new(struct loop *l);
void named_free(struct named *n);       /* after the thread has ended */
/* Set by the control thread before the first publish, like the log. */
void named_use(struct named *n, struct resolver *r);
/* ret_why (a sentence, lives as long as this turn): of NAMED_UNKNOWN. */
enum named_result named_find(struct named *n, struct str host, struct named_wait *wait,
			     struct sock_addr *ret, const char **ret_why);
void named_cancel(struct named_wait *wait);     /* harmless when nothing waits */
