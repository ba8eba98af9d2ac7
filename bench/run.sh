#!/bin/sh
# The benchmarks: each figure beside its baseline's. Settable: BENCH_MB (the big file), BENCH_ROUNDS, BENCH_CALLS,
# BENCH_SPAWNS, BENCH_PROCESSES, BENCH_HOSTS. With arguments: only these sections (calls spawn ssh memory many).
set -e
[ $# -gt 0 ] || set -- calls spawn ssh memory many
printf '%-46s %12s %12s %7s  %s\n' '' afar baseline ratio goal
for section in "$@"; do
  case $section in
  calls)
    build/afar bench/run.lua calls together
    build/afar bench/run.lua calls apart
    ;;
  *) build/afar bench/run.lua "$section" ;;
  esac
done
