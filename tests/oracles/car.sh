#!/usr/bin/env bash
# CAR files, both ways: go-car accepts and verifies the packs that cairn writes and refuses the
# damaged ones; cairn refuses the broken files of another program (CAIRN_MKCAR names the script
# that writes them; default: ../shared/oracles/mkcar.py).
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0
pass() { echo "ok $1"; passed=$((passed + 1)); }
bad() { echo "FAIL $1: $2"; failed=$((failed + 1)); }
skip() { echo "SKIP $1: $2"; skipped=$((skipped + 1)); }
finish() { echo "$passed passed, $failed failed, $skipped skipped"; [ $failed = 0 ]; exit; }

{ cmake --preset dev && cmake --build --preset dev --target unit_tests; } >"$work/build.log" 2>&1 ||
  { tail "$work/build.log"; bad build unit_tests; finish; }

mkdir "$work/packs"
CAIRN_PACK_DIR="$work/packs" timeout 120 build/dev/tests/unit_tests --no-intro \
  --source-file='*/pack_test.cc' >"$work/write.log" 2>&1 || { cat "$work/write.log"; bad write "pack_test"; }

if oracle=$(tests/oracles/go/build.sh 2>"$work/go.log"); then
  for file in "$work"/packs/*.car; do
    name=$(basename "$file" .car)
    line=$(timeout 60 "$oracle" car "$file")
    case $name:$line in
      good-*:ok*) pass "go-car $name: ${line#* *.car }" ;;
      bad-*:refused*) pass "go-car $name: refused" ;;
      *) bad "go-car-$name" "$line" ;;
    esac
  done
  [ $((passed + failed)) -ge 4 ] || bad packs "only $((passed + failed)) were written"
else
  skip go-car "$(tail -n 1 "$work/go.log")"
fi

mkcar=${CAIRN_MKCAR:-../shared/oracles/mkcar.py}
if [ -f "$mkcar" ]; then
  python3 "$mkcar" "$work/cars"
  if CAIRN_CAR_DIR="$work/cars" timeout 120 build/dev/tests/unit_tests --no-intro \
       --source-file='*/car_test.cc' >"$work/read.log" 2>&1; then
    pass "cairn judges $(find "$work/cars" -name '*.car' | wc -l) files of another writer rightly"
  else
    cat "$work/read.log"
    bad broken-cars "a file was judged wrongly"
  fi
else
  skip broken-cars "no script at $mkcar (set CAIRN_MKCAR)"
fi
finish
