/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit: what every Check program needs and nothing more: one suite, one case, a main function.
 *     START_TEST(adds) { … } END_TEST
 *     UNIT_MAIN("str", adds, subtracts)
 * Check forks for each test, so a crash is one failure and not the end of the program.
 */
#pragma once

#include <check.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/str.h"

#define UNIT_TIMEOUT_S 60 /* generous: sanitizers and a busy machine */

/* Every test must end by that signal (0: by returning). */
static inline int unit_run_signal(const char *name, const TTest *const *tests, size_t n, int sig)
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, UNIT_TIMEOUT_S);
	for (size_t i = 0; i < n; i++)
		tcase_add_test_raise_signal(tc, tests[i], sig);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static inline int unit_run(const char *name, const TTest *const *tests, size_t n)
{
	return unit_run_signal(name, tests, n, 0);
}

#define UNIT_MAIN(name, ...)                                                                       \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = { __VA_ARGS__ };                                      \
		return unit_run((name), tests, sizeof(tests) / sizeof(tests[0]));                  \
	}

/* The str s holds exactly the text of the C string. */
#define unit_str_eq(s, text)                                                                       \
	do {                                                                                       \
		struct str _s = (s), _t = str_c(text);                                             \
		ck_assert_msg(str_eq(_s, _t), "got '%.*s', expected '%.*s'", STR_ARG(_s),          \
			      STR_ARG(_t));                                                        \
	} while (0)
