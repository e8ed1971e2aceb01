#!/usr/bin/env bash
# A power cut under the cache, in the middle of work: what was fsynced is there afterwards, the tree is
# an exact prefix of what was done, and a SQLite database is sound and has every row it acknowledged.
# The store is out of reach, so that the disk alone must have it; in one round of three it works.
#
# The cache lies in a file system on a loop image; XFS_IOC_GOINGDOWN without flushing the log (ext4
# knows it too) drops everything that nobody synced, which kill -9 cannot show. The same run with the
# daemon under eatmydata, whose fsync does nothing, must lose something: otherwise this test could
# not fail.
. "$(dirname "$0")/lib.sh"
e2e_begin powercut
if [ "$(id -u)" != 0 ]; then skip powercut "needs root for loop mounts"; e2e_end; fi

lives=1 rounds=3  # a life begins with a new disk and a new volume
[ "$profile" = quick ] || lives=5 rounds=5

# The store is a small tmpfs, so that it can be taken away: read-only means every put fails.
store=$T/store
mkdir "$store"
mount -t tmpfs -o size=1500M cairn-store "$store" || { skip powercut "no tmpfs mounts"; e2e_end; }
mounts+=("$store")

disk=$T/disk
mnt=$T/mnt
mkdir "$disk" "$mnt"

plug() { mount -o loop "$T/disk.img" "$disk"; }
cut_power() {  # everything that was not synced is gone, then the "node" starts again
  local pid
  pid=$(daemon_pid "$mnt")
  xfs_io -x -c shutdown "$disk" || return 1
  [ -z "$pid" ] || kill -9 "$pid"
  [ -z "$pid" ] || wait_until 20 gone "$pid"
  umount -l "$mnt"
  wait_until 20 umount "$disk" || return 1
  plug
}

# Writes files, fsyncs each and then its directory, and names what returned in $2.
synced_writes() {
  timeout 60 python3 - "$1" "$2" "$3" <<'END'
import hashlib, os, sys, time
folder, log, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.makedirs(folder, exist_ok=True)
dirfd = os.open(folder, os.O_RDONLY)
parent = os.open(os.path.dirname(folder), os.O_RDONLY)
os.fsync(parent)
end = time.monotonic() + 3
n = 0
with open(log, "a") as names:
    while time.monotonic() < end and n < 400:
        size = (n * n * 1319 + seed) % 700000
        data = hashlib.shake_128(f"{seed}/{n}".encode()).digest(size)
        path = os.path.join(folder, f"file{n}")
        fd = os.open(path + ".new", os.O_CREAT | os.O_WRONLY, 0o644)
        os.write(fd, data[: size // 2])
        os.write(fd, data[size // 2:])
        os.fsync(fd)
        os.close(fd)
        os.rename(path + ".new", path)
        os.fsync(dirfd)
        names.write(f"{hashlib.sha256(data).hexdigest()}  {path}\n")
        names.flush()
        n += 1
    # Not synced: may be there or not, whole or not.
    for extra in range(20):
        with open(os.path.join(folder, f"unsynced{extra}"), "wb") as f:
            f.write(os.urandom(30000))
END
}

# Two more that write until the cut, and what must be true of them afterwards.
start_writers() {  # FOLDER SEED
  mkdir "$1" && sync "$1" || return
  python3 "$repo/tests/e2e/prefix.py" write "$1/prefix" "$T/prefix.log" "$2" 60 >"$T/prefix.out" &
  writers=($!)
  python3 "$repo/tests/e2e/rows.py" insert "$1/rows.db" >"$T/rows" 2>"$T/rows.err" &
  writers+=($!)
  pids+=("${writers[@]}")
}
prefix_holds() { timeout 300 python3 "$repo/tests/e2e/prefix.py" verify "$1/prefix" "$T/prefix.log" "$2"; }
rows_hold() { timeout 60 python3 "$repo/tests/e2e/rows.py" check "$1/rows.db" "$(wc -l <"$T/rows")"; }

# Is it this kernel that lacks the file system, or did something fail?
kernel_has() { grep -qw "$1" /proc/filesystems || { modprobe "$1" && grep -qw "$1" /proc/filesystems; } 2>/dev/null; }

# prepare FS: a new disk, plugged in, larger than what the writers can write before the cut: with the store
# out of reach they would wait for room.
prepare() {
  truncate -s 4G "$T/disk.img"
  case $1 in
    xfs) mkfs.xfs -q -f "$T/disk.img" ;;
    ext4) mkfs.ext4 -q -F "$T/disk.img" ;;
  esac && plug && mounts+=("$disk")
}

set_store() { mount -o "remount,$1" "$store"; }

mount_here() {  # PREFIX-COMMAND...
  mkdir -p "$mnt"
  mounts+=("$mnt")
  timeout 60 "$@" "$CAIRN" mount --log-level trace --cache-dir "$disk/cache" --cache-size 3G --cache-reserve 32M \
    --stall-timeout never "file://$store/volume" "$mnt" >>"$T/daemon.log" 2>&1 </dev/null
}

lost() {  # how many of the synced files are missing or wrong
  timeout 300 sha256sum --quiet -c "$T/synced" 2>/dev/null | grep -c FAILED
}

# one_life FS LIFE
one_life() {
  local fs=$1 name round seed
  check "$fs-$2-disk" prepare "$fs" || return
  rm -rf "${store:?}/volume"
  : >"$T/synced"
  check "$fs-$2-format" cairn format "file://$store/volume" || return
  for round in $(seq 1 $rounds); do
    name=$fs-$2.$round seed=$(($2 * 100 + round))
    check "$name-mount" mount_here env || return
    # In the middle of commits too, when the store works.
    [ $((round % 3)) = 2 ] || set_store ro
    check "$name-writers" start_writers "$mnt/work$round" "$seed" || return
    synced_writes "$mnt/round$round" "$T/synced" "$seed" 2>"$T/writes.log"
    check "$name-cut" cut_power || return
    wait "${writers[@]}" 2>/dev/null
    set_store rw
    check "$name-mount-after" mount_here env || return
    check "$name-fsynced-is-there" test "$(lost)" = 0
    check "$name-prefix" prefix_holds "$mnt/work$round" "$seed"
    say "$(cat "$T/check.out")"
    check "$name-database" rows_hold "$mnt/work$round"
    say "$(cat "$T/check.out"), $(wc -l <"$T/rows") were acknowledged"
    LIMIT=60 check "$name-umount" cairn_umount "$mnt" || return
  done
  # Nobody asked for a sync: it is done within a second.
  check "$fs-$2-mount-unasked" mount_here env || return
  set_store ro
  echo unasked >"$mnt/unasked"
  sleep 2.5
  check "$fs-$2-cut-unasked" cut_power || return
  set_store rw
  check "$fs-$2-mount-after-unasked" mount_here env || return
  check "$fs-$2-synced-unasked" grep -q unasked "$mnt/unasked"
  LIMIT=60 check "$fs-$2-umount-unasked" cairn_umount "$mnt" || return
  say "$(wc -l <"$T/synced") files were fsynced before the cuts"
  check "$fs-$2-some-were-synced" test "$(wc -l <"$T/synced")" -gt $((rounds * 5))
  LIMIT=120 check "$fs-$2-check-data" cairn check --data "file://$store/volume"
  wait_until 30 umount "$disk"
}

one_fs() {
  local fs=$1 life
  if ! kernel_has "$fs"; then skip "$fs" "this kernel has no $fs"; return; fi
  for life in $(seq 1 $lives); do one_life "$fs" "$life"; done

  # The control: without real fsyncs the same cut loses files, or the mount refuses the rest.
  check "$fs-control-disk" prepare "$fs" || return
  rm -rf "${store:?}/volume"
  : >"$T/synced"
  cairn format "file://$store/volume" >/dev/null
  check "$fs-control-mount" mount_here eatmydata || return
  set_store ro
  synced_writes "$mnt/control" "$T/synced" 99 2>"$T/writes.log"
  check "$fs-control-wrote" test -s "$T/synced"
  check "$fs-control-cut" cut_power || return
  set_store rw
  if mount_here env; then
    say "control: $(lost) of $(wc -l <"$T/synced") files lost"
    check "$fs-control-loses" test "$(lost)" -gt 0
    LIMIT=60 cairn_umount "$mnt" >/dev/null 2>&1 || kill_daemon "$mnt"
  else
    say "control: the mount refuses: $(tail -n 1 "$T/daemon.log")"
    pass "$fs-control-loses"
  fi
  wait_until 30 umount "$disk"  # the daemon that was killed may still be letting go
}

for fs in ext4 xfs; do
  say "--- $fs"
  one_fs $fs
  ! is_mounted "$disk" || umount -l "$disk"
done
e2e_end
