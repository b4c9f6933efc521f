# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvio.a
libkvio_a_SOURCES = \
	%D%/buf.c %D%/buf.h \
	%D%/cgroup.c %D%/cgroup.h \
	%D%/dns.c %D%/dns.h \
	%D%/loop.c %D%/loop.h \
	%D%/protobuf.c %D%/protobuf.h \
	%D%/proxy_protocol.c %D%/proxy_protocol.h \
	%D%/sd.c %D%/sd.h \
	%D%/sock.c %D%/sock_diag.c %D%/sock.h \
	%D%/spiffe.c \
	%D%/thread.c %D%/thread.h \
	%D%/tls.c %D%/tls.h %D%/tls_priv.h \
	%D%/tls_digest.c %D%/tls_digest.h \
	%D%/tls_files.c %D%/tls_jws.c %D%/tls_jws.h %D%/tls_key.c %D%/tls_memory.c %D%/tls_resume.c %D%/tls_session.c \
	%D%/tls_revoked.c \
	%D%/tls_sniff.c %D%/tls_statement.c %D%/tls_statement.h %D%/tls_verify.c \
	%D%/tls_websocket.c %D%/tls_websocket.h
libkvio_a_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(OPENSSL_CFLAGS) $(SYSTEMD_CFLAGS)
KV_IO_LIBS = libkvio.a $(KV_BASE_LIBS)
KV_IO_LDADD = $(KV_IO_LIBS) $(EVENT_LIBS) $(OPENSSL_LIBS) $(SYSTEMD_LIBS)
