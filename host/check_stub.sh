#!/bin/sh
# check_stub.sh LINKED STRIPPED MAX_BYTES TOOL_PREFIX: a stub must stand alone. Strips LINKED to STRIPPED.
set -eu
linked=$1 stripped=$2 max=$3 tools=${4-}
name=${stripped##*/}

fail() {
  echo "$name: $1" >&2
  rm -f "$stripped"
  exit 1
}

undefined=$("${tools}nm" -u "$linked")
[ -z "$undefined" ] || fail "undefined symbols: $undefined"
relocations=$("${tools}readelf" -rW "$linked" | grep 'R_' || true)
[ -z "$relocations" ] || fail "relocations: $relocations"
segments=$("${tools}readelf" -lW "$linked" | grep -E '^ +(TLS|INTERP|DYNAMIC) ' || true)
[ -z "$segments" ] || fail "it needs a loader or thread-local storage: $segments"

"${tools}strip" -s -R .comment -o "$stripped" "$linked"
size=$(wc -c <"$stripped")
echo "$name: $((size / 1024)).$((size % 1024 * 10 / 1024)) KiB"
[ "$size" -le "$max" ] || fail "$size bytes, at most $max are allowed"
