#!/usr/bin/env bash
# The package as a stranger meets it: built, installed, a line in fstab, mount, umount, the unit's
# commands, removed, purged. All of it on an overlay over this machine's root in a mount namespace of
# its own, so that nothing is installed here; the full profile also in a fresh Debian 12.
# needs: quiet
. "$(dirname "$0")/lib.sh"
builds_its_own=1
e2e_begin package
export DEBIAN_FRONTEND=noninteractive

# --- build
build_package() {
  cd "$repo" && cmake --preset release -DCAIRN_TESTS=OFF && cmake --build --preset release &&
    (cd build/release && cpack -G DEB -B "$T/deb") && deb=$(echo "$T"/deb/cairn_*.deb) && [ -f "$deb" ]
}
check build build_package || e2e_end
say "$(basename "$deb"), $(stat -c %s "$deb") bytes"
generated=$repo/build/release/packaging/generated

# --- what needs no installation
field() { dpkg-deb -f "$deb" "$1"; }
check depends-on-libraries sh -c "echo '$(field Depends)' | grep -q libfuse3"
check depends-on-fuse3 sh -c "echo '$(field Depends)' | grep -qw 'fuse3'"
check conffile sh -c "dpkg-deb --info '$deb' conffiles | grep -qx /etc/cairn/example.toml"
check owner-is-root sh -c "! dpkg-deb -c '$deb' | awk '{print \$2}' | grep -v root/root"

manual_is_clean() {  # every page, and no word of complaint
  local page out
  for page in "$generated"/man/*; do
    out=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
    [ -z "$out" ] || { echo "$page: $out"; return 1; }
  done
  [ "$(find "$generated/man" -type f | wc -l)" -gt 8 ]
}
if command -v man >/dev/null; then check manual-is-clean manual_is_clean
else skip manual-is-clean "man is not installed"; fi
check bash-completion bash -c "
  . '$generated/completion/cairn.bash'
  COMP_WORDS=(cairn mount --cache-s) COMP_CWORD=2; _cairn; [ \"\${COMPREPLY[*]}\" = --cache-size ] || exit 1
  COMP_WORDS=(cairn mount --durability re) COMP_CWORD=3; _cairn; [ \"\${COMPREPLY[*]}\" = remote ] || exit 1
  COMP_WORDS=(cairn umo) COMP_CWORD=1; _cairn; [ \"\${COMPREPLY[*]}\" = umount ]"
for shell in zsh fish; do
  command -v $shell >/dev/null || { skip $shell-completion "$shell is not installed"; continue; }
  case $shell in
    zsh) check zsh-completion zsh -n "$generated/completion/_cairn" ;;
    fish) check fish-completion fish -n "$generated/completion/cairn.fish" ;;
  esac
done
unit=$repo/packaging/systemd/cairn@.service
unit_is_right() {
  mkdir -p "$T/unit" && sed "s|^ExecStart=[^ ]*|ExecStart=/bin/true|" "$unit" >"$T/unit/cairn@test.service" &&
    out=$(systemd-analyze verify --man=no "$T/unit/cairn@test.service" 2>&1) && [ -z "$out" ] ||
    { echo "$out"; return 1; }
  # A setting of these makes a mount namespace, and the mount would be seen by nobody.
  ! grep -E '^(Protect(System|Home|Kernel|Control|Proc)|Private(Tmp|Devices|Mounts)|ReadOnlyPaths|ReadWritePaths|Inaccessible|BindPaths|TemporaryFileSystem|RootDirectory)' "$unit"
}
if command -v systemd-analyze >/dev/null; then check unit-is-right unit_is_right
else skip unit-is-right "systemd-analyze is not installed"; fi
yaml_is_right() {
  python3 - "$repo"/packaging/kubernetes/*.yaml <<'END'
import sys, yaml
for path in sys.argv[1:]:
    documents = list(yaml.safe_load_all(open(path)))
    assert documents and all(d["apiVersion"] and d["kind"] and d["metadata"]["name"] for d in documents), path
    for document in documents:
        for key, text in document.get("data", {}).items():
            print(path, key, len(text))
END
}
if python3 -c 'import yaml' 2>/dev/null; then check yaml-is-right yaml_is_right
else skip yaml-is-right "python3-yaml is not installed"; fi

# --- what runs inside: a script in the root of the copy
cat >"$T/inside.sh" <<'END'
#!/bin/bash
# Runs in the copy of the machine; /deb is the package, /store what it keeps its volumes in.
set -uo pipefail
ok() { echo "ok   $1"; }
bad() { echo "FAIL $1: $2"; }
try() { local name=$1 out; shift; if out=$("$@" 2>&1); then ok "$where$name"; else bad "$where$name" "$(echo "$out" | tail -n 3 | tr '\n' ' ')"; return 1; fi; }
contains() { printf '%s' "$1" | grep -q -- "$2" || { echo "no '$2' in: $1"; return 1; }; }
wait_for() { local n=0; until "$@" >/dev/null 2>&1; do sleep 0.2; n=$((n + 1)); [ $n -lt 150 ] || return 1; done; }
unmounted() { ! findmnt -n --mountpoint "$1" >/dev/null; }
export HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset XDG_RUNTIME_DIR XDG_CACHE_HOME
before() {  # not what others may write in the machine under the copy
  find /etc /usr /bin /sbin /lib /opt /var \( -path '/var/lib/dpkg*' -o -path /var/cache -o -path /var/log -o -path /var/tmp -o -path '*/__pycache__' \) -prune -o -print | sort
}
[ ! -e /usr/bin/mandb ] || ln -sf /bin/true /usr/bin/mandb  # minutes for its index, each time
before >/tmp/before

try install dpkg -i /deb/*.deb || exit 1
try version sh -c 'cairn --version | grep -q "^cairn [0-9]"'
try helper-is-there test -x /usr/sbin/umount.fuse
try manual-is-there sh -c 'test -s /usr/share/man/man1/cairn-mount.1.gz && test -s /usr/share/man/man8/mount.cairn.8.gz'

# fstab, with the option names of the command line and underscores; the cache in a place of its own.
mkdir -p /store /mnt/data /mnt/other
try format cairn format /store/volume || exit 1
echo "/store/volume /mnt/data cairn noauto,nofail,_netdev,noatime,nodiratime,relatime,allow_dev,x-systemd.mount-timeout=60,cache_dir=/store/cache,cache-reserve=64M,commit-interval=1h 0 0" >>/etc/fstab
try fstab-mount mount /mnt/data || exit 1
try fstab-type sh -c '[ "$(findmnt -n -o FSTYPE,SOURCE --mountpoint /mnt/data | tr -s " ")" = "fuse.cairn file:///store/volume" ]'
try fstab-noatime sh -c 'findmnt -n -o OPTIONS --mountpoint /mnt/data | grep -q noatime'
try fstab-nosuid-and-dev sh -c 'o=$(findmnt -n -o OPTIONS --mountpoint /mnt/data); case $o in *nodev*) false ;; *nosuid*) ;; *) false ;; esac'
try remount-read-only sh -c 'mount -o remount,ro /mnt/data && ! touch /mnt/data/file 2>/dev/null'
try remount-read-write sh -c 'mount -o remount,rw /mnt/data && touch /mnt/data/file && findmnt -n -o OPTIONS /mnt/data | grep -q nosuid'
head -c 3000000 /dev/urandom >/mnt/data/file && cp -a /etc/fstab /mnt/data/
sum=$(sha256sum </mnt/data/file)
# With that commit interval nothing is in the store unless umount waited for it.
try plain-umount umount /mnt/data
try is-unmounted unmounted /mnt/data
rm -rf /store/cache
try mount-on-an-empty-cache mount /mnt/data
try data-is-in-the-store sh -c "[ '$sum' = \"\$(sha256sum </mnt/data/file)\" ]"
# Busy: says so, stays; lazy: returns at once.
out=$(cd /mnt/data && umount /mnt/data 2>&1)
try busy-is-said contains "$out" busy
try busy-stays findmnt /mnt/data
try lazy umount -l /mnt/data
try lazy-ends wait_for sh -c '! ls /run/cairn/*.sock'
# Another FUSE file system is passed on.
if [ -x /floor ]; then
  /floor /mnt/other >/dev/null 2>&1 &
  floor=$!
  wait_for findmnt /mnt/other
  try other-fuse-mount sh -c 'umount /mnt/other && ! findmnt --mountpoint /mnt/other'
  wait $floor 2>/dev/null
fi
# A killed daemon: umount takes the dead mount away; the next mount has everything.
try mount-again mount /mnt/data
echo kept >/mnt/data/kept
pid=$(cairn status --json /mnt/data | sed 's/.*"pid":\([0-9]*\).*/\1/')
kill -9 "$pid"
try umount-of-a-dead-mount umount /mnt/data
try mount-after-a-kill sh -c 'mount /mnt/data && grep -q kept /mnt/data/kept'
# As a service starts again: over the dead mount.
pid=$(cairn status --json /mnt/data | sed 's/.*"pid":\([0-9]*\).*/\1/')
kill -9 "$pid"
wait_for sh -c "! kill -0 $pid"
try mount-over-a-dead-mount sh -c 'mount /mnt/data && grep -q kept /mnt/data/kept'
try umount-after umount /mnt/data
# Wrong lines are refused with what is wrong.
out=$(mount -t cairn -o cach-size=1G /store/volume /mnt/data 2>&1)
try wrong-option-is-named contains "$out" 'did you mean cache-size'

# The unit: what systemd would run, with a service manager that only listens.
printf 'remote = "/store/volume"\nmountpoint = "/mnt/data"\ncache-dir = "/store/cache"\ncache-reserve = "64M"\ncommit-interval = "1h"\n' >/etc/cairn/data.toml
start=$(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/cairn@.service | sed 's/%i/data/')
env -u HOME NOTIFY_SOCKET=/notify/socket $start >/tmp/unit.log 2>&1 &
unit=$!
try unit-says-ready wait_for grep -q READY=1 /notify/said
try unit-mounts findmnt /mnt/data
head -c 2000000 /dev/urandom >/mnt/data/unit
sum=$(sha256sum </mnt/data/unit)
kill $unit
wait $unit
try unit-ends-well test $? = 0
try unit-says-stopping grep -q STOPPING=1 /notify/said
try unit-asks-for-time grep -q EXTEND_TIMEOUT_USEC=30000000 /notify/said
try unit-unmounts unmounted /mnt/data
rm -rf /store/cache
try unit-flushed sh -c "mount /mnt/data && [ '$sum' = \"\$(sha256sum </mnt/data/unit)\" ] && umount /mnt/data"

# The helper's name: kept while another owns it, taken again when it is free.
rm -f /etc/cairn/data.toml /usr/sbin/umount.fuse
printf '#!/bin/sh\nexec umount -i "$@"\n' >/usr/sbin/umount.fuse && chmod 755 /usr/sbin/umount.fuse
try reinstall dpkg -i /deb/*.deb
try foreign-helper-stays grep -q 'umount -i' /usr/sbin/umount.fuse
try remove dpkg -r cairn
try foreign-helper-survives test -x /usr/sbin/umount.fuse
rm -f /usr/sbin/umount.fuse
try install-again dpkg -i /deb/*.deb
try helper-is-back test -L /usr/sbin/umount.fuse
try conffile-is-kept sh -c 'dpkg -r cairn && test -f /etc/cairn/example.toml && ! test -e /usr/sbin/umount.fuse'
try purge dpkg -P cairn
sed -i '/^\/store\/volume/d' /etc/fstab
rmdir /mnt/data /mnt/other
before >/tmp/after
left=$(diff /tmp/before /tmp/after | grep -v -e /etc/fstab -e '/usr/share/info/dir' -e /var/lib/systemd | grep '^[<>]')
try nothing-is-left test -z "$left" || echo "$left"
exit 0
END
chmod 755 "$T/inside.sh"

# in_copy NAME ROOT: runs the script in ROOT, in the mount namespace of the caller.
cat >"$T/enter.sh" <<'END'
#!/bin/bash
set -euo pipefail
T=$1 name=$2 root=$3
mkdir -p "$root"/{deb,notify,store,proc,sys,dev,run}
cp "$T"/deb/cairn_*.deb "$root/deb/"
cp "$T/inside.sh" "$root/inside.sh"
[ ! -x "$T/floor" ] || cp "$T/floor" "$root/floor"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/store"
mount --bind "$T/notify" "$root/notify"
where=$name- exec chroot "$root" /inside.sh
END
chmod 755 "$T/enter.sh"

listen() {  # what the service manager would hear
  exec python3 - "$T/notify" <<'END'
import os, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(os.path.join(sys.argv[1], "socket"))
with open(os.path.join(sys.argv[1], "said"), "w") as said:
    while True:
        said.write(server.recv(4096).decode() + "\n")
        said.flush()
END
}

# run_inside NAME COMMAND...: counts what the script says.
run_inside() {
  local name=$1 line
  shift
  rm -rf "$T/notify" && mkdir "$T/notify"
  listen & pids+=($!)
  wait_until 10 test -S "$T/notify/socket"
  timeout -k 10 600 "$@" >"$T/$name.out" 2>&1 || fail "$name" "ended with status $?"
  while read -r line; do
    case $line in
      'ok   '*) pass "${line#ok   }" ;;
      'FAIL '*) line=${line#FAIL }; fail "${line%%:*}" "${line#*: }" ;;
      *) say "$line" ;;
    esac
  done <"$T/$name.out"
  grep -q -- 'nothing-is-left' "$T/$name.out" || fail "$name" "did not come to its end"
}

[ ! -x "$repo/build/dev/tests/fuse_floor" ] || cp "$repo/build/dev/tests/fuse_floor" "$T/floor"
cat >"$T/overlay.sh" <<'END'
#!/bin/bash
set -euo pipefail
T=$1
mkdir -p "$T/layer"
mount -t tmpfs tmpfs "$T/layer"
mkdir "$T/layer"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$T/layer/upper,workdir=$T/layer/work" "$T/layer/root"
exec "$T/enter.sh" "$T" overlay "$T/layer/root"
END
chmod 755 "$T/overlay.sh"
if [ "$(id -u)" != 0 ]; then skip overlay "needs root"
elif dpkg-query -W -f '${db:Status-Status}' cairn 2>/dev/null | grep -qx installed; then
  skip overlay "the package is installed on this machine"
else
  run_inside overlay unshare -m --propagation slave "$T/overlay.sh" "$T"
fi

# --- a machine that has never seen a compiler
fresh_debian() {
  debootstrap --variant=minbase --include=fuse3 bookworm "$T/fresh" &&
    cp "$deb" "$T/fresh/tmp/" && chroot "$T/fresh" apt-get install -y --no-install-recommends \
    "/tmp/$(basename "$deb")" && chroot "$T/fresh" dpkg -P cairn
}
if [ "$profile" = full ]; then
  if ! command -v debootstrap >/dev/null; then skip fresh "debootstrap is not installed"
  elif LIMIT=1800 check fresh-debian fresh_debian; then
    run_inside fresh unshare -m --propagation slave "$T/enter.sh" "$T" fresh "$T/fresh"
  fi
fi
e2e_end
