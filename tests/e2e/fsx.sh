#!/usr/bin/env bash
# fsx: random reads, writes, mappings, truncates, holes and copies inside of files, each checked
# against what the file must hold. Three files at once, larger together than the cache, so that
# chunks are evicted and come back all the time; between rounds everything is flushed and mounted
# again on an empty cache. Some of it is on a far store. The full profile does a million operations.
# needs: servers (what tests/deps builds beside the first suites; fsx is among it)
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin fsx

FSX=$CAIRN_TOOLS_DIR/bin/fsx
[ -x "$FSX" ] || { skip fsx "fsx is not installed (tests/deps rust)"; e2e_end; }

rounds=2 far_rounds=1 small=2500 medium=1200 large=500
[ "$profile" = quick ] || rounds=20 far_rounds=4 small=36000 medium=10000 large=4000
first=${FSX_SEED:-1}  # of the first round; each round has its own

config() {  # NAME LENGTH MAX
  cat >"$T/$1.toml" <<END
flen = $2
[opsize]
max = $3
[weights]
close_open = 1
read = 10
write = 10
mapread = 10
mapwrite = 10
invalidate = 1
truncate = 5
fsync = 0.2
fdatasync = 0.2
posix_fallocate = 2
punch_hole = 5
sendfile = 3
posix_fadvise = 1
copy_file_range = 6
END
}
config small 262144 65536
config medium 6291456 400000
config large 41943040 1500000

run_round() {  # SEED
  local kind pid status=0 running=()
  for kind in small medium large; do
    timeout 3000 "$FSX" -q -f "$T/$kind.toml" -N "${!kind}" -S "$1" -P "$T" "$T/mnt/$kind-$1" \
      >"$T/$kind-$1.out" 2>&1 </dev/null &
    running+=($!)
  done
  pids+=("${running[@]}")
  for pid in "${running[@]}"; do wait "$pid" || status=1; done
  [ $status = 0 ] || tail -n 25 "$T"/*-"$1".out
  return $status
}

sums() { (cd "$T/mnt" && sha256sum -- *) >"$1"; }

mount_it() { cairn_mount "$T/$1" "$STORE" "$T/mnt" --cache-size 64M --commit-interval 1s; }

run_on() {  # KIND
  local round seed start before back rounds=$rounds
  [ "$1" != far ] || rounds=$far_rounds
  check format cairn format "$STORE" || return
  check mount mount_it "$1-0" || return
  for ((round = 0; round < rounds; round++)); do
    seed=$((first + round))
    start=$SECONDS
    before=$(status "$T/mnt" .transferred.bytes_read)
    check "round-$seed" run_round $seed || return
    # The files of a round are made in it: what came from the store had been sent and evicted.
    back=$(($(status "$T/mnt" .transferred.bytes_read) - before))
    say "$((small + medium + large)) operations in $((SECONDS - start)) s, $((back >> 10)) KiB came back"
    check "evicted-and-reloaded-$seed" test $back -ge $((1 << 20))
    sums "$T/before"
    check "umount-$seed" cairn_umount "$T/mnt" || return
    rm -rf "${T:?}/$1-$round"
    check "empty-cache-$seed" mount_it "$1-$((round + 1))" || return
    sums "$T/after"
    check "same-bytes-$seed" diff "$T/before" "$T/after"
    [ $round = 0 ] || rm "$T/mnt/"*-$((seed - 1))
  done
  check umount cairn_umount "$T/mnt"
  LIMIT=900 check check-data cairn check --data "$STORE"
}
on_stores run_on file far
e2e_end
