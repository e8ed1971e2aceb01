#!/usr/bin/env bash
# Simulated lives, and the built-in bugs that they must notice.
set -uo pipefail
cd "$(dirname "$0")/../.."
sim=${CAIRN_SIM:-build/dev/tests/sim}
jobs=$(nproc)
[ "$jobs" -le 16 ] || jobs=16
if [ "${CAIRN_TEST_PROFILE:-quick}" = full ]; then seeds=20000; else seeds=600; fi

passed=0 failed=0
count() {  # COMMAND...: adds what it counted
  local out line p f
  out=$("$@" 2>&1)
  echo "$out"
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' <<<"$out" | tail -n 1)
  if [ -z "$line" ]; then
    echo "FAIL sim: '$*' ended without a result"
    failed=$((failed + 1))
    return
  fi
  read -r p f < <(tr -dc '0-9 \n' <<<"$line")
  passed=$((passed + p)) failed=$((failed + f))
}

for canary in journal-sync segment-sync meta-commit dir-sync torn-record segment-remove \
  store-forgets store-answers-early store-keeps; do
  first=1
  [ "$canary" != meta-commit ] || first=401  # where it is met soon
  # The first life that notices it ends the search; which one it is changes with what is tried when.
  count timeout 600 "$sim" --canary "$canary" --seeds "$first..$((first + 1199))" --jobs "$jobs"
done
count timeout 9000 "$sim" --seeds "1..$seeds" --jobs "$jobs" --failpoints tests/sim/README.md
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
