#!/usr/bin/env bash
# A machine died before what was written to a bucket's mount was sent: `cairn recover` says what the cache
# has, and brings it out, with the bucket, without it, and without keys to it; the cache stays as it was.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin bucket_recover
mnt=$T/mnt
mkdir "$mnt"

view() { cairn_mount "$T/cache" s3://data/p "$mnt" --commit-interval 5m --filter-upload '!/**/*.tmp' "$@"; }
fill() {
  mkdir -p "$T/tree/dir/sub" "$T/tree/old"
  seeded "$T/tree/big.bin" 3000000 1
  seeded "$T/tree/cached.bin" 600000 2
  seeded "$T/tree/grown.bin" 700000 3
  local name
  for name in moved gone mode both dir/sub/inside old/a; do echo "$name" >"$T/tree/$name"; done
  other copy "$T/tree" s3:data/p
}
# The same changes to the mount and to a copy beside it.
change() {
  cd "$1" || return 1
  mkdir -p new/deep
  seeded new/deep/file.bin 2000001 7
  echo small >new/small && : >new/nothing && chmod 640 new/small && chmod 711 new
  seeded kept.tmp 300000 8 && echo sub >dir/sub/kept.tmp
  ln -s ../big.bin new/link
  printf CHANGED | dd of=big.bin bs=1 seek=1500000 conv=notrunc status=none
  printf HERE | dd of=cached.bin bs=1 seek=1000 conv=notrunc status=none
  truncate -s 400000 grown.bin && truncate -s 900000 grown.bin && echo end >>grown.bin
  mv moved elsewhere && rm gone && chmod 600 mode
  mv both dir/both && echo more >>dir/both
  mv old renamed && echo "in a moved directory" >renamed/b
  setfattr -n user.s3.meta.project -v secret-no new/small
  setfattr -n user.s3.tag.state -v open new/small
  touch -h -d '2020-02-02 02:02:02.123456789' new/deep/file.bin new/small new/nothing kept.tmp new/link new
}
both_change() { (change "$mnt") && (change "$T/tree"); }
told='renamed    moved -> elsewhere
removed    gone
set        mode (mode, owner, time or metadata)
renamed    old/ -> renamed/
held       kept.tmp (293.0 KiB)
held       dir/sub/kept.tmp (4 B)
pending    both -> dir/both (10 B, 5 B of it as the bucket has it)
pending    new/deep/file.bin (1.9 MiB)
pending    new/nothing (0 B)
pending    renamed/b (21 B)
directory  new/deep/
pending    new/link (symbolic link)'
tells() {  # FILE: what cairn said
  local line
  while read -r line; do
    grep -qF "$line" "$1" || { echo "not told: $line"; cat "$1"; return 1; }
  done <<<"$told"
  ! grep -q 'inside\|old/a\|[a-z]  dir/$' "$1" || { echo "told, and is in the bucket"; cat "$1"; return 1; }
}
whole='new/deep/file.bin new/small new/nothing kept.tmp dir/sub/kept.tmp renamed/b'
same_files() {  # DIR NAME...
  local dir=$1 name
  shift
  for name; do cmp "$T/tree/$name" "$dir/$name" || return 1; done
}
looks() { stat -c '%a %u %g %Y %s %F' "$1"; }
same_looks() {
  local name
  for name in new/small new/nothing new/deep/file.bin kept.tmp new; do
    [ "$(looks "$T/tree/$name")" = "$(looks "$1/$name")" ] ||
      { echo "$name: $(looks "$1/$name"), not $(looks "$T/tree/$name")"; return 1; }
  done
}
recover() {  # DIR: its output is in DIR.out and DIR.err
  rm -rf "$1"
  LIMIT=60 cairn recover "$T/cache" --to "$1" >"$1.out" 2>"$1.err"
}
files_of() { (cd "$1" && find . -type f -o -type l | sort); }
cache_sum() { find "$T/cache" -type f ! -name lock ! -name lock.mdb ! -name log -exec sha256sum {} + | sort; }

store_ready minio || e2e_end
check fill fill
check mounts view || e2e_end
cat "$mnt/cached.bin" >/dev/null
check umounts-first cairn_umount "$mnt"  # what was read is remembered then
check mounts-second view || e2e_end
check both-change both_change
# What is held is in no journal any more: the first flush puts it apart, and the changes come behind it.
check fsync python3 -c 'import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDONLY))' "$mnt/new/small"
check dies kill_daemon "$mnt"

# --- with the bucket in reach
cache_sum >"$T/before"
check lists eval 'cairn recover "$T/cache" >"$T/listed" 2>"$T/listed.err"'
sed -i 's/^held       /pending    /' "$T/listed"
told=${told//held       /pending    }
check lists-tells tells "$T/listed"
check recovers recover "$T/out1"
check tells tells "$T/out1.out"
check whole-files same_files "$T/out1" $whole
check part-is-fetched same_files "$T/out1" big.bin cached.bin grown.bin dir/both
check looks same_looks "$T/out1"
check link prints ../big.bin readlink "$T/out1/new/link"
check metadata prints secret-no getfattr --absolute-names --only-values -n user.s3.meta.project "$T/out1/new/small"
check tag prints open getfattr --absolute-names --only-values -n user.s3.tag.state "$T/out1/new/small"
check nothing-else prints "$(printf '%s\n' ./big.bin ./cached.bin ./dir/both ./dir/sub/kept.tmp ./grown.bin ./kept.tmp \
  ./new/deep/file.bin ./new/link ./new/nothing ./new/small ./renamed/b)" files_of "$T/out1"
check nothing-was-sent prints '' other lsf s3:data/p/new

# --- without it
end_pid "$S3_PID"
fails_partly() {
  ! recover "$1" || { echo "it works"; return 1; }
  grep -q 'cannot be recovered whole\|could not be recovered whole' "$1.err" || { cat "$1.err"; return 1; }
}
check away-recovers-in-part fails_partly "$T/out2"
check away-tells tells "$T/out2.out"
check away-whole-files same_files "$T/out2" $whole
check away-looks same_looks "$T/out2"
check away-what-was-cached same_files "$T/out2" cached.bin
check away-says-which grep -q '/big.bin: bytes 0 to 1500000 are not in the cache' "$T/out2.err"
check away-says-which-after grep -q '/big.bin: bytes 1500007 to 3000000 are not in the cache' "$T/out2.err"
check away-says-why grep -q 'the bucket cannot be read' "$T/out2.err"
has_part() { cmp <(printf CHANGED) <(dd if="$T/out2/big.bin" bs=1 skip=1500000 count=7 status=none); }
check away-has-what-was-written has_part
check away-grown grep -q '/grown.bin: bytes 0 to 400000 are not' "$T/out2.err"
check away-end cmp <(tail -c 500004 "$T/tree/grown.bin") <(tail -c 500004 "$T/out2/grown.bin")
check away-lists eval 'cairn recover "$T/cache" | sed "s/^  held       /  pending    /" >"$T/listed2"'
check away-lists-tells tells "$T/listed2"
# Without any keys.
no_keys() { (unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; fails_partly "$T/out3"); }
check no-keys-recovers no_keys
check no-keys-whole-files same_files "$T/out3" $whole
cache_sum >"$T/after"
check cache-is-as-it-was diff "$T/before" "$T/after"
check no-repair fails_with 'cache of a bucket' cairn recover "$T/cache" --repair
check not-into-files fails_with 'is not empty' cairn recover "$T/cache" --to "$T/out2"

# --- the next mount sends it, and holds what is to be held
cp -r "$S3_DATA" "$T/s3-data"
check server-is-back start_s3_server minio
rm -rf "$S3_DATA/data" && cp -r "$T/s3-data/data" "$S3_DATA/data"
check mounts-again view
check flushes cairn flush "$mnt"
check all-is-sent eval 'other check --download --exclude "*.tmp" --exclude link "$T/tree" s3:data/p'
echo "late" >"$mnt/late.tmp" && echo "late" >"$mnt/late" && echo late >"$T/tree/late.tmp"
check flush-late cairn flush "$mnt"
check dies-again kill_daemon "$mnt"
# A cache of a volume beside it.
check volume-format cairn format "file://$T/volume"
check volume-mounts cairn_mount "$T/cache" "file://$T/volume" "$T/volume-mnt" --commit-interval 5m
echo x >"$T/volume-mnt/x"
check volume-dies kill_daemon "$T/volume-mnt"
check held-lists eval 'cairn recover "$T/cache" >"$T/listed3"'
check volume-is-told grep -q 'changes* may not be in the store' "$T/listed3"
check two-are-not-one fails_with 'name one of them' cairn recover "$T/cache" --to "$T/out5"
rm -rf "$T"/cache/*volume*
check held-is-told grep -q '^  held       late.tmp (5 B)$' "$T/listed3"
check held-old-is-told grep -q '^  held       kept.tmp (293.0 KiB)$' "$T/listed3"
check sent-is-not-told eval '! grep -q "pending\|renamed\|removed\|set  " "$T/listed3"'
check held-recovers recover "$T/out4"
check held-files same_files "$T/out4" kept.tmp dir/sub/kept.tmp late.tmp
check only-held prints "$(printf '%s\n' ./dir/sub/kept.tmp ./kept.tmp ./late.tmp)" files_of "$T/out4"
check mounts-last view

# --- what a publication that failed was to send is not taken for sent
mv "$S3_DATA/data" "$T/bucket-is-gone"
echo "nowhere else" >"$mnt/not-sent" && rm "$mnt/mode"
check publication-fails fails_with '' timeout -s INT 15 "$CAIRN" flush "$mnt"
check dies-last kill_daemon "$mnt"
check not-sent-lists eval 'cairn recover "$T/cache" >"$T/listed6"'
check not-sent-is-told grep -q '^  pending    not-sent (13 B)$' "$T/listed6"
check not-removed-is-told grep -q '^  removed    mode$' "$T/listed6"
check not-sent-recovers recover "$T/out6"
check not-sent-is-there prints "nowhere else" cat "$T/out6/not-sent"
e2e_end
