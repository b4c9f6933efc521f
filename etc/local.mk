# SPDX-License-Identifier: Apache-2.0
kvmeshconfdir = $(sysconfdir)/kvmesh
dist_kvmeshconf_DATA = %D%/kvmesh.conf
kvmeshhookdir = $(vendordir)
dist_kvmeshhook_SCRIPTS = %D%/certbot-deploy-hook
EXTRA_DIST += %D%/demo %D%/profiles

# A directory a profile: what "kvmeshctl install" writes below /etc/kvmesh, under the same names.
install-data-local:
	cd $(srcdir)/%D% && find profiles -type f | while read -r f; do \
		$(MKDIR_P) "$(DESTDIR)$(vendordir)/$${f%/*}" && \
		$(INSTALL_DATA) "$$f" "$(DESTDIR)$(vendordir)/$$f" || exit 1; done

uninstall-local:
	rm -rf "$(DESTDIR)$(vendordir)/profiles"
