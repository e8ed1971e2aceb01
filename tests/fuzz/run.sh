#!/usr/bin/env bash
# Builds the fuzz targets and runs each for some seconds, two at a time, from the committed corpus.
#
#   tests/fuzz/run.sh [SECONDS]       (default 30)
#
# New inputs stay in a temporary folder; what crashes a target is kept in build/fuzz-crashes. The
# canary has a planted bug and passes when it is found. The last line is "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-30}
case $seconds in ''|*[!0-9]*) echo "usage: tests/fuzz/run.sh [SECONDS]" >&2; exit 2 ;; esac
if ! command -v clang++-19 >/dev/null; then
  echo "SKIP fuzz: clang++-19 is not installed"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
crashes=$PWD/build/fuzz-crashes
mkdir -p "$crashes"

if ! { cmake --preset fuzz && cmake --build --preset fuzz -j "$(nproc)" --target fuzz_targets; } \
     >"$work/build.log" 2>&1; then
  tail -n 40 "$work/build.log"
  echo "FAIL build: preset fuzz does not build"
  echo "0 passed, 1 failed"
  exit 1
fi

# fuzz NAME: one target in its own folder; "ok" or what went wrong, in its result file.
fuzz() {
  local name=$1 folder="$work/$1" rc=0
  mkdir -p "$folder/corpus"
  [ ! -d "tests/fuzz/corpus/$name" ] || cp tests/fuzz/corpus/"$name"/* "$folder/corpus"
  timeout $((seconds + 120)) "build/asan/tests/fuzz/fuzz_$name" -max_total_time="$seconds" \
    -timeout=20 -rss_limit_mb=1024 -seed=1 -print_final_stats=1 \
    -artifact_prefix="$folder/" "$folder/corpus" >"$folder/log" 2>&1 || rc=$?
  local runs
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/log")
  if [ "$name" = canary ]; then
    if [ $rc != 0 ] && grep -q 'AddressSanitizer: heap-buffer-overflow' "$folder/log"; then
      echo "ok the planted bug was found" >"$folder/result"
    else
      echo "the planted bug was not found (exit status $rc)" >"$folder/result"
    fi
  elif [ $rc != 0 ]; then
    cp "$folder"/crash-* "$folder"/oom-* "$folder"/timeout-* "$crashes" 2>/dev/null || true
    echo "exit status $rc, input in build/fuzz-crashes; $(grep -m1 -E \
      'SUMMARY|property broken|ERROR' "$folder/log" || tail -n 1 "$folder/log")" >"$folder/result"
  elif [ "${runs:-0}" -lt 20 ]; then
    echo "only ${runs:-0} inputs were tried" >"$folder/result"
  else
    echo "ok $runs inputs" >"$folder/result"
  fi
}

names=()
for file in tests/fuzz/fuzz_*.cc; do
  name=${file##*/fuzz_}
  names+=("${name%.cc}")
done
for ((i = 0; i < ${#names[@]}; i += 2)); do
  for name in "${names[@]:i:2}"; do fuzz "$name" & done
  wait
done

passed=0 failed=0
for name in "${names[@]}"; do
  result=$(cat "$work/$name/result" 2>/dev/null || echo "did not run")
  if [ "${result%% *}" = ok ]; then
    echo "fuzz_$name: ${result#ok }"
    passed=$((passed + 1))
  else
    tail -n 40 "$work/$name/log" 2>/dev/null || true
    echo "FAIL fuzz_$name: $result"
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
