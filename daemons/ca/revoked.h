/* SPDX-License-Identifier: Apache-2.0 */
/*
 * revoked: certificates and identities that are not to be trusted any more, on disk before anybody is
 * told. Layer daemons/ca. Owns STATE/ca/revoked.db and the list in memory. The list is bounded: an
 * entry leaves when nothing that it names can be valid any more.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"

#define REVOKED_MAX 4096
#define REVOKED_REASON_MAX 200

struct revoked;

struct revoked_entry {
	struct str what;                /* a serial, lower-case hex, or a SPIFFE ID */
	bool is_id;
	int64_t at_s;                   /* when it was revoked */
	int64_t until_s;                /* then the last certificate that it names ends */
	uid_t uid;                      /* who did */
	struct str reason;
};

int revoked_open(const char *path, struct revoked **ret, struct err *err);
void revoked_close(struct revoked *r);
/* Durable when it returns 0. Again: the newer word counts. KV_ERR_LIMIT: REVOKED_MAX entries. */
int revoked_add(struct revoked *r, const struct revoked_entry *e, struct err *err);
/* KV_ERR_NOT_FOUND: it is not on the list. */
int revoked_lift(struct revoked *r, struct str what, struct err *err);
/*
 * What has ended leaves; of identities those alone that keep does not want (they are still somebody's).
 * *ret: whether the list is another.
 */
int revoked_prune(struct revoked *r, int64_t now_s, bool (*keep)(void *arg, struct str id), void *arg,
		  bool *ret, struct err *err);
bool revoked_has(const struct revoked *r, struct str what);
size_t revoked_count(const struct revoked *r);
int64_t revoked_revision(const struct revoked *r);      /* another list, another number; never again */
void revoked_each(const struct revoked *r, void (*fn)(void *arg, const struct revoked_entry *e),
		  void *arg);
