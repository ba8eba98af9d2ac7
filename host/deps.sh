#!/bin/sh
# deps.sh PACKAGE...: installs those Debian packages that are missing; silent when none is.
missing=
if command -v dpkg-query >/dev/null; then
  for package; do
    state=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)
    [ "$state" = "install ok installed" ] || missing="$missing $package"
  done
else
  missing=" $*"
fi
[ -z "$missing" ] && exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
if ! command -v apt-get >/dev/null || { [ -n "$as_root" ] && ! command -v sudo >/dev/null; }; then
  echo "afar: please install (names of Debian 12):$missing" >&2
  exit 1
fi
echo "installing:$missing"

# Services among them (sshd, nginx) are not to be started: nobody asked for that. This is how Debian is told.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap '$as_root rm -f $policy' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
  $as_root chmod 755 $policy
fi
# shellcheck disable=SC2086 # a list of words
if $as_root apt-get -qq update && DEBIAN_FRONTEND=noninteractive $as_root apt-get -qq -y install --no-install-recommends $missing >/dev/null; then
  exit 0
fi
echo "afar: could not install; please install (names of Debian 12):$missing" >&2
exit 1
