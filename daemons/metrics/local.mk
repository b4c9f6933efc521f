# SPDX-License-Identifier: Apache-2.0
# All but main.c is a library, so that unit tests drive it without a process.
noinst_LIBRARIES += libkvmetrics.a
libkvmetrics_a_SOURCES = \
	%D%/evidence.c %D%/evidence.h \
	%D%/evidence_db.c %D%/evidence_db.h \
	%D%/http.c %D%/http.h \
	%D%/own.c \
	%D%/prom.c %D%/prom.h \
	%D%/scrape.c %D%/scrape.h %D%/scrape_int.h \
	%D%/settings.c %D%/settings.h \
	%D%/witnessed.c %D%/witnessed.h
libkvmetrics_a_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
KV_METRICS_LDADD = libkvmetrics.a $(KV_IPC_LDADD) $(SQLITE_LIBS) -lm

sbin_PROGRAMS += kvmesh-metrics
kvmesh_metrics_SOURCES = %D%/main.c
kvmesh_metrics_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
kvmesh_metrics_LDADD = $(KV_METRICS_LDADD)
