/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: what the router remembers over restarts in STATE/router/router.db: the generation, when
 * each resource was first seen (Istio's "oldest wins" needs an age), and the history of loads.
 * Layer daemons/router.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define STORE_DIGEST_MAX 40
#define STORE_HISTORY_MAX 1000          /* older loads are forgotten */

struct store;

struct store_key {                      /* a resource, in order of age */
	const char *kind;
	struct str ns, name;
};

struct store_load {                     /* one load of the configuration */
	int64_t generation;             /* in force after it */
	int64_t at_us;
	struct str by;                  /* "start", "file change", "reload uid N" */
	bool ok;
	struct str digest;              /* of what is in force after it, hex */
	struct str changed;             /* JSON array of texts */
	struct str error;               /* first finding when !ok */
};

int store_open(const char *path, struct store **ret, struct err *err);
void store_close(struct store *s);
int64_t store_generation(const struct store *s);        /* highest ever given out; 0 none */
const char *store_digest(const struct store *s);        /* of that generation; "" none */
/* Micros since 1970 of the first sight, 0 unknown. */
int64_t store_first_seen(const struct store *s, const char *kind, struct str ns, struct str name);

/*
 * A load that succeeded: history, generation and the resources that exist now, in one transaction;
 * what is gone from keys is forgotten, what is new in them was first seen at l->at_us (or later, so
 * that it is younger than all that is known), in the order given.
 */
int store_commit(struct store *s, const struct store_load *l, const struct store_key *keys,
		 size_t n, struct err *err);
/* The same files mean something else by now: generation and digest alone, without history. */
int store_mark(struct store *s, int64_t generation, struct str digest, struct err *err);
/* A load that failed: history alone. */
int store_note(struct store *s, const struct store_load *l, struct err *err);
/* Newest first. */
int store_history(struct store *s, int64_t limit, void (*fn)(void *arg, const struct store_load *l),
		  void *arg, struct err *err);
