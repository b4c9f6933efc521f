/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h1_priv: what the files of the HTTP/1 parser share. Layer http.
 * Reading is two passes: h1_scan_head finds the end of a head and refuses control bytes and what is
 * too large, strictly by position, so that the outcome does not depend on how the bytes were split;
 * h1_read_fields then works on a private copy that is known to be complete.
 */
#pragma once

#include "http/h1.h"

enum h1_scanned {
	H1_SCANNED_END,                 /* s->pos is behind the empty line */
	H1_SCANNED_MORE,
	H1_SCANNED_CTL,                 /* control byte, bare CR or LF in line s->lines */
	H1_SCANNED_LINE,                /* first line too long */
	H1_SCANNED_HEAD,                /* section too long */
	H1_SCANNED_FIELDS,              /* too many fields */
};

struct h1_scan_rules {
	const struct h1_limits *lim;
	unsigned first_lines;           /* lines before the fields: 1, or 0 for a trailer section */
	bool skip_empty;                /* one empty line in front is ignored */
};
enum h1_scanned h1_scan_head(struct h1_scan *s, const struct h1_scan_rules *rules, struct str in);

/*
 * Field lines from p (a scanned section with its empty line) into h; names are lower-cased in place
 * and strings borrowed from p. False: not a field line. at_most: how many lines there can be.
 */
bool h1_read_fields(struct head *h, char *p, char *end, size_t at_most);

/* Fields that a trailer section must not bring: framing, routing, identity. */
bool h1_is_forbidden_trailer(const struct head_field *f);

#define H1_NAMED_MAX 64            /* options in Connection: each costs a walk over the fields */

/* What the fields that never reach a head said. */
struct h1_wire {
	unsigned n_host, n_cl, n_te;
	struct str host, length, coding, upgrade;
	bool length_differs;
	bool close, keep_alive, wants_upgrade, te_trailers, expect_100, expect_other;
	size_t n_named;
	struct str named[H1_NAMED_MAX];
};
void h1_wire_init(struct h1_wire *w);
/* Move what concerns the connection from h into w. False: a malformed Connection. */
bool h1_split_fields(struct head *h, struct h1_wire *w);
bool h1_keeps_alive(const struct head *h, const struct h1_wire *w);
/* 1*DIGIT up to 2^63 - 1. */
bool h1_read_number(struct str s, uint64_t *ret);
