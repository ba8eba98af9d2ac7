#!/bin/sh
# make demo: fleet.lua with three hosts behind a throwaway sshd on loopback, which knows only keys made for it. No root needed.
set -eu
afar=${AFAR:-build/afar}
dir=$(mktemp -d "${TMPDIR:-/tmp}/afar-demo-XXXXXX")
trap 'sh spec/support/sshd.sh stop "$dir/sshd" || :; rm -rf "$dir"' 0
trap 'exit 129' 1
trap 'exit 130' 2
trap 'exit 143' 15
echo "Starting an sshd with keys of its own"
config=$(sh spec/support/sshd.sh start "$dir/sshd" 3)
"$afar" examples/fleet.lua "$config"
