# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += %D%/config_unit.h
if HAVE_CHECK
config_tests = %D%/test_compile %D%/test_names %D%/test_load %D%/test_check %D%/test_convert %D%/test_inject
check_PROGRAMS += $(config_tests)
TESTS += $(config_tests)
config_test_libs = $(KV_CONFIG_LDADD) $(CHECK_LIBS)
%C%_test_compile_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_compile_LDADD = $(config_test_libs)
%C%_test_names_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_names_LDADD = $(config_test_libs)
%C%_test_load_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_load_LDADD = $(config_test_libs)
%C%_test_check_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_check_LDADD = $(config_test_libs)
%C%_test_convert_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_convert_LDADD = $(config_test_libs)
%C%_test_inject_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_inject_LDADD = $(config_test_libs)
endif
