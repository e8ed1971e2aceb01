#!/usr/bin/env bash
# cairn ls, get, put, set and status on remotes, volumes and mounts: what put wrote other tools read,
# streams of any length go both ways, and nothing is left of what was interrupted.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin verbs
mnt=$T/mnt
mkdir "$mnt" "$T/out"

ends_with() {  # STATUS TEXT COMMAND...
  local wanted=$1 text=$2 out rc=0
  shift 2
  out=$(within "$@" 2>&1 </dev/null) || rc=$?
  case $rc:$out in "$wanted:"*"$text"*) ;; *) echo "$rc: $out"; return 1 ;; esac
}
# ends_when_told COMMAND...: it waits for somebody, and ends with the first SIGINT.
ends_when_told() {
  local rc=0 begin=$SECONDS
  timeout -k 1 30 timeout -s INT 2 "$@" || rc=$?
  [ "$rc" = 124 ] && [ $((SECONDS - begin)) -lt 20 ]
}
is_sparse() {  # FILE-IN-A-VOLUME: of 40 MB with a byte in the middle
  cairn get "$1" "$T/out/holes" && cmp "$T/holes" "$T/out/holes" &&
    [ "$(du -k "$T/out/holes" | cut -f1)" -le 1000 ] && rm "$T/out/holes"
}
empty_dir() { prints '' ls -A "$1"; }
lists_no() {  # PATTERN COMMAND...: it works, and has no such line
  local pattern=$1 out
  shift
  out=$(within "$@") || { echo "fails: $*"; return 1; }
  if grep -e "$pattern" <<<"$out"; then return 1; fi
}
is() { [ "$1" = "$2" ] || { printf '%s\n--- instead of\n%s\n' "$1" "$2"; return 1; }; }
field() { jq -r "$1"; }
head_of() { signed -I "$AWS_ENDPOINT_URL/$1"; }
tags_of() {  # BUCKET/KEY: "name=value ..." in order
  signed "$AWS_ENDPOINT_URL/$1?tagging=" | python3 -c 'import sys, re
print(*sorted(f"{k}={v}" for k, v in re.findall("<Key>(.*?)</Key><Value>(.*?)</Value>", sys.stdin.read())))'
}
names() { cairn ls "$@" | sed -E 's/^.{15}  .{19}  //'; }

# The one that tests/deps servers gets, else the machine's.
aws=$CAIRN_TOOLS_DIR/boto3/bin/aws
[ -x "$aws" ] || aws=aws
aws() { timeout -k 10 "${LIMIT:-120}" "$aws" "$@"; }

seeded "$T/small" 1000003 1
seeded "$T/large" 150000001 2
: >"$T/empty"
printf x | dd of="$T/holes" bs=1 seek=20000000 status=none && truncate -s 40000000 "$T/holes"

gets_by_aws() {  # URL
  aws s3 cp --quiet "$T/large" "$1" && cairn get "$1" - | cmp - "$T/large" && aws s3 rm --quiet "$1"
}

on_server() {  # NAME
  local kind=$1 s3=s3://data
  store_ready "$kind" || return
  # --- put
  check "$kind-put" cairn put "$T/small" "$s3/dir/small.txt" --meta colour=blue --meta 'Size=very large'
  check "$kind-put-by-name" cairn put "$T/large" "$s3/dir/"
  check "$kind-put-empty" cairn put "$T/empty" "$s3/dir/empty"
  check "$kind-other-reads-small" cmp "$T/small" <(other cat s3:data/dir/small.txt)
  check "$kind-other-reads-large" cmp "$T/large" <(other cat s3:data/dir/large)
  check "$kind-other-reads-empty" other_has data/dir/empty "$T/empty"
  check "$kind-type" grep -qi '^content-type: text/plain' <(head_of data/dir/small.txt)
  check "$kind-metadata" grep -qi '^x-amz-meta-size: very large' <(head_of data/dir/small.txt)
  check "$kind-put-absent" cairn put --if-absent "$T/small" "$s3/dir/new"
  check "$kind-put-present" fails_with 'is there already' cairn put --if-absent "$T/large" "$s3/dir/new"
  check "$kind-put-present-changes-nothing" other_has data/dir/new "$T/small"
  check "$kind-put-stream" sh -c "cat '$T/large' | '$CAIRN' put - $s3/stream/large"
  check "$kind-put-short-stream" sh -c "printf hello | '$CAIRN' put - $s3/stream/short --content-type text/html"
  check "$kind-put-no-stream" sh -c "'$CAIRN' put - $s3/stream/none </dev/null"
  check "$kind-other-reads-stream" cmp "$T/large" <(other cat s3:data/stream/large)
  check "$kind-other-reads-short" is "$(other cat s3:data/stream/short)" hello
  check "$kind-stream-type" grep -qi '^content-type: text/html' <(head_of data/stream/short)
  check "$kind-empty-stream" other_has data/stream/none "$T/empty"
  check "$kind-stream-needs-a-name" fails_with 'needs a name' cairn put - "$s3/dir/"
  check "$kind-no-source" fails_with 'No such file' cairn put "$T/none" "$s3/dir/x"
  check "$kind-no-bucket" fails_with "bucket 'nowhere' does not exist" cairn put "$T/small" s3://nowhere/x

  if aws --version >/dev/null 2>&1; then
    check "$kind-aws-reads-stream" cmp "$T/large" <(aws s3 cp --quiet "$s3/stream/large" -)
    check "$kind-aws-reads-metadata" is "$(aws s3api head-object --bucket data --key dir/small.txt | field '.Metadata.colour + " " + .ContentType')" \
      'blue text/plain'
    check "$kind-gets-what-aws-put" gets_by_aws "$s3/dir/by-aws"
  else
    skip "$kind-aws" "no aws command that starts (tests/deps servers gets one)"
  fi

  # --- get
  check "$kind-get" sh -c "cd '$T/out' && '$CAIRN' get $s3/dir/large && '$CAIRN' get data:dir/small.txt other.txt"
  check "$kind-get-is-right" cmp "$T/large" "$T/out/large"
  check "$kind-get-other-name" cmp "$T/small" "$T/out/other.txt"
  check "$kind-get-into-a-directory" cairn get "$s3/dir/empty" "$T/out"
  check "$kind-get-empty" cmp "$T/empty" "$T/out/empty"
  check "$kind-get-stream" cmp "$T/large" <(cairn get "$s3/stream/large" -)
  check "$kind-get-head-only" is "$(cairn get "$s3/stream/large" - | head -c 10 | base64)" "$(head -c 10 "$T/large" | base64)"
  check "$kind-get-missing" fails_with 'there is no such object' cairn get "$s3/dir/missing" "$T/out/missing"
  check "$kind-pipe-to-pipe" sh -c "'$CAIRN' get $s3/dir/small.txt - | gzip | '$CAIRN' put - $s3/dir/small.gz"
  check "$kind-pipe-is-right" cmp "$T/small" <(other cat s3:data/dir/small.gz | zcat)
  check "$kind-nothing-else-is-here" is "$(ls -A "$T/out" | sort | xargs)" 'empty large other.txt'
  rm -f "$T"/out/*

  # --- ls
  check "$kind-ls" is "$(names "$s3" | xargs)" 'dir/ stream/'
  check "$kind-ls-dir" is "$(names "$s3/dir" | xargs)" 'empty large new small.gz small.txt'
  check "$kind-ls-slash" is "$(names "$s3/dir/" | xargs)" 'empty large new small.gz small.txt'
  check "$kind-ls-recursive" is "$(names -r "$s3" | xargs)" "$(other lsf -R --files-only s3:data | sort | xargs)"
  check "$kind-ls-object" is "$(cairn ls --json "$s3/dir/large" | field '"\(.name) \(.size) \(.type) \(.key)"')" \
    'large 150000001 file dir/large'
  check "$kind-ls-etag" is "$(cairn ls --json "$s3/dir/small.txt" | field .etag)" "$(md5sum <"$T/small" | cut -d' ' -f1)"
  check "$kind-ls-sizes" is "$(cairn ls -r --json "$s3" | jq -s 'map(.size) | add')" "$(other size --json s3:data | field .bytes)"
  check "$kind-ls-buckets" is "$(names s3://)" data/
  check "$kind-ls-nothing" fails_with 'there is nothing at s3://data/none' cairn ls "$s3/none"
  # --- set
  local etag
  etag=$(md5sum <"$T/small" | cut -d' ' -f1)
  check "$kind-set" cairn set --meta shape=round --remove-meta colour --content-type text/csv "$s3/dir/small.txt"
  head_of data/dir/small.txt >"$T/head"
  check "$kind-set-adds" grep -qi '^x-amz-meta-shape: round' "$T/head"
  check "$kind-set-keeps" grep -qi '^x-amz-meta-size: very large' "$T/head"
  check "$kind-set-removes" sh -c "! grep -qi '^x-amz-meta-colour' '$T/head'"
  check "$kind-set-type" grep -qi '^content-type: text/csv' "$T/head"
  check "$kind-set-keeps-bytes" cmp "$T/small" <(other cat s3:data/dir/small.txt)
  check "$kind-set-keeps-etag" is "$(cairn ls --json "$s3/dir/small.txt" | field .etag)" "$etag"
  check "$kind-set-tags" cairn set --tag state=done --tag 'who=a b' "$s3/dir/small.txt"
  check "$kind-set-tag-changes" cairn set --tag state=seen --remove-tag who --tag n=1 "$s3/dir/small.txt"
  check "$kind-tags-are-there" is "$(tags_of data/dir/small.txt)" 'n=1 state=seen'
  check "$kind-set-meta-keeps-tags" cairn set --meta more=x "$s3/dir/small.txt"
  check "$kind-tags-are-still-there" is "$(tags_of data/dir/small.txt)" 'n=1 state=seen'
  check "$kind-put-with-tags" sh -c "head -c 20000000 '$T/large' | '$CAIRN' put --tag a=b - $s3/dir/tagged"
  check "$kind-tags-of-stream" is "$(tags_of data/dir/tagged)" a=b
  check "$kind-set-tags-of-empty" cairn set --tag e=f "$s3/dir/empty"
  check "$kind-bad-tag" fails_with 'more than 128 characters' cairn set --tag "$(printf 'a%.0s' $(seq 200))=b" "$s3/dir/empty"
  check "$kind-set-empty-object" cairn set --meta a=b "$s3/dir/empty"
  check "$kind-tags-of-empty" is "$(tags_of data/dir/empty)" e=f
  check "$kind-set-empty-is-set" grep -qi '^x-amz-meta-a: b' <(head_of data/dir/empty)
  check "$kind-set-more" cairn set --meta Passing=x "$s3/dir/small.txt"
  check "$kind-set-removes-in-any-case" cairn set --remove-meta PASSING "$s3/dir/small.txt"
  check "$kind-passing-is-gone" lists_no '^[Xx]-[Aa]mz-[Mm]eta-[Pp]assing' head_of data/dir/small.txt
  check "$kind-set-keeps-notes" ends_with 2 "metadata 'cairn-*' is what mounts note" \
    cairn set --remove-meta Cairn-Writer "$s3/dir/small.txt"
  check "$kind-class-of-new-objects" ends_with 2 'there is nothing to set' \
    env CAIRN_STORAGE_CLASS=STANDARD_IA "$CAIRN" set "$s3/dir/small.txt"
  check "$kind-tag-copies-nothing" env CAIRN_STORAGE_CLASS=NONE "$CAIRN" set --tag n=2 "$s3/dir/small.txt"
  check "$kind-set-nothing" fails_with 'there is nothing to set' cairn set "$s3/dir/small.txt"
  check "$kind-set-missing" fails_with 'there is no such object' cairn set --meta a=b "$s3/dir/missing"
  # --- status
  check "$kind-status-object" is "$(cairn status --json "$s3/dir/small.txt" | field '"\(.kind) \(.size) \(.content_type) \(.metadata.shape)"')" \
    'object 1000003 text/csv round'
  check "$kind-status-class" is "$(cairn status --json "$s3/dir/small.txt" | field '"\(.storage_class) \(.tags)"')" 'STANDARD 2'
  check "$kind-status-says-class" grep -q 'storage class: STANDARD' <(cairn status "$s3/dir/small.txt")
  check "$kind-ls-says-when-in-utc" is "$(TZ=XYZ-9 cairn ls "$s3/dir/empty" | cut -c18-36)" \
    "$(date -u -d "$(head_of data/dir/empty | sed -n 's/^last-modified: *//Ip' | tr -d '\r')" '+%F %T')"
  check "$kind-status-bucket" is "$(cairn status --json "$s3" | field .kind)" objects
  check "$kind-status-nothing" fails_with 'there is nothing at' cairn status "$s3/nothing/here"

  # --- interrupted: nothing is left
  mkfifo "$T/slow"
  "$CAIRN" put "$T/slow" "$s3/dir/cut" 2>"$T/cut.out" &
  local pid=$!
  pids+=("$pid")
  exec 9<>"$T/slow"  # waits for nobody who reads it
  check "$kind-takes-a-stream" feed
  check "$kind-upload-is-under-way" wait_until 20 upload_begun
  kill -INT "$pid"
  check "$kind-interrupt-ends-it" wait_until 20 gone_or_zombie "$pid" || end_pid "$pid"
  exec 9>&-
  wait "$pid"
  check "$kind-interrupted-fails" test $? = 1
  check "$kind-interrupted-says-so" grep -q interrupted "$T/cut.out"
  check "$kind-no-upload-is-left" is "$(uploads_of data)" 0
  check "$kind-no-object-is-left" prints 404 object_status data/dir/cut
  rm "$T/slow"
  [ "$kind" != minio ] || cut_get "$s3"
  in_mount "$kind" "$s3"
  store_done
}
# A get that is interrupted in the middle leaves no file.
cut_get() {
  local near=$AWS_ENDPOINT_URL pid
  delay_store 1000 || return
  mkdir "$T/cut"
  "$CAIRN" get "$1/dir/large" "$T/cut/" 2>"$T/cut.out" &
  pid=$!
  pids+=("$pid")
  check get-is-under-way wait_until 30 half_there
  kill -INT "$pid"
  check get-interrupt-ends-it wait_until 20 gone_or_zombie "$pid" || end_pid "$pid"
  wait "$pid"
  check get-interrupted-fails test $? = 1
  check get-interrupted-says-so grep -qE 'interrupted|given up' "$T/cut.out"
  check get-nothing-is-left empty_dir "$T/cut"
  # A hang-up, and two signals at once, which leave no time.
  "$CAIRN" get "$1/dir/large" "$T/cut/" 2>"$T/cut.out" &
  pid=$!
  pids+=("$pid")
  check get-hang-up-is-under-way wait_until 30 half_there
  kill -HUP "$pid"
  check get-hang-up-ends-it wait_until 20 gone_or_zombie "$pid" || end_pid "$pid"
  check get-hang-up-nothing-is-left empty_dir "$T/cut"
  "$CAIRN" get "$1/dir/large" "$T/cut/" 2>"$T/cut.out" &
  pid=$!
  pids+=("$pid")
  check get-twice-is-under-way wait_until 30 half_there
  kill -STOP "$pid"
  kill -INT "$pid"
  kill -TERM "$pid"
  kill -CONT "$pid"
  check get-twice-ends-it wait_until 20 gone_or_zombie "$pid" || end_pid "$pid"
  check get-twice-nothing-is-left empty_dir "$T/cut"
  export AWS_ENDPOINT_URL=$near
}
half_there() { [ -n "$(find "$T/cut" -name '.cairn-part-*' -size +1000)" ]; }
upload_begun() { [ "$(uploads_of data)" -ge 1 ]; }
feed() { timeout 60 head -c 40000000 "$T/large" >&9; }
begin_feeding() { timeout 60 head -c 1000000 "$T/small" >&9; }

# The same on a path in a mount, of objects and of a volume.
in_mount() {  # KIND S3
  check "$1-mounts" cairn_mount "$T/$1-cache" "$2" "$mnt" --commit-interval 5m --metadata-ttl 1s
  check "$1-mount-ls" is "$(names "$mnt/dir" | xargs)" 'stored empty stored large stored new stored small.gz stored small.txt stored tagged'
  check "$1-mount-put" cairn put "$T/small" "$mnt/dir/put.csv"
  check "$1-mount-ls-state" sh -c "'$CAIRN' ls --json '$mnt/dir/put.csv' | jq -r .state | grep -E '^(local|queued)$'"
  check "$1-mount-set" cairn set --meta via=mount "$mnt/dir/put.csv"
  check "$1-mount-put-stream" sh -c "cat '$T/small' | '$CAIRN' put - '$mnt/dir/streamed'"
  check "$1-mount-get" cmp "$T/small" <(cairn get "$mnt/dir/put.csv" -)
  check "$1-mount-flush" cairn flush "$mnt"
  check "$1-mount-is-there" cmp "$T/small" <(other cat s3:data/dir/put.csv)
  check "$1-mount-set-is-there" grep -qi '^x-amz-meta-via: mount' <(head_of data/dir/put.csv)
  check "$1-mount-stream-is-there" other_has data/dir/streamed "$T/small"
  check "$1-mount-nothing-else" is "$(names "$2/dir/" | xargs)" 'empty large new put.csv small.gz small.txt streamed tagged'
  # What is not whole yet is nothing in the bucket, under no name.
  mkfifo "$T/slow"
  "$CAIRN" put "$T/slow" "$mnt/dir/slow.csv" 2>"$T/cut.out" &
  local pid=$!
  pids+=("$pid")
  exec 9<>"$T/slow"  # waits for nobody who reads it
  begin_feeding
  check "$1-mount-flushes-meanwhile" cairn flush "$mnt"
  check "$1-mount-puts-no-other-name" lists_no 'part\|slow' other lsf s3:data/dir/
  timeout 60 tail -c +1000001 "$T/small" >&9
  exec 9>&-
  check "$1-mount-slow-stream-ends" wait_until 60 gone_or_zombie "$pid" || end_pid "$pid"
  check "$1-mount-slow-stream" wait "$pid"
  rm "$T/slow"
  check "$1-mount-flushes-again" cairn flush "$mnt"
  check "$1-mount-slow-is-there" cmp "$T/small" <(other cat s3:data/dir/slow.csv)
  check "$1-mount-slow-type" grep -qi '^content-type: text/csv' <(head_of data/dir/slow.csv)
  check "$1-umounts" cairn_umount "$mnt"
  # A volume: its tree without a mount, and nothing is put past it.
  check "$1-format" cairn format "$2/volume/here"
  check "$1-volume-mounts" cairn_mount "$T/$1-cache" "$2/volume/here" "$mnt"
  mkdir -p "$mnt/a/b" && cp "$T/large" "$mnt/a/b/large" && : >"$mnt/a/empty" && truncate -s 1000000 "$mnt/a/hole" &&
    cp --sparse=always "$T/holes" "$mnt/a/holes"
  check "$1-volume-set" cairn set --meta via=mount "$mnt/a/empty"
  check "$1-volume-is-set" prints mount getfattr --absolute-names --only-values -n user.s3.meta.via "$mnt/a/empty"
  raced "$1-volume"
  check "$1-volume-umounts" cairn_umount "$mnt"
  check "$1-volume-ls" is "$(names "$2/volume/here" | xargs)" a/
  check "$1-volume-ls-recursive" is "$(names -r "$2/volume/here/a" | xargs)" 'b/ b/large empty hole holes'
  check "$1-volume-get" cmp "$T/large" <(cairn get "$2/volume/here/a/b/large" -)
  check "$1-volume-get-hole" cmp <(head -c 1000000 /dev/zero) <(cairn get "$2/volume/here/a/hole" -)
  check "$1-volume-gets-holes" is_sparse "$2/volume/here/a/holes"
  check "$1-volume-get-missing" fails_with "there is no 'x'" cairn get "$2/volume/here/x" "$T/out/x"
  check "$1-volume-get-directory" fails_with 'is no file' cairn get "$2/volume/here/a" "$T/out/a"
  check "$1-volume-is-not-written" fails_with 'mount it to write' cairn put "$T/small" "$2/volume/here/a/small"
  check "$1-volume-objects" is "$(names --objects "$2/volume/here" | grep -c cairn.json)" 1
  check "$1-volume-status" is "$(cairn status --json "$2/volume/here" | field '"\(.kind) \(.mode)"')" 'volume closed'
}

# raced NAME: what came meanwhile is not replaced by --if-absent.
raced() {
  local pid
  mkfifo "$T/slow"
  "$CAIRN" put --if-absent "$T/slow" "$mnt/raced" 2>"$T/cut.out" &
  pid=$!
  pids+=("$pid")
  exec 9<>"$T/slow"  # waits for nobody who reads it
  begin_feeding
  echo other >"$mnt/raced"
  exec 9>&-
  check "$1-late-ends" wait_until 60 gone_or_zombie "$pid" || end_pid "$pid"
  wait "$pid"
  check "$1-late-is-refused" test $? = 1
  check "$1-late-says-so" grep -q 'is there already' "$T/cut.out"
  check "$1-first-stays" is "$(cat "$mnt/raced")" other
  check "$1-nothing-else" prints '' find "$mnt" -name '.cairn-part-*'
  rm "$T/slow" "$mnt/raced"
}

# A stream to a directory goes to a temporary file first, which is never seen.
spooled() {
  local pid
  mkdir "$T/spool"
  mkfifo "$T/slow"
  TMPDIR=$T/spool "$CAIRN" put "$T/slow" "$T/store/cut" 2>"$T/cut.out" &
  pid=$!
  pids+=("$pid")
  exec 9<>"$T/slow"  # waits for nobody who reads it
  begin_feeding
  check spool-is-nameless empty_dir "$T/spool"
  kill -INT "$pid"
  check spool-interrupt-ends-it wait_until 20 gone_or_zombie "$pid" || end_pid "$pid"
  exec 9>&-
  wait "$pid"
  check spool-interrupted test $? = 1
  check spool-leaves-nothing empty_dir "$T/spool"
  check spool-stores-nothing test ! -e "$T/store/cut"
  rm "$T/slow"
  if mount -t tmpfs -o size=256k none "$T/spool" 2>/dev/null; then
    check spool-is-full ends_with 1 "a stream goes to $T/spool first" \
      sh -c "cat '$T/small' | TMPDIR='$T/spool' '$CAIRN' put - '$T/store/cut'"
    check spool-full-leaves-nothing empty_dir "$T/spool"
    check spool-full-stores-nothing test ! -e "$T/store/cut"
    umount "$T/spool"
  else
    skip spool-is-full "no tmpfs"
  fi
}

# Calls that are wrong change nothing and end with 2.
calls() {
  local only
  check call-objects-of-a-volume ends_with 2 'leave one out' \
    cairn mount --cache-dir "$T/refused" --create --filter-cache '/**' "file://$T/fresh" "$mnt"
  check call-objects-and-volume ends_with 2 '--create makes a volume, and --objects shows none' \
    cairn mount --cache-dir "$T/refused" --create --objects "file://$T/fresh" "$mnt"
  check call-past-of-all-buckets ends_with 2 '--at shows one bucket as it was' \
    cairn mount --cache-dir "$T/refused" --at=-2h s3:// "$mnt"
  mkdir "$T/fresh"
  for only in --read-only --at=-2h; do
    check "call$only-makes-nothing" fails_with 'what only reads makes no volume there' \
      cairn mount --cache-dir "$T/refused" --create "$only" "file://$T/fresh" "$mnt"
  done
  check nothing-was-formatted test ! -e "$T/fresh/cairn.json"
  check call-no-remote ends_with 2 'is no remote' cairn status http://x
  check call-no-object ends_with 2 'is no object' cairn get s3://
  check call-all-buckets ends_with 2 'name one of them' cairn ls -r s3://
  check call-for-new-objects ends_with 2 '--acl does nothing here' cairn ls --acl private s3://data
  check call-for-urls ends_with 2 '--region does nothing here' cairn status --region x
}

# The objects of a directory, in a mount.
directory_mount() {
  mkdir "$T/plain"
  echo x >"$T/plain/there"
  check dir-mounts cairn_mount "$T/dir-cache" "file://$T/plain" "$mnt" --commit-interval 1s \
    --filter-upload '!/**.part'
  check dir-name-of-the-store fails_with 'Invalid argument' mkdir "$mnt/.tmp"
  mkdir "$mnt/d"
  check dir-name-by-rename fails_with 'Invalid argument' \
    python3 -c 'import os, sys; os.rename(sys.argv[1], sys.argv[2])' "$mnt/d" "$mnt/.tmp"
  check dir-put cairn put "$T/small" "$mnt/after"
  LIMIT=30 check dir-flush cairn flush "$mnt"
  check dir-is-stored cmp "$T/small" "$T/plain/after"
  check dir-no-such-place fails_with 'nodir' cairn put "$T/small" "$mnt/nodir/deep/x"
  check dir-no-store-inside test ! -e "$mnt/nodir"
  check dir-put-into cairn put "$T/small" "$mnt/d"
  check dir-put-into-is-there cmp "$T/small" "$mnt/d/small"
  check dir-put-replaces cairn put "$T/empty" "$mnt/d/small"
  check dir-replaced is "$(stat -c %s "$mnt/d/small")" 0
  check dir-onto-itself fails_with 'is the file that would be copied' cairn put "$mnt/after" "$mnt/after"
  check dir-itself-stays cmp "$T/small" "$mnt/after"
  check dir-closed-input ends_with 1 'standard input is closed' \
    sh -c "timeout 20 '$CAIRN' put - '$mnt/x' <&-"
  raced dir
  check dir-get-has-no-region ends_with 2 '--region does nothing on a path in a mount' \
    cairn get --region x "$mnt/after" -
  check dir-ls-has-no-objects ends_with 2 '--objects does nothing on a path in a mount' cairn ls --objects "$mnt"
  check dir-status-has-no-region ends_with 2 '--region does nothing here' cairn status --region x "$mnt"
  printf held >"$mnt/one.part"
  check dir-flush-says-held ends_with 0 '--filter-upload holds back 4 B in 1 file' cairn flush "$mnt"
  check dir-umount-says-held ends_with 0 '--filter-upload holds back 4 B in 1 file' cairn umount "$mnt"
  check dir-held-is-not-stored test ! -e "$T/plain/one.part"
  rm -rf "$T/plain"
}

# Nobody asks for the same moment again: nothing of it stays.
time_ago() {
  mkdir "$T/ago"
  check ago-mounts cairn_mount "$T/ago-writer" "file://$T/ago" "$mnt" --create
  echo old >"$mnt/file"
  check ago-umounts cairn_umount "$mnt"
  sleep 3
  check ago-shows cairn_mount "$T/ago-cache" "file://$T/ago" "$mnt" --at=-1s
  check ago-is-there is "$(cat "$mnt/file")" old
  check ago-has-a-cache sh -c "! test -z \"\$(ls -A '$T/ago-cache')\""
  check ago-ends cairn_umount "$mnt"
  check ago-leaves-nothing wait_until 20 empty_dir "$T/ago-cache"
  rm -rf "$T/ago"
}

# --- a directory
mkdir "$T/store"
check file-put cairn put "$T/small" "file://$T/store/sub/small"
check file-put-stream sh -c "cat '$T/large' | '$CAIRN' put - '$T/store/large'"
check file-is-there cmp "$T/small" "$T/store/sub/small"
check file-stream-is-there cmp "$T/large" "$T/store/large"
check file-ls is "$(names "file://$T/store" | xargs)" 'large sub/'
check file-ls-recursive is "$(names -r "$T/store" | xargs)" 'large sub/small'
check file-get cmp "$T/small" <(cairn get "$T/store/sub/small" -)
ln -s real "$T/link" && echo old >"$T/real"
check file-get-through-a-link cairn get "$T/store/sub/small" "$T/link"
check file-link-stays prints real readlink "$T/link"
check file-behind-it cmp "$T/small" "$T/real"
check file-get-to-stdout sh -c "'$CAIRN' get '$T/store/sub/small' /dev/stdout >'$T/real' && cmp '$T/small' '$T/real' && test -L /dev/stdout"
check file-set cairn set --meta a=b "$T/store/sub/small"
check file-status is "$(cairn status --json "file://$T/store/sub/small" | field .metadata.a)" b
check file-put-without-a-size cairn put /proc/self/mountinfo "$T/store/mounts"
check file-has-what-it-had test -s "$T/store/mounts"
check file-put-dash cairn put "$T/small" "$T/store/-"
check file-get-dash sh -c "cd '$T/out' && '$CAIRN' get 'file://$T/store/-' && cmp '$T/small' ./- && rm ./-"
mkfifo "$T/nobody"
check get-waits-for-a-reader ends_when_told "$CAIRN" get "$T/store/sub/small" "$T/nobody"
check put-waits-for-a-writer ends_when_told "$CAIRN" put "$T/nobody" "$T/store/nobody"
rm "$T/nobody" "$T/store/-" "$T/store/mounts"
mkdir "$T/store/into"
check file-put-into-a-directory cairn put "$T/small" "file://$T/store/into"
check file-into-is-there cmp "$T/small" "$T/store/into/small"
check file-has-no-class ends_with 2 '--storage-class does nothing on a directory' \
  cairn put --storage-class STANDARD_IA "$T/small" "$T/store/other"
check closed-input ends_with 1 'standard input is closed' sh -c "timeout 20 '$CAIRN' put - '$T/store/x' <&-"
check nothing-of-closed-input test ! -e "$T/store/x"
spooled
rm -rf "$T/store"
calls
directory_mount
time_ago
on_server minio
on_server versitygw
e2e_end
