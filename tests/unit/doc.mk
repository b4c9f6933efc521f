# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += %D%/doc_test.h %D%/bind_things.h
if HAVE_CHECK
doc_tests = %D%/test_doc_tree %D%/test_doc_json %D%/test_doc_yaml %D%/test_doc_native \
	%D%/test_doc_write %D%/test_bind_read %D%/test_bind_write
check_PROGRAMS += $(doc_tests)
TESTS += $(doc_tests)
doc_test_cppflags = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
doc_test_libs = $(KV_DOC_LDADD) $(CHECK_LIBS)
%C%_test_doc_tree_CPPFLAGS = $(doc_test_cppflags)
%C%_test_doc_tree_LDADD = $(doc_test_libs)
%C%_test_doc_json_CPPFLAGS = $(doc_test_cppflags)
%C%_test_doc_json_LDADD = $(doc_test_libs)
%C%_test_doc_yaml_CPPFLAGS = $(doc_test_cppflags)
%C%_test_doc_yaml_LDADD = $(doc_test_libs)
%C%_test_doc_native_CPPFLAGS = $(doc_test_cppflags)
%C%_test_doc_native_LDADD = $(doc_test_libs)
%C%_test_doc_write_CPPFLAGS = $(doc_test_cppflags)
%C%_test_doc_write_LDADD = $(doc_test_libs)
%C%_test_bind_read_CPPFLAGS = $(doc_test_cppflags)
%C%_test_bind_read_LDADD = $(doc_test_libs)
%C%_test_bind_write_CPPFLAGS = $(doc_test_cppflags)
%C%_test_bind_write_LDADD = $(doc_test_libs)
endif
