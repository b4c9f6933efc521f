/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_regex: a pattern, a line end, a subject. What the judge lets through compiles both ways; a whole match is
 * also found by a search and has the literals that the route index files it under.
 */
#include "core/regex.h"
#include "core/regex_literals.h"
#include "fuzz.h"
#include "snap/re2.h"

static void check_match(struct str pattern, struct str subject, struct regex_scratch *scratch)
{
	struct regex *whole = NULL, *search = NULL;
	struct str out;
	struct arena a;

	arena_init(&a, 0);
	fuzz_assert(regex_new(pattern, &whole, NULL) == 0);
	fuzz_assert(regex_new_search(pattern, &search, NULL) == 0);
	enum regex_result r = regex_match(whole, subject, scratch);

	if (r == REGEX_YES) {
		struct regex_literals l = regex_literals(pattern, &a);

		fuzz_assert(str_has_prefix(subject, l.prefix) && str_has_suffix(subject, l.suffix));
		fuzz_assert(str_find_str(subject, l.inner) >= 0);
		fuzz_assert(regex_replace(search, subject, STR("<\\0\\1>"), scratch, &a, &out) != REGEX_NO);
	}
	fuzz_assert(regex_match(whole, subject, NULL) == r);
	regex_free(whole);
	regex_free(search);
	arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct regex_scratch *scratch;
	struct str subject = str_from((const char *)data, size), pattern;
	struct err err = { 0 };

	if (!scratch)
		scratch = regex_scratch_new();
	if (!str_split(&subject, '\n', &pattern))
		return 0;
	if (re2_check(pattern, &err) == 0)
		check_match(pattern, subject, scratch);
	else
		fuzz_assert(err.text[0] != '\0');
	return 0;
}
