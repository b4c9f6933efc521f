# SPDX-License-Identifier: Apache-2.0
kvmeshconfdir = $(sysconfdir)/kvmesh
dist_kvmeshconf_DATA = %D%/kvmesh.conf
kvmeshprofiledir = $(vendordir)/profiles
dist_kvmeshprofile_DATA = \
	%D%/profiles/default.conf %D%/profiles/demo.conf %D%/profiles/minimal.conf \
	%D%/profiles/strict.conf %D%/profiles/empty.conf
kvmeshhookdir = $(vendordir)
dist_kvmeshhook_SCRIPTS = %D%/certbot-deploy-hook
EXTRA_DIST += %D%/demo
