/* SPDX-License-Identifier: Apache-2.0 */
/*
 * print: one list of rows, shown as a table, as JSON, as YAML or as bare names. Layer daemons/ctl.
 * Commands gather their answer as a doc and hand it over; tables are views of it, so that what
 * people see and what scripts read can never differ. Text is collected in c->out and leaves
 * through a pager when standard output is a terminal it does not fit on.
 */
#pragma once

#include "ctl/ctl.h"

enum print_style { PRINT_PLAIN, PRINT_GOOD, PRINT_WARN, PRINT_BAD, PRINT_BOLD, PRINT_STYLE__N };

struct print_column {
	const char *head;               /* upper case; NULL ends a table */
	const char *key;                /* member of the row; used when cell is NULL */
	struct str (*cell)(struct arena *a, const struct doc *row);
	enum print_style (*style)(const struct doc *row);       /* NULL: plain */
	bool right;                     /* numbers */
	bool wide;                      /* only with -o wide */
};

/* How the file goes out: JSON or YAML by -o; false when a table is wanted. */
bool print_wants_doc(const struct ctl *c);
void print_doc(struct ctl *c, const struct doc *d);
/* rows: a list of maps. noun: "proxies", for the summary on a terminal; NULL none. */
void print_rows(struct ctl *c, const struct doc *rows, const struct print_column *cols,
		const char *noun);
/* Either of the two. */
void print_list(struct ctl *c, const struct doc *rows, const struct print_column *cols,
		const char *noun);

/* Escape sequence that begins a style ("" without colour); PRINT_PLAIN ends all. */
const char *print_esc(const struct ctl *c, enum print_style s);
/* √ ‼ × or ok !! XX, by the locale. */
const char *print_glyph(const struct ctl *c, enum print_style s);

/* Any scalar as a cell; "-" for nothing. Lists are joined by commas. */
struct str print_value(struct arena *a, const struct doc *d);
/* 3d, 4h, 12m, 7s */
struct str print_age(struct arena *a, int64_t seconds);

/* c->out: everything so far goes to standard output, through a pager when it should. */
void print_open(struct ctl *c);
int print_close(struct ctl *c, int code);       /* returns code, or 1 when the output is lost */
