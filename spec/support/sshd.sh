#!/bin/sh
# A throwaway OpenSSH server on loopback, with keys of its own; no root needed, and it only knows the user who starts it. That one has an
# empty HOME there: what the own dot files start at each login is nobody's business here, and may be slow.
#
#   sshd.sh start DIR [N]   makes DIR, prints the path of an ssh_config: ssh -F CONFIG afar1 (to afarN, 3 unless told)
#   sshd.sh stop DIR        ends it with all its sessions, and removes DIR
#
# Further hosts of the config, each the same account with another login shell: afar-dash afar-busybox afar-bash
# afar-fish afar-tcsh afar-zsh; afar-noshell, whose account may not log in; afar-noisy, which talks before it obeys;
# afar-refused, whose key the server does not know; afar-closed, where nothing listens.
set -eu
SSHD=${SSHD:-/usr/sbin/sshd}
SHELLS="dash bash fish tcsh zsh"

fail() {
  echo "sshd.sh: $1" >&2
  exit 1
}

# One key a kind of account: the forced command of the key is the login shell.
account() { # NAME [COMMAND]
  ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$dir/key-$1"
  if [ $# = 1 ]; then
    cat "$dir/key-$1.pub"
  else
    printf 'command="%s" %s\n' "$2" "$(cat "$dir/key-$1.pub")"
  fi >>"$dir/authorized_keys"
}

accounts() {
  account plain
  for shell in $SHELLS; do account "$shell" "exec $shell -c \\\"\$SSH_ORIGINAL_COMMAND\\\""; done
  account busybox 'exec busybox sh -c \"$SSH_ORIGINAL_COMMAND\"'
  account noisy 'echo Welcome to this machine; echo Be good >&2; exec sh -c \"$SSH_ORIGINAL_COMMAND\"'
  account noshell 'exec /usr/sbin/nologin'
  ssh-keygen -q -t ed25519 -N '' -C refused -f "$dir/key-refused"
  ssh-keygen -q -t ed25519 -N '' -C host -f "$dir/host"
}

server_config() {
  cat <<END
ListenAddress 127.0.0.1
HostKey $dir/host
PidFile $dir/pid
AuthorizedKeysFile $dir/authorized_keys
StrictModes no
UsePAM $pam
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PermitUserEnvironment no
PrintMotd no
PrintLastLog no
MaxStartups 200
MaxSessions 200
SetEnv HOME=$dir/home AFAR_SSHD=$dir XDG_STATE_HOME=$dir/state${AFAR_SPEC_RUN:+ AFAR_SPEC_RUN=$AFAR_SPEC_RUN}
Subsystem sftp internal-sftp
END
}

client_host() { # PATTERNS KEY
  printf 'Host %s\n  IdentityFile %s/key-%s\n' "$1" "$dir" "$2"
}

client_config() { # PORT N
  plain= i=1
  while [ "$i" -le "$2" ]; do
    plain="$plain afar$i" i=$((i + 1))
  done
  client_host "${plain# }" plain
  for name in $SHELLS busybox noisy noshell refused; do client_host "afar-$name" "$name"; done
  printf 'Host afar-closed\n  Port 1\n'
  cat <<END
Host *
  HostName 127.0.0.1
  HostKeyAlias afar
  Port $1
  User $(id -un)
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile $dir/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
END
}

# sshd takes its port after it has gone to the background, and then writes its pid.
try_port() {
  rm -f "$dir/log" # a port that was taken before is said there
  "$SSHD" -f "$dir/sshd_config" -p "$1" -E "$dir/log" || return 1
  tries=0
  while [ ! -s "$dir/pid" ]; do
    tries=$((tries + 1))
    [ $tries -lt 1500 ] || return 1
    ! grep -q 'Cannot bind' "$dir/log" || return 1
    sleep 0.02
  done
}

start_server() {
  attempt=0
  while [ $attempt -lt 20 ]; do
    port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
    if try_port "$port"; then return 0; fi
    attempt=$((attempt + 1))
  done
  cat "$dir/log" >&2
  return 1
}

start() {
  [ -x "$SSHD" ] || fail "there is no $SSHD (package openssh-server)"
  umask 077
  mkdir "$1"
  dir=$(cd "$1" && pwd) pam=no
  mkdir "$dir/home"
  trap 'rm -rf "$dir"' 0
  if [ "$(id -u)" = 0 ]; then
    mkdir -p -m 755 /run/sshd
    # Without PAM, sshd turns away an account that has no password.
    case $(getent shadow root 2>/dev/null) in root:!*) pam=yes ;; esac
  fi
  accounts
  server_config >"$dir/sshd_config"
  # Since 9.8 sshd shuts out addresses whose logins fail, which is what some specs are about.
  if "$SSHD" -t -f "$dir/sshd_config" -o PerSourcePenalties=no 2>/dev/null; then
    echo PerSourcePenalties no >>"$dir/sshd_config"
  fi
  start_server || fail "sshd does not start"
  echo "afar $(cut -d' ' -f1,2 "$dir/host.pub")" >"$dir/known_hosts"
  client_config "$port" "${2:-3}" >"$dir/config"
  trap - 0
  echo "$dir/config"
}

# The server's descendants, and all who carry the sign of its sessions.
sessions() { # PID
  ps -e -o pid=,ppid= | awk -v top="$1" '
    { parent[$1] = $2 }
    END { for (p in parent) { a = p; while ((a in parent) && a != top) a = parent[a]; if (a == top && p != top) print p } }'
  grep -lzsFx "AFAR_SSHD=$dir" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
}

stop() {
  dir=$(cd "$1" 2>/dev/null && pwd) || exit 0
  [ -f "$dir/sshd_config" ] || fail "$1 is not a folder that it has made"
  pid=$(cat "$dir/pid" 2>/dev/null || :)
  if [ "$pid" ]; then
    left=$(sessions "$pid")
    kill "$pid" 2>/dev/null || :
    [ ! "$left" ] || kill -KILL $left 2>/dev/null || :
    tries=0
    while [ $tries -lt 1500 ] && ps -o stat= -p "$(echo $pid $left | tr ' ' ,)" | grep -qv Z; do
      tries=$((tries + 1))
      sleep 0.02
    done
  fi
  rm -rf "$dir"
}

case ${1-}:$# in
start:2 | start:3) start "$2" "${3-}" ;;
stop:2) stop "$2" ;;
*) fail "usage: sshd.sh start DIR [N] | stop DIR" ;;
esac
