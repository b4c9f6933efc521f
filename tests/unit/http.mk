# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += %D%/h1_unit.h %D%/h1_oracle.h
if HAVE_CHECK
http_tests = %D%/test_head %D%/test_url %D%/test_h1_request %D%/test_h1_response %D%/test_h1_chunked \
	%D%/test_h1_oracle
check_PROGRAMS += $(http_tests)
TESTS += $(http_tests)
http_test_libs = $(KV_HTTP_LIBS) $(CHECK_LIBS)
http_test_cppflags = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_head_CPPFLAGS = $(http_test_cppflags)
%C%_test_head_LDADD = $(http_test_libs)
%C%_test_url_CPPFLAGS = $(http_test_cppflags)
%C%_test_url_LDADD = $(http_test_libs)
%C%_test_h1_request_CPPFLAGS = $(http_test_cppflags)
%C%_test_h1_request_LDADD = $(http_test_libs)
%C%_test_h1_response_CPPFLAGS = $(http_test_cppflags)
%C%_test_h1_response_LDADD = $(http_test_libs)
%C%_test_h1_chunked_CPPFLAGS = $(http_test_cppflags)
%C%_test_h1_chunked_LDADD = $(http_test_libs)
%C%_test_h1_oracle_SOURCES = %D%/test_h1_oracle.c %D%/h1_oracle.c
%C%_test_h1_oracle_CPPFLAGS = $(http_test_cppflags)
%C%_test_h1_oracle_LDADD = $(http_test_libs)
endif
