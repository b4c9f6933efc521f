# SPDX-License-Identifier: Apache-2.0
KV_UNITS_IN = \
	%D%/kvmesh-router.service.in \
	%D%/kvmesh-ca.service.in \
	%D%/kvmesh-proxy.service.in \
	%D%/kvmesh-proxy@.service.in \
	%D%/kvmesh-metrics.service.in \
	%D%/kvmesh-certs@.service.in \
	%D%/kvmesh-nft.service.in \
	%D%/kvmesh-probe.service.in \
	%D%/kvmesh-witness.service.in
nodist_systemdsystemunit_DATA = $(KV_UNITS_IN:.service.in=.service)
dist_systemdsystemunit_DATA = %D%/kvmesh.target %D%/kvmesh.slice %D%/kvmesh-probe.path %D%/kvmesh-proxy@.socket
EXTRA_DIST += $(KV_UNITS_IN) %D%/kvmesh.sysusers %D%/kvmesh.tmpfiles
CLEANFILES += $(nodist_systemdsystemunit_DATA)

$(nodist_systemdsystemunit_DATA): %D%/%.service: $(srcdir)/%D%/%.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && $(SED) -e 's|@sbindir[@]|$(sbindir)|g' -e 's|@bindir[@]|$(bindir)|g' $< >$@.tmp && mv $@.tmp $@

install-data-hook:
	$(MKDIR_P) $(DESTDIR)$(sysusersdir) $(DESTDIR)$(tmpfilesdir)
	$(INSTALL_DATA) $(srcdir)/%D%/kvmesh.sysusers $(DESTDIR)$(sysusersdir)/kvmesh.conf
	$(INSTALL_DATA) $(srcdir)/%D%/kvmesh.tmpfiles $(DESTDIR)$(tmpfilesdir)/kvmesh.conf

uninstall-hook:
	rm -f $(DESTDIR)$(sysusersdir)/kvmesh.conf $(DESTDIR)$(tmpfilesdir)/kvmesh.conf
