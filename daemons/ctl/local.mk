# SPDX-License-Identifier: Apache-2.0
# What of kvmeshctl unit tests look at.
noinst_LIBRARIES += libkvctl.a
libkvctl_a_SOURCES = \
	%D%/draft.c %D%/draft.h \
	%D%/guess.c %D%/guess.h \
	%D%/listening.c %D%/listening.h \
	%D%/redact.c %D%/redact.h

bin_PROGRAMS += kvmeshctl
kvmeshctl_SOURCES = \
	%D%/args.c \
	%D%/health_host.c %D%/health.h %D%/health_live.c \
	%D%/canary.c %D%/canary.h \
	%D%/changes.c %D%/changes.h \
	%D%/certs.c %D%/certs.h \
	%D%/child.c %D%/child.h \
	%D%/cmd_capture.c \
	%D%/cmd_analyze.c \
	%D%/cmd_authz.c \
	%D%/cmd_bug_report.c \
	%D%/cmd_ca.c \
	%D%/cmd_canary.c \
	%D%/cmd_certs.c \
	%D%/cmd_check.c \
	%D%/cmd_completion.c \
	%D%/cmd_compliance.c %D%/cmd_compliance_verify.c \
	%D%/cmd_config.c \
	%D%/cmd_convert.c \
	%D%/cmd_describe.c \
	%D%/cmd_edges.c %D%/edges.h \
	%D%/cmd_explain.c \
	%D%/cmd_get.c \
	%D%/cmd_identity.c \
	%D%/cmd_check_inject.c \
	%D%/cmd_inject.c \
	%D%/cmd_install.c \
	%D%/cmd_label.c \
	%D%/cmd_profile.c \
	%D%/cmd_proxy_config.c \
	%D%/cmd_routes.c \
	%D%/cmd_run.c \
	%D%/cmd_status.c \
	%D%/cmd_tls_check.c \
	%D%/cmd_upgrade.c \
	%D%/compliance.c %D%/compliance.h %D%/compliance_parts.c %D%/compliance_parts.h \
	%D%/compliance_print.c %D%/compliance_print.h \
	%D%/compliance_sign.c %D%/compliance_sign.h \
	%D%/credentials.c %D%/credentials.h \
	%D%/describe.c %D%/describe.h \
	%D%/ctl.c %D%/ctl.h \
	%D%/injected.c %D%/injected.h \
	%D%/explain.h %D%/explain_destination.c %D%/explain_inbound.c %D%/explain_open.c \
	%D%/explain_print.c %D%/explain_request.c %D%/explain_route.c %D%/explain_steps.c \
	%D%/findings.c %D%/findings.h \
	%D%/help.c \
	%D%/live.c %D%/live.h \
	%D%/main.c \
	%D%/notify.c %D%/notify.h \
	%D%/observed.c %D%/observed.h \
	%D%/print.c %D%/print.h \
	%D%/profile.c %D%/profile.h \
	%D%/request.c %D%/request.h \
	%D%/resources.c %D%/resources.h \
	%D%/snapshot.c %D%/snapshot.h %D%/snapshot_open.c %D%/snapshot_routes.c \
	%D%/systemctl.c %D%/systemctl.h \
	%D%/unit_facts.c %D%/unit_facts.h \
	%D%/tls_check.c %D%/tls_check.h \
	%D%/verdict.c %D%/verdict.h %D%/verdict_rules.c
kvmeshctl_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS)
kvmeshctl_LDADD = libkvctl.a libkvcore.a libkvhttp.a libkvipc.a $(KV_IO_LDADD) $(KV_CONFIG_LDADD) $(PCRE2_LIBS) -lm

# The script is what the program prints.
bashcompletion_DATA = %D%/completions/kvmeshctl
%D%/completions/kvmeshctl: kvmeshctl$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) $(@D) && ./kvmeshctl$(EXEEXT) completion bash >$@.new && mv $@.new $@
CLEANFILES += %D%/completions/kvmeshctl
