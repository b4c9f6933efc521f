/* SPDX-License-Identifier: Apache-2.0 */
/* bind_things: one field table with every type, for the tests of bind. */
#pragma once

#include "doc/bind.h"

#include "doc_test.h"

/* F_OPT overrides the has_offset that the other macros set: meant. */
#pragma GCC diagnostic ignored "-Woverride-init"

enum mode { MODE_UNSET, MODE_STRICT, MODE_PERMISSIVE };
static const char *const mode_names[] = { "UNSET", "STRICT", "PERMISSIVE", NULL };

struct port { /* entry of a map */
	struct str key;
	int mode;
	struct str value;
};
static const struct field port_fields[] = { { F_ENUM(struct port, mode, mode_names) }, F_END };
static const struct bind_table port_table = { "PortMtls", sizeof(struct port), -1, port_fields };

struct match { /* entry of a map whose members include "value" */
	struct str key;
	struct str exact, value;
};
static const struct field match_fields[] = { { F_STR(struct match, exact) },
					     { F_STR(struct match, value) },
					     F_END };
static const struct bind_table match_table = { "Match", sizeof(struct match), -1, match_fields };

struct dest {
	struct origin at;
	struct str host;
	int64_t weight;
	bool has_weight;
};
static const struct field dest_fields[] = {
	{ F_STR(struct dest, host), .flags = FIELD_REQUIRED | FIELD_NONEMPTY },
	{ F_INT(struct dest, weight, 0, 100), F_OPT(struct dest, has_weight) },
	F_END
};
static const struct bind_table dest_table = { "Destination", sizeof(struct dest),
					      offsetof(struct dest, at), dest_fields };

struct thing {
	bool on, onOpt, hasOnOpt;
	int64_t count, anyInt, big;
	double share;
	struct str name, secret;
	int mode;
	int64_t timeout, perTryTimeout, consecutive5xxErrors, back;
	struct str_list hosts, words;
	struct int_list codes;
	struct labels labels;
	struct dest first;
	struct dest *second;
	struct {
		struct dest *v;
		size_t n;
	} route;
	struct {
		struct port *v;
		size_t n;
	} ports;
	struct {
		struct match *v;
		size_t n;
	} headers;
	const struct doc *any, *ignored;
	struct str exact, prefix, later, refused;
};
#define T struct thing
static const struct field thing_fields[] = {
	{ F_BOOL(T, on) },
	{ F_BOOL(T, onOpt), F_OPT(T, hasOnOpt) },
	{ F_INT(T, count, 1, 10) },
	{ F_INT(T, anyInt, 0, 0) },
	{ F_INT(T, big, 1, INT64_MAX) },
	{ F_REAL(T, share, 0, 100) },
	{ F_STR(T, name) },
	{ F_STR(T, secret), .flags = FIELD_SECRET },
	{ F_ENUM(T, mode, mode_names) },
	{ F_DURATION(T, timeout) },
	{ F_DURATION(T, perTryTimeout), .min = 1000, .max = 60000000 },
	{ F_INT(T, consecutive5xxErrors, 0, 0) },
	{ F_DURATION(T, back), .min = -1000000, .max = 1000000 },
	{ F_STR_LIST(T, hosts), .flags = FIELD_NONEMPTY },
	{ F_STR_LIST(T, words) },
	{ F_INT_LIST(T, codes, 100, 599) },
	{ F_LABELS(T, labels) },
	{ F_STRUCT(T, first, dest_table) },
	{ F_PTR(T, second, dest_table) },
	{ F_LIST(T, route, dest_table) },
	{ F_MAP(T, ports, port_table), .key_name = "port" },
	{ F_MAP(T, headers, match_table) },
	{ F_ANY(T, any) },
	{ F_ANY(T, ignored), .status = FIELD_IGNORED, .note = "nothing here" },
	{ F_STR(T, exact), .oneof = 1 },
	{ F_STR(T, prefix), .oneof = 1 },
	{ F_STR(T, later), .status = FIELD_NOT_YET, .note = "soon" },
	{ F_STR(T, refused), .status = FIELD_REFUSED, .note = "it is unsafe" },
	F_END
};
#undef T
static const struct bind_table thing_table = { "Thing", sizeof(struct thing), -1, thing_fields };

#define YAML DOC_SYNTAX_YAML
#define NATIVE DOC_SYNTAX_NATIVE
#define JSON DOC_SYNTAX_JSON

/* text bound to a fresh thing, findings to terrs. */
static inline struct thing *bind_text(const char *text, enum doc_syntax syntax)
{
	const struct doc *d = good(text, syntax);
	struct thing *t = arena_new(&ta, struct thing);
	int rc = bind_read(&thing_table, d, "Thing", &ta, t, &terrs);

	ck_assert_int_eq(rc, terrs.n > 0 ? KV_ERR_SCHEMA : 0);
	return t;
}

static inline struct thing *bound(const char *text, enum doc_syntax syntax)
{
	struct thing *t = bind_text(text, syntax);

	ck_assert_msg(terrs.n == 0, "unexpected: %s", findings());
	return t;
}

static inline void unbound(const char *text, enum doc_syntax syntax, const char *want)
{
	bind_text(text, syntax);
	ck_assert_str_eq(findings(), want);
}
