# SPDX-License-Identifier: Apache-2.0
if HAVE_CHECK
# The data path on real loopback sockets: workers, a service, a client (proxy_net.h).
proxy_net_tests = %D%/test_proxy_http
check_PROGRAMS += $(proxy_net_tests)
TESTS += $(proxy_net_tests)
proxy_net_sources = %D%/proxy_net.c %D%/proxy_net.h %D%/proxy_backend.c %D%/unit.h
proxy_test_cppflags = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(EVENT_CFLAGS)
proxy_test_libs = $(KV_PROXY_LDADD) $(CHECK_LIBS)
%C%_test_proxy_http_SOURCES = %D%/test_proxy_http.c $(proxy_net_sources)
%C%_test_proxy_http_CPPFLAGS = $(proxy_test_cppflags)
%C%_test_proxy_http_LDADD = $(proxy_test_libs)
endif
