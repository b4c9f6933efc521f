/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health: the list that `kvmeshctl check` fills: categories of checks with a result, a reason
 * and a hint, in the text and JSON forms linkerd users know. Layer daemons/ctl.
 */
#pragma once

#include "ctl/ctl.h"
#include "ctl/live.h"

enum health_result { HEALTH_OK, HEALTH_WARNING, HEALTH_ERROR };

struct health_item {
	const char *category;
	enum health_result result;
	const char *text;               /* what should be true */
	const char *why;                /* when it is not; may have several lines; NULL */
	const char *hint;               /* what to do; NULL */
};

struct health {
	struct ctl *c;
	const char *category;           /* of the next items */
	struct health_item *v;
	size_t n, cap;
	bool bad_config;                /* decides the exit code */
};

/* Texts are copied. why == NULL: the check passed and result is ignored. */
void health_add(struct health *l, enum health_result result, const char *text, const char *why,
	       const char *hint);
size_t health_count(const struct health *l, enum health_result result);
void health_print(const struct health *l);

/* ---- the categories -------------------------------------------------------------------------- */
void health_host(struct health *l);                                          /* health_host.c */
void health_config(struct health *l);                                        /* health_host.c */
void health_control_plane(struct health *l, const struct live *live);        /* health_live.c */
void health_identity(struct health *l, const struct live *live);             /* health_live.c */
void health_data_plane(struct health *l, const struct live *live);           /* health_live.c */
