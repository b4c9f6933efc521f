# SPDX-License-Identifier: Apache-2.0
if HAVE_CHECK
core_tests = %D%/test_regex
check_PROGRAMS += $(core_tests)
TESTS += $(core_tests)
core_test_libs = libkvcore.a libkvsnap.a libkvbase.a $(KV_CORE_LDADD) $(CHECK_LIBS)
%C%_test_regex_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_regex_LDADD = $(core_test_libs)
endif
