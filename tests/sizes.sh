#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# sizes: no file over 1000 lines, no function over 100 lines unless the comment directly above it says why
# with the word "long:". Relies on the project's form: a function's braces stand in the first column.
# usage: sizes.sh [file…]; without files: all C of common, daemons and tests below $srcdir.
set -eu
cd "${srcdir:-.}"

measure='
function done_file() {
    if (file != "" && lines > 1000) {
        printf "%s: %d lines, at most 1000: split it\n", file, lines
        bad++
    }
}
FNR == 1 { done_file(); file = FILENAME; start = 0; name = ""; comment = 0; excused = 0; inside = 0 }
{ lines = FNR }

# Remember the lines since the last blank one: the comment and the head of what may be a function.
!inside && /^$/ { start = 0; excused = 0; next }
!inside && /^\/\*/ { comment = 1; excused = 0; start = 0 }
!inside && comment { if (/long:/) excused = 1; if (/\*\//) comment = 0; next }
!inside && /^\{/ {
    inside = 1
    if (start == 0) { start = FNR; name = "?" }
    next
}
!inside && /^[A-Za-z_]/ {
    if (start == 0 || $0 ~ /;$/) { start = FNR; name = "" }
    if (name == "" && match($0, /[A-Za-z_][A-Za-z0-9_]*\(/)) {
        name = substr($0, RSTART, RLENGTH - 1)
        if (name == "START_TEST" && match($0, /\([A-Za-z0-9_]+/))
            name = substr($0, RSTART + 1, RLENGTH - 1)
        if (name == "__attribute__") name = ""
    }
    if ($0 ~ /[;}]$/) { start = 0; name = ""; excused = 0 }
    next
}
inside && /^\}/ {
    n = FNR - start + 1
    size[++count] = n
    if (n > 100 && !excused) {
        printf "%s:%d: %s has %d lines, at most 100 without a comment \"long: why\" above it\n", \
            FILENAME, start, name, n
        bad++
    }
    inside = 0; start = 0; name = ""; excused = 0
}
END {
    done_file()
    for (i = 1; i <= count; i++) hist[size[i]]++
    for (n = 1; n <= 5000; n++) {
        seen += hist[n]
        if (!median && seen * 2 >= count) median = n
        if (!p90 && seen * 10 >= count * 9) p90 = n
        if (hist[n]) most = n
    }
    printf "%d functions: median %d, 90%% within %d, longest %d lines\n", count, median, p90, most
    exit bad > 0
}'

# The check must be able to fail: a file too long, a function too long, and the same with its excuse.
self_test() {
    dir=$(mktemp -d "${TMPDIR:-/tmp}/kvmesh-sizes.XXXXXX")
    body=$(awk 'BEGIN { for (i = 0; i < 120; i++) print "\tx();" }')
    printf 'static int\nfoo(int a)\n{\n%s\n}\n' "$body" >"$dir/long.c"
    printf '/* long: one case per\n * letter */\nint bar(void)\n{\n%s\n}\n' "$body" >"$dir/excused.c"
    awk 'BEGIN { for (i = 0; i < 1001; i++) print "" }' >"$dir/file.c"
    out=$(awk "$measure" "$dir/long.c" || :)
    case $out in *"foo has 124 lines"*) ;; *) echo "self test: long function not found"; exit 1 ;; esac
    awk "$measure" "$dir/excused.c" >/dev/null || { echo "self test: excuse not seen"; exit 1; }
    ! awk "$measure" "$dir/file.c" >/dev/null || { echo "self test: long file not found"; exit 1; }
    rm -rf "$dir"
}

if [ $# -eq 0 ]; then
    self_test
    set -- $(find common daemons tests -name '*.[ch]' | LC_ALL=C sort)
fi
awk "$measure" "$@"
