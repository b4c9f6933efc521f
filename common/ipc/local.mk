# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvipc.a
libkvipc_a_SOURCES = \
	%D%/client.c \
	%D%/daemon.c %D%/daemon.h \
	%D%/db.c %D%/db.h \
	%D%/frame.c %D%/frame.h \
	%D%/ipc.h \
	%D%/kept.c %D%/kept.h \
	%D%/rights.c %D%/rights.h \
	%D%/server.c \
	%D%/sync.c
libkvipc_a_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(SQLITE_CFLAGS)
KV_IPC_LIBS = libkvipc.a
# What a program links for ipc. db.h needs $(SQLITE_LIBS) behind it; who does not use it never pulls db.o in.
KV_IPC_LDADD = $(KV_IPC_LIBS) $(KV_DOC_LDADD) $(KV_IO_LDADD)
