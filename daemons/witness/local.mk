# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvwitness.a
libkvwitness_a_SOURCES = \
	%D%/counts.c %D%/counts.h \
	%D%/plan.c %D%/plan.h \
	%D%/rules.c %D%/rules.h
libkvwitness_a_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
KV_WITNESS_LDADD = libkvwitness.a $(KV_NFT_LDADD) $(KV_IPC_LDADD)

sbin_PROGRAMS += kvmesh-witness
kvmesh_witness_SOURCES = %D%/main.c
kvmesh_witness_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
kvmesh_witness_LDADD = $(KV_WITNESS_LDADD)
