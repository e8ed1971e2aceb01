#!/usr/bin/env bash
# A store that fails in every way it can, while an archive is unpacked, git and SQLite work: each
# operation completes or fails with a clean errno, and after healing another cache shows what a local
# disk has. With MinIO behind the failing endpoint when there is one, else with its own small store.
. "$(dirname "$0")/lib.sh"
. "$repo/tests/s3/servers.sh"
e2e_begin faults
mnt=$T/mnt
blackout=8 chance=0.1
[ "$profile" = quick ] || blackout=60 chance=0.3

backend=(--folder "$T/s3")
mkdir -p "$T/s3/data"
if [ "$profile" = full ] && s3_binary minio >/dev/null; then
  S3_DIR=$T/minio && mkdir "$S3_DIR" && start_s3_server minio && make_bucket data &&
    backend=(--upstream "${AWS_ENDPOINT_URL##*:}")
fi
say "behind the faults: ${backend[*]}"
faulty_s3 "${backend[@]}" || { fail store "tests/support/faulty_s3.py does not start"; e2e_end; }
store=s3://data/volume

mkdir -p "$T/src/deep/er"
for n in $(seq 1 150); do seeded "$T/src/deep/f$n" $((n * n * 37)) "$n"; done
seeded "$T/src/deep/er/large" 5000000 777
tar -C "$T/src" -cf "$T/src.tar" .

# workload DIR SEED: the same entries whatever the file system; a step that fails says so.
workload() {
  local dir=$1 seed=$2
  mkdir "$dir" && cd "$dir" || return 1
  tar -xf "$T/src.tar" || return 1
  export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
  git init -q -b main repo && cd repo || return 1
  git config user.email a@b.c && git config user.name n
  cp -r ../deep . && git add -A && git commit -qm one || return 1
  seeded deep/f7 50000 "$seed" && git rm -q deep/f9 && git commit -qam two && git gc -q && git fsck --strict || return 1
  cd .. && rm -rf deep/er && mv deep shallow && ln shallow/f3 hard && ln -s shallow/f4 soft || return 1
  python3 - "$seed" <<'PY'
import sqlite3, sys
db = sqlite3.connect("rows.db")
db.execute("create table t (n integer primary key, s text)")
for n in range(60):
    with db:
        db.execute("insert into t values (?, ?)", (n, f"{sys.argv[1]}-{n}" * 20))
assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
db.close()
PY
}
content() {  # names, types and bytes; of the repository what it says, its packs may differ
  cd "$1" || return 1
  find . -path ./repo/.git -prune -o -printf '%P %y %l\n' | sort
  find . -path ./repo/.git -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
  [ ! -d repo ] || { git -C repo fsck --strict 2>&1 && git -C repo log --format=%H; }
}

check format cairn format "$store" || e2e_end
check mount cairn_mount "$T/cache" "$store" "$mnt" --io-timeout 20s --commit-interval 1s \
  --cache-size 128M || e2e_end
mkdir "$T/model"

# round NAME RULE...: the workload with these faults, then without; what is missing here is tried again.
round() {
  local name=$1 seed=$((++rounds)) before
  shift
  before=$(fault_control)
  faults "$@" || { fail "$name" "no control of the faults"; return; }
  check "$name-model" bash -c "$(declare -f workload seeded); T='$T'; workload '$T/model/$name' $seed" || return
  if check "$name-completes" timeout 240 bash -c "$(declare -f workload seeded); T='$T'; workload '$mnt/$name' $seed"; then
    done_rounds+=("$name")
  fi
  # Reads of what is no longer here meet the faults, too.
  (cd "$mnt" && find "$name/shallow" -type f) | sed "s|^|$mnt/|" | xargs -d '\n' "$CAIRN" evict >/dev/null 2>&1
  check "$name-reads" diff -r "$T/model/$name/shallow" "$mnt/$name/shallow"
  no_faults
  LIMIT=120 check "$name-heals" cairn flush "$mnt"
  say "$name: faults since: $(fault_control | jq -c --argjson b "$before" '.counts | with_entries(.value -= ($b.counts[.key] // 0)) | with_entries(select(.value > 0))'), epoch $(status "$mnt" .epoch), mode $(status "$mnt" .mode)"
  check "$name-still-writes" test "$(status "$mnt" .mode)" = read-write
}
rounds=0
done_rounds=()

rule() { printf '{"fault": "%s", "chance": %s%s}' "$1" "$chance" "${2:+, $2}"; }
if [ "$profile" = quick ]; then
  round answers "$(rule lost_reply)" "$(rule flip)" "$(rule short)" "$(rule wrong_etag)" "$(rule slow '"seconds": 0.3')"
  round refusals "$(rule slowdown)" "$(rule error)" "$(rule lost_request)" "$(rule reset)" "$(rule half_request)" \
    "$(rule flip_request '"method": "PUT", "times": 10')" "$(rule not_found '"method": "GET"')"
else
  for fault in lost_reply flip short wrong_etag slow slowdown error lost_request reset half_request; do
    round "$fault" "$(rule $fault)"
  done
  round flip_request "$(rule flip_request '"method": "PUT"')"
  round not_found "$(rule not_found '"method": "GET"')"
fi
check creates-were-hit faults '{"fault": "lost_reply", "key": "/c/", "method": "PUT", "times": 3}'
round commits '{"fault": "error", "key": "/c/", "method": "PUT", "times": 3}'

# --- no store at all for a while, in the middle of the work
(sleep 2; kill -STOP "$FAULTY_PID"; sleep "$blackout"; kill -CONT "$FAULTY_PID") &
round blackout

# --- the server dies and is started again
restart() {
  kill -9 "$FAULTY_PID"
  sleep 3
  faulty_s3 "${backend[@]}" --port "$FAULTY_PORT"
}
mkdir "$mnt/restart" "$T/model/restart"
for n in 1 2 3 4 5 6; do seeded "$T/model/restart/$n" 4000000 $((900 + n)); done
(cp "$T/model/restart/"* "$mnt/restart/"; echo $? >"$T/copied") &
copier=$!
check restart restart
wait $copier
check restart-copied test "$(cat "$T/copied")" = 0
done_rounds+=(restart)

LIMIT=240 check flush cairn flush "$mnt"
LIMIT=120 check umount cairn_umount "$mnt"
check mount-elsewhere cairn_mount "$T/cache2" "$store" "$mnt" || e2e_end
for name in "${done_rounds[@]}"; do
  (content "$T/model/$name") >"$T/model.txt" 2>&1
  (content "$mnt/$name") >"$T/mount.txt" 2>&1
  check "$name-elsewhere-equals-model" diff "$T/model.txt" "$T/mount.txt"
done
check umount-elsewhere cairn_umount "$mnt"
LIMIT=300 check check-data cairn check --data "$store"
stop_s3_servers
e2e_end
