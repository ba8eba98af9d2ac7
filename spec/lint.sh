#!/bin/sh
# All that reads the code without running it. The last line is the sum.
passed=0 failed=0 skipped=0

step() {
  name=$1
  shift
  if output=$("$@" 2>&1); then
    echo "ok $name"
    passed=$((passed + 1))
  else
    echo "$output"
    echo "FAILED $name"
    failed=$((failed + 1))
  fi
}

# needs TOOL NAME COMMAND...: as step, where the tool is installed.
needs() {
  if command -v "$1" >/dev/null; then
    shift
    step "$@"
  else
    echo "skipped $2: $1 is not installed (make deps)"
    skipped=$((skipped + 1))
  fi
}

c_files() {
  find "$@" -name '*.[ch]' | sort
}

format() {
  status=0
  for file in $(c_files host bindings stub spec $(ls -d bench 2>/dev/null)); do
    clang-format "$file" | cmp -s - "$file" || {
      echo "$file: clang-format -i changes it"
      status=1
    }
  done
  return $status
}

tidy() {
  # shellcheck disable=SC2046 # lists of words
  clang-tidy --quiet $(find host bindings -name '*.c' | sort) -- -std=c11 -D_GNU_SOURCE -Istub -Ibindings -Ihost $(pkg-config --cflags luajit)
}

tidy_stub() {
  # shellcheck disable=SC2046 # a list of words
  clang-tidy --quiet $(find stub -name '*.c' | sort) -- -std=c11 -ffreestanding -Istub -Istub/"$(uname -m)"
}

needs luacheck luacheck luacheck --no-color -q lua host/*.lua spec $(find examples bench -name '*.lua' 2>/dev/null)
needs clang-format clang-format format
needs clang-tidy "clang-tidy of the host" tidy
needs clang-tidy "clang-tidy of the stub" tidy_stub

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
