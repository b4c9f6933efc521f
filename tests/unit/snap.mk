# SPDX-License-Identifier: Apache-2.0
if HAVE_CHECK
snap_tests = %D%/test_snap %D%/test_residency
check_PROGRAMS += $(snap_tests)
TESTS += $(snap_tests)
%C%_test_snap_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_snap_LDADD = $(KV_SNAP_LDADD) $(CHECK_LIBS)
%C%_test_residency_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_residency_LDADD = $(KV_SNAP_LDADD) $(CHECK_LIBS)
endif
