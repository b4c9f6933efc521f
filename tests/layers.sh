#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# layers: every #include of common/ and daemons/ against docs/layers.txt: arrows between folders point
# down, and a foreign library is known only to the files that the table gives it.
set -eu
cd "${srcdir:-.}"

# Input: the table, then lines "FILE:LINE:#include …".
check='
function fail(text) { printf "%s:%s: %s\n", file, line, text; bad++ }
function folder_of(path,   part) { split(path, part, "/"); return part[1] "/" part[2] }
# glob: the part before "*" and the part behind it, or the same text
function fits(path, glob,   star) {
    star = index(glob, "*")
    if (star == 0) return path == glob
    return substr(path, 1, star - 1) == substr(glob, 1, star - 1) && \
        substr(path, length(path) - length(glob) + star + 1) == substr(glob, star + 1)
}
function own_include(name,   own, target) {
    own = folder_of(file)
    if (!(own in may)) { fail("the folder " own " is not in docs/layers.txt"); return }
    if (name == "config.h") return
    if (name !~ /\//) { fail("\"" name "\": write \"folder/file.h\""); return }
    target = name
    sub(/\/.*/, "", target)
    if (own ~ "/" target "$" || index(may[own], " " target " ")) return
    fail(own " must not include \"" name "\" (docs/layers.txt)")
}
function foreign_include(name,   p, best, list, n, i) {
    best = ""
    for (p in known)
        if (substr(name, 1, length(p)) == p && length(p) > length(best)) best = p
    if (best == "") {
        if (name !~ libc) fail("<" name "> is in no line of docs/layers.txt")
        return
    }
    n = split(known[best], list, " ")
    for (i = 1; i <= n; i++) if (fits(file, list[i])) return
    fail("<" name "> belongs to " known[best] " (docs/layers.txt)")
}
BEGIN {
    libc = "^((sys|net|netinet|arpa|linux|sanitizer)/.*|(assert|ctype|dirent|dlfcn|endian|errno|fcntl|" \
        "float|fnmatch|ftw|getopt|glob|grp|ifaddrs|inttypes|limits|locale|math|mntent|netdb|" \
        "langinfo|malloc|[a-z]*mmintrin|poll|pthread|pwd|sched|signal|spawn|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|" \
        "stdio|stdlib|stdnoreturn|string|strings|syslog|termios|time|unistd)\\.h)$"
}
/^#include/ || /^[^:]*:[0-9]+:#[ \t]*include/ {
    file = $0; sub(/:.*/, "", file)
    line = $0; sub(/^[^:]*:/, "", line); sub(/:.*/, "", line)
    name = $0; sub(/^[^<"]*[<"]/, "", name); sub(/[>"].*/, "", name)
    count++
    if ($0 ~ /include[ \t]*"/) own_include(name); else foreign_include(name)
    next
}
/^#/ || /^$/ { next }
/^</ { p = $1; sub(/^</, "", p); sub(/:$/, "", p); known[p] = substr($0, length($1) + 2); next }
{ f = $1; sub(/:$/, "", f); may[f] = " " substr($0, length($1) + 2) " " }
END { printf "%d includes\n", count; exit bad > 0 || count == 0 }'

run() { cat docs/layers.txt - | awk "$check"; }

# The check must be able to fail.
expect_bad() {
    if printf '%s\n' "$1" | run >/dev/null; then
        echo "self test: accepted: $1"
        exit 1
    fi
}
expect_bad 'common/base/str.c:1:#include "doc/doc.h"'
expect_bad 'common/doc/bind.c:1:#include "doc.h"'
expect_bad 'daemons/proxy/main.c:1:#include "router/push.h"'
expect_bad 'daemons/proxy/main.c:1:#include "config/model.h"'
expect_bad 'daemons/other/main.c:1:#include "base/str.h"'
expect_bad 'common/doc/bind.c:1:#include <yaml.h>'
expect_bad 'daemons/proxy/main.c:1:#include <event2/http.h>'
expect_bad 'daemons/ca/main.c:1:#include <unheard/of.h>'

grep -rnE '^[[:space:]]*#[[:space:]]*include' common daemons --include='*.[ch]' --include='*.def' |
    sed 's/^\([^:]*:[0-9]*:\)[[:space:]]*/\1/' | run
