# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvnft.a
libkvnft_a_SOURCES = \
	%D%/nft.c %D%/nft.h
libkvnft_a_CPPFLAGS = $(AM_CPPFLAGS) $(NFTABLES_CFLAGS)
KV_NFT_LDADD = libkvnft.a $(NFTABLES_LIBS)
