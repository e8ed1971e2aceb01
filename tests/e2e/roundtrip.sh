#!/usr/bin/env bash
# A real tree and a file over 1 GiB: copied in, flushed, unmounted, the cache deleted, mounted again
# elsewhere, and compared in everything a copy must keep. On every kind of store, or those named.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin roundtrip

files=6500
[ "$profile" = quick ] || files=60000

# The system's own headers and documents: some thousand files, directories, odd names, symlinks.
make_tree() {
  mkdir -p "$1"
  find /usr/include /usr/share/doc \( -type f -o -type l \) -print0 2>/dev/null | sort -z |
    head -z -n "$files" | tar --null -C / --no-recursion -T - -cf - 2>/dev/null | tar -C "$1" -xf -
  mkdir -p "$1/edge/empty dir" "$1/edge/deep/$(printf 'd/%.0s' {1..40})"
  : >"$1/edge/empty"
  printf x >"$1/edge/name with space, 'quotes' and \\"
  printf x >"$1/edge/"$'bytes-\xff\xfe\n-newline'
  printf x >"$1/edge/$(printf 'n%.0s' {1..255})"
  ln -s "target that is not there" "$1/edge/dangling"
  ln -s "$(printf 't%.0s' {1..1000})" "$1/edge/long symlink"
  ln -s ../edge "$1/edge/loop"
  printf 'several names' >"$1/edge/hard-1"
  ln "$1/edge/hard-1" "$1/edge/hard-2"
  ln "$1/edge/hard-1" "$1/edge/deep/hard-3"
  printf '#!/bin/sh\n' >"$1/edge/modes"
  chmod 4751 "$1/edge/modes"
  printf x >"$1/edge/no rights"
  chmod 0 "$1/edge/no rights"
  mkdir "$1/edge/sticky"
  chmod 1777 "$1/edge/sticky"
  truncate -s 300M "$1/edge/sparse"
  printf 'end' | dd of="$1/edge/sparse" bs=1 seek=200000000 conv=notrunc status=none
  touch -d '1969-12-31 23:59:58.123456789 UTC' "$1/edge/before 1970"
  touch -d '2100-01-01 00:00:00.000000001 UTC' "$1/edge/after 2038"
  touch -d '2001-02-03 04:05:06.070809010 UTC' "$1/edge/empty dir" "$1/edge/hard-1"
  [ "$(id -u)" != 0 ] || chown 12345:54321 "$1/edge/empty"
  seeded "$1/large" 1200000000 7
}

round() {  # KIND
  local kind=$1 mnt="$T/$1-mnt"
  store_ready "$kind" || return
  check "$kind-format" cairn format "$STORE" || return
  check "$kind-mount" cairn_mount "$T/$kind-cache1" "$STORE" "$mnt" || return
  local start=$SECONDS
  check "$kind-copy-in" timeout 900 cp -a "$T/tree" "$mnt/" || return
  say "copied in $((SECONDS - start)) s"
  start=$SECONDS
  LIMIT=900 check "$kind-flush" cairn flush "$mnt" || return
  say "flushed in $((SECONDS - start)) s, $(status "$mnt" '[.requests | .. | numbers] | add') requests"
  check "$kind-nothing-pending" test "$(status "$mnt" .pending.bytes)" = 0
  LIMIT=300 check "$kind-umount" cairn_umount "$mnt" || return
  rm -rf "$T/$kind-cache1"

  check "$kind-mount-empty-cache" cairn_mount "$T/$kind-cache2" "$STORE" "$mnt" || return
  start=$SECONDS
  check "$kind-diff" timeout 900 diff -r --no-dereference "$T/tree" "$mnt/tree"
  timeout 900 python3 "$repo/tests/e2e/manifest.py" "$mnt/tree" >"$T/$kind.manifest"
  check "$kind-manifest" diff "$T/tree.manifest" "$T/$kind.manifest"
  say "compared in $((SECONDS - start)) s"
  LIMIT=300 check "$kind-umount-again" cairn_umount "$mnt"
  LIMIT=900 check "$kind-check-data" cairn check --data "$STORE"
  rm -rf "$T/$kind-cache2"
  store_done
}

make_tree "$T/tree"
count=$(find "$T/tree" -type f | wc -l)
say "$count files, $(du -sh --apparent-size "$T/tree" | cut -f1)"
check at-least-5000-files test "$count" -ge 5000
manifest "$T/tree" >"$T/tree.manifest" || fail manifest "the source tree cannot be read"

[ $# -gt 0 ] || set -- file minio versitygw
for kind; do
  say "--- $kind"
  round "$kind"
done
e2e_end
