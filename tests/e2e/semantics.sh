#!/usr/bin/env bash
# The lines of fs/SEMANTICS.md about names, attributes and space, on real mounts: posix.py tries each
# rule; this script mounts, remounts with an empty cache, and crashes in between.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
# Other users must be able to walk there: not below somebody's home.
CAIRN_E2E_DIR=${CAIRN_E2E_DIR:-${TMPDIR:-/tmp}/cairn-e2e}
e2e_begin semantics
chmod 755 "$T"
if [ "$(id -u)" != 0 ]; then skip semantics "needs root: it changes owners"; e2e_end; fi
mnt=$T/mnt

# rule NAME [FOLDER]: of posix.py, or of what `rules` names
limit=600 rules=posix
rule() {
  mkdir -p "$mnt/${2:-$1}"
  check "$1" timeout $limit python3 "$repo/tests/e2e/$rules.py" "$1" "$mnt/${2:-$1}"
}

tree() {  # KIND
  local store=$STORE name entries=${ENTRIES:-20000}
  # A million entries take their time.
  [ "$profile" = quick ] || [ "$1" = far ] || local entries=${ENTRIES:-1000000} limit=4800
  check format cairn format "$store" || return
  check mount cairn_mount "$T/$1-cache" "$store" "$mnt" -o allow_other || return
  for name in acl suid setgid xattr times names rename removed special tmpfile locks direct; do
    rule "$name"
  done
  rules=content
  rule direct
  rule atime
  rule controls
  rule many-xattrs
  rule make-huge huge
  rule make-setuid setuid
  rules=posix
  local -x ENTRIES=$entries
  rule directory
  [ "$profile" = quick ] || rule links

  # What must be the same afterwards: after the kernel forgot it, after a crash, on an empty cache.
  rule make-tree tree
  rule make-acl acl-kept
  rule see-tree tree
  rules=content rule make-mapped mapped
  check crash kill_daemon "$mnt"
  check mount-again cairn_mount "$T/$1-cache" "$store" "$mnt" -o allow_other,suid,dev,relatime || return
  rules=content rule see-mapped mapped
  rules=content rule see-setuid setuid
  rules=content rule atime atime-relatime
  rule see-tree tree
  rule see-acl acl-kept
  rm -f "$mnt/acl-kept/dir/new"
  check umount cairn_umount "$mnt"
  check mount-empty cairn_mount "$T/$1-cache2" "$store" "$mnt" -o allow_other || return
  rules=content rule see-huge huge
  rules=content rule see-mapped mapped
  rule see-tree tree
  rule see-acl acl-kept
  check umount-empty cairn_umount "$mnt"
  check read-only cairn_mount "$T/$1-cache3" "$store" "$mnt" -o allow_other --read-only || return
  check refuses-changes bash -c '! touch "$0/new" 2>"$0.out" && grep -q "Read-only" "$0.out"' "$mnt"
  check umount-read-only cairn_umount "$mnt"
  # What forbids wins, whatever the order: mount(8) changes it.
  check nosuid-wins forbidden nosuid,allow_dev,allow_suid "$store" nosuid || return
  check nodev-wins forbidden allow_dev,allow_suid,nodev "$store" nodev || return
  check sound cairn check --data "$store"
}

forbidden() {  # OPTIONS STORE WORD: of the two words only this one is among the kernel's
  cairn_mount "$T/forbidden" "$2" "$mnt" -o "$1" || return
  findmnt -n -o OPTIONS --mountpoint "$mnt" | tr , '\n' | grep -xE 'nosuid|nodev' >"$T/words"
  cairn_umount "$mnt" && [ "$(cat "$T/words")" = "$3" ]
}

# A quota, and what df and du say.
quota() {  # KIND
  local store=$STORE-quota pid
  check format-quota cairn format --quota 64M "$store"
  check mount-quota cairn_mount "$T/$1-cache4" "$store" "$mnt" || return
  rule quota .
  rule see-quota .
  check crash-quota kill_daemon "$mnt"
  check mount-quota-again cairn_mount "$T/$1-cache4" "$store" "$mnt" || return
  rule see-quota .
  # A plain umount does not wait; the daemon goes on and everything gets to the store.
  seeded "$mnt/late" 8000000 1
  cp "$mnt/late" "$T/late"
  pid=$(daemon_pid "$mnt")
  check plain-umount umount "$mnt"
  check daemon-ends wait_until 60 gone "$pid"
  check mount-quota-empty cairn_mount "$T/$1-cache5" "$store" "$mnt" || return
  check late-is-there cmp "$T/late" "$mnt/late"
  rm "$mnt/late"
  rule see-quota .
  check umount-quota-empty cairn_umount "$mnt"
  check sound-quota cairn check --data "$store"
}

run_on() { tree "$1" && quota "$1"; }
on_stores run_on
e2e_end
