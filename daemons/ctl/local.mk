# SPDX-License-Identifier: Apache-2.0
bin_PROGRAMS += kvmeshctl
kvmeshctl_SOURCES = \
	%D%/args.c \
	%D%/child.c %D%/child.h \
	%D%/cmd_run.c \
	%D%/ctl.c %D%/ctl.h \
	%D%/help.c \
	%D%/main.c \
	%D%/print.c %D%/print.h
kvmeshctl_CFLAGS = $(AM_CFLAGS) $(EVENT_CFLAGS)
kvmeshctl_LDADD = libkvipc.a libkvio.a libkvdoc.a libkvbase.a $(EVENT_LIBS) $(OPENSSL_LIBS) \
	$(LIBCONFIG_LIBS) $(YAML_LIBS) $(JANSSON_LIBS) $(SYSTEMD_LIBS)
