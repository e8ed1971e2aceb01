#!/usr/bin/env bash
# A volume of ten million files (a hundred thousand in the quick profile), whose metadata alone is
# larger than the cache and the memory of the mount: everything is listed, changed here and there, and
# listed again, and neither limit is passed. large_volume makes it in the store.
. "$(dirname "$0")/lib.sh"
e2e_begin large

directories=100 files=1000
[ "$profile" = quick ] || directories=1000 files=10000
directories=${LARGE_DIRECTORIES:-$directories} files=${LARGE_FILES:-$files}
cache_mib=64 memory_mib=64
store=file://$T/store
mnt=$T/mnt
mount_it() {
  cairn_mount "$T/$1" "$store" "$mnt" --cache-size ${cache_mib}M --memory-limit ${memory_mib}M \
    --commit-interval 1s
}

make_volume() { "$(dirname "$CAIRN")/tests/large_volume" "$T/store" $directories $files; }
count_files() { timeout 3000 find "$mnt" -type f -printf x | wc -c; }
# list_one N: `ls -l` of that directory says what large_volume made.
list_one() {
  local number
  number=$(printf %06d "$1")
  timeout 600 ls -ln --time-style=+ "$mnt/directory $number" | tail -n +2 >"$T/listed" || return 1
  seq -f "-rw-r--r-- 1 0 0 0  a file of directory $number %06.0f" 0 $((files - 1)) |
    diff - "$T/listed" >"$T/different" || { head -n 5 "$T/different"; return 1; }
}
list_some() { local n; for n in "${some[@]}"; do list_one "$n" || return 1; done; }
mapfile -t some < <(python3 -c "
import random
print(*random.Random(7).sample(range($directories), 20), sep='\n')")

start=$SECONDS
check make make_volume || e2e_end
say "$(cat "$T/check.out") in $((SECONDS - start)) s"
start=$SECONDS
LIMIT=3000 check sound cairn check "$store"
say "checked in $((SECONDS - start)) s"

check mount mount_it cache || e2e_end
watch list "$mnt" "$T/cache"
start=$SECONDS
count=$(count_files)
read_mib=$(($(status "$mnt" .transferred.bytes_read) >> 20))
stored_mib=$(($(du -sk "$T/store" | cut -f1) >> 10))
say "$count files listed in $((SECONDS - start)) s; $read_mib MiB were read of $stored_mib MiB that are stored"
check all-listed test "$count" = $((directories * files))
check little-is-read test "$read_mib" -le $((8 * stored_mib))
start=$SECONDS
check some-in-long list_some
say "$((20 * files)) files in random directories listed in long in $((SECONDS - start)) s"
end_watch list $cache_mib $memory_mib

# Changes all over it: what they touch of the tree is read, little is written.
watch change "$mnt" "$T/cache"
change() {
  local n
  for n in "${some[@]}"; do
    echo "$n" >"$(printf '%s/directory %06d/new' "$mnt" "$n")" || return 1
    rm "$(printf '%s/directory %06d/a file of directory %06d %06d' "$mnt" "$n" "$n" 17)" || return 1
  done
}
check change change
LIMIT=600 check flush cairn flush "$mnt"
written=$(($(status "$mnt" .transferred.bytes_written) >> 10))
say "$written KiB were uploaded for 40 changes"
check little-is-written test "$written" -le 8192
end_watch change $cache_mib $memory_mib
check umount cairn_umount "$mnt"

check mount-elsewhere mount_it cache2 || e2e_end
watch again "$mnt" "$T/cache2"
changed() {
  local n
  for n in "${some[@]}"; do
    [ "$(cat "$(printf '%s/directory %06d/new' "$mnt" "$n")")" = "$n" ] || return 1
  done
}
check changed changed
count=$(count_files)
check all-listed-again test "$count" = $((directories * files))
end_watch again $cache_mib $memory_mib
check umount-elsewhere cairn_umount "$mnt"
e2e_end
