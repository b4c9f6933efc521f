# SPDX-License-Identifier: Apache-2.0
if HAVE_CHECK
check_PROGRAMS += %D%/test_compile
TESTS += %D%/test_compile
%C%_test_compile_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_compile_LDADD = $(KV_CONFIG_LDADD) $(CHECK_LIBS)
endif
