#!/bin/sh
# check_tools.sh PACKAGES TOOL...: one clear line when something is missing that the build needs.
packages=$1
shift
for tool; do
  command -v "$tool" >/dev/null || missing="${missing-} $tool"
done
if command -v pkg-config >/dev/null; then
  pkg-config --exists luajit || missing="${missing-} libluajit-5.1"
fi
[ -z "${missing-}" ] && exit 0
echo "afar: missing:$missing. \`make deps\` installs what is needed; the Debian packages are: $packages" >&2
exit 1
