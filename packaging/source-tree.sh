# SPDX-License-Identifier: Apache-2.0
# Sourced by the build scripts. copy_tree DIR: the source as it stands in this tree, without what building left.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

copy_tree() {
	mkdir -p "$1"
	if git -C "$top" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
		(cd "$top" && git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do
			[ -e "$f" ] && printf '%s\0' "$f"
		done | tar --null -T - -cf -) | tar -C "$1" -xf -
	else
		(cd "$top" && tar --exclude='./build*' --exclude=./dist -cf - .) | tar -C "$1" -xf -
	fi
	mkdir -p "$1/m4"
}
