/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err: code + place + a finished sentence. Layer base.
 * Filled once, at the origin, and passed up unchanged. Configuration reports every finding, so
 * readers and checks append to an err_list instead of stopping at the first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/str.h"

/* Own codes; below -1000 so that they never meet a negative errno. */
enum kv_err {
	KV_ERR_SYNTAX = -1000,   /* text that cannot be parsed */
	KV_ERR_SCHEMA = -1001,   /* unknown field, wrong type, out of range */
	KV_ERR_CHECK = -1002,    /* a rule across fields or resources is broken */
	KV_ERR_PROTOCOL = -1003, /* a peer broke the protocol */
	KV_ERR_REFUSED = -1004,  /* not permitted */
	KV_ERR_LIMIT = -1005,    /* a cap was reached */
	KV_ERR_NOT_FOUND = -1006,
	KV_ERR_TLS = -1007,    /* OpenSSL said no */
	KV_ERR_DB = -1008,     /* SQLite said no */
	KV_ERR_CLOSED = -1009, /* the other side went away */
	KV_ERR_TIMEOUT = -1010,
};

enum err_level { ERR_LEVEL_ERROR, ERR_LEVEL_WARNING, ERR_LEVEL_INFO };

/* Where a value came from. line and col count from 1; 0 means unknown. col counts bytes. */
struct origin {
	const char *file; /* borrowed; NULL when there is no file */
	uint32_t line, col;
};

struct err {
	int code; /* 0 none, negative errno, or enum kv_err */
	enum err_level level;
	char rule[12]; /* "KVM0101", or "" */
	uint32_t line, col;
	char file[256];
	char text[512]; /* a whole sentence fragment, no trailing newline */
};

/* Fill *e (may be NULL) and return code, so that "return err_set(...)" reads well. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_set_at(struct err *e, int code, struct origin at, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#ifdef __clang_analyzer__
/* It does not look into err.c: what comes back is the code, and that is negative. */
#define ERR_RETURNS(call, code)                                                                    \
	({                                                                                         \
		int err_code_ = (code);                                                            \
		if (err_code_ >= 0)                                                                \
			__builtin_unreachable();                                                   \
		(void)(call);                                                                      \
		err_code_;                                                                         \
	})
#define err_set(e, code, ...) ERR_RETURNS((err_set)((e), err_code_, __VA_ARGS__), code)
#define err_set_at(e, code, ...) ERR_RETURNS((err_set_at)((e), err_code_, __VA_ARGS__), code)
#endif

const char *err_code_name(int code); /* "syntax", "refused", strerror for errno values */

struct err_list {
	struct err *v;
	size_t n, cap;
	size_t n_errors;  /* entries of ERR_LEVEL_ERROR, counted past the cap as well */
	size_t n_dropped; /* findings beyond ERR_LIST_MAX */
};
#define ERR_LIST_MAX 1000

void err_list_init(struct err_list *l);
void err_list_done(struct err_list *l);
/* Append a copy; beyond ERR_LIST_MAX only the counters move. */
void err_list_push(struct err_list *l, const struct err *e);
/* Append a finding; returns code. rule may be NULL. */
int err_list_add(struct err_list *l, enum err_level level, int code, const char *rule,
		 struct origin at, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* Order by file, line, col; stable. */
void err_list_sort(struct err_list *l);
/*
 * "FILE:LINE:COL: error: TEXT [RULE]" and, when source (the whole text of that file) is given,
 * the offending line and a caret under the column, as compilers do.
 */
void err_print(FILE *out, const struct err *e, struct str source);

/* Broken invariant of our own: stays on in release builds. */
#define kv_assert(x) ((x) ? (void)0 : kv_assert_failed(#x, __FILE__, __LINE__, __func__))
_Noreturn void kv_assert_failed(const char *what, const char *file, int line, const char *func);
