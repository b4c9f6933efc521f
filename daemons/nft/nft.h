/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nft: batches for the kernel's packet filter, and what it says of our table. Layer daemons/nft; the only file
 * that knows libnftables. It needs CAP_NET_ADMIN in the network namespace of the caller and keeps nothing between
 * calls. A batch is one transaction: all of it or nothing.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#define NFT_FAMILY "inet"
#define NFT_TABLE "kvmesh"

/*
 * Run one batch: JSON (libnftables-json(5)) when it begins with '{', else the language of nft(8). 0, or a negative
 * code and what nft said of it.
 */
int nft_run(struct str batch, struct err *err);
/* The same, but nothing is changed: does this kernel take it? */
int nft_try(struct str batch, struct err *err);
/*
 * Our table, or its counters alone, as libnftables' JSON: { "nftables": [ … ] }, in the arena. KV_ERR_NOT_FOUND:
 * there is no such table.
 */
int nft_list_table(struct arena *a, struct str *ret_json, struct err *err);
int nft_list_counters(struct arena *a, struct str *ret_json, struct err *err);
/* Those of another table of the family. */
int nft_list_counters_of(const char *table, struct arena *a, struct str *ret_json, struct err *err);
/* Our table in the language of nft(8), for people. */
int nft_show_table(struct arena *a, struct str *ret_text, struct err *err);
