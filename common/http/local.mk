# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkvhttp.a
libkvhttp_a_SOURCES = \
	%D%/cookie.c %D%/cookie.h \
	%D%/h1.h %D%/h1_priv.h \
	%D%/h1_chunked.c %D%/h1_parse.c %D%/h1_scan.c %D%/h1_wire.c %D%/h1_write.c \
	%D%/head.c %D%/head.h \
	%D%/url.c %D%/url.h
KV_HTTP_LIBS = libkvhttp.a $(KV_BASE_LIBS)
