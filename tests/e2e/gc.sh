#!/usr/bin/env bash
# Snapshots and garbage collection through mounts: states that have a name stay readable, the rest is
# given back; and under fire: a writer at speed, two followers reading, snapshots made and deleted,
# the collecting daemon killed again and again.
. "$(dirname "$0")/lib.sh"
e2e_begin gc
store=$T/store
remote=file://$store
a=$T/a
b=$T/b
c=$T/c
old=$T/old

stored() { du -sb --apparent-size "$store" | cut -f1; }
contents() { (cd "$1" && find . -type f -exec sha256sum {} + | sort -k2); }

check format cairn format "$remote" || e2e_end
check mount cairn_mount "$T/cache-a" "$remote" "$a" --commit-interval 1s --gc-interval 0 || e2e_end

# ---- snapshots
for i in $(seq 8); do seeded "$a/f$i" 400000 "$i"; done
contents "$a" >"$T/then"
name=$(cairn snapshot create "$a" first)
check snapshot-created test "$name" = first
check snapshot-flushed test "$(status "$a" '.lsn.appended == .lsn.published')" = true
number=$(status "$a" .commit.seq)
sleep 1.1  # the clock shows another second
seconds=$(date -u +%Y-%m-%dT%H:%M:%S)
if cairn snapshot create "$a" first >/dev/null 2>&1; then fail snapshot-once "made twice"; else pass snapshot-once; fi
if cairn snapshot create "$a" ../x >/dev/null 2>&1; then fail snapshot-name "a bad name was taken"; else pass snapshot-name; fi
sleep 1.1
rm "$a"/f[1-6]
echo changed >"$a/f7"
check flush cairn flush "$a"
check list-on-mount grep -q "^first  commit $number " <<<"$(cairn snapshot list "$a")"
check list-on-remote test "$(cairn snapshot list --json "$remote" | jq -r '.[0].name')" = first
check mount-at-name cairn_mount "$T/cache-o" "$remote" "$old" --at first
check at-name-shows-then diff <(contents "$old") "$T/then"
if (echo x >"$old/no") 2>/dev/null; then fail at-is-read-only "a write was accepted"; else pass at-is-read-only; fi
check umount-at-name cairn_umount "$old"
check mount-at-number cairn_mount "$T/cache-o" "$remote" "$old" --at "$number"
check at-number-shows-then diff <(contents "$old") "$T/then"
check umount-at-number cairn_umount "$old"
check mount-at-time cairn_mount "$T/cache-o" "$remote" "$old" --at "$seconds"
check at-time-shows-then diff <(contents "$old") "$T/then"
check umount-at-time cairn_umount "$old"
out=$(cairn mount --cache-dir "$T/cache-o" --at nosuch "$remote" "$old" 2>&1)
check at-unknown test $? = 1
check at-unknown-says-so grep -q 'no snapshot nosuch' <<<"$out"

# ---- collection, with a follower that reads
check follower cairn_mount "$T/cache-b" "$remote" "$b" --read-only --poll-interval 300ms
before=$(stored)
cp "$store/r/first" "$T/ref"
check snapshot-keeps grep -q '^would condemn: 0 ' <<<"$(cairn gc --dry-run --grace 1s "$a" 2>/dev/null)"
check snapshot-delete cairn snapshot delete "$a" first
check dry-run-says grep -q '^would condemn: [1-9]' <<<"$(cairn gc --dry-run --grace 1s "$a" 2>/dev/null)"
check dry-run-changes-nothing test "$(stored)" = "$((before - $(stat -c %s "$T/ref")))"
check gc-condemns grep -q '^condemned: [1-9]' <<<"$(cairn gc --grace 1s "$a" 2>/dev/null)"
check status-says-waiting grep -q 'wait to be deleted' <<<"$(cairn status "$a")"
sleep 2.1
check gc-deletes grep -Eq '^deleted: [1-9]' <<<"$(cairn gc --grace 1s "$a" 2>/dev/null)"
check space-came-back test "$(stored)" -lt $((before / 2))
check follower-reads-on diff <(contents "$a") <(contents "$b")
check umount-a cairn_umount "$a"
check umount-b cairn_umount "$b"
check gc-of-a-remote cairn gc --grace 1s "$remote"
check check-after-gc cairn check --data "$remote"
check mount-after-gc cairn_mount "$T/cache-a" "$remote" "$a" --commit-interval 1s --gc-interval 0
if out=$(cairn gc "$remote" 2>&1); then fail gc-of-open-volume "it ran"; else
  check gc-of-open-volume grep -q 'open for writing' <<<"$out"
fi
check umount-again cairn_umount "$a"

# ---- in the background, without a word
check background-mount cairn_mount "$T/cache-a" "$remote" "$a" --commit-interval 1s --gc-interval 1s --gc-grace 1s
seeded "$a/large" 40000000 77
check background-stored cairn flush "$a"
rm "$a/large"
check background-removed cairn flush "$a"
small() { [ "$(stored)" -lt 10000000 ]; }
check background-collects wait_until 60 small
check background-umount cairn_umount "$a"

# ---- under fire
# Followers read every file again and again; a file that goes while it is read is no error, one that
# cannot be read is.
reader='
import errno, os, sys, time
root, stop = sys.argv[1], sys.argv[2]
reads = 0

def whole(data):
    head = data[:16]
    return len(data) < 16 or data == head * (len(data) // 16) + head[:len(data) % 16]

# An open file moves to its new content at a poll, and that may be in the middle of a read: a
# writer that was killed left NAME.new, and the next one begins it anew. It may not stay so.
def readable(path):
    with open(path, "rb", buffering=0) as file:
        for _ in range(5):
            file.seek(0)
            if whole(file.read()):
                return True
            time.sleep(0.6)
    return False

while not os.path.exists(stop):
    for name in os.listdir(root):
        try:
            if not readable(os.path.join(root, name)):
                print("wrong bytes in", name, flush=True)
                sys.exit(1)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                continue
            print("cannot read", name, error, flush=True)
            sys.exit(1)
        reads += 1
print("read", reads, "files")
sys.exit(0 if reads > 20 else 1)
'
# Every file is one random block again and again, so that any of its states can be recognised.
writer='
import os, sys
root, stop = sys.argv[1], sys.argv[2]
n = 0
while not os.path.exists(stop):
    n += 1
    name = os.path.join(root, "w%d" % (n % 24))
    try:
        if n % 5 == 0:
            os.unlink(name)
            continue
        with open(name + ".new", "wb") as file:
            file.write(os.urandom(16) * (4096 * (1 + n % 12)))
        os.rename(name + ".new", name)
    except OSError:
        if not os.path.exists(root + "/.") or os.path.exists(stop):
            break
        continue
'
mount_writer() {
  cairn_mount "$T/cache-a" "$remote" "$a" --commit-interval 200ms --gc-interval 0 --gc-grace 2s
}
check fire-mount mount_writer || e2e_end
rm -f "$a"/f*
check fire-empty cairn flush "$a"
check fire-follower-1 cairn_mount "$T/cache-b" "$remote" "$b" --read-only --poll-interval 200ms
check fire-follower-2 cairn_mount "$T/cache-c" "$remote" "$c" --read-only --poll-interval 300ms --cache-size 64M
python3 -c "$reader" "$b" "$T/stop" >"$T/reader-b" 2>&1 &
reader_b=$!
python3 -c "$reader" "$c" "$T/stop" >"$T/reader-c" 2>&1 &
reader_c=$!
pids+=("$reader_b" "$reader_c")
# Kills the daemon as soon as the collection says that it begins the step; 1 when it ended before.
killer='
import os, sys, time
said, step, daemon, command = open(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
text = ""
while True:
    text += said.read()
    if "\n" + step + "\n" in "\n" + text:
        os.kill(daemon, 9)
        sys.exit(0)
    try:
        over = open("/proc/" + command + "/stat").read().split(") ")[-1][0] == "Z"
    except OSError:
        over = True
    if over:
        sys.exit(1)
    time.sleep(0.001)
'
# kill_at STEP: false when the collection ended before.
kill_at() {
  python3 -c "$killer" "$T/gc.err" "$1" "$writer_daemon" "$gc_pid" || return 1
  wait_until 10 gone "$writer_daemon" && umount -l "$a"
}
steps=(clock history boundary snapshots commits objects marking condemning 'marking again' moving
       committing 'deleting packs' 'deleting index segments')
rounds=${#steps[@]}
[ "$profile" = full ] && rounds=$((rounds * 4))
kills=0
# A machine that is busy may see some steps too late: then there are more rounds.
for ((round = 0; round < rounds || (kills < 8 && round < rounds * 5); round++)); do
  step=${steps[round % ${#steps[@]}]}
  rm -f "$T/stop-writer"
  timeout 60 python3 -c "$writer" "$a" "$T/stop-writer" >/dev/null 2>&1 &
  writer_pid=$!
  sleep 0.4
  cairn snapshot create "$a" "s$round" >/dev/null 2>&1
  : >"$T/gc.err"
  writer_daemon=$(daemon_pid "$a")
  LIMIT=60 cairn gc --grace 2s "$a" >"$T/gc.out" 2>"$T/gc.err" &
  gc_pid=$!
  if kill_at "$step"; then
    kills=$((kills + 1))
    touch "$T/stop-writer"
    wait $writer_pid $gc_pid
    # What the writer wrote below the mount after it was gone.
    is_mounted "$a" || find "$a" -mindepth 1 -delete
    check "fire-killed-at-${step// /-}" mount_writer || e2e_end
  else
    wait $gc_pid || fail "fire-gc-$round" "$(tail -n 2 "$T/gc.err")"
    touch "$T/stop-writer"
    wait $writer_pid
  fi
  [ "$round" -lt 2 ] || cairn snapshot delete "$a" "s$((round - 2))" >/dev/null 2>&1
done
check fire-killed-often test $kills -ge 8
touch "$T/stop"
read_all_along() { wait "$1"; local status=$?; cat "$2"; return $status; }
check fire-reader-1 read_all_along $reader_b "$T/reader-b"; say "$(cat "$T/reader-b")"
check fire-reader-2 read_all_along $reader_c "$T/reader-c"; say "$(cat "$T/reader-c")"
check fire-flush cairn flush "$a"
for s in $(cairn snapshot list --json "$a" | jq -r '.[].name'); do
  check "fire-delete-$s" cairn snapshot delete "$a" "$s"
done
for round in 1 2 3; do
  check "fire-collect-$round" cairn gc --grace 1s --json "$a"
  sleep 2.1
done
contents "$a" >"$T/now"
check fire-follower-1-same wait_until 30 sh -c "cd '$b' && find . -type f -exec sha256sum {} + | sort -k2 | diff - '$T/now'"
check fire-umount-b cairn_umount "$b"
check fire-umount-c cairn_umount "$c"
check fire-umount-a cairn_umount "$a"
check fire-check cairn check --data "$remote"
check fire-gc-last cairn gc --grace 1s "$remote"
live=$(awk '{ n += 1 } END { print n }' "$T/now")
needed=$(cairn gc --dry-run --json "$remote" 2>/dev/null | jq '.live_bytes + .metadata_bytes')
packs=$(du -sb --apparent-size "$store/p" | cut -f1)
say "$live files, $needed bytes live, $packs bytes of packs and their folders"
folders=$(find "$store/p" -type d -printf '%s\n' | awk '{ n += $1 } END { print n }')
check fire-size test $((packs - folders)) -le $((needed * 12 / 10))
check fire-cold-mount cairn_mount "$T/cache-z" "$remote" "$b" --read-only
check fire-cold-same diff <(contents "$b") "$T/now"
check fire-cold-umount cairn_umount "$b"
e2e_end
