#!/usr/bin/env bash
# A bucket with a million objects in one directory (forty thousand in the quick profile), and as many in
# folders: all of it is listed and looked at, a name is read before that, files are made, renamed and
# removed in it, and neither limit is passed; names that do not fit into a small cache leave a mount that works.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin bucket_large

count=40000 folders=100 cache_mib=256
[ "$profile" = quick ] || count=1000000 folders=1000 cache_mib=4096
count=${LARGE_OBJECTS:-$count}
memory_mib=128
mnt=$T/mnt
mkdir "$mnt"

# A server with one disk makes two inodes an object; what disks here have may not be enough.
mkdir "$T/s3"
mount -t tmpfs -o nr_inodes=0 cairn-store "$T/s3" 2>/dev/null && mounts+=("$T/s3")
store_ready minio || e2e_end

view() {  # CACHE BUCKET [OPTION...]
  local cache=$1 bucket=$2
  shift 2
  cairn_mount "$T/$cache" "s3://$bucket" "$mnt" --memory-limit ${memory_mib}M "$@"
}
requests() { status "$mnt" '.requests | .get + .put + .list + .remove + .head + .copy'; }
# timed NAME COMMAND...: it works, and how long it took, and with how many requests.
timed() {
  local name=$1 before start
  shift
  before=$(requests)
  start=$(now_ms)
  LIMIT=3000 check "$name" "$@"
  took=$(($(now_ms) - start)) cost=$(($(requests) - before))
  say "$name: $took ms, $cost requests"
}

# With one disk MinIO keeps a small object as a folder with one file, which has its bytes. Objects of seven
# sizes are put; links to their files under other names are objects, too.
cat >"$T/fill.py" <<'END'
"""fill.py BUCKET-DIR COUNT FOLDERS: FOLDERS of 0 is one directory."""
import os, sys
bucket, count, folders = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
seeds = [open(f"{os.path.dirname(bucket)}/seeds/{k}/xl.meta", "rb").read() for k in range(7)]
sources = [None] * 7
for n in range(count):
    k = n % 7
    folder = f"{bucket}/{n * folders // count:04}" if folders else f"{bucket}/flat"
    path = f"{folder}/object {n:07}.dat"
    os.makedirs(path)
    if n // 7 % 10000 == 0:  # a file has so many names at most
        with open(f"{path}/xl.meta", "wb") as file:
            file.write(seeds[k])
        sources[k] = f"{path}/xl.meta"
    else:
        os.link(sources[k], f"{path}/xl.meta")
END
content() { yes "content $1" | head -n $(($1 * 20 + 1)); }
put_seeds() {
  local k
  make_bucket seeds
  for k in 0 1 2 3 4 5 6; do
    content $k >"$T/content.$k"
    signed -T "$T/content.$k" "$AWS_ENDPOINT_URL/seeds/$k" || return 1
  done
}
fill() { make_bucket "$1" && python3 "$T/fill.py" "$S3_DATA/$1" "$count" "$2"; }
name_of() { printf 'object %07d.dat' "$1"; }
is_object() { cmp "$T/content.$(($2 % 7))" "$1/$(name_of "$2")"; }

check put-seeds put_seeds || e2e_end
start=$SECONDS
check fill fill flat 0 || e2e_end
say "$count objects in one directory in $((SECONDS - start)) s"

listed() {  # WANTED: "." and ".." are listed, too
  local got
  got=$(timeout 3000 ls -f "$mnt/flat" | wc -l)
  [ "$got" = $(($1 + 2)) ] || { echo "$got lines"; return 1; }
}
# Each size as often as it was put, and nothing else.
sizes_of() {
  local k
  for k in 0 1 2 3 4 5 6; do
    echo "$(((count - k + 6) / 7)) $(stat -c %s "$T/content.$k")"
  done | sort -k 2n >"$T/sizes.want"
  timeout 3000 find "$1" -type f -name 'object *.dat' -printf '%s\n' | sort -n | uniq -c |
    awk '{print $1, $2}' | diff "$T/sizes.want" -
}
middle=$((count / 2 + 1))
pages=$(((count + 999) / 1000))

# --- one name, before anybody listed it
check one-mounts view one flat --cache-size ${cache_mib}M || e2e_end
timed one-name test -f "$mnt/flat/$(name_of $middle)"
check one-name-costs-little test "$cost" -le 3
timed one-reads is_object "$mnt/flat" $middle
check one-read-costs-little test "$cost" -le 2
timed one-missing test ! -e "$mnt/flat/no such object"
check one-missing-costs-little test "$cost" -le 2
check one-writes sh -c "echo new >'$mnt/flat/a new one' && mv '$mnt/flat/a new one' '$mnt/flat/another' && rm '$mnt/flat/another'"
check one-flush cairn flush "$mnt"
check one-listed-little test "$(status "$mnt" .requests.list)" -le 40
check one-umounts cairn_umount "$mnt"

# --- all of them, with the usual age of names
check mounts view all flat --cache-size ${cache_mib}M || e2e_end
watch list "$mnt" "$T/all"
timed lists listed "$count"
check lists-in-pages test "$cost" -le $((pages + 60))
timed finds sizes_of "$mnt/flat"
end_watch list $cache_mib $memory_mib
names_mib=$(($(du -sk "$T/all"/*/names | cut -f1) >> 10))
say "$names_mib MiB of names, $((names_mib * 1048576 / count)) bytes each"
check reads-the-last is_object "$mnt/flat" $((count - 1))
check umounts cairn_umount "$mnt"

# --- again, with names that stay fresh: what is here is not asked for
check again-mounts view all flat --cache-size ${cache_mib}M --metadata-ttl 1h --commit-interval 1s || e2e_end
watch again "$mnt" "$T/all"
timed again-first listed "$count"
timed again-lists listed "$count"
check again-costs-nothing test "$cost" -le 1
timed again-finds sizes_of "$mnt/flat"
check again-stats-cost-nothing test "$cost" -le 1
timed again-names ls -f "$mnt/flat/$(name_of 0)" "$mnt/flat/$(name_of $middle)"
check again-names-cost-nothing test "$cost" = 0

# Changed here and there.
change() {
  echo "of this mount" >"$mnt/flat/made here" && mv "$mnt/flat/$(name_of 3)" "$mnt/flat/moved" &&
    rm "$mnt/flat/$(name_of 4)" && echo more >>"$mnt/flat/$(name_of 5)"
}
timed changes change
check changed-count listed "$count"
check changed-moved cmp "$T/content.3" "$mnt/flat/moved"
check changed-gone test ! -e "$mnt/flat/$(name_of 3)" -a ! -e "$mnt/flat/$(name_of 4)"
timed changes-flush cairn flush "$mnt"
check changes-cost-little test "$cost" -le 20
has() { other_has "flat/flat/$1" "$2"; }
echo "of this mount" >"$T/made"
{ cat "$T/content.5" && echo more; } >"$T/longer"
check changes-are-there has "made here" "$T/made"
check changes-moved-there has moved "$T/content.3"
check changes-appended-there has "$(name_of 5)" "$T/longer"
check changes-removed-there test "$(object_status "flat/flat/object%200000004.dat")" = 404
end_watch again $cache_mib $memory_mib
check again-umounts cairn_umount "$mnt"
# Listed anew by a cache that knows nothing of it.
check elsewhere-mounts view elsewhere flat --cache-size ${cache_mib}M
check elsewhere-lists listed "$count"
check elsewhere-sees test -f "$mnt/flat/made here" -a -f "$mnt/flat/moved" -a ! -e "$mnt/flat/$(name_of 4)"
check elsewhere-umounts cairn_umount "$mnt"

# --- names that do not fit into the cache
check small-mounts view small flat --cache-size 64M --metadata-ttl 1h || e2e_end
watch small "$mnt" "$T/small"
timed small-refuses fails_with 'No space left on device' ls -f "$mnt/flat"
check small-says grep -q 'no room for the names' "$T"/small/*/log
timed small-name is_object "$mnt/flat" $middle
check small-name-costs-little test "$cost" -le 5
check small-writes sh -c "echo here >'$mnt/flat/made small'"
check small-flush cairn flush "$mnt"
echo here >"$T/made"
check small-is-there has "made small" "$T/made"
check small-refuses-again fails_with 'No space left on device' ls -f "$mnt/flat"
end_watch small 64 $memory_mib
check small-umounts cairn_umount "$mnt"
check small-mounts-again view small flat --cache-size 64M
check small-reads-again is_object "$mnt/flat" 7
check small-made-reads cmp "$T/made" "$mnt/flat/made small"
check small-umounts-again cairn_umount "$mnt"
rm -r "$T/small" "$T/all" "$T/one" "$T/elsewhere"
mv "$S3_DATA/flat" "$T/s3/gone"  # the same disk: the second million takes its place
rm -rf "$T/s3/gone"

# --- the same number in folders
start=$SECONDS
check fill-folders fill folders "$folders" || e2e_end
say "$count objects in $folders folders in $((SECONDS - start)) s"
check folders-mount view folders folders --cache-size ${cache_mib}M --metadata-ttl 1h || e2e_end
watch folders "$mnt" "$T/folders"
timed folders-one is_object "$mnt/0007" $((count * 7 / folders))
check folders-one-costs-little test "$cost" -le 4
timed folders-find sizes_of "$mnt"
check folders-in-pages test "$cost" -le $((pages + 60 + folders))
timed folders-find-again sizes_of "$mnt"
check folders-again-costs-nothing test "$cost" -le 1
end_watch folders $cache_mib $memory_mib
check folders-umount cairn_umount "$mnt"
# In a cache that has no room for a tenth of them those of one folder make room for the next one's.
check folders-small-mount view folders-small folders --cache-size 64M --metadata-ttl 1h || e2e_end
watch folders-small "$mnt" "$T/folders-small"
timed folders-small-find sizes_of "$mnt"
check folders-small-reads is_object "$mnt/0007" $((count * 7 / folders))
end_watch folders-small 64 $memory_mib
check folders-small-umount cairn_umount "$mnt"
e2e_end
