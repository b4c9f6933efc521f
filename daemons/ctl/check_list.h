/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_list: the list that `kvmeshctl check` fills: categories of checks with a result, a reason
 * and a hint, in the text and JSON forms linkerd users know. Layer daemons/ctl.
 */
#pragma once

#include "ctl/ctl.h"
#include "ctl/live.h"

enum check_result { CHECK_OK, CHECK_WARNING, CHECK_ERROR };

struct check_item {
	const char *category;
	enum check_result result;
	const char *text;               /* what should be true */
	const char *why;                /* when it is not; may have several lines; NULL */
	const char *hint;               /* what to do; NULL */
};

struct check_list {
	struct ctl *c;
	const char *category;           /* of the next items */
	struct check_item *v;
	size_t n, cap;
	bool bad_config;                /* decides the exit code */
};

/* Texts are copied. why == NULL: the check passed and result is ignored. */
void check_add(struct check_list *l, enum check_result result, const char *text, const char *why,
	       const char *hint);
size_t check_count(const struct check_list *l, enum check_result result);
void check_print(const struct check_list *l);

/* ---- the categories -------------------------------------------------------------------------- */
void check_host(struct check_list *l);                                          /* check_host.c */
void check_config(struct check_list *l);                                        /* check_host.c */
void check_control_plane(struct check_list *l, const struct live *live);        /* check_live.c */
void check_identity(struct check_list *l, const struct live *live);             /* check_live.c */
void check_data_plane(struct check_list *l, const struct live *live);           /* check_live.c */
