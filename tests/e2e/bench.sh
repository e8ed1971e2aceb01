#!/usr/bin/env bash
# The benchmark runs: a few MiB on a file: remote, every kind of row but those that wait, and
# nothing of it stays behind. No time is judged.
. "$(dirname "$0")/lib.sh"
e2e_begin bench
export CAIRN
mkdir "$T/work"
not() { ! "$@"; }
bench() { timeout -k 30 300 "$repo/tests/bench/bench" "$@"; }
groups=(write fsync hot small untar append sqlite rename cold random media find smallread overwrite
  remove)

check help bench --help
check rows-are-named bench rows
check runs bench cairn "file://$T/store" "$T/work" --tiny --work "$T/work" --only "${groups[@]}" \
  --json "$T/values.json" || e2e_end

# Every row that a store without a proxy can have is there, of every target, and says something.
check values python3 - "$T/values.json" <<'END'
import json, sys
targets = json.load(open(sys.argv[1]))["tables"][0]["targets"]
assert [each["role"] for each in targets.values()] == ["native", "floor", "cairn"], targets.keys()
for name, target in targets.items():
    assert not target["failed"], (name, target["failed"])
rows = {key: row["value"] for key, row in targets["cairn"]["rows"].items()}
for key in """write.close write.store write.fsync hot small.close small.store small.requests untar
              append sqlite.1 sqlite.100 rename.small rename.large cold random.p50 random.p99
              random.factor media.first media.seek media.total find find.stat find.mount
              small.read overwrite overwrite.fetched overwrite.in overwrite.out small.remove
              memory cpu.out cpu.in""".split():
    assert rows[key] >= 0, key
assert 0 < rows["small.requests"] <= 20, rows["small.requests"]
assert rows["random.factor"] > 0.5, rows["random.factor"]
assert targets["cairn"]["rows"]["write.store"]["bytes_out"] >= 8 << 20
assert targets["cairn"]["rows"]["cold"]["bytes_in"] >= 8 << 20
END
check unknown-rows-are-refused not bench dir "$T/work" --tiny --only nothing
check mounts-are-gone not grep -q "$T/work" /proc/mounts
check files-are-gone test -z "$(ls -A "$T/work")"

# What fails is said and the rest goes on.
mkdir "$T/full"
check a-small-disk mount -t tmpfs -o size=4m none "$T/full" && mounts+=("$T/full")
bench dir "$T/full" "$T/work" --tiny --only write append --json "$T/full.json" >"$T/full.md" 2>&1
check failures-are-rows python3 - "$T/full.json" "$T" <<'END'
import json, sys
targets = json.load(open(sys.argv[1]))["tables"][0]["targets"]
full, work = targets[f"{sys.argv[2]}/full"], targets[f"{sys.argv[2]}/work"]
assert full["failed"]["write.close"] == "No space left on device", full
assert full["rows"].keys() >= {"append"} or "append" in full["failed"], full
assert {"write.close", "append"} <= work["rows"].keys() and not work["failed"], work
END
check the-table-says-why grep -q 'failed: No space left on device' "$T/full.md"
umount "$T/full"
e2e_end
