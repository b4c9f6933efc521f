#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Build the Debian package of this tree into DIST (default: dist). Run by ./dev deb.
# The tree is copied first, so that packaging/debian can be debian/ without being at the top.
set -eu
. "$(dirname "$0")/source-tree.sh"
dist=${1:-$top/dist}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$dist"
copy_tree "$work/kvmesh"
cp -r "$work/kvmesh/packaging/debian" "$work/kvmesh/debian"

# Reproducible: the changelog's date, not today's.
SOURCE_DATE_EPOCH=$(cd "$work/kvmesh" && dpkg-parsechangelog -S Timestamp)
export SOURCE_DATE_EPOCH
(cd "$work/kvmesh" && DEB_BUILD_OPTIONS="parallel=$(nproc) ${DEB_BUILD_OPTIONS:-}" dpkg-buildpackage -us -uc -b)
mv "$work"/*.deb "$work"/*.changes "$work"/*.buildinfo "$dist/"
ls -l "$dist"/*.deb
lintian --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$dist"/*.changes
