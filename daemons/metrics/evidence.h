/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evidence: how much went from whom to whom, and how it was secured, hour by hour and kept for more
 * than a year: what a compliance report stands on. Layer metrics; owns its database. One thread.
 *
 * Proxies count since their start; what is kept is what a counter grew by since it was last read,
 * also over a restart of this daemon. A proxy that ends takes with it what it counted since the
 * last reading, seconds at most. Finished days (UTC) are sealed: each seal is the SHA-256 of the
 * seal before and of the day's rows, so that nothing of the past can be changed unnoticed by who
 * has seen a later seal.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "doc/doc.h"

struct evidence;
struct evidence_plain;

/* Opens or creates the file. now_us: clock_real_us. */
int evidence_open(const char *path, int64_t now_us, struct evidence **ret, struct err *err);
void evidence_close(struct evidence *e);        /* NULL is fine; nothing is flushed */
/* A proxy's Stats reply with edges. Anything malformed in it is left out. */
void evidence_take(struct evidence *e, struct str proxy, const struct doc *stats, int64_t now_us);
/* The witness looks, as process pid; it should say so every few seconds. */
void evidence_witness(struct evidence *e, int64_t pid, int64_t now_us);
/* … and saw plain bytes: all of it is written when it returns 0, else nothing. */
int evidence_plain(struct evidence *e, const struct evidence_plain *p, size_t n, int64_t now_us,
		   struct err *err);
/* On disk, all or nothing; what could not be written stays for the next time. Seals what is over. */
int evidence_flush(struct evidence *e, int64_t now_us, struct err *err);
/*
 * The reply of docs/IPC.md "Evidence" for [since, until), whole hours: sums for each edge, how long
 * each proxy was watched, the newest seal, and whether all seals hold.
 */
int evidence_report(struct evidence *e, int64_t since_us, int64_t until_us, struct arena *a,
		    struct doc *to, struct err *err);
/* The reply of "Seals": each day's, oldest first, and whether they hold. */
int evidence_seals(struct evidence *e, struct arena *a, struct doc *to, struct err *err);
