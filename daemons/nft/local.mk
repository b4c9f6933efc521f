# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvnft.a
libkvnft_a_SOURCES = \
	%D%/nft.c %D%/nft.h \
	%D%/processes.c %D%/processes.h %D%/unit.c \
	%D%/rules.c %D%/rules.h \
	%D%/status.c %D%/status.h \
	%D%/trial.c %D%/trial.h \
	%D%/want.c %D%/want.h
libkvnft_a_CPPFLAGS = $(AM_CPPFLAGS) $(NFTABLES_CFLAGS) $(SYSTEMD_CFLAGS)
KV_NFT_LDADD = libkvnft.a $(KV_CONFIG_LDADD) $(KV_IPC_LDADD) $(SYSTEMD_LIBS) $(NFTABLES_LIBS)

sbin_PROGRAMS += kvmesh-nft
kvmesh_nft_SOURCES = %D%/main.c
kvmesh_nft_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
kvmesh_nft_LDADD = $(KV_NFT_LDADD)
