#!/usr/bin/env bash
# Every way a mount ends: SIGTERM, SIGINT, `cairn umount`, plain umount. With the store there it
# flushes and ends with 0; without it, it ends at its deadline with a sentence and another status, and
# the next mount sends what was left.
. "$(dirname "$0")/lib.sh"
e2e_begin shutdown
mkdir -p "$T/s3/data"
faulty_s3 --folder "$T/s3" || { fail store "tests/support/faulty_s3.py does not start"; e2e_end; }
store=s3://data/volume
mnt=$T/mnt
mkdir "$mnt"
check format cairn format "$store" || e2e_end

# start OPTION...: in the foreground, so that its exit status and its last words can be seen.
start() {
  "$CAIRN" mount --log-level trace -f --cache-dir "$T/cache" --cache-reserve 64M --commit-interval 1h --io-timeout 5s "$@" \
    "$store" "$mnt" >"$T/daemon.out" 2>&1 </dev/null &
  daemon=$!
  pids+=("$daemon")
  mounts+=("$mnt")
  wait_until 60 is_mounted "$mnt" && wait_until 20 cairn status "$mnt"
  is_mounted "$mnt" || { cat "$T/daemon.out"; return 1; }
}
not_mounted() { ! is_mounted "$1"; }
ended() { ! kill -0 "$daemon" 2>/dev/null; }
# ends_with STATUS: waits for the daemon.
ends_with() {
  local rc=0
  wait_until 60 gone_or_zombie "$daemon" || { echo "it does not end"; return 1; }
  wait "$daemon" || rc=$?
  [ $rc = "$1" ] || { echo "exit status $rc"; return 1; }
}
put_something() { seeded "$T/$1" 2000000 "$2" && cp "$T/$1" "$mnt/$1"; }

for signal in TERM INT; do
  check "$signal-start" start || e2e_end
  put_something "$signal" 1
  check "$signal-was-not-stored" test "$(status "$mnt" '.lsn.published < .lsn.appended')" = true
  kill "-$signal" "$daemon"
  check "$signal-ends-well" ends_with 0
  check "$signal-unmounted" test "$(is_mounted "$mnt"; echo $?)" != 0
done

# A process that keeps a file open, and one that waits for room, do not keep it from ending.
check busy-start start --pending-bytes 4M --stall-timeout never || e2e_end
faults '{"fault": "slowdown", "method": "PUT"}'
dd if=/dev/zero of="$mnt/waits" bs=1M count=64 status=none 2>/dev/null &
writer=$!
pids+=("$writer")
waits() { [ "$(stat -c %s "$mnt/waits" 2>/dev/null || echo 0)" -ge $((3 << 20)) ]; }
check busy-waits wait_until 30 waits
no_faults
kill -TERM "$daemon"
check busy-ends-well ends_with 0
wait "$writer" 2>/dev/null

# The store refuses: the deadline, a sentence, a status; the next mount sends it.
check left-start start --shutdown-timeout 4s || e2e_end
faults '{"fault": "slowdown", "method": "PUT"}'
put_something left 2
before=$(now_ms)
kill -TERM "$daemon"
check left-ends-badly ends_with 1
say "ended $(($(now_ms) - before)) ms after SIGTERM: $(grep 'not everything' "$T/daemon.out" | tail -n 1)"
check left-is-said grep -q 'not everything is in the store' "$T/daemon.out"
check left-unmounted test "$(is_mounted "$mnt"; echo $?)" != 0
no_faults
check next-start start || e2e_end
check next-has-it cmp "$T/left" "$mnt/left"

# cairn umount: refuses while the store does, and the mount stays; then flushes and ends.
put_something asked 3
faults '{"fault": "slowdown", "method": "PUT"}'
umount_fails() { ! cairn umount --timeout 3s "$mnt" 2>"$T/umount.err"; }
check umount-says-no umount_fails
say "$(cat "$T/umount.err" | tail -n 2 | tr '\n' ' ')"
check umount-stays is_mounted "$mnt"
check umount-still-works cmp "$T/asked" "$mnt/asked"
no_faults
check umount cairn_umount "$mnt"
check umount-ends-well ends_with 0

# Plain umount does not wait: the daemon goes on behind it, the cache stays locked until it is done.
check plain-start start || e2e_end
put_something plain 4
faults '{"fault": "slow", "seconds": 2}'
check plain-umount umount "$mnt"
check plain-goes-on kill -0 "$daemon"
second() { mkdir -p "$1" && ! timeout 60 "$CAIRN" mount --log-level trace --cache-dir "$T/cache" "$store" "$1" 2>"$T/second.err"; }
check plain-same-place-is-refused second "$mnt"
say "$(cat "$T/second.err")"
check plain-is-said grep -q 'still sending' "$T/second.err"
check plain-cache-is-locked second "$T/other"
say "$(cat "$T/second.err")"
check plain-lock-is-said grep -q 'in use by another mount' "$T/second.err"
check plain-ends-well ends_with 0
no_faults

# The same by the other ways that do not wait.
for way in 'umount -l' 'fusermount3 -u'; do
  name=${way%% *}
  check "$name-start" start || e2e_end
  put_something "$name" 6
  faults '{"fault": "slow", "seconds": 1}'
  check "$name-works" $way "$mnt"
  check "$name-is-gone" not_mounted "$mnt"
  check "$name-goes-on" kill -0 "$daemon"
  check "$name-cache-is-locked" second "$T/other"
  check "$name-ends-well" ends_with 0
  no_faults
done

# Told twice: it leaves what is not stored to the next mount, long before its deadline.
check twice-start start --shutdown-timeout 10m || e2e_end
faults '{"fault": "slowdown", "method": "PUT"}'
put_something twice 5
kill -TERM "$daemon"
check twice-unmounts wait_until 20 not_mounted "$mnt"
kill -TERM "$daemon"
check twice-ends ends_with 1
check twice-is-said grep -q 'not everything is in the store' "$T/daemon.out"
no_faults
check twice-next-mount start || e2e_end
kill -TERM "$daemon"
check twice-next-ends-well ends_with 0

# Interrupted while it waits for the store: nothing is mounted, in the background either.
faults '{"fault": "slow", "seconds": 50}'
setsid "$CAIRN" mount --log-level trace --cache-dir "$T/cache3" --cache-reserve 64M "$store" "$mnt" >"$T/early.out" 2>&1 </dev/null &
daemon=$!
pids+=("$daemon")
has_child() { pgrep -P "$daemon"; }
check early-starts wait_until 20 has_child
sleep 1
kill -INT "$daemon"
check early-ends ends_with 1
check early-is-said grep -q 'stopped before it was mounted' "$T/early.out"
check early-is-not-mounted not_mounted "$mnt"
no_faults

check mount-elsewhere cairn_mount "$T/cache2" "$store" "$mnt" || e2e_end
for name in TERM INT left asked plain umount fusermount3 twice; do check "$name-elsewhere" cmp "$T/$name" "$mnt/$name"; done
check umount-elsewhere cairn_umount "$mnt"
LIMIT=120 check check-data cairn check --data "$store"
e2e_end
