# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvrouter.a
libkvrouter_a_SOURCES = \
	%D%/compiled.c %D%/compiled.h \
	%D%/config_doc.c %D%/config_doc.h \
	%D%/findings.c %D%/findings.h \
	%D%/health.c %D%/health.h \
	%D%/probe_spec.c %D%/probe_spec.h \
	%D%/prober.c %D%/prober.h \
	%D%/push.c %D%/push.h \
	%D%/server.c %D%/server.h \
	%D%/state.c %D%/state.h \
	%D%/store.c %D%/store.h \
	%D%/units.c %D%/units.h \
	%D%/wire.c %D%/wire.h \
	%D%/watchfs.c %D%/watchfs.h
libkvrouter_a_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(SYSTEMD_CFLAGS)

sbin_PROGRAMS += kvmesh-router
kvmesh_router_SOURCES = %D%/main.c
kvmesh_router_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
kvmesh_router_LDADD = libkvrouter.a $(KV_CONFIG_LDADD) $(KV_IPC_LDADD) $(SQLITE_LIBS)
