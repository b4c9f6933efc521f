# SPDX-License-Identifier: Apache-2.0
# Link with KV_DOC_LDADD: the archives of this layer and of base, then the foreign libraries.
# KV_DOC_LIBS is the archives alone.
noinst_LIBRARIES += libkvdoc.a
libkvdoc_a_SOURCES = \
	%D%/bind.c %D%/bind.h \
	%D%/bind_canon.c \
	%D%/bind_path.c %D%/bind_path.h \
	%D%/bind_read.c \
	%D%/bind_scalar.c %D%/bind_scalar.h \
	%D%/bind_write.c \
	%D%/doc.c %D%/doc.h \
	%D%/doc_build.c %D%/doc_build.h \
	%D%/doc_emit_json.c \
	%D%/doc_emit_native.c \
	%D%/doc_emit_yaml.c \
	%D%/doc_file.c %D%/doc_file.h \
	%D%/doc_json.c \
	%D%/doc_libconfig.c \
	%D%/doc_libconfig_lex.c %D%/doc_libconfig_lex.h \
	%D%/doc_libconfig_scan.c %D%/doc_libconfig_scan.h \
	%D%/doc_libconfig_word.c \
	%D%/doc_out.c %D%/doc_out.h \
	%D%/doc_plain.c %D%/doc_plain.h \
	%D%/doc_yaml.c
libkvdoc_a_CPPFLAGS = $(AM_CPPFLAGS) $(YAML_CFLAGS) $(JANSSON_CFLAGS) $(LIBCONFIG_CFLAGS)
KV_DOC_LIBS = libkvdoc.a $(KV_BASE_LIBS)
KV_DOC_LDADD = $(KV_DOC_LIBS) $(YAML_LIBS) $(JANSSON_LIBS) $(LIBCONFIG_LIBS)
