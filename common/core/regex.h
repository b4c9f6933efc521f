/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regex: compiled patterns with limits. Layer core; the one file that knows PCRE2 (without JIT).
 * A compiled pattern is read-only and may be used by any thread; what a match writes to is a
 * scratch, one per thread.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#define REGEX_SUBJECT_MAX 8192          /* longer ones are REGEX_LIMIT */

enum regex_result {
	REGEX_NO,
	REGEX_YES,
	/* Not decided: a limit of security-model 5.6 was hit, or the subject is no UTF-8 text.
	 * Whoever routes or allows takes it as "no", whoever denies takes it as "yes". */
	REGEX_LIMIT,
};

struct regex;
struct regex_scratch;

/* Whole-string match of a pattern of snap/re2.h. */
int regex_new(struct str pattern, struct regex **ret, struct err *err);
/* The same pattern, to be found anywhere (regex_replace). */
int regex_new_search(struct str pattern, struct regex **ret, struct err *err);
void regex_free(struct regex *re);      /* NULL is fine */

struct regex_scratch *regex_scratch_new(void);
void regex_scratch_free(struct regex_scratch *s);       /* NULL is fine */

/* scratch == NULL: one is made for this call alone. */
enum regex_result regex_match(const struct regex *re, struct str subject,
			      struct regex_scratch *scratch);
/*
 * Every match in subject replaced as RE2's GlobalReplace does: \0 the whole match, \1…\9 groups,
 * \\ a backslash. REGEX_YES: *ret is the result, in the arena. REGEX_NO: nothing matched. The
 * result is capped at REGEX_SUBJECT_MAX bytes (REGEX_LIMIT beyond).
 */
enum regex_result regex_replace(const struct regex *re, struct str subject, struct str substitution,
				struct regex_scratch *scratch, struct arena *a, struct str *ret);
