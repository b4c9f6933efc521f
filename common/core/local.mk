# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvcore.a
libkvcore_a_SOURCES = \
	%D%/regex.c %D%/regex.h
libkvcore_a_CFLAGS = $(AM_CFLAGS) $(PCRE2_CFLAGS)
KV_CORE_LDADD = $(PCRE2_LIBS)
