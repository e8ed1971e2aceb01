#!/usr/bin/env bash
# The daemon is killed with SIGKILL after close returned: the next mount has the data and finishes
# the upload, so that another cache sees it too.
. "$(dirname "$0")/lib.sh"
e2e_begin killnine
store=file://$T/store
mnt=$T/mnt
rounds=3
[ "$profile" = quick ] || rounds=20

check format cairn format "$store" || e2e_end

# fill DIR SEED: files of many sizes, a rename, a removal, a link; every close has returned.
fill() {
  local dir=$1 n
  mkdir "$dir" || return 1
  for n in $(seq 1 60); do
    seeded "$T/made" $((n * n * 977)) $(($2 * 1000 + n)) && cp "$T/made" "$dir/f$n" || return 1
  done
  seeded "$T/made" 48000000 "$2" && cp "$T/made" "$dir/big" || return 1
  mv "$dir/f1" "$dir/renamed" && rm "$dir/f2" && ln "$dir/f3" "$dir/linked" &&
    ln -s f4 "$dir/symlink" && chmod 600 "$dir/f5" && truncate -s 1000 "$dir/f60" &&
    printf 'appended' >>"$dir/f50"
}

for round in $(seq 1 $rounds); do
  check "mount-$round" cairn_mount "$T/cache" "$store" "$mnt" || e2e_end
  mkdir -p "$T/want"
  if [ "$round" -gt 1 ]; then
    manifest "$mnt" >"$T/got.manifest"
    check "survived-$((round - 1))" diff "$T/want.manifest" "$T/got.manifest"
  fi
  check "fill-$round" fill "$mnt/round$round" "$round"
  # One round waits until an upload is under way, the others die at once.
  [ $((round % 2)) = 1 ] || sleep 6
  manifest "$mnt" >"$T/want.manifest"
  say "killed at $(status "$mnt" '.lsn | tostring')"
  check "kill-$round" kill_daemon "$mnt"
done

# Killed in the middle of a copy: what cp had finished is there, whole.
check mount-copy cairn_mount "$T/cache" "$store" "$mnt" || e2e_end
manifest "$mnt" >"$T/got.manifest"
check "survived-$rounds" diff "$T/want.manifest" "$T/got.manifest"
sources=300
for n in $(seq 1 $sources); do seeded "$T/source$n" $((n * 733)) "$n"; done
(
  # From inside the mount: once its daemon is dead nothing can land in the folder below it.
  cd "$mnt" || exit
  for n in $(seq 1 50000); do
    cp "$T/source$((n % sources + 1))" "copy$n" 2>/dev/null || break
    echo "$n"
  done >"$T/copied"
) &
copier=$!
pids+=("$copier")
copied() { wc -l <"$T/copied"; }
many() { [ "$(copied)" -ge 400 ]; }
check copies-run wait_until 60 many
check kill-copy kill_daemon "$mnt"
wait "$copier" 2>/dev/null
check mount-after-copy cairn_mount "$T/cache" "$store" "$mnt" || e2e_end
say "$(copied) files were closed before the kill"
whole=1
while read -r n; do
  cmp -s "$T/source$((n % sources + 1))" "$mnt/copy$n" && continue
  [ $whole = 0 ] || say "differs: copy$n"
  whole=0
done <"$T/copied"
check closed-files-whole test $whole = 1
check killed-while-copying test "$(copied)" -lt 50000

manifest "$mnt" >"$T/want.manifest"
LIMIT=300 check flush cairn flush "$mnt"
check umount cairn_umount "$mnt"
check mount-elsewhere cairn_mount "$T/cache2" "$store" "$mnt" || e2e_end
manifest "$mnt" >"$T/got.manifest"
check elsewhere-same diff "$T/want.manifest" "$T/got.manifest"
check umount-elsewhere cairn_umount "$mnt"
LIMIT=300 check check-data cairn check --data "$store"
e2e_end
