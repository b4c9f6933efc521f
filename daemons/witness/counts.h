/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counts: what the kernel's counters grew by since it was last told on. Layer daemons/witness. What could
 * not be told stays for the next time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"
#include "doc/doc.h"

struct counts {
	struct map by_name;             /* "app_8001" → struct count */
};
struct count {
	char *name;
	int64_t packets, bytes;         /* as last read */
	int64_t fresh_packets, fresh_bytes;
	int64_t told_packets, told_bytes;       /* part of fresh that is on its way */
};

void counts_init(struct counts *c);
void counts_done(struct counts *c);
/* The table was made anew: counters begin at 0. */
void counts_restart(struct counts *c);
/* libnftables' JSON of the counters. False: it is not what it should be. */
bool counts_read(struct counts *c, const struct doc *json);
/* Any that grew; each is marked as being told. */
struct count *counts_next(struct counts *c, struct map_entry **at);
void counts_tell(struct count *c);
void counts_told(struct counts *c, bool heard);
