# SPDX-License-Identifier: Apache-2.0
# Control, certificates, counters and logs of the proxy; the metrics daemon.
EXTRA_DIST += %D%/fake_ca.h %D%/until.h
if HAVE_CHECK
observe_tests = %D%/test_access_log %D%/test_attach %D%/test_control %D%/test_cpus %D%/test_evidence %D%/test_metrics \
	%D%/test_prom %D%/test_secrets %D%/test_slab %D%/test_stats
check_PROGRAMS += $(observe_tests)
TESTS += $(observe_tests)
observe_cppflags = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(OPENSSL_CFLAGS) $(CHECK_CFLAGS)
observe_libs = $(KV_PROXY_LDADD) $(CHECK_LIBS)
%C%_test_access_log_CPPFLAGS = $(observe_cppflags)
%C%_test_access_log_LDADD = $(observe_libs)
%C%_test_attach_CPPFLAGS = $(observe_cppflags)
%C%_test_attach_LDADD = $(observe_libs)
%C%_test_control_CPPFLAGS = $(observe_cppflags)
%C%_test_control_LDADD = $(observe_libs)
%C%_test_cpus_CPPFLAGS = $(observe_cppflags)
%C%_test_cpus_LDADD = $(observe_libs)
%C%_test_evidence_CPPFLAGS = $(observe_cppflags)
%C%_test_evidence_LDADD = $(KV_METRICS_LDADD) $(CHECK_LIBS)
%C%_test_metrics_CPPFLAGS = $(observe_cppflags)
%C%_test_metrics_LDADD = $(KV_METRICS_LDADD) $(CHECK_LIBS)
%C%_test_prom_CPPFLAGS = $(observe_cppflags)
%C%_test_prom_LDADD = $(KV_METRICS_LDADD) $(CHECK_LIBS)
%C%_test_secrets_CPPFLAGS = $(observe_cppflags)
%C%_test_secrets_LDADD = $(observe_libs)
%C%_test_slab_CPPFLAGS = $(observe_cppflags)
%C%_test_slab_LDADD = $(observe_libs)
%C%_test_stats_CPPFLAGS = $(observe_cppflags)
%C%_test_stats_LDADD = $(observe_libs)
endif
