# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvcore.a
libkvcore_a_SOURCES = \
	%D%/asked.c %D%/asked.h \
	%D%/authz.c %D%/authz.h \
	%D%/cors.c %D%/cors.h \
	%D%/chash.c %D%/chash.h \
	%D%/ewma.c %D%/ewma.h \
	%D%/jwt.c %D%/jwt.h \
	%D%/hash_key.c %D%/hash_key.h \
	%D%/lb.c %D%/lb.h \
	%D%/limit.c %D%/limit.h \
	%D%/match.c %D%/match.h \
	%D%/outlier.c %D%/outlier.h \
	%D%/priority.c %D%/priority.h \
	%D%/regex.c %D%/regex.h \
	%D%/regex_literals.c %D%/regex_literals.h \
	%D%/retry.c %D%/retry.h \
	%D%/rewrite.c %D%/rewrite.h \
	%D%/route_index.c %D%/route_index.h \
	%D%/route_table.c %D%/route_table.h
libkvcore_a_CFLAGS = $(AM_CFLAGS) $(PCRE2_CFLAGS)
# Archives of this layer and below, then the foreign libraries.
KV_CORE_LDADD = libkvcore.a libkvhttp.a $(KV_SNAP_LDADD) $(PCRE2_LIBS) -lm
