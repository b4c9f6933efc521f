/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger: every certificate that was ever issued, committed to disk before it leaves
 * (security-model K7, C2). Layer daemons/ca. Owns the database.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"

struct ledger;

struct ledger_entry {
	struct str serial;              /* lower-case hex */
	struct str spiffe;
	int64_t not_before_s, not_after_s;
	int64_t issued_at_us;
	uid_t uid;
	struct str unit;                /* of the caller, "" none */
	struct str proxy;               /* instance that asked, "" a workload itself */
};

/* Opens or creates; a damaged database is an error that says what to do. */
int ledger_open(const char *path, struct ledger **ret, struct err *err);
void ledger_close(struct ledger *l);
/* For -t: look without changing anything. No database yet is fine. */
int ledger_check(const char *path, struct err *err);

/* Durable when it returns 0; otherwise nothing was recorded. */
int ledger_record(struct ledger *l, const struct ledger_entry *e, struct err *err);
int64_t ledger_count(const struct ledger *l);           /* ever issued, pruned ones included */
/* Latest issued_at_us ever: the clock must not run behind it (F12). 0 none. */
int64_t ledger_high_water_us(const struct ledger *l);
/* Newest first; spiffe empty: all. */
int ledger_list(struct ledger *l, struct str spiffe, int64_t limit,
		void (*fn)(void *arg, const struct ledger_entry *e), void *arg, struct err *err);
/*
 * When the last of those issued until then ends (seconds since 1970); others: of those that no proxy
 * asked for. 0: there are none.
 */
int ledger_last_end_s(struct ledger *l, int64_t issued_until_us, bool others, int64_t *ret,
		      struct err *err);
/* When that certificate, or the last one of that identity, ends. KV_ERR_NOT_FOUND: never issued. */
int ledger_end_of_serial_s(struct ledger *l, struct str serial, int64_t *ret, struct err *err);
int ledger_end_of_id_s(struct ledger *l, struct str spiffe, int64_t *ret, struct err *err);
