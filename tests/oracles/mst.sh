#!/usr/bin/env bash
# Tree roots: ours against indigo's atproto/repo/mst, on random maps with keys of any bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
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
echo "$((total - failed)) passed, $failed failed"
[ "$failed" = 0 ]
