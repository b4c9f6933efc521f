# SPDX-License-Identifier: Apache-2.0
if HAVE_CHECK
daemon_tests = %D%/test_ca_policy %D%/test_compliance %D%/test_draft %D%/test_redact %D%/test_health %D%/test_nft %D%/test_nft_rules %D%/test_precedence \
	%D%/test_report %D%/test_router_parts %D%/test_witness
check_PROGRAMS += $(daemon_tests)
TESTS += $(daemon_tests)
daemon_test_cppflags = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(CHECK_CFLAGS)
%C%_test_ca_policy_CPPFLAGS = $(daemon_test_cppflags)
%C%_test_ca_policy_LDADD = $(KV_CA_LDADD) $(CHECK_LIBS)
%C%_test_compliance_SOURCES = %D%/test_compliance.c daemons/ctl/compliance.c daemons/ctl/compliance_parts.c \
	daemons/ctl/compliance_print.c daemons/ctl/ctl.c
%C%_test_compliance_CPPFLAGS = $(daemon_test_cppflags)
%C%_test_compliance_LDADD = $(KV_IPC_LDADD) $(CHECK_LIBS)
%C%_test_report_SOURCES = %D%/test_report.c daemons/ctl/compliance_sign.c daemons/ctl/ctl.c
%C%_test_report_CPPFLAGS = $(daemon_test_cppflags)
%C%_test_report_LDADD = $(KV_CA_LDADD) $(CHECK_LIBS)
%C%_test_witness_CPPFLAGS = $(daemon_test_cppflags)
%C%_test_witness_LDADD = libkvwitness.a $(KV_IPC_LDADD) $(CHECK_LIBS)
# From the resources to the tables of the proxy: what kvmeshctl may see as well.
%C%_test_precedence_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_precedence_LDADD = libkvcore.a libkvhttp.a $(KV_CONFIG_LDADD) $(PCRE2_LIBS) $(CHECK_LIBS)
%C%_test_router_parts_CPPFLAGS = $(daemon_test_cppflags)
%C%_test_router_parts_LDADD = libkvrouter.a $(KV_IPC_LDADD) $(SQLITE_LIBS) $(CHECK_LIBS)
%C%_test_nft_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_nft_LDADD = $(KV_NFT_LDADD) $(CHECK_LIBS)
%C%_test_nft_rules_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
%C%_test_nft_rules_LDADD = $(KV_NFT_LDADD) $(CHECK_LIBS)
%C%_test_health_CPPFLAGS = $(daemon_test_cppflags)
%C%_test_health_LDADD = libkvrouter.a $(KV_CONFIG_LDADD) $(KV_IPC_LDADD) $(SQLITE_LIBS) $(SYSTEMD_LIBS) $(CHECK_LIBS)
%C%_test_redact_CPPFLAGS = $(daemon_test_cppflags)
%C%_test_redact_LDADD = libkvctl.a $(KV_CORE_LDADD) $(CHECK_LIBS)
%C%_test_draft_CPPFLAGS = $(daemon_test_cppflags)
%C%_test_draft_LDADD = libkvctl.a $(KV_IO_LDADD) $(KV_CONFIG_LDADD) $(CHECK_LIBS)
endif
