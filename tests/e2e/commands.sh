#!/usr/bin/env bash
# What commands do at the edges: the store is dropped with a request under way, names are no UTF-8, the
# output or the disk takes nothing, a mount is used elsewhere, or dead, or shown a second time.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin commands
mnt=$T/mnt

# ---- who leaves waits for its last request, and takes the HTTP client with it
leaves_well() {
  local i
  for i in $(seq 15); do
    cairn gc "$STORE" >"$T/gc.out" 2>&1 || { echo "at $i: $?"; cat "$T/gc.out"; return 1; }
  done
}
if store_ready minio; then
  check s3-format cairn format "$STORE" || e2e_end
  check s3-gc-again-and-again leaves_well
  newest=$(other lsf s3:data/some/prefix/c | tail -n 1)
  check s3-hint-of-the-last test "$(other cat s3:data/some/prefix/HEAD)" = "$((10#$newest))"
  store_done
fi

# ---- names that are no UTF-8
answers() { cairn status "$1" >"$T/status.out" 2>&1 || [ $? = 3 ] || { cat "$T/status.out"; return 1; }; }
answers_json() { [ -n "$(status "$1" "$2")" ]; }
odd=$T/$'mp\xff'
store=$T/$'st\xff'
mkdir "$store"
check odd-mount cairn_mount "$T/cache-odd" "$store" "$odd" --objects --commit-interval 300ms
echo x >"$odd"/$'caf\xe9.txt'
check odd-flush cairn flush "$odd"
check odd-status answers "$odd"
check odd-status-json answers_json "$odd" .mountpoint
check odd-status-of-file answers "$odd"/$'caf\xe9.txt'
check odd-status-json-of-file answers_json "$odd"/$'caf\xe9.txt' .path
check odd-ls cairn ls --json "$odd"
check odd-umount cairn_umount "$odd"
check odd-request-mount cairn_mount "$T/cache-odd" "$store" "$mnt" --objects
asks_oddly() {
  python3 - "/run/cairn/$(printf %s "$mnt" | sha256sum | cut -c1-24).sock" <<'PY'
import json, socket, sys
for odd in (b'{"command":1}\n', b'{"command":"flush","timeout_ns":"x"}\n', b'{"command":"pin","inode":{}}\n'):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(sys.argv[1])
        s.sendall(odd)
        assert not json.loads(s.recv(1000))["ok"]
PY
}
check odd-requests-refused asks_oddly
check odd-requests-answers answers "$mnt"
check odd-requests-umount cairn_umount "$mnt"

# ---- no file of the daemon's may grow (ulimit -f): whoever writes is told, and the mount goes on
mount_within() (
  ulimit -f "$1" && shift && cairn_mount "$@"
)
mounts+=("$mnt")
seeded "$T/large" 6000000 1
check limit-format cairn format "$T/store"
check limit-mount mount_within 3000 "$T/cache-limit" "$T/store" "$mnt" --commit-interval 300ms
check limit-says-so fails_with 'File too large' cp "$T/large" "$mnt/large"
check limit-goes-on answers "$mnt"
check limit-small-file cp "$T/gc.out" "$mnt/small"
check limit-is-logged grep -q 'allocate .*File too large' "$T"/cache-limit/*/log
check limit-umount cairn_umount "$mnt"
get_within() (
  ulimit -f 3000 && cairn get "$T/large" "$T/got"
)
check limit-get fails_with 'File too large' get_within
check limit-get-leaves-nothing test -z "$(find "$T" -maxdepth 1 -name '.cairn-part*' -o -maxdepth 1 -name got)"

# ---- a mount that is shown elsewhere: a bind mount, and another mount namespace
bind=$T/bind
part=$T/part
mkdir "$bind" "$part"
check shown-mount cairn_mount "$T/cache" "$T/store" "$mnt" --commit-interval 300ms
mkdir "$mnt/dir" && cp "$T/gc.out" "$mnt/dir/file"
mount --bind "$mnt" "$bind" && mount --bind "$mnt/dir" "$part"
check bind-status prints "$(daemon_pid "$mnt")" status "$bind" .pid
check bind-flush cairn flush "$bind"
check bind-flush-part cairn flush "$part"
check bind-status-of-part prints stored status "$part" .state
check bind-status-of-file prints stored status "$part/file" .state
check bind-pin cairn pin "$part/file"
check bind-ls grep -q 'stored' <<<"$(cairn ls "$bind/dir")"
check bind-umount-says-which fails_with "'cairn umount $mnt'" cairn umount "$bind"
check bind-is-there is_mounted "$bind"
umount "$bind" "$part"

unshare -m --propagation private sleep 600 &
sleeper=$!
pids+=("$sleeper")
copied() { grep -q "$mnt" "/proc/$sleeper/mountinfo" && [ "$(readlink "/proc/$sleeper/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ]; }
wait_until 10 copied
umounts_elsewhere() {
  local rc=0
  LIMIT=30 cairn umount "$mnt" >"$T/umount.out" 2>&1 || rc=$?
  [ $rc = 1 ] && grep -q "everything is in the store, but .*process $sleeper (sleep) at $mnt" "$T/umount.out" ||
    { echo "$rc: $(cat "$T/umount.out")"; return 1; }
}
check elsewhere-umount umounts_elsewhere
check elsewhere-unmounted-here test "$(is_mounted "$mnt"; echo $?)" != 0
check elsewhere-mount-says-why fails_with "still in use elsewhere: for process $sleeper" \
  cairn mount --cache-dir "$T/cache" "$T/store" "$mnt"
daemon=$(daemon_pid "$mnt")
kill "$sleeper"
check elsewhere-ends wait_until 20 gone "$daemon"

# ---- when umount returns, the cache's disk is free
disk=$T/disk
mkdir "$disk"
if mount -t tmpfs tmpfs "$disk" 2>/dev/null; then
  check disk-mount cairn_mount "$disk/cache" "$T/store" "$mnt"
  check disk-umount cairn_umount "$mnt"
  check disk-is-free umount "$disk"
else
  skip disk "no tmpfs can be mounted here"
fi

# ---- a daemon that was killed
check dead-mount cairn_mount "$T/cache" "$T/store" "$mnt"
daemon=$(daemon_pid "$mnt")
socket=/run/cairn/$(printf %s "$mnt" | sha256sum | cut -c1-24).sock
kill -9 "$daemon"
wait_until 10 gone "$daemon"
dead_is_shown() {
  local rc=0
  cairn status >"$T/status.out" 2>&1 || rc=$?
  [ $rc = 3 ] && grep -q "on $mnt (dead)" "$T/status.out" && grep -q "fusermount3 -uz $mnt" "$T/status.out"
}
check dead-is-shown dead_is_shown
check dead-in-json test "$(cairn status --json | jq -r "select(.mountpoint == \"$mnt\").mode")" = dead
check dead-socket-stays-a-while test -S "$socket"
touch -d '2 minutes ago' "$socket"
cairn status >/dev/null
check dead-socket-goes test ! -e "$socket"
umount -l "$mnt"

# ---- what who mounts has open is not kept open by the mount
locked_mount() {
  flock "$T/lock" "$CAIRN" mount --cache-dir "$T/cache" --cache-reserve 64M "$T/store" "$mnt" 8>"$T/open" </dev/null
}
check descriptors-mount locked_mount
check descriptors-lock-is-free flock -n "$T/lock" true
of_script() { find "/proc/$(daemon_pid "$mnt")/fd" -lname "$T/open" -o -lname "$T/lock" | grep .; }
check descriptors-none test -z "$(of_script)"
check descriptors-umount cairn_umount "$mnt"

# ---- output that nobody takes is said
to_full() { cairn "$@" >/dev/full; }
check full-mount cairn_mount "$T/cache" "$T/store" "$mnt"
for words in "status" "status $mnt" "status --json $mnt" "check file://$T/store" "dump file://$T/store" \
    "gc file://$T/store --dry-run" "snapshot list --json $mnt" "ls $mnt" "get $mnt/small -" "--help"; do
  # shellcheck disable=SC2086  # words
  check "full-${words%% *}" fails_with 'No space left on device' to_full $words
done
check full-umount cairn_umount "$mnt"

# ---- what is wrong is said, and soon
refused_store() {
  local out
  out=$(AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=refused-test-secret LIMIT=10 cairn ls --region us-east-1 \
    --endpoint-url http://127.0.0.1:1 s3://bucket 2>&1) && return 1
  grep -q 'does not answer and is tried again for .* cannot connect' <<<"$out" || { echo "$out"; return 1; }
}
check said-refused refused_store
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups env -u XDG_RUNTIME_DIR "$@"; }
if as_nobody test -x "$CAIRN"; then
  check said-no-run-directory fails_with 'set XDG_RUNTIME_DIR' as_nobody HOME=/nonexistent "$CAIRN" status
else
  skip said-no-run-directory "nobody may not run $CAIRN"
fi

e2e_end
