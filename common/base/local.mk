# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvbase.a
libkvbase_a_SOURCES = \
	%D%/arena.c %D%/arena.h \
	%D%/base64.c %D%/base64.h \
	%D%/cidr.c %D%/cidr.h \
	%D%/clock.c %D%/clock.h \
	%D%/err.c %D%/err.h \
	%D%/fs.c %D%/fs.h \
	%D%/hash.c %D%/hash.h \
	%D%/label.c %D%/label.h \
	%D%/list.h \
	%D%/log.c %D%/log.h \
	%D%/map.c %D%/map.h \
	%D%/rng.c %D%/rng.h \
	%D%/str.c %D%/str.h \
	%D%/vec.h
KV_BASE_LIBS = libkvbase.a
