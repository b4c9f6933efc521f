# SPDX-License-Identifier: Apache-2.0
if HAVE_CHECK
core_tests = %D%/test_authz %D%/test_chash %D%/test_lb %D%/test_limit %D%/test_match %D%/test_regex %D%/test_retry %D%/test_rewrite
check_PROGRAMS += $(core_tests)
TESTS += $(core_tests)
core_test_cppflags = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
core_test_libs = $(KV_CORE_LDADD) $(CHECK_LIBS)
%C%_test_authz_CPPFLAGS = $(core_test_cppflags)
%C%_test_authz_LDADD = $(core_test_libs)
%C%_test_chash_CPPFLAGS = $(core_test_cppflags)
%C%_test_chash_LDADD = $(core_test_libs)
%C%_test_lb_CPPFLAGS = $(core_test_cppflags)
%C%_test_lb_LDADD = $(core_test_libs)
%C%_test_limit_CPPFLAGS = $(core_test_cppflags)
%C%_test_limit_LDADD = $(core_test_libs)
%C%_test_match_CPPFLAGS = $(core_test_cppflags)
%C%_test_match_LDADD = $(core_test_libs)
%C%_test_regex_CPPFLAGS = $(core_test_cppflags)
%C%_test_regex_LDADD = $(core_test_libs)
%C%_test_retry_CPPFLAGS = $(core_test_cppflags)
%C%_test_retry_LDADD = $(core_test_libs)
%C%_test_rewrite_CPPFLAGS = $(core_test_cppflags)
%C%_test_rewrite_LDADD = $(core_test_libs)
endif
