/* SPDX-License-Identifier: Apache-2.0 */
/* url: authorities and paths (RFC 3986, Istio rule 2.11.18). Layer http. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

/* "host", "host:80", "[::1]:80": host without brackets, port 0 when none. False: malformed. */
bool url_split_authority(struct str authority, struct str *ret_host, uint16_t *ret_port);
/* Path before '?' and query after it (STR_NULL when there is no '?'). */
void url_split_query(struct str target, struct str *ret_path, struct str *ret_query);
/* First value of name in a query string; false when absent. Not decoded (Istio 2.3.9). */
bool url_query_get(struct str query, struct str name, struct str *ret_value);

/* A target without any parameter of that name; itself when it has none. Made in the arena. */
struct str url_query_remove(struct str target, struct str name, struct arena *a);

enum url_normalize {
	URL_NORMALIZE_NONE,
	URL_NORMALIZE_BASE,             /* RFC 3986 dot segments, unreserved %XX decoded, \ → / */
	URL_NORMALIZE_MERGE_SLASHES,
	URL_NORMALIZE_DECODE_AND_MERGE_SLASHES,
};
/*
 * Normalise the path part of a target, query kept, fragment dropped. Made in the arena only when
 * something changes. False: refused (bad %, %00, control bytes, climbs above the root).
 */
bool url_normalize(struct str target, enum url_normalize how, struct arena *a, struct str *ret);
/* What a reader behind us may do to a path besides the base form; each with or without the others. */
enum url_reading {
	URL_READ_DECODED = 1,           /* %2F and %5C are "/" */
	URL_READ_NO_PARAMETERS = 2,     /* ";…" is dropped from each segment */
	URL_READ_MERGED = 4,            /* "//" is "/" */
	URL_READINGS = 8,               /* so many there are */
};
/*
 * A path without query as that reader understands it (security-model §5.1), dot segments resolved
 * at last; the path itself when it has but one reading. False: it climbs above the root.
 */
bool url_read_path(struct str path, unsigned reading, struct arena *a, struct str *ret);
