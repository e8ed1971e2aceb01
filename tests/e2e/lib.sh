# shellcheck shell=bash
# Shared by the end-to-end scripts: source it, call e2e_begin, test, end with e2e_end.
#
# Every script gets a temporary folder $T, its own HOME, and a clean-up that unmounts its own mounts
# and ends its own processes, whatever happens. Every command that can hang has a deadline.
#
# No script may show a secret: every mount logs at trace level, and in the end what was said (logs,
# `status --json`, what checks and files in $T captured, command lines) is searched for the secret
# keys and tokens that the script used, and for signatures. So the secrets of tests are at least ten
# characters long, and found nowhere else. Those in the environment and in ~/.aws are known; for
# others there is `secret VALUE...`.
set -uo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CAIRN=${CAIRN:-$repo/build/dev/cairn}
CAIRN_TOOLS_DIR=${CAIRN_TOOLS_DIR:-$repo/build/tools}
profile=${CAIRN_TEST_PROFILE:-quick}
# Seconds for a program that a check runs; tests/run has a limit for the whole script.
check_limit=900
[ "$profile" = quick ] || check_limit=9000

passed=0 failed=0 skipped=0
prefix=     # of the names of tests, when a script does the same under several conditions
mounts=()   # mount points that this script made
pids=()     # processes that this script started

say() { printf '    %s\n' "$*"; }
pass() { passed=$((passed + 1)); printf 'ok   %s\n' "$prefix$1"; }
fail() { failed=$((failed + 1)); printf 'FAIL %s: %s\n' "$prefix$1" "$2"; }
skip() { skipped=$((skipped + 1)); printf 'SKIP %s: %s\n' "$prefix$1" "$2"; }

# check NAME COMMAND...: one test, its output shown when it fails. A function runs in this shell, so that
# what it remembers for the clean-up stays, and has deadlines of its own; a program gets one here.
check() {
  local name=$1 rc=0 limit=()
  shift
  # In the foreground: what interrupts the script interrupts the program, too.
  [ "$(type -t "$1")" != file ] || limit=(timeout --foreground -k 10 "${LIMIT:-$check_limit}")
  "${limit[@]}" "$@" >"$T/check.out" 2>&1 || rc=$?
  cat "$T/check.out" >>"$T/all-said"
  if [ $rc = 0 ]; then
    pass "$name"
  else
    fail "$name" "status $rc from: $*"
    tail -n 20 "$T/check.out" | sed 's/^/    | /'
  fi
  return $rc
}

# e2e_begin NAME
e2e_begin() {
  local base=${CAIRN_E2E_DIR:-$repo/build/e2e}
  mkdir -p "$base"
  T=$(mktemp -d "$base/$1.XXXXXX")
  trap e2e_clean EXIT
  trap 'exit 130' INT TERM HUP
  export HOME=$T/home
  mkdir -p "$HOME"
  unset XDG_CACHE_HOME XDG_CONFIG_HOME XDG_RUNTIME_DIR
  local name
  for name in $(compgen -e | grep '^AWS_'); do unset "$name"; done
  export AWS_EC2_METADATA_DISABLED=true  # scripts talk to loopback only
  [ -n "${builds_its_own:-}" ] || [ -x "$CAIRN" ] || { fail binary "$CAIRN is not there"; e2e_end; }
  if ! [ -e /dev/fuse ]; then skip "$1" "no /dev/fuse here"; e2e_end; fi
}

# Prints the count and ends the script.
e2e_end() {
  local status=0
  [ $failed = 0 ] || e2e_logs
  e2e_stop
  [ -z "${T:-}" ] || e2e_secrets
  [ $failed = 0 ] || status=1
  e2e_clean
  trap - EXIT
  echo "$passed passed, $failed failed, $skipped skipped"
  exit $status
}

# What the daemons and servers of this script said, for whoever reads the failure.
e2e_logs() {
  local file
  # The daemon keeps its log in its cache folder, as "log".
  { find "$T" -maxdepth 1 -size +0 -name '*.log'; find "$T" -xdev -maxdepth 4 -size +0 -name log; } |
    while read -r file; do
      echo "    --- ${file#"$T"/}"
      tail -n 15 "$file" | sed 's/^/    | /'
    done
}

# secret VALUE...: what must not be shown by this script.
secret() { printf '%s\n' "$@" >>"$T/secrets"; }
note_secrets() {
  local now=${AWS_SECRET_ACCESS_KEY:-}/${AWS_SESSION_TOKEN:-}
  [ "$now" != "${noted_secrets:-/}" ] || return 0
  noted_secrets=$now
  # Printed by the shell itself: it is in no command line.
  [ -z "${AWS_SECRET_ACCESS_KEY:-}" ] || secret "$AWS_SECRET_ACCESS_KEY"
  [ -z "${AWS_SESSION_TOKEN:-}" ] || secret "$AWS_SESSION_TOKEN"
}

# What was said: files in $T, and logs below it. Not what the servers say, and not where the
# secrets come from.
said_files() {
  find "$T" -xdev -maxdepth 1 -type f -size -64M ! -name 'secrets*' ! -name check.out -print0
  find "$T" -xdev -mindepth 2 -maxdepth 5 \( -path "$HOME" -o -path "$T/s3" \) -prune -o \
    -type f \( -name log -o -name 'log.*' -o -name '*.log' \) -print0
}

e2e_secrets() {
  local short hits
  note_secrets
  { cat "$T/secrets"
    sed -nE 's/^ *(aws_secret_access_key|aws_session_token) *= *//p' "$HOME"/.aws/*
    grep -ohE '"(accessToken|refreshToken|clientSecret)" *: *"[^"]*"' -r "$HOME/.aws" |
      sed 's/.*: *"//; s/"$//'
  } 2>/dev/null | sed '/^$/d' | sort -u >"$T/secrets.all"
  short=$(awk 'length < 10' "$T/secrets.all" | wc -l)
  [ "$short" = 0 ] || fail secrets "$short are too short to be looked for"
  hits=$({ said_files | xargs -0r grep -laFf "$T/secrets.all"
    said_files | xargs -0r grep -laiE 'signature=[0-9a-f]|aws4-hmac-sha256 |x-amz-security-token'
  } | sort -u | sed "s|^$T/||")
  [ -z "$hits" ] || fail secrets "a secret or a signature is shown in: $(echo $hits)"
  [ ! -s "$T/core-dumps" ] || fail core-dumps "$(head -n 1 "$T/core-dumps")"
}

e2e_clean() {
  e2e_stop
  [ -z "${T:-}" ] || rm -rf --one-file-system "$T"
}

# end_mounts [N]: unmounts what this script mounted and left, but for the first N.
end_mounts() {
  local point pid kept=${1:-0}
  for point in ${mounts[@]+"${mounts[@]:kept}"}; do
    is_mounted "$point" || continue
    pid=$(daemon_pid "$point")
    timeout 20 "$CAIRN" umount "$point" >/dev/null 2>&1
    ! is_mounted "$point" || umount -l "$point" 2>/dev/null || fusermount3 -uz "$point"
    [ -z "$pid" ] || end_pid "$pid"
  done
  mounts=(${mounts[@]+"${mounts[@]:0:kept}"})
}

e2e_stop() {
  local pid
  end_mounts
  for pid in ${pids[@]+"${pids[@]}"} ${S3_PIDS[@]+"${S3_PIDS[@]}"}; do end_pid "$pid"; done
  pids=() S3_PIDS=()
}

# end_pid PID: asked first, killed after five seconds.
end_pid() {
  local n=0
  kill "$1" 2>/dev/null || return 0
  while kill -0 "$1" 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
  kill -9 "$1" 2>/dev/null
  return 0
}

# wait_until SECONDS COMMAND...: polls; false when the time is over.
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until within "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

# within COMMAND...: a program is ended after LIMIT seconds (default 120), with its children; a function
# has deadlines of its own.
within() {
  if [ "$(type -t "$1")" = file ]; then timeout -k 10 "${LIMIT:-120}" "$@"; else "$@"; fi
}

# fails_with TEXT COMMAND...: it fails, and says so.
fails_with() {
  local text=$1 out
  shift
  if out=$(within "$@" 2>&1 </dev/null); then echo "it works: $out"; return 1; fi
  case $out in *"$text"*) ;; *) echo "it says: $out"; return 1 ;; esac
}

# prints TEXT COMMAND...: it works, and prints this.
prints() {
  local text=$1 out
  shift
  out=$(within "$@") || { echo "fails: $*: $out"; return 1; }
  [ "$out" = "$text" ] || { printf '%s\n--- instead of\n%s\n' "$out" "$text"; return 1; }
}

is_mounted() { findmnt -n --mountpoint "$1" >/dev/null 2>&1; }

# cairn ARGS...: the binary under test, with a deadline (LIMIT seconds, default 120). A mount says
# all that it can say.
cairn() {
  note_secrets
  if [ "${1:-}" = mount ] && [[ " $* " != *" --log-level "* ]]; then
    shift
    set -- mount --log-level trace "$@"
  fi
  timeout -k 10 "${LIMIT:-120}" "$CAIRN" "$@"
}

# cairn_mount CACHE REMOTE MOUNTPOINT [OPTION...]: mounts with its own cache folder. The daemon's
# messages go to the cache's name in $T.
cairn_mount() {
  local cache=$1 remote=$2 point=$3
  shift 3
  mkdir -p "$point"
  mounts+=("$point")
  cairn mount --cache-dir "$cache" --cache-reserve 64M "$@" "$remote" "$point" \
    >>"$T/$(basename "$cache").log" 2>&1 </dev/null || return
  note_processes "$point"
}

# What everybody sees of the processes, and that the mount's daemon leaves no core.
note_processes() {
  local pid
  ps -C cairn -o pid=,args= | tee -a "$T/all-said" | awk -v p="$1" '$NF == p {print $1}' |
    while read -r pid; do
      [ ! -e "/proc/$pid/limits" ] || grep -qsE '^Max core file size +0 +0 ' "/proc/$pid/limits" ||
        ! kill -0 "$pid" 2>/dev/null || echo "a mount (process $pid) leaves cores" >>"$T/core-dumps"
    done
  return 0
}

cairn_umount() { cairn umount "$1" && ! is_mounted "$1"; }

# status MOUNTPOINT JQ-FILTER: one field of `cairn status --json`.
# Status 3 only says that not everything is in the store yet.
status() {
  { LIMIT=20 cairn status --json "$1" 2>/dev/null || [ $? = 3 ]; } | tee -a "$T/all-said" | jq -r "$2"
}

daemon_pid() { status "$1" .pid 2>/dev/null | grep -x '[0-9][0-9]*' || true; }

# kill_daemon MOUNTPOINT: what a crash does; the dead mount is taken away.
kill_daemon() {
  local pid
  pid=$(daemon_pid "$1")
  [ -n "$pid" ] || return 1
  kill -9 "$pid" || return 1
  wait_until 10 gone "$pid" || return 1
  umount -l "$1" 2>/dev/null || fusermount3 -uz "$1"
}
gone() { ! kill -0 "$1" 2>/dev/null; }
# A child of this shell that has ended stays as a zombie until it is waited for.
gone_or_zombie() { gone "$1" || grep -qs '^State:.Z' "/proc/$1/status"; }
# Milliseconds of a clock that only goes forward.
now_ms() { local up; read -r up _ </proc/uptime; echo $((${up/./} * 10)); }

# watch_sleepers, then end_sleepers NAME MS: no task of this script was in state D for longer.
watch_sleepers() {
  python3 "$repo/tests/e2e/sleepers.py" "$T/sleepers" "$HOME" &
  SLEEPERS_PID=$!
  pids+=("$SLEEPERS_PID")
  wait_until 20 test -s "$T/sleepers"
}
end_sleepers() {
  kill "$SLEEPERS_PID" && wait "$SLEEPERS_PID" 2>/dev/null
  say "the longest sleep in state D: $(jq -r '"\(.ms) ms, \(.task); \(.samples) samples"' "$T/sleepers")"
  check "$1" test "$(jq .ms "$T/sleepers")" -le "$2"
}

# watch NAME MOUNTPOINT CACHE: samples the daemon and its cache every 100 ms from now on.
# watched NAME FIELD: the largest value. end_watch NAME DISK-LIMIT-MIB ANON-LIMIT-MIB: it was below both.
watch() {
  python3 "$repo/tests/e2e/watch.py" "$T/$1.watch" "$(daemon_pid "$2")" "$3" &
  WATCHER_PID=$!
  pids+=("$WATCHER_PID")
}
watched() { jq -r ".$2" "$T/$1.watch"; }
end_watch() {
  for _ in $(seq 100); do  # what is quick is seen a few times, too
    [ "$(watched "$1" samples 2>/dev/null || echo 0)" -ge 5 ] && break
    sleep 0.1
  done
  kill "$WATCHER_PID" 2>/dev/null
  wait "$WATCHER_PID" 2>/dev/null
  say "$1: disk $(($(watched "$1" disk) >> 10)) of $(($2 << 10)) KiB, anonymous memory" \
    "$(($(watched "$1" anon) >> 10)) of $(($3 << 10)) KiB, VmHWM $(($(watched "$1" hwm) >> 10)) KiB," \
    "$(watched "$1" samples) samples"
  check "$1-was-watched" test "$(watched "$1" samples)" -ge 5
  check "$1-disk-below-ceiling" test "$(watched "$1" disk)" -le $(($2 << 20))
  check "$1-memory-below-limit" test "$(watched "$1" anon)" -le $(($3 << 20))
}
# faulty_s3 ARGS...: starts tests/support/faulty_s3.py as this script's store: sets FAULTY_PID, FAULTY_PORT
# and the AWS_ variables. faults RULE...: puts rules; no_faults: takes them away.
faulty_s3() {
  rm -f "$T/faulty.port"
  python3 "$repo/tests/support/faulty_s3.py" "$@" >"$T/faulty.port" 2>>"$T/faulty.log" &
  FAULTY_PID=$!
  pids+=("$FAULTY_PID")
  wait_until 20 test -s "$T/faulty.port" || return 1
  FAULTY_PORT=$(cat "$T/faulty.port")
  export no_proxy=127.0.0.1 NO_PROXY=127.0.0.1
  export AWS_ENDPOINT_URL=http://127.0.0.1:$FAULTY_PORT
  export AWS_ACCESS_KEY_ID=${AWS_ACCESS_KEY_ID:-test} AWS_SECRET_ACCESS_KEY=${AWS_SECRET_ACCESS_KEY:-faulty-test-secret}
  export AWS_REGION=us-east-1
}
fault_control() { curl -sS --noproxy '*' --max-time 10 "http://127.0.0.1:$FAULTY_PORT/_faults" "$@"; }
faults() { local rule; for rule; do fault_control -X PUT -d "$rule" >/dev/null || return 1; done; }
no_faults() { fault_control -X DELETE >/dev/null; }

# manifest DIR: one line per entry with everything a copy must keep, in the order of names. Hard
# links show as the first name of their group.
manifest() {
  python3 "$repo/tests/e2e/manifest.py" "$1"
}

# seeded FILE SIZE SEED: the same bytes for the same seed, fast, and not compressible.
seeded() (
  set +o pipefail  # openssl is stopped by head
  openssl enc -aes-128-ctr -nosalt -K "$(printf '%032x' "$3")" -iv 00000000000000000000000000000000 \
    -in /dev/zero 2>/dev/null | head -c "$2" >"$1"
)
