/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind: field tables. One table says how a doc and a C struct correspond, and from it come reading,
 * writing, comparison, the manual and the compatibility list. Layer doc.
 *
 * Presence: a str is absent when p == NULL, a FIELD_PTR when NULL, a list when n == 0 and v == NULL
 * (an empty list that was written has v != NULL). Scalars that must tell "absent" from zero name a
 * bool member with FIELD_OPT.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/label.h"
#include "doc/doc.h"

enum field_type {
	FIELD_BOOL,     /* bool */
	FIELD_INT,      /* int64_t within min…max */
	FIELD_REAL,     /* double within min…max (as integers) */
	FIELD_STR,      /* struct str; an unquoted YAML number is text here */
	FIELD_ENUM,     /* int: index into names[] */
	FIELD_DURATION, /* int64_t microseconds, from "1.5s"; min…max in microseconds */
	FIELD_STR_LIST, /* struct str_list */
	FIELD_INT_LIST, /* struct int_list, each within min…max */
	FIELD_LABELS,   /* struct labels: map string → string; also [ "k=v" ] and pair lists */
	FIELD_STRUCT,   /* embedded struct described by sub */
	FIELD_PTR,      /* struct *, NULL when absent, described by sub */
	FIELD_LIST,     /* struct bind_list of structs described by sub */
	FIELD_MAP,      /* struct bind_list of structs described by sub whose FIRST member is
			 * "struct str key"; a map in YAML, a group or pair list in native */
	FIELD_ANY,      /* struct doc *, borrowed as it is */
};

struct str_list {
	struct str *v;
	size_t n;
};
struct int_list {
	int64_t *v;
	size_t n;
};
bool str_list_has(const struct str_list *l, struct str s);
bool str_list_eq(const struct str_list *a, const struct str_list *b);   /* in the same order */
/* Layout shared by every FIELD_LIST and FIELD_MAP: { type *v; size_t n; }. */
struct bind_list {
	void *v;
	size_t n;
};

enum field_status {
	FIELD_WORKS,   /* has its Istio meaning */
	FIELD_NOT_YET, /* read and checked; analyze says "not enforced yet" when it is used */
	FIELD_REFUSED, /* an error when used; note says why */
	FIELD_IGNORED, /* accepted and without meaning here; note says why */
};

#define FIELD_REQUIRED 0x01u /* absence is an error */
#define FIELD_SECRET 0x02u   /* never in a message; bind_redact hides it before printing */
#define FIELD_NONEMPTY 0x04u /* an empty string or list is an error */

struct bind_table;

struct field {
	const char *name;
	enum field_type type;
	uint8_t flags;
	uint8_t oneof;    /* members of one table with the same number > 0 exclude each other */
	uint8_t priority; /* P1…P3 of the semantics reference; 0 ours */
	enum field_status status;
	size_t offset;
	ptrdiff_t has_offset; /* of the bool member that tells presence, or -1 */
	const struct bind_table *sub;
	const char *const *names; /* FIELD_ENUM: NULL-ended; a NULL-free index is the value */
	int64_t min, max;         /* both 0: no range */
	const char *key_name;     /* FIELD_MAP: name of the key in pair lists, default "key" */
	const char *since;        /* "1.8", "1.15", "" ours */
	const char *help;         /* one line for explain and the manual */
	const char *note;         /* why, for a status other than FIELD_WORKS */
};

struct bind_table {
	const char *name; /* message name: "HTTPRoute" */
	size_t size;
	ptrdiff_t origin_offset;    /* of a struct origin member to fill, or -1 */
	const struct field *fields; /* ended by .name == NULL */
};

/*
 * Read d (a DOC_MAP) into obj, which must be zeroed or hold defaults (table->size bytes); strings
 * and lists live in the arena. Names are matched as Istio's JSON does: lowerCamelCase or the
 * proto's snake_case. Findings, all of them, go to errs: unknown field (with the nearest known
 * one), wrong type, out of range, missing, two of a oneof, use of a FIELD_REFUSED. A null is an
 * absent field. path is the prefix for messages ("VirtualService.http[0]"). Returns 0 or the first
 * error's code. A duration is never negative unless its min says so. A list element or map entry
 * cannot be null.
 */
int bind_read(const struct bind_table *t, const struct doc *d, const char *path, struct arena *a,
	      void *obj, struct err_list *errs);
/*
 * The doc of an object (durations as "1.5s"). Left out: absent members, scalars equal to zero
 * without has_offset, an ignored FIELD_ANY.
 */
struct doc *bind_write(const struct bind_table *t, const void *obj, struct arena *a);
/*
 * The same values in the one canonical form: pair lists and "k=v" lists of map fields become maps,
 * plain scalars get the type of their field, snake_case names become lowerCamelCase. Unknown
 * members stay. Origins are kept. This is what makes YAML ⇄ native conversion lossless.
 */
struct doc *bind_canon(const struct bind_table *t, const struct doc *d, struct arena *a);

/* bind_canon with "(hidden)" in place of every FIELD_SECRET: for whatever people get to see. */
struct doc *bind_redact(const struct bind_table *t, const struct doc *d, struct arena *a);

/* Visit every field that d uses (present in the doc), depth first, with its dotted path. */
typedef void (*bind_visit_fn)(void *arg, const char *path, const struct field *f,
			      const struct doc *d);
void bind_visit(const struct bind_table *t, const struct doc *d, const char *path, bind_visit_fn fn,
		void *arg);
/* The field at "http.route.weight" or "http[0].route[1].weight" below t, or NULL. */
const struct field *bind_find(const struct bind_table *t, struct str dotted);
/* "duration", "HTTPRoute[]", "map<string, StringMatch>"; valid until this thread's next call. */
const char *field_type_name(const struct field *f);

/* ---- writing tables --------------------------------------------------------------------- */
/* [FIELD_X] style: { F_STR(struct thing, name), .flags = FIELD_REQUIRED, .help = "…" } */
#define F_(T, m, ty) .name = #m, .type = (ty), .offset = offsetof(T, m), .has_offset = -1
#define F_BOOL(T, m) F_(T, m, FIELD_BOOL)
#define F_INT(T, m, lo, hi) F_(T, m, FIELD_INT), .min = (lo), .max = (hi)
#define F_REAL(T, m, lo, hi) F_(T, m, FIELD_REAL), .min = (lo), .max = (hi)
#define F_STR(T, m) F_(T, m, FIELD_STR)
#define F_ENUM(T, m, nm) F_(T, m, FIELD_ENUM), .names = (nm)
#define F_DURATION(T, m) F_(T, m, FIELD_DURATION)
#define F_STR_LIST(T, m) F_(T, m, FIELD_STR_LIST)
#define F_INT_LIST(T, m, lo, hi) F_(T, m, FIELD_INT_LIST), .min = (lo), .max = (hi)
#define F_LABELS(T, m) F_(T, m, FIELD_LABELS)
#define F_STRUCT(T, m, t) F_(T, m, FIELD_STRUCT), .sub = &(t)
#define F_PTR(T, m, t) F_(T, m, FIELD_PTR), .sub = &(t)
#define F_LIST(T, m, t) F_(T, m, FIELD_LIST), .sub = &(t)
#define F_MAP(T, m, t) F_(T, m, FIELD_MAP), .sub = &(t)
#define F_ANY(T, m) F_(T, m, FIELD_ANY)
/*
 * Presence of a scalar in a bool member: F_OPT(struct thing, has_weight). It overrides has_offset,
 * so a file of tables says: #pragma GCC diagnostic ignored "-Woverride-init"
 */
#define F_OPT(T, has) .has_offset = offsetof(T, has)
#define F_END                                                                                      \
	{                                                                                          \
		.name = NULL                                                                       \
	}
