#!/usr/bin/env bash
# All buckets of an account as one mount: each is a directory that other tools made and fill; what is
# written goes to its bucket, nothing is added to the root, nothing is renamed from one to another.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin all_buckets
mnt=$T/mnt
mkdir "$mnt"

view() {  # CACHE [OPTION...]
  local cache=$1
  shift
  cairn_mount "$T/$cache" s3:// "$mnt" --metadata-ttl 1s --commit-interval 5m "$@"
}
shows() { [ "$(cd "$mnt" && echo *)" = "$1" ]; }
begin_upload() { signed -X POST "$AWS_ENDPOINT_URL/$1?uploads=" | grep '<UploadId>'; }
rename_gives() {  # ERRNO FROM TO
  python3 -c 'import errno, os, sys
try:
    os.rename(sys.argv[2], sys.argv[3])
except OSError as error:
    sys.exit(0 if errno.errorcode[error.errno] == sys.argv[1] else errno.errorcode[error.errno])
sys.exit("it was renamed")' "$@"
}

on_server() {  # NAME
  local kind=$1 name
  store_ready "$kind" || return
  for name in one one-more two; do check "$kind-other-makes-$name" other mkdir "s3:$name"; done
  mkdir -p "$T/tree/deep"
  seeded "$T/tree/big.bin" 9000001 1
  echo hello >"$T/tree/deep/ä ö.txt"
  check "$kind-other-fills" other copy "$T/tree" s3:one/some/prefix

  check "$kind-mounts" view "$kind-1" || { store_done; return; }
  check "$kind-shows-all" shows 'data one one-more two'
  check "$kind-source" test "$(findmnt -n -o SOURCE,FSTYPE "$mnt" | tr -s ' ')" = 's3:// fuse.cairn'
  check "$kind-status" test "$(status "$mnt" '.view + " " + .remote + " " + .mode')" = 'objects s3:// read-write'
  check "$kind-same-tree" diff -r "$T/tree" "$mnt/one/some/prefix"
  check "$kind-key" test "$(getfattr --only-values -n user.s3.key "$mnt/one/some/prefix/big.bin" 2>/dev/null)" = \
    one/some/prefix/big.bin
  for name in "mkdir new" "touch file" "ln -s one link" "rmdir two"; do
    # shellcheck disable=SC2086  # words
    check "$kind-no-${name%% *}-at-the-root" fails_with 'Operation not permitted' sh -c "cd '$mnt' && $name"
  done
  check "$kind-no-bucket-is-renamed" rename_gives EPERM "$mnt/two" "$mnt/three"
  check "$kind-no-file-goes-to-the-root" rename_gives EPERM "$mnt/one/some" "$mnt/some"
  check "$kind-nothing-is-renamed-across" rename_gives EXDEV "$mnt/one/some" "$mnt/two/some"
  check "$kind-root-is-as-before" shows 'data one one-more two'

  # Written in two of them, moved across.
  mkdir "$mnt/two/new" && cp -r "$T/tree" "$mnt/two/new/" && echo 1 >"$mnt/one-more/1.txt"
  check "$kind-mv-across" mv "$mnt/one/some/prefix/deep" "$mnt/one-more/"
  check "$kind-mv-inside" mv "$mnt/one/some/prefix/big.bin" "$mnt/one/bigger.bin"
  check "$kind-two-not-yet-sent" nothing_in two
  check "$kind-one-more-not-yet-sent" nothing_in one-more
  check "$kind-flush" cairn flush "$mnt"
  check "$kind-two-is-right" other check --download "$T/tree" s3:two/new/tree
  check "$kind-one-more-is-right" other check --download "$T/tree/deep" s3:one-more/deep
  check "$kind-one-is-right" prints bigger.bin other lsf -R --files-only s3:one
  check "$kind-data-is-empty" nothing_in data
  check "$kind-bigger-is-the-same" other_has one/bigger.bin "$T/tree/big.bin"

  # A bucket that somebody makes, and one that somebody removes.
  check "$kind-other-makes-more" other mkdir s3:later
  check "$kind-later-is-seen" wait_until 10 test -d "$mnt/later"
  check "$kind-later-is-written" sh -c "echo late >'$mnt/later/late.txt'"
  check "$kind-other-removes" other rmdir s3:data
  check "$kind-removed-is-gone" wait_until 10 shows 'later one one-more two'

  # The daemon dies with what it has not sent, in several buckets.
  seeded "$T/tree/last" 5000000 3
  cp "$T/tree/last" "$mnt/one/last" && cp "$T/tree/last" "$mnt/two/new/last" && rm "$mnt/one/bigger.bin"
  check "$kind-killed" kill_daemon "$mnt"
  check "$kind-mounts-again" view "$kind-1"
  check "$kind-last-is-there" cmp "$T/tree/last" "$mnt/one/last"
  check "$kind-last-is-there-twice" cmp "$T/tree/last" "$mnt/two/new/last"
  check "$kind-umounts" cairn_umount "$mnt"
  check "$kind-last-is-in-one" other_has one/last "$T/tree/last"
  check "$kind-last-is-in-two" other_has two/new/last "$T/tree/last"
  check "$kind-late-is-in-later" prints late other cat s3:later/late.txt
  check "$kind-nothing-else" prints last other lsf -R --files-only s3:one
  rm "$T/tree/last"

  # Uploads that somebody left: only of buckets that are written to.
  for name in two later; do
    check "$kind-upload-$name" begin_upload "$name/never"
    check "$kind-upload-$name-is-there" prints 1 uploads_of "$name"
  done
  sleep 4  # servers count whole seconds
  check "$kind-mounts-elsewhere" view "$kind-2" --stale-uploads 2s
  check "$kind-elsewhere-one" cmp "$mnt/one/last" "$mnt/two/new/last"
  echo 2 >"$mnt/two/2.txt"
  check "$kind-flush-elsewhere" cairn flush "$mnt"
  check "$kind-upload-is-aborted" wait_until 10 grep -q 'nobody finished were aborted: 1' "$(find "$T/$kind-2" -name log)"
  check "$kind-upload-is-gone" prints 0 uploads_of two
  check "$kind-other-upload-stays" prints 1 uploads_of later
  check "$kind-umounts-elsewhere" cairn_umount "$mnt"

  check "$kind-mounts-read-only" view "$kind-3" --read-only
  check "$kind-is-read-only" fails_with 'Read-only file system' touch "$mnt/one/x"
  check "$kind-umounts-read-only" cairn_umount "$mnt"
  # As mount(8) calls it for a line in fstab.
  ln -sf "$CAIRN" "$T/mount.cairn"
  mkdir -p "$T/helper"
  mounts+=("$mnt")
  check "$kind-mounts-as-by-fstab" "$T/mount.cairn" s3:// "$mnt" -o "rw,_netdev,cache-dir=$T/helper,cache-reserve=64M"
  check "$kind-fstab-shows" cmp "$mnt/one/last" "$mnt/two/new/last"
  check "$kind-umounts-fstab" cairn_umount "$mnt"
  [ "$kind" != minio ] || few_rights
  store_done
  # Without the store: what was listed is shown.
  check "$kind-mounts-offline" view "$kind-2"
  check "$kind-offline-shows" shows 'later one one-more two'
  check "$kind-offline-reads" test "$(cat "$mnt/two/2.txt")" = 2
  check "$kind-umounts-offline" cairn_umount "$mnt"
  rm -rf "$T/tree"
}

# Keys that may list all buckets, and look into one of them; then such that may not list them.
few_view() (
  temporary_keys '[{"Effect":"Allow","Action":["s3:ListAllMyBuckets"],"Resource":["arn:aws:s3:::*"]},
    {"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::one","arn:aws:s3:::one/*"]}]' || return
  note_secrets
  view few
)
few_rights() {
  mounts+=("$mnt")
  check few-mounts few_view || return
  check few-shows-all shows 'later one one-more two'
  check few-reads-last test "$(wc -c <"$mnt/one/last")" = 5000000
  check few-is-refused fails_with 'Permission denied' ls "$mnt/two"
  check few-writes-one sh -c "echo few >'$mnt/one/few.txt'"
  check few-umounts cairn_umount "$mnt"
  check few-is-in-one prints few other cat s3:one/few.txt
}
# Keys of the store's STS with this policy, in the environment.
temporary_keys() {
  local answer
  answer=$(curl -sS --noproxy '*' --max-time 60 --aws-sigv4 aws:amz:us-east-1:sts \
    --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" "$AWS_ENDPOINT_URL/" \
    -d 'Action=AssumeRole&Version=2011-06-15&DurationSeconds=900&RoleSessionName=t&RoleArn=arn:aws:iam::123456789012:role/any' \
    --data-urlencode "Policy={\"Version\":\"2012-10-17\",\"Statement\":$1}")
  field() { printf '%s' "$answer" | sed -n "s:.*<$1>\(.*\)</$1>.*:\1:p"; }
  AWS_ACCESS_KEY_ID=$(field AccessKeyId) AWS_SECRET_ACCESS_KEY=$(field SecretAccessKey)
  AWS_SESSION_TOKEN=$(field SessionToken)
  export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
  [ -n "$AWS_SESSION_TOKEN" ] || { echo "no keys: ${answer:0:300}" >&2; return 1; }
}
check no-volume-of-all fails_with '--create makes a volume in a bucket' \
  cairn mount --create --cache-dir "$T/none" s3:// "$mnt"
check no-format-of-all fails_with "name one of them" cairn format s3://
on_server minio
on_server versitygw
e2e_end
