#!/usr/bin/env bash
# The disk under the cache fills up, by others and by the mount itself: nothing that was acknowledged
# is lost, the daemon lives, and it goes on when there is space again.
. "$(dirname "$0")/lib.sh"
e2e_begin diskfull
if [ "$(id -u)" != 0 ]; then skip diskfull "needs root for loop mounts"; e2e_end; fi
disk=$T/disk
mnt=$T/mnt
away=$T/away
mkdir "$disk" "$mnt" "$away"
truncate -s 260M "$T/disk.img"
if ! { mkfs.ext4 -q -F -m 0 "$T/disk.img" && mount -o loop "$T/disk.img" "$disk"; }; then
  skip diskfull "no loop mounts of ext4 here"; e2e_end
fi
mounts+=("$disk")
mount -t tmpfs -o size=3G cairn-store "$away" || { skip diskfull "no tmpfs"; e2e_end; }
mounts+=("$away")
store=file://$away/volume
set_store() { mount -o "remount,$1" "$away"; }

# The cache may be as large as the disk, and the disk keeps nothing free: what is hit is the disk.
mount_it() {
  mounts+=("$mnt")
  timeout 60 "$CAIRN" mount --log-level trace --cache-dir "$disk/cache" --cache-size 400M --cache-reserve "$1" \
    --stall-timeout 3s --commit-interval 1s "$store" "$mnt" >>"$T/daemon.log" 2>&1 </dev/null
}
# writer FOLDER LOG SECONDS: files, closed and some fsynced; what was acknowledged goes to LOG. At most
# 800 are accepted (360 MiB, more than the disk has), so that six of them fit into the store.
cat >"$T/writer.py" <<'PY'
import errno, hashlib, os, sys, time
folder, log, seconds = sys.argv[1], open(sys.argv[2], "w"), float(sys.argv[3])
os.makedirs(folder, exist_ok=True)
end, n, refused, others = time.monotonic() + seconds, 0, 0, set()
while time.monotonic() < end and n - refused < 800:
    n += 1
    size = (n * 7919) % 900000 + (1500 if n % 3 else 0)
    data = hashlib.shake_128(f"{folder}/{n}".encode()).digest(size)
    path = f"{folder}/{n}"
    try:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            done = 0
            while done < size:
                done += os.write(fd, data[done : done + 300000])
            if n % 5 == 0:
                os.fsync(fd)
        finally:
            os.close(fd)
        log.write(f"{hashlib.sha256(data).hexdigest()}  {path}\n")
        log.flush()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            refused += 1
        else:
            others.add(errno.errorcode.get(error.errno, error.errno))
print(f"{n - refused} accepted, {refused} refused with ENOSPC, others: {sorted(others, key=str)}")
sys.exit(1 if others else 0)
PY
writer() { timeout 120 python3 "$T/writer.py" "$@" | tee "$T/said"; }
whole() { timeout 300 sha256sum --quiet -c "$1"; }

check format cairn format "$store" || e2e_end

check mount mount_it 0 || e2e_end
pid=$(daemon_pid "$mnt")
set_store ro
check fill-while-away writer "$mnt/away" "$T/log1" 12; say "$(cat "$T/said"); disk $(df --output=pcent "$disk" | tail -n 1)"
check some-were-refused grep -q ' [1-9][0-9]* refused' "$T/said"
check daemon-lives kill -0 "$pid"
check acknowledged-is-whole whole "$T/log1"
set_store rw
check flush-drains cairn flush "$mnt"
check goes-on writer "$mnt/goes-on" "$T/log2" 3; say "$(cat "$T/said")"
check goes-on-wrote test -s "$T/log2"

# Somebody else takes the rest of the disk while the store works.
fallocate -l 1G "$disk/filler" 2>/dev/null || dd if=/dev/zero of="$disk/filler" bs=1M status=none 2>/dev/null
say "filled by others: $(df -h --output=avail "$disk" | tail -n 1) left"
check only-enospc writer "$mnt/filled" "$T/log3" 6; say "$(cat "$T/said")"
check daemon-lives-2 kill -0 "$pid"
check still-whole whole "$T/log1"
rm "$disk/filler"
check space-returns timeout 60 cp "$T/writer.py" "$mnt/after"
check goes-on-2 writer "$mnt/after-filler" "$T/log4" 3; say "$(cat "$T/said")"
check goes-on-2-wrote test -s "$T/log4"

# Full, killed, mounted again.
dd if=/dev/zero of="$disk/filler" bs=1M status=none 2>/dev/null
check only-enospc-2 writer "$mnt/killed" "$T/log5" 3; say "$(cat "$T/said")"
check kill kill_daemon "$mnt"
rm "$disk/filler"
check mount-again mount_it 0 || e2e_end
for n in 1 2 3 4 5; do check "all-whole-$n" whole "$T/log$n"; done
LIMIT=120 check umount cairn_umount "$mnt"

# --cache-reserve: the disk keeps that much free whatever is written.
check mount-reserve mount_it 120M || e2e_end
set_store ro
check fill-to-reserve writer "$mnt/reserve" "$T/log6" 8; say "$(cat "$T/said")"
left=$(($(df --output=avail -B1 "$disk" | tail -n 1) >> 20))
say "$left MiB of the disk are left"
check reserve-is-kept test "$left" -ge 115
check reserve-refused grep -q ' [1-9][0-9]* refused' "$T/said"
set_store rw
LIMIT=120 check flush-reserve cairn flush "$mnt"
LIMIT=120 check umount-reserve cairn_umount "$mnt"

check mount-elsewhere cairn_mount "$T/cache2" "$store" "$mnt" || e2e_end
for n in 1 2 3 4 5 6; do check "elsewhere-$n" whole "$T/log$n"; done
check umount-elsewhere cairn_umount "$mnt"
LIMIT=300 check check-data cairn check --data "$store"
e2e_end
