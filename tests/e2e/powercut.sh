#!/usr/bin/env bash
# A power cut under the cache, with the store out of reach: what was fsynced is there afterwards.
#
# The cache lies in a file system on a loop image; XFS_IOC_GOINGDOWN without flushing the log (ext4
# knows it too) drops everything that nobody synced, which kill -9 cannot show. The same run with the
# daemon under eatmydata, whose fsync does nothing, must lose something: otherwise this test could
# not fail.
. "$(dirname "$0")/lib.sh"
e2e_begin powercut
if [ "$(id -u)" != 0 ]; then skip powercut "needs root for loop mounts"; e2e_end; fi

rounds=3
[ "$profile" = quick ] || rounds=50
keep=4  # rounds whose files stay: many rounds need neither a large store nor a long check

# The store is a small tmpfs, so that it can be taken away: read-only means every put fails.
store=$T/store
mkdir "$store"
mount -t tmpfs -o size=$((600 + rounds * 120))M cairn-store "$store" || { skip powercut "no tmpfs mounts"; e2e_end; }
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
  python3 - "$1" "$2" "$3" <<'END'
import hashlib, os, sys, time
folder, log, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.makedirs(folder, exist_ok=True)
dirfd = os.open(folder, os.O_RDONLY)
parent = os.open(os.path.dirname(folder), os.O_RDONLY)
os.fsync(parent)
end = time.monotonic() + 4
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

# life FS NAME COMMAND...: formats a disk, mounts with COMMAND in front of the daemon, writes, cuts.
# Leaves the names in $T/synced and the disk plugged in again.
prepare() {  # FS
  truncate -s 700M "$T/disk.img"
  case $1 in
    xfs) mkfs.xfs -q -f "$T/disk.img" ;;
    ext4) mkfs.ext4 -q -F "$T/disk.img" ;;
  esac && plug && mounts+=("$disk")
}

set_store() { mount -o "remount,$1" "$store"; }

mount_here() {  # PREFIX-COMMAND...
  mkdir -p "$mnt"
  mounts+=("$mnt")
  timeout 60 "$@" "$CAIRN" mount --cache-dir "$disk/cache" --cache-size 400M --cache-reserve 32M \
    --stall-timeout never --gc-interval 2s --gc-grace 5s --log-file "$T/cairn.log" \
    "file://$store/volume" "$mnt" >>"$T/daemon.log" 2>&1 </dev/null
}

lost() {  # how many of the synced files are missing or wrong
  timeout 300 sha256sum --quiet -c "$T/synced" 2>/dev/null | grep -c FAILED
}

one_fs() {
  local fs=$1 round written=0
  if ! prepare "$fs"; then skip "$fs" "this kernel does not mount $fs"; return; fi
  rm -rf "${store:?}/volume"
  : >"$T/synced"
  check "$fs-format" cairn format "file://$store/volume" || return
  for round in $(seq 1 $rounds); do
    check "$fs-mount-$round" mount_here env || return
    set_store ro
    synced_writes "$mnt/round$round" "$T/synced" "$round" 2>"$T/writes.log"
    check "$fs-cut-$round" cut_power || return
    set_store rw
    check "$fs-mount-after-$round" mount_here env || return
    check "$fs-fsynced-is-there-$round" test "$(lost)" = 0
    written=$((written + $(grep -c "/round$round/" "$T/synced")))
    if [ "$round" -ge $keep ]; then
      rm -rf "$mnt/round$((round - keep + 1))"
      sed -i "\|/round$((round - keep + 1))/|d" "$T/synced"
    fi
    LIMIT=60 check "$fs-umount-$round" cairn_umount "$mnt" || return
  done
  say "$written files were fsynced before $rounds cuts; the store holds $(du -sm "$store" | cut -f1) MiB"
  check "$fs-some-were-synced" test $written -gt $((rounds * 5))
  LIMIT=120 check "$fs-check-data" cairn check --data "file://$store/volume"
  umount "$disk"

  # The control: without real fsyncs the same cut loses files, or the mount refuses the rest.
  prepare "$fs" || return
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
