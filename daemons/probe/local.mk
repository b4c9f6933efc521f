# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvprobe.a
libkvprobe_a_SOURCES = \
	%D%/attempt.c %D%/attempt.h \
	%D%/attempt_exec.c %D%/exec.h \
	%D%/attempt_grpc.c \
	%D%/attempt_http.c \
	%D%/attempt_tcp.c \
	%D%/net.c %D%/net.h \
	%D%/plan.c %D%/plan.h
libkvprobe_a_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(NGHTTP2_CFLAGS)
KV_PROBE_LDADD = libkvprobe.a libkvhttp.a $(KV_IPC_LDADD) $(NGHTTP2_LIBS)

sbin_PROGRAMS += kvmesh-probe
kvmesh_probe_SOURCES = %D%/main.c
kvmesh_probe_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
kvmesh_probe_LDADD = $(KV_PROBE_LDADD)
