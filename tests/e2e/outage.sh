#!/usr/bin/env bash
# The store is away, silently: no answer, no end of a connection. Writes and cached reads go on,
# other reads end with EIO in time, whoever waits can be killed, nothing needs a hand when the store is
# back, and the log says it once. Then the same for a mount that begins without the store.
. "$(dirname "$0")/lib.sh"
e2e_begin outage
mkdir -p "$T/s3/data"
faulty_s3 --folder "$T/s3" || { fail store "tests/support/faulty_s3.py does not start"; e2e_end; }
store=s3://data/volume
mnt=$T/mnt
long=8 io=6  # seconds: of the outage, and --io-timeout
[ "$profile" = quick ] || long=90 io=30

go_away() { kill -STOP "$FAULTY_PID"; }
come_back() { kill -CONT "$FAULTY_PID"; }
mount_it() { cairn_mount "$T/cache" "$store" "$mnt" --io-timeout ${io}s --commit-interval 1s "$@"; }
log_file() { find "$T/cache" -maxdepth 2 -name log; }

check format cairn format "$store" || e2e_end
check mount mount_it || e2e_end
seeded "$T/warm" 3000000 1
seeded "$T/cold" 9000000 2
cp "$T/warm" "$mnt/warm" && cp "$T/cold" "$mnt/cold" && mkdir "$mnt/dir"
head -c 300000 "$T/cold" >"$mnt/cold2"
check flush cairn flush "$mnt"
check evict cairn evict "$mnt/cold" "$mnt/cold2"
check status-is-safe cairn status "$mnt"

go_away
start=$SECONDS
check write-goes-on cp "$T/cold" "$mnt/dir/new"
check fsync-goes-on sync "$mnt/dir/new"
check rename-goes-on mv "$mnt/dir/new" "$mnt/dir/renamed"
check read-of-new cmp "$T/cold" "$mnt/dir/renamed"
check read-of-cached cmp "$T/warm" "$mnt/warm"
# waits_for NAME COMMAND...: reads what is not here, and is told so when it has waited for --io-timeout.
waits_for() {
  local name=$1 before took
  shift
  before=$(now_ms)
  timeout $((io * 4)) "$@" >/dev/null 2>"$T/read.err"
  took=$(($(now_ms) - before))
  say "$name ended after $took ms: $(grep -o -i 'Input/output error' "$T/read.err")"
  check "$name-is-eio" grep -q -i 'Input/output error' "$T/read.err"
  check "$name-in-time" test $took -le $((io * 1000 + 1000))
}
watch_sleepers
waits_for uncached-read dd if="$mnt/cold" bs=128k iflag=direct
# Not silent any more, as far as the daemon knows, when it answered a read in between.
come_back
check answers-in-between dd if="$mnt/cold2" of=/dev/null bs=128k count=1 status=none
go_away
# A pack of this size may take minutes on a slow line; that nothing moves at all is told before.
check write-goes-on-again seeded "$mnt/dir/second" 9000000 3
waits_for uncached-cat cat "$mnt/cold"

# ended_within MS PID SIGNAL: its own wait for the store would end it much later.
ended_within() {
  wait "$2" 2>/dev/null
  local took=$(($(now_ms) - before))
  echo "ended $took ms after $3"
  [ $took -le "$1" ]
}
# ends SIGNAL: a process that waits for the store ends long before its wait would.
ends() {
  local reader before
  cat "$mnt/cold" >/dev/null 2>&1 &
  reader=$!
  pids+=("$reader")
  sleep 0.4  # a store that is known to be silent is waited for for a second
  kill -0 "$reader" || { echo "it did not wait"; return 1; }
  before=$(now_ms)
  kill "-$1" "$reader"
  ended_within 1000 "$reader" "SIG$1"
}
# A background job of a script ignores SIGINT; this one is its own session, as in a terminal.
ends_int() {
  local before reader
  python3 -c "
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp('cat', ['cat', sys.argv[1]])" "$mnt/cold" >/dev/null 2>&1 &
  reader=$!
  pids+=("$reader")
  sleep 0.7
  kill -0 "$reader" || { echo "it did not wait"; return 1; }
  before=$(now_ms)
  kill -INT "$reader"
  ended_within 2500 "$reader" SIGINT
}
check sigkill-ends-a-reader ends KILL; say "$(tail -n 1 "$T/check.out")"
check sigint-ends-a-reader ends_int; say "$(tail -n 1 "$T/check.out")"
check daemon-answers timeout 10 ls "$mnt"
not_safe() { cairn status "$mnt"; [ $? = 3 ]; }
echo later >"$mnt/later"
check status-is-not-safe not_safe
for n in $(seq 1 200); do echo "$n" >"$mnt/dir/small$n"; done
while [ $((SECONDS - start)) -lt $long ]; do sleep 1; done
says_error() { [ -n "$(status "$mnt" .store_error)" ]; }
check status-says-why wait_until 60 says_error
lines=$(grep -c -e warning -e error "$(log_file)")
say "$lines lines in the log about $((SECONDS - start)) s of outage; requests: $(status "$mnt" '.requests | tostring')"
check log-is-short test "$lines" -le 12

end_sleepers nobody-sleeps-in-D $((io * 1000 + 1000))
come_back
LIMIT=90 check recovers-alone cairn flush "$mnt"
check cold-read-again cmp "$T/cold" "$mnt/cold"
check status-is-safe-again cairn status "$mnt"
check log-says-back grep -q 'answers again' "$(log_file)"

# --- a mount that begins without the store
echo "before the crash" >"$mnt/crashed"
go_away
echo "while away" >"$mnt/away"
check kill kill_daemon "$mnt"
offline_mount() {
  timeout 60 "$CAIRN" mount --log-level trace --cache-dir "$T/cache" --cache-reserve 64M --io-timeout ${io}s \
    --commit-interval 1s "$store" "$mnt" >"$T/offline.out" 2>&1 </dev/null
}
mounts+=("$mnt")
check offline-mount offline_mount
say "$(tail -n 1 "$T/offline.out")"
check offline-is-said grep -q 'cannot be reached' "$T/offline.out"
check offline-status test "$(status "$mnt" .offline)" = true
check offline-reads grep -q 'before the crash' "$mnt/crashed"
check offline-reads-last grep -q 'while away' "$mnt/away"
check offline-cached cmp "$T/warm" "$mnt/warm"
mkdir "$mnt/offline" && cp "$T/warm" "$mnt/offline/copy" && echo yes >"$mnt/offline/yes"
check offline-writes grep -q yes "$mnt/offline/yes"
come_back
LIMIT=120 check offline-recovers cairn flush "$mnt"
check online-again test "$(status "$mnt" .offline)" = false
check umount cairn_umount "$mnt"
check mount-elsewhere cairn_mount "$T/cache2" "$store" "$mnt" || e2e_end
check elsewhere-offline-file cmp "$T/warm" "$mnt/offline/copy"
check elsewhere-away grep -q 'while away' "$mnt/away"
check elsewhere-renamed cmp "$T/cold" "$mnt/dir/renamed"
check elsewhere-small test "$(ls "$mnt/dir" | wc -l)" = 202
check umount-elsewhere cairn_umount "$mnt"
LIMIT=300 check check-data cairn check --data "$store"

# --- without a cache there is nothing to go on from
go_away
no_cache() { ! timeout 60 "$CAIRN" mount --log-level trace --cache-dir "$T/none" --io-timeout 4s "$store" "$mnt" 2>"$T/none.err"; }
check no-cache-is-refused no_cache
say "$(tail -n 1 "$T/none.err")"
come_back
e2e_end
