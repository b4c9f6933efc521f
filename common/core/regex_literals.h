/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regex_literals: text that every match of a pattern must have, so that an index finds the few
 * patterns that can match at all. Layer core. Letters are in the pattern's case.
 */
#pragma once

#include "base/arena.h"
#include "base/str.h"

/* Empty: none is certain. Longer literals are cut: what stands here is always had. */
struct regex_literals {
	struct str prefix, suffix;      /* every match begins, ends with it */
	struct str inner;               /* the longest run that every match has somewhere */
};

/* Of a pattern that re2_check lets through, as a whole-string match. In the arena. */
struct regex_literals regex_literals(struct str pattern, struct arena *a);
