# SPDX-License-Identifier: Apache-2.0
if HAVE_CHECK
ipc_tests = %D%/test_ipc %D%/test_ipc_client %D%/test_ipc_state
check_PROGRAMS += $(ipc_tests)
TESTS += $(ipc_tests)
ipc_test_libs = $(KV_IPC_LDADD) $(SQLITE_LIBS) $(CHECK_LIBS)
ipc_test_cppflags = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(CHECK_CFLAGS)
%C%_test_ipc_CPPFLAGS = $(ipc_test_cppflags)
%C%_test_ipc_LDADD = $(ipc_test_libs)
%C%_test_ipc_client_CPPFLAGS = $(ipc_test_cppflags)
%C%_test_ipc_client_LDADD = $(ipc_test_libs)
%C%_test_ipc_state_CPPFLAGS = $(ipc_test_cppflags)
%C%_test_ipc_state_LDADD = $(ipc_test_libs)
endif
EXTRA_DIST += %D%/ipc_fixture.h
