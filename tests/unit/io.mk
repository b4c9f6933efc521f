# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += %D%/tls_unit.h
if HAVE_CHECK
io_tests = %D%/test_buf %D%/test_jws %D%/test_loop %D%/test_protobuf %D%/test_proxy_protocol %D%/test_sock %D%/test_tls %D%/test_tls_certs %D%/test_tls_ctx \
	%D%/test_spiffe %D%/test_sd
check_PROGRAMS += $(io_tests)
TESTS += $(io_tests)
io_test_libs = $(KV_IO_LDADD) $(CHECK_LIBS)
io_test_cppflags = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(OPENSSL_CFLAGS) $(CHECK_CFLAGS)
%C%_test_buf_CPPFLAGS = $(io_test_cppflags)
%C%_test_buf_LDADD = $(io_test_libs)
%C%_test_jws_CPPFLAGS = $(io_test_cppflags)
%C%_test_jws_LDADD = $(io_test_libs)
%C%_test_loop_CPPFLAGS = $(io_test_cppflags)
%C%_test_loop_LDADD = $(io_test_libs)
%C%_test_protobuf_CPPFLAGS = $(io_test_cppflags)
%C%_test_protobuf_LDADD = $(io_test_libs)
%C%_test_proxy_protocol_CPPFLAGS = $(io_test_cppflags)
%C%_test_proxy_protocol_LDADD = $(io_test_libs)
%C%_test_sock_CPPFLAGS = $(io_test_cppflags)
%C%_test_sock_LDADD = $(io_test_libs)
%C%_test_tls_SOURCES = %D%/test_tls.c %D%/tls_unit.c
%C%_test_tls_CPPFLAGS = $(io_test_cppflags)
%C%_test_tls_LDADD = $(io_test_libs)
%C%_test_tls_certs_SOURCES = %D%/test_tls_certs.c %D%/tls_unit.c
%C%_test_tls_certs_CPPFLAGS = $(io_test_cppflags)
%C%_test_tls_certs_LDADD = $(io_test_libs)
%C%_test_tls_ctx_SOURCES = %D%/test_tls_ctx.c %D%/tls_unit.c
%C%_test_tls_ctx_CPPFLAGS = $(io_test_cppflags)
%C%_test_tls_ctx_LDADD = $(io_test_libs)
%C%_test_spiffe_CPPFLAGS = $(io_test_cppflags)
%C%_test_spiffe_LDADD = $(io_test_libs)
%C%_test_sd_CPPFLAGS = $(io_test_cppflags)
%C%_test_sd_LDADD = $(io_test_libs)
endif
