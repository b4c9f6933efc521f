/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind_path: "VirtualService.http[0].headers[x-canary]" as a walk goes down and up: one buffer,
 * grown at the end and cut back, nothing allocated. What does not fit is left out. Layer doc,
 * private.
 */
#pragma once

#include <stddef.h>

#include "base/str.h"

struct bind_path {
	size_t n;
	char buf[400];
};

void bind_path_init(struct bind_path *p, const char *prefix);
/* Each returns the old length, for bind_path_cut. */
size_t bind_path_name(struct bind_path *p, struct str name);
size_t bind_path_index(struct bind_path *p, size_t i);
size_t bind_path_key(struct bind_path *p, struct str key);
void bind_path_cut(struct bind_path *p, size_t n);
