#!/usr/bin/env bash
# The local disk fails under a running daemon: fdatasync, fsync (of a directory: the name of a new file)
# and pwrite answer EIO or ENOSPC. The
# application is told, nothing is called safe that is not, and what was acknowledged before is there at
# the next mount.
. "$(dirname "$0")/lib.sh"
e2e_begin localfail
if ! command -v strace >/dev/null; then skip localfail "no strace"; e2e_end; fi
store=file://$T/store
mnt=$T/mnt
check format cairn format "$store" || e2e_end

# inject SYSCALL ERRNO WHEN: from now on, in all threads of the daemon, until `heal`.
inject() {
  strace -f -qq -p "$(daemon_pid "$mnt")" -o "$T/strace.out" -e "trace=$1" \
    -e "inject=$1:error=$2:when=$3" 2>"$T/strace.err" &
  tracer=$!
  pids+=("$tracer")
  attached() { grep -q '^TracerPid:.[1-9]' "/proc/$(daemon_pid "$mnt")/status"; }
  wait_until 10 attached
}
heal() { kill "$tracer" 2>/dev/null; wait "$tracer" 2>/dev/null; true; }
# fsync_says FILE: what a write and an fsync answer.
fsync_says() {
  python3 - "$1" <<'PY'
import errno, os, sys
try:
    step = "open"
    fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
    step = "write"
    os.write(fd, os.urandom(3000000))  # more than a segment of the smallest cache
    step = "fsync"
    os.fsync(fd)
    print("fine")
except OSError as error:
    print(step, errno.errorcode[error.errno])
PY
}

one() {  # NAME SYSCALL ERRNO
  local name=$1 said
  check "$name-mount" cairn_mount "$T/cache" "$store" "$mnt" --commit-interval 1h \
    --cache-size 64M || return
  echo "before $name" >"$mnt/$name-before"
  check "$name-fsync-before" sync "$mnt/$name-before"
  if ! inject "$2" "$3" 1+; then
    skip "$name" "strace cannot attach here: $(head -n 1 "$T/strace.err")"
    cairn_umount "$mnt"
    return
  fi
  said=$(fsync_says "$mnt/$name-during")
  say "$name: the application was told: $said"
  check "$name-is-told" test "$said" != fine
  check "$name-errno" test "${said##* }" = "$3"
  said=$(fsync_says "$mnt/$name-again")
  check "$name-stays-told" test "$said" != fine
  check "$name-not-called-safe" not_safe
  check "$name-is-said" test -n "$(status "$mnt" .local_error)"
  check "$name-reads-go-on" grep -q "before $name" "$mnt/$name-before"
  heal
  check "$name-daemon-lives" test -n "$(daemon_pid "$mnt")"
  check "$name-kill" kill_daemon "$mnt"
  check "$name-mount-again" cairn_mount "$T/cache" "$store" "$mnt" || return
  check "$name-before-is-there" grep -q "before $name" "$mnt/$name-before"
  echo "after $name" >"$mnt/$name-after"
  check "$name-fsync-works-again" sync "$mnt/$name-after"
  check "$name-umount" cairn_umount "$mnt"
}
not_safe() { cairn status "$mnt"; [ $? = 3 ]; }

one sync fdatasync EIO
one name fsync EIO
one write pwrite64 EIO

# A full disk is no failure: refused while it lasts, then everything goes on in the same daemon.
check enospc-mount cairn_mount "$T/cache" "$store" "$mnt" --commit-interval 1h --stall-timeout 2s || e2e_end
if inject pwrite64 ENOSPC 1+; then
  said=$(fsync_says "$mnt/enospc")
  say "pwrite ENOSPC: the application was told: $said"
  check enospc-errno test "${said##* }" = ENOSPC
  heal
  check enospc-goes-on test "$(fsync_says "$mnt/enospc-after")" = fine
else
  skip enospc "strace cannot attach here"
fi
check umount cairn_umount "$mnt"
check mount-elsewhere cairn_mount "$T/cache2" "$store" "$mnt" || e2e_end
check name-elsewhere grep -q 'before name' "$mnt/name-before"
check sync-elsewhere grep -q 'before sync' "$mnt/sync-before"
check write-elsewhere grep -q 'before write' "$mnt/write-before"
check umount-elsewhere cairn_umount "$mnt"
LIMIT=120 check check-data cairn check --data "$store"
e2e_end
