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
# What a program that links ipc needs below it, in order.
KV_IPC_LIBS = libkvipc.a
# Programs that use ipc/db.h need $(SQLITE_LIBS) as well; those that do not never pull db.o in.
libkvipc_a_CPPFLAGS = $(AM_CPPFLAGS) $(SQLITE_CFLAGS)
