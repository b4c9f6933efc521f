# SPDX-License-Identifier: Apache-2.0
if HAVE_CHECK
check_PROGRAMS += %D%/test_overload
TESTS += %D%/test_overload
%C%_test_overload_SOURCES = %D%/test_overload.c %D%/unit.h
%C%_test_overload_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(EVENT_CFLAGS)
%C%_test_overload_LDADD = $(KV_PROXY_LDADD) $(OPENSSL_LIBS) $(CHECK_LIBS)
check_PROGRAMS += %D%/test_doors
TESTS += %D%/test_doors
%C%_test_doors_SOURCES = %D%/test_doors.c %D%/unit.h
%C%_test_doors_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(EVENT_CFLAGS)
%C%_test_doors_LDADD = $(KV_PROXY_LDADD) $(OPENSSL_LIBS) $(CHECK_LIBS)
# The data path on real loopback sockets: workers, a service, a client (proxy_net.h).
proxy_net_tests = %D%/test_proxy_http %D%/test_proxy_bad %D%/test_proxy_mtls %D%/test_proxy_tries \
	%D%/test_proxy_pools %D%/test_proxy_capture %D%/test_proxy_chaos %D%/test_proxy_steps \
	%D%/test_proxy_hot
check_PROGRAMS += $(proxy_net_tests)
TESTS += $(proxy_net_tests)
proxy_net_sources = %D%/proxy_net.c %D%/proxy_net.h %D%/proxy_backend.c %D%/fake_ca.h %D%/unit.h
proxy_test_cppflags = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(EVENT_CFLAGS) $(OPENSSL_CFLAGS)
proxy_test_libs = $(KV_PROXY_LDADD) $(OPENSSL_LIBS) $(CHECK_LIBS)
%C%_test_proxy_http_SOURCES = %D%/test_proxy_http.c %D%/proxy_one.h $(proxy_net_sources)
%C%_test_proxy_http_CPPFLAGS = $(proxy_test_cppflags)
%C%_test_proxy_http_LDADD = $(proxy_test_libs)
%C%_test_proxy_bad_SOURCES = %D%/test_proxy_bad.c %D%/proxy_one.h $(proxy_net_sources)
%C%_test_proxy_bad_CPPFLAGS = $(proxy_test_cppflags)
%C%_test_proxy_bad_LDADD = $(proxy_test_libs)
%C%_test_proxy_mtls_SOURCES = %D%/test_proxy_mtls.c %D%/proxy_two.h $(proxy_net_sources)
%C%_test_proxy_mtls_CPPFLAGS = $(proxy_test_cppflags)
%C%_test_proxy_mtls_LDADD = $(proxy_test_libs)
%C%_test_proxy_hot_SOURCES = %D%/test_proxy_hot.c %D%/proxy_one.h %D%/proxy_two.h \
	$(proxy_net_sources)
%C%_test_proxy_hot_CPPFLAGS = $(proxy_test_cppflags)
%C%_test_proxy_hot_LDADD = $(proxy_test_libs)
%C%_test_proxy_tries_SOURCES = %D%/test_proxy_tries.c $(proxy_net_sources)
%C%_test_proxy_tries_CPPFLAGS = $(proxy_test_cppflags)
%C%_test_proxy_tries_LDADD = $(proxy_test_libs) -lm
%C%_test_proxy_pools_SOURCES = %D%/test_proxy_pools.c %D%/proxy_one.h $(proxy_net_sources)
%C%_test_proxy_pools_CPPFLAGS = $(proxy_test_cppflags)
%C%_test_proxy_pools_LDADD = $(proxy_test_libs)
%C%_test_proxy_capture_SOURCES = %D%/test_proxy_capture.c $(proxy_net_sources)
%C%_test_proxy_capture_CPPFLAGS = $(proxy_test_cppflags)
%C%_test_proxy_capture_LDADD = $(proxy_test_libs)
%C%_test_proxy_chaos_SOURCES = %D%/test_proxy_chaos.c $(proxy_net_sources)
%C%_test_proxy_chaos_CPPFLAGS = $(proxy_test_cppflags)
%C%_test_proxy_chaos_LDADD = $(proxy_test_libs)
%C%_test_proxy_steps_SOURCES = %D%/test_proxy_steps.c $(proxy_net_sources)
%C%_test_proxy_steps_CPPFLAGS = $(proxy_test_cppflags)
%C%_test_proxy_steps_LDADD = $(proxy_test_libs)
endif
