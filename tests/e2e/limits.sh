#!/usr/bin/env bash
# The cache never grows over --cache-size and the daemon's own memory not over --memory-limit, while
# files larger than the cache go both ways, thousands are listed, and the store is away; writers then
# wait, get ENOSPC after the stall timeout or wait for ever when told so, and can always be killed.
. "$(dirname "$0")/lib.sh"
e2e_begin limits
if [ "$(id -u)" != 0 ]; then skip limits "needs root for a tmpfs that can be made read-only"; e2e_end; fi

stream=256 files=4000 cache_mib=96 small=96
if [ "$profile" = full ]; then
  files=1000000 stream=20480 small=1024
  # The store has the stream once, and it is nowhere else; fewer bytes where the disk has no room.
  room=$(($(df --output=avail -m "$T" | tail -n 1) - 12000))
  [ $stream -le $room ] || stream=$((room > 256 ? room : 256))
fi
stream=${LIMITS_STREAM_MIB:-$stream} files=${LIMITS_FILES:-$files}
say "a stream of $stream MiB, $files files, a cache of $cache_mib MiB"

# The store is a mount of its own, so that it can be taken away: read-only, no put works. Memory
# holds a small one.
away=$T/away
mkdir "$away"
if [ $stream -le 1024 ]; then
  mount -t tmpfs -o size=$((stream * 3 + 600))M cairn-store "$away" || { skip limits "no tmpfs"; e2e_end; }
  set_store() { mount -o "remount,$1" "$away"; }
else
  mkdir "$T/away-disk"
  mount --bind "$T/away-disk" "$away" || { skip limits "no bind mounts"; e2e_end; }
  set_store() { mount -o "remount,bind,$1" "$away"; }
fi
mounts+=("$away")
store=file://$away/volume
mnt=$T/mnt

# Reads past the kernel's cache.
read_sum() { dd if="$1" bs=1M iflag=direct status=none | sha256sum; }

check format cairn format "$store" || e2e_end
mkdir -p "$mnt"
too_small() { ! cairn mount --cache-dir "$T/cache" --cache-size 32M "$store" "$mnt" 2>"$T/err" && grep smallest "$T/err"; }
check too-small-is-refused too_small
no_memory() { ! cairn mount --cache-dir "$T/cache" --memory-limit 16M "$store" "$mnt" 2>"$T/err" && grep smallest "$T/err"; }
check too-little-memory-is-refused no_memory

# --- a file larger than the whole cache, both ways
mount_it() { cairn_mount "$T/cache" "$store" "$mnt" --cache-size ${cache_mib}M --commit-interval 1s "$@"; }
check mount mount_it || e2e_end
watch stream "$mnt" "$T/cache"
took() { say "$1: $stream MiB in $((SECONDS - start)) s"; }
mkfifo "$T/stream"
write_stream() {  # what is written is summed on its way
  seeded "$T/stream" $((stream << 20)) 1 &
  timeout 3000 tee "$mnt/big" <"$T/stream" | sha256sum >"$T/sum"
}
start=$SECONDS
check larger-than-cache write_stream
LIMIT=900 check flush cairn flush "$mnt"
took written
check all-written test "$(stat -c %s "$mnt/big")" = $((stream << 20))
want=$(cat "$T/sum")
start=$SECONDS
got=$(read_sum "$mnt/big")
took read
check read-back test "$got" = "$want"
end_watch stream $cache_mib 128

# --- many files, made and listed
watch many "$mnt" "$T/cache"
start=$SECONDS
python3 - "$mnt/many" "$files" <<'PY' || fail many "could not be made"
import os, sys
os.mkdir(sys.argv[1])
for n in range(int(sys.argv[2])):
    os.close(os.open(f"{sys.argv[1]}/a file with a name of usual length {n:07}", os.O_CREAT | os.O_WRONLY))
PY
LIMIT=900 check flush-many cairn flush "$mnt"
say "made and flushed in $((SECONDS - start)) s"
end_watch many $cache_mib 128
check umount cairn_umount "$mnt"
check mount-to-list mount_it || e2e_end
watch listing "$mnt" "$T/cache"
start=$SECONDS
count=$(find "$mnt/many" -type f -printf x | wc -c)
say "$count files listed in $((SECONDS - start)) s"
check all-listed test "$count" = "$files"
count=$(ls -l "$mnt/many" | wc -l)
check all-listed-again test "$count" = $((files + 1))
end_watch listing $cache_mib 128

# --- a limit that was chosen: the smallest one, for the same work
check umount-small cairn_umount "$mnt"
check mount-small mount_it --memory-limit 64M || e2e_end
check small-limit-is-taken test "$(status "$mnt" .memory.limit)" = $((64 << 20))
watch small "$mnt" "$T/cache"
seeded "$T/less" $((small << 20)) 2
LIMIT=300 check small-write timeout 300 cp "$T/less" "$mnt/less"
LIMIT=300 check small-flush cairn flush "$mnt"
same_less() { [ "$(read_sum "$mnt/less")" = "$(sha256sum <"$T/less")" ]; }
check small-read-back same_less
count=$(ls -l "$mnt/many" | wc -l)
check small-all-listed test "$count" = $((files + 1))
end_watch small $cache_mib 64

# --- the store is away: writes go on until the ceiling, then ENOSPC; what was closed is there
check umount-2 cairn_umount "$mnt"
check mount-stall mount_it --stall-timeout 3s || e2e_end
watch full "$mnt" "$T/cache"
set_store ro
mkdir "$mnt/names"
# Names alone fill the tables before they fill the journal.
names_until_full() {
  python3 - "$mnt/names" <<'PY'
import errno, os, sys
for n in range(200000):
    try:
        os.close(os.open(f"{sys.argv[1]}/{n}", os.O_CREAT | os.O_WRONLY))
    except OSError as error:
        print(errno.errorcode[error.errno], "after", n, "names")
        sys.exit(0 if error.errno == errno.ENOSPC and n > 1000 else 1)
sys.exit(2)
PY
}
LIMIT=300 check names-until-full timeout 300 bash -c "$(declare -f names_until_full); mnt='$mnt'; names_until_full"
say "$(cat "$T/check.out")"
names=$(find "$mnt/names" -type f -printf x | wc -c)
set_store rw
LIMIT=300 check flush-names cairn flush "$mnt"
check names-are-there test "$(find "$mnt/names" -type f -printf x | wc -c)" = "$names"
set_store ro
mkdir "$mnt/full"
write_until_full() {
  python3 - "$mnt/full" "$T/closed" <<'PY'
import errno, os, sys
folder, closed = sys.argv[1], open(sys.argv[2], "w")
piece = os.urandom(1 << 20)
for n in range(400):
    try:
        fd = os.open(f"{folder}/{n}", os.O_CREAT | os.O_WRONLY)
        os.write(fd, n.to_bytes(8, "big") + piece)
        os.close(fd)
    except OSError as error:
        print(errno.errorcode[error.errno], "after", n)
        sys.exit(0 if error.errno == errno.ENOSPC else 1)
    closed.write(f"{n}\n")
sys.exit(2)
PY
}
check enospc-when-full timeout 120 bash -c "$(declare -f write_until_full); mnt='$mnt' T='$T'; write_until_full"
say "$(cat "$T/check.out"); $(wc -l <"$T/closed") files were closed"
check some-were-accepted test "$(wc -l <"$T/closed")" -ge 10
check reads-go-on ls "$mnt/full"
set_store rw
check goes-on-by-itself timeout 90 cp "$T/check.out" "$mnt/full/after"
LIMIT=300 check flush-full cairn flush "$mnt"
end_watch full $cache_mib 128
closed_are_whole() {
  local n
  while read -r n; do
    [ "$(stat -c %s "$mnt/full/$n")" = 1048584 ] || { echo "$n"; return 1; }
    [ "$(head -c 8 "$mnt/full/$n" | xxd -p)" = "$(printf '%016x' "$n")" ] || { echo "$n"; return 1; }
  done <"$T/closed"
}
check closed-are-whole closed_are_whole

# --- pending files
check umount-3 cairn_umount "$mnt"
check mount-pending mount_it --stall-timeout 2s --pending-files 40 || e2e_end
set_store ro
mkdir "$mnt/pending"
make_pending() { local n; for n in $(seq 1 80); do echo "$n" 2>/dev/null >"$mnt/pending/$n" || { echo "$n"; return 0; }; done; echo none; }
stopped=$(make_pending)
say "the file limit of 40 stopped writing at file $stopped"
check pending-files-limit test "$stopped" != none -a "$stopped" -ge 40
set_store rw
LIMIT=120 check flush-pending cairn flush "$mnt"

# --- pending bytes: as many are accepted while the store is away, no more
check umount-4 cairn_umount "$mnt"
check mount-bytes mount_it --stall-timeout 2s --pending-bytes 8M --commit-interval 1h || e2e_end
# Nobody waits for the interval when the limit is reached and the store takes something.
check bytes-go-on timeout 60 cp "$T/less" "$mnt/less2"
LIMIT=120 check flush-bytes cairn flush "$mnt"
set_store ro
dd if="$T/less" of="$mnt/bytes" bs=64k 2>"$T/dd.err"
accepted=$(stat -c %s "$mnt/bytes")
say "of the byte limit of 8 MiB $((accepted >> 10)) KiB were used: $(head -n 1 "$T/dd.err")"
check bytes-enospc grep -q 'No space left' "$T/dd.err"
check bytes-limit test "$accepted" -gt $((6 << 20)) -a "$accepted" -le $((8 << 20))
set_store rw
LIMIT=120 check flush-bytes-2 cairn flush "$mnt"
check bytes-are-there cmp -n "$accepted" "$T/less" "$mnt/bytes"

# --- pending age: sent when it is that old, whatever the interval
check umount-age cairn_umount "$mnt"
check mount-age mount_it --commit-interval 1h --pending-age 3s || e2e_end
echo old >"$mnt/old"
began=$(now_ms)
check young-is-not-sent bash -c '! "$0" status "$1" >/dev/null' "$CAIRN" "$mnt/old"
check old-is-sent wait_until 30 cairn status "$mnt/old"
took=$(($(now_ms) - began))
say "a change with --pending-age 3s was in the store after $took ms"
check sent-at-its-age test $took -ge 2500 -a $took -le 8000

# --- never: the writer waits, and can be killed
check umount-age-2 cairn_umount "$mnt"
check mount-never mount_it --stall-timeout never --pending-bytes 4M --io-timeout 2s || e2e_end
watch_sleepers
set_store ro
dd if=/dev/zero of="$mnt/waits" bs=1M count=64 status=none &
writer=$!
pids+=("$writer")
waits() { [ "$(stat -c %s "$mnt/waits" 2>/dev/null || echo 0)" -ge $((3 << 20)) ] && [ "$(cut -d' ' -f3 "/proc/$writer/stat")" != R ]; }
check writer-waits wait_until 30 waits
sleep 4
check writer-still-waits kill -0 "$writer"
start=$(now_ms)
kill -9 "$writer"
check killed-while-waiting wait_until 5 gone_or_zombie "$writer"
took=$(($(now_ms) - start))
say "killed after $took ms"
check killed-within-a-second test $took -le 1000
end_sleepers writer-does-not-sleep-in-D 3000
check daemon-lives test -n "$(daemon_pid "$mnt")"
set_store rw
LIMIT=120 check flush-never cairn flush "$mnt"
check umount-5 cairn_umount "$mnt"

# --- nothing of all that is wrong
check mount-elsewhere cairn_mount "$T/cache2" "$store" "$mnt" || e2e_end
got=$(sha256sum <"$mnt/big")
check big-elsewhere test "$got" = "$want"
check closed-elsewhere closed_are_whole
check umount-elsewhere cairn_umount "$mnt"
LIMIT=3000 check check-data cairn check --data "$store"
e2e_end
