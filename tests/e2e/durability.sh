#!/usr/bin/env bash
# --durability=remote: fsync returns when the data is in the store. The daemon is killed and its cache
# removed right after; another cache has everything that was synced. With the default the same loses
# it: the proof that this can fail. While the store is away fsync waits, ends with EIO at the stall
# timeout, can be killed, and returns when the store is back in time.
. "$(dirname "$0")/lib.sh"
e2e_begin durability
mkdir -p "$T/s3/data"
faulty_s3 --folder "$T/s3" || { fail store "tests/support/faulty_s3.py does not start"; e2e_end; }
store=s3://data/volume
mnt=$T/mnt
rounds=2
[ "$profile" = quick ] || rounds=30

# Nothing but an fsync sends anything in this time.
mount_it() { cairn_mount "$T/cache" "$store" "$mnt" --takeover --commit-interval 1h --stall-timeout "$stall" "$@"; }
stall=60s
lose_node() { kill_daemon "$mnt" && rm -rf "$T/cache"; }

# sync_one FOLDER SEED fsync|fdatasync|directory: a file, some of it synced; what must be there then.
sync_one() {
  timeout 60 python3 - "$@" <<'PY'
import hashlib, os, sys
folder, seed, how = sys.argv[1:]
os.makedirs(folder)
data = hashlib.shake_128(seed.encode()).digest(int(seed) * 700001 % 3000000)
fd = os.open(f"{folder}/file", os.O_CREAT | os.O_WRONLY, 0o644)
os.write(fd, data[:1000])
os.write(fd, data[1000:])
if how == "directory":
    os.close(fd)
    fd = os.open(folder, os.O_RDONLY)
os.fdatasync(fd) if how == "fdatasync" else os.fsync(fd)
print(hashlib.sha256(data).hexdigest(), f"{folder}/file", sep="  ")
PY
}
is_there() { timeout 60 sha256sum --quiet -c "$1"; }

check format cairn format "$store" || e2e_end
: >"$T/synced"
for round in $(seq 1 $rounds); do
  hows=(directory fsync fdatasync)
  how=${hows[round % 3]}
  check "mount-$round" mount_it --durability remote || e2e_end
  sync_one "$mnt/$round" "$round" "$how" >>"$T/synced" || fail "sync-$round" "status $?"
  check "lose-node-$round" lose_node || e2e_end
done
check mount-elsewhere mount_it --durability remote || e2e_end
check all-were-synced test "$(wc -l <"$T/synced")" = $rounds
check synced-is-there is_there "$T/synced"
check lose-node lose_node || e2e_end

check local-mount mount_it || e2e_end
sync_one "$mnt/local" 9 fsync >"$T/local"
check local-lose-node lose_node || e2e_end

# --- the store is away
stall=3s
check mount-away mount_it --durability remote || e2e_end
check local-fsync-is-lost test ! -e "$mnt/local"
# away FILE: an fsync begins while the store refuses; sync_pid is its process, its last word in $T/said.
away() {
  faults '{"fault": "error"}'
  echo "$1" >"$mnt/$1"
  began=$(now_ms)
  python3 - "$mnt/$1" >"$T/said" <<'PY' &
import errno, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
try:
    os.fsync(fd)
    print("fine")
except OSError as error:
    print(errno.errorcode[error.errno])
PY
  sync_pid=$!
  pids+=("$sync_pid")
}
has_ended() { wait_until "$1" gone_or_zombie "$sync_pid"; }
not_stored() { ! cairn status "$1" && [ -z "$(cat "$T/said")" ]; }

away refused
check refused-fsync-ends has_ended 30
took=$(($(now_ms) - began))
say "fsync said $(cat "$T/said") after $took ms with a stall timeout of 3 s"
check refused-fsync-is-eio test "$(cat "$T/said")" = EIO
check refused-fsync-waited test $took -ge 2700
check refused-fsync-in-time test $took -le 6500
check refused-is-not-lost grep -q refused "$mnt/refused"

no_faults
check flush cairn flush "$mnt"
away killed
sleep 1
check killed-fsync-waits not_stored "$mnt/killed"
before=$(now_ms)
kill -9 "$sync_pid"
check killed-fsync-ends has_ended 5
check killed-at-once test $(($(now_ms) - before)) -le 1000

no_faults
check flush-again cairn flush "$mnt"
away waited
sleep 1
check waiting-fsync-waits not_stored "$mnt/waited"
no_faults
check waiting-fsync-ends has_ended 30
check waiting-fsync-is-fine test "$(cat "$T/said")" = fine
check lose-node-last lose_node || e2e_end
check mount-last mount_it || e2e_end
for name in refused killed waited; do check "$name-elsewhere" grep -q $name "$mnt/$name"; done
check umount cairn_umount "$mnt"
LIMIT=120 check check-data cairn check --data "$store"
e2e_end
