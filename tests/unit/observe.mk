# SPDX-License-Identifier: Apache-2.0
# Control, certificates, counters and logs of the proxy; the metrics daemon.
if HAVE_CHECK
observe_tests = %D%/test_access_log %D%/test_stats
check_PROGRAMS += $(observe_tests)
TESTS += $(observe_tests)
observe_cppflags = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(CHECK_CFLAGS)
observe_libs = $(KV_PROXY_LDADD) $(CHECK_LIBS)
%C%_test_access_log_CPPFLAGS = $(observe_cppflags)
%C%_test_access_log_LDADD = $(observe_libs)
%C%_test_stats_CPPFLAGS = $(observe_cppflags)
%C%_test_stats_LDADD = $(observe_libs)
endif
