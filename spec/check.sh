#!/bin/sh
# check.sh [PATTERN...]: runs every part of the tests and adds up their last lines, `N passed, N failed, N skipped`.
# With patterns: only the specs whose path matches one. MACHINE and OTHER are architectures; `make check` sets them.
export LC_ALL=C.UTF-8
MACHINE=${MACHINE:-$(uname -m)}
limit=${CHECK_LIMIT:-3600} # seconds for one part
fuzz=${CHECK_FUZZ:-200000}
logs=build/check
passed=0 failed=0 skipped=0
rm -rf "$logs"
mkdir -p "$logs"

# run NAME COMMAND...: its output goes to a log, its exit status behind that.
run() {
  log=$logs/$1
  shift
  timeout -k 10 "$limit" "$@" 2>&1 </dev/null
  echo $? >"$log.status"
}

# count NAME: adds the last line of its log to the sum.
count() {
  status=$(cat "$logs/$1.status")
  sum=$(tail -n 1 "$logs/$1" | sed -n 's/^\([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed, \([0-9][0-9]*\) skipped$/\1 \2 \3/p')
  if [ -z "$sum" ]; then
    echo "FAILED $1: it ended with status $status, without its sum"
    sum="0 1 0"
  elif [ "$status" != 0 ] && [ "$(echo "$sum" | cut -d ' ' -f 2)" = 0 ]; then
    echo "FAILED $1: it ended with status $status"
    sum="$(echo "$sum" | cut -d ' ' -f 1) 1 $(echo "$sum" | cut -d ' ' -f 3)"
  fi
  # shellcheck disable=SC2086 # three numbers
  set -- $sum
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

part() {
  echo "== $1"
  run "$@" | tee "$logs/$1"
  count "$1"
}

specs() {
  AFAR=build/afar part "specs" build/afar spec/run.lua "$@"
  # What only Lua objects hold is no leak: they are finalized before the leaks are counted.
  close='local exit = os.exit; os.exit = function(status) exit(status, true) end'
  ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1} AFAR=build/asan/afar \
    part "specs with sanitizers" build/asan/afar -e "$close" spec/run.lua "$@"
}

if [ $# -gt 0 ]; then
  specs "$@"
else
  # Reads only files, so it may run beside the rest.
  run lint sh spec/lint.sh >"$logs/lint" &
  linter=$!
  if [ -x build/stub_test ]; then
    part "stub" build/stub_test "build/stub-$MACHINE"
    [ -z "${OTHER-}" ] || part "stub on $OTHER" build/stub_test "build/stub-$OTHER" "qemu-$OTHER-static"
  fi
  [ ! -x build/bindings_test ] || part "bindings" build/bindings_test
  specs
  part "chaos" build/afar spec/chaos/chaos.lua "${CHECK_CHAOS:-25}"
  part "cuts" build/afar spec/chaos/cuts.lua "${CHECK_CUTS:-12}"
  [ ! -x build/stub_fuzz ] || part "fuzz of the stub" build/stub_fuzz "$fuzz"
  [ ! -x build/host_fuzz ] || part "fuzz of the host" build/host_fuzz "$fuzz"
  wait "$linter"
  echo "== lint"
  cat "$logs/lint"
  count lint
fi

echo "== all"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
