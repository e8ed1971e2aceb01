#!/usr/bin/env bash
# File CIDs: ours against the npm package ipfs-unixfs-importer, for both profiles and every size
# at which the shape of the tree changes.
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() { echo "SKIP unixfs: $1"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }

tests/deps node >/dev/null 2>&1 || true
command -v node >/dev/null && command -v npm >/dev/null || skip "node and npm are not installed"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp tests/oracles/unixfs/*.json tests/oracles/unixfs/*.mjs "$work"
(cd "$work" && timeout 300 npm ci --no-audit --no-fund >"$work/npm.log" 2>&1) ||
  skip "npm ci failed: $(tail -n 1 "$work/npm.log")"

gib=$((1 << 30))
profile() {  # CHUNK LINKS
  echo "chunks of $1, $2 links" >&2
  timeout 300 node "$work/unixfs.mjs" stream "$1" "$2" \
    0 1 $(($1 - 1)) "$1" $(($1 + 1)) $((174 * $1)) $((175 * $1)) $gib "${@:3}"
}
profile 262144 174 >"$work/expected"
profile 1048576 1024 $((1025 * 1048576)) >>"$work/expected"
timeout 300 node "$work/unixfs.mjs" stream 1000 3 2999 3000 3001 9000 9001 27000 27001 81001 \
  >>"$work/expected"

cmake --preset dev >/dev/null
cmake --build --preset dev --target unit_tests >"$work/build.log" 2>&1 ||
  { tail "$work/build.log"; echo "FAIL build: unit_tests"; echo "0 passed, 1 failed"; exit 1; }
total=$(wc -l <"$work/expected")
if CAIRN_UNIXFS_EXPECTED="$work/expected" timeout 600 build/dev/tests/unit_tests \
     --source-file='*unixfs_test.cc' --no-intro >"$work/log" 2>&1; then
  echo "$total passed, 0 failed"
else
  cat "$work/log"
  failed=$(grep -c 'ERROR: CHECK' "$work/log" || true)
  [ "$failed" -gt 0 ] || failed=1
  [ "$failed" -le "$total" ] || failed=$total
  echo "FAIL unixfs: CIDs differ from the importer's"
  echo "$((total - failed)) passed, $failed failed"
  exit 1
fi
