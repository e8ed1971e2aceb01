#!/usr/bin/env bash
# Tree roots: ours against indigo's atproto/repo/mst, on random maps with keys of any bytes, and on
# the keys of a volume that was mounted and filled.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
cleanup() {
  ! mountpoint -q "$work/mnt" || timeout 60 umount "$work/mnt" || umount -l "$work/mnt"
  rm -rf "$work"
}
trap cleanup EXIT
if ! oracle=$(tests/oracles/go/build.sh 2>"$work/go.log"); then
  echo "SKIP mst: $(tail -n 1 "$work/go.log")"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi

if ! { cmake --preset dev && cmake --build --preset dev --target unit_tests; } >"$work/build.log" 2>&1; then
  tail "$work/build.log"
  echo "FAIL build: unit_tests"
  echo "0 passed, 1 failed"
  exit 1
fi
if ! CAIRN_ORACLE_OUT="$work" timeout 300 "${CAIRN_UNIT_TESTS:-build/dev/tests/unit_tests}" --no-intro \
     --source-file='*/mst_oracle_test.cc' >"$work/log" 2>&1; then
  cat "$work/log"
  echo "FAIL mst: our own roots differ"
  echo "0 passed, 1 failed"
  exit 1
fi

timeout 300 "$oracle" mst-root "$work/maps" >"$work/expected"
total=$(wc -l <"$work/roots")
failed=0
if ! diff "$work/expected" "$work/roots" >"$work/diff"; then
  head -n 20 "$work/diff"
  failed=$(grep -c '^[<>]' "$work/diff")
  [ "$failed" -le "$total" ] || failed=$total
  echo "FAIL mst: roots differ from indigo's (expected <, ours >)"
fi
[ "$total" -gt 100 ] || { echo "FAIL mst: only $total maps"; failed=1; }
passed=$((total - failed)) skipped=0

# volume: fills a volume, prints the root that its head names, then the one that indigo finds.
volume() {
  local cairn=$1
  mkdir "$work/mnt"
  timeout 60 "$cairn" mount --create --cache-dir "$work/cache" "file://$work/volume" "$work/mnt" >&2
  cp -r cache tests "$work/mnt"
  ln -s "a target of more than forty-eight bytes, which is a block of its own" "$work/mnt/symlink"
  ln "$work/mnt/cache/FORMAT.md" "$work/mnt/hard link"
  mkdir "$work/mnt/empty"
  mkfifo "$work/mnt/fifo"
  setfattr -n user.large -v "$(printf '%0500d' 7)" "$work/mnt/empty" 2>/dev/null || true
  timeout 120 "$cairn" umount "$work/mnt" >&2
  timeout 60 "$cairn" dump "file://$work/volume" | sed -n 's/^root //p'
  timeout 60 "$cairn" dump --keys "file://$work/volume" >"$work/keys"
  echo >>"$work/keys"
  "$oracle" mst-root "$work/keys"
}

cairn=${CAIRN:-build/dev/cairn}
if [ ! -x "$cairn" ] || [ ! -e /dev/fuse ]; then
  echo "SKIP mst-volume: needs $cairn and /dev/fuse"
  skipped=1
elif ! volume "$cairn" >"$work/volume.roots" 2>"$work/volume.log"; then
  cat "$work/volume.log"
  echo "FAIL mst-volume: a volume could not be made, filled and dumped"
  failed=$((failed + 1))
elif [ "$(sort -u "$work/volume.roots" | wc -l)" = 1 ] && [ "$(wc -l <"$work/volume.roots")" = 2 ] &&
     [ "$(wc -l <"$work/keys")" -gt 100 ]; then
  echo "volume: $(($(wc -l <"$work/keys") - 1)) keys, root $(head -n 1 "$work/volume.roots")"
  passed=$((passed + 1))
else
  cat "$work/volume.roots"
  echo "FAIL mst-volume: the root of the volume's head is not the one indigo finds"
  failed=$((failed + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
