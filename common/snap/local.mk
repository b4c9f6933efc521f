# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvsnap.a
libkvsnap_a_SOURCES = \
	%D%/countries.c %D%/countries.h \
	%D%/re2.c %D%/re2.h \
	%D%/residency.c %D%/residency.h \
	%D%/snap.c %D%/snap.h \
	%D%/snap_check.c \
	%D%/snap_fields.c \
	%D%/snap_jwt.c %D%/snap_jwt.h \
	%D%/snap_policy.c %D%/snap_policy.h \
	%D%/snap_retry.c
KV_SNAP_LDADD = libkvsnap.a $(KV_DOC_LDADD) $(MAXMINDDB_LIBS)
