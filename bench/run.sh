#!/bin/sh
# The benchmarks: each figure beside its baseline's; bench/README.md says what they are. With arguments: only these
# sections. BENCH_LONG=1: with the 1 GiB rows; BENCH_ROUNDS, BENCH_SIZE (tiny, short, long), BENCH_HOSTS, BENCH_DIR.
# Writes build/bench.json, or $BENCH_JSON.
set -e
[ $# -gt 0 ] || set -- calls crowd files spawn start pipes strings idle memory ssh small ways many
[ -z "${BENCH_LONG-}" ] || : "${BENCH_SIZE:=long}"
BENCH_SIZE=${BENCH_SIZE:-short}
json=${BENCH_JSON:-build/bench.json}
BENCH_ROWS=$(mktemp)
export BENCH_SIZE BENCH_ROWS
trap 'rm -f "$BENCH_ROWS"' EXIT

printf '%-56s %10s %5s %10s %5s %6s %8s %-6s %13s\n' "" afar "+-" baseline "+-" ratio goal "" "CPU s of both"
for section in "$@"; do
  case $section in
  calls | crowd) modes="one two free" ;;
  files | spawn | pipes | strings) modes="one free" ;;
  *) modes=free ;;
  esac
  [ "$BENCH_SIZE:$section" = tiny:calls ] || [ "$BENCH_SIZE" != tiny ] || modes=free
  for mode in $modes; do
    build/afar bench/run.lua "$section" "$mode"
  done
done

{
  printf '{"size":"%s","cpus":%d,"kernel":"%s","rows":[\n' "$BENCH_SIZE" "$(getconf _NPROCESSORS_ONLN)" "$(uname -r)"
  sed '$!s/$/,/' "$BENCH_ROWS"
  echo ']}'
} >"$json.new"
mv "$json.new" "$json"
missed=$(grep -c '"reached":false' "$BENCH_ROWS" || :)
echo "$(grep -c . "$BENCH_ROWS") rows, $missed of them missed their goal; all figures are in $json"
