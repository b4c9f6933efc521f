# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += %D%/unit.h
if HAVE_CHECK
base_tests = %D%/test_base_str %D%/test_base_mem %D%/test_base_sys
check_PROGRAMS += $(base_tests)
TESTS += $(base_tests)
base_test_libs = $(KV_BASE_LIBS) $(CHECK_LIBS)
%C%_test_base_str_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_base_str_LDADD = $(base_test_libs)
%C%_test_base_mem_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_base_mem_LDADD = $(base_test_libs)
%C%_test_base_sys_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_base_sys_LDADD = $(base_test_libs)
endif
