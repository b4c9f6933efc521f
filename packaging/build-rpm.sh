#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Build the RPM of this tree, and the tarball it is made of, into DIST (default: dist). Run by ./dev rpm.
# On Debian what building needs are .debs, which rpm cannot see: --nodeps.
set -eu
. "$(dirname "$0")/source-tree.sh"
dist=${1:-$top/dist}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Reproducible: the date of the newest entry of the spec's changelog, not today's, and no host's name.
SOURCE_DATE_EPOCH=$(date -u -d "$(sed -n 's/^\* \([A-Z].*[0-9]\{4\}\) .*/\1/p' "$top/packaging/rpm/kvmesh.spec" | head -n 1)" +%s)
export SOURCE_DATE_EPOCH

mkdir -p "$dist" "$work"/rpm/SOURCES
copy_tree "$work/kvmesh"
(cd "$work/kvmesh" && autoreconf -fi && ./configure -q && make -s dist)
mv "$work"/kvmesh/kvmesh-*.tar.xz "$work/rpm/SOURCES/"
cp "$top/systemd/kvmesh.sysusers" "$work/rpm/SOURCES/"
rpmbuild -bb --nodeps --define "_topdir $work/rpm" --define "_smp_mflags -j$(nproc)" \
	--define "use_source_date_epoch_as_buildtime 1" --define "clamp_mtime_to_source_date_epoch 1" \
	--define "_buildhost reproducible" "$top/packaging/rpm/kvmesh.spec"
mv "$work"/rpm/RPMS/*/*.rpm "$work"/rpm/SOURCES/*.tar.xz "$dist/"
ls -l "$dist"/*.rpm
rpmlint --strict --config "$top/packaging/rpm/rpmlint.toml" "$dist"/kvmesh-[0-9]*.rpm
