#!/usr/bin/env bash
# A bucket that everybody may read: with --no-sign-request a volume is mounted and checked without any
# keys, with those of the environment left out; a bucket that is not public is refused.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin anonymous
mnt=$T/mnt
store_ready minio || e2e_end

check format cairn format "$STORE" || e2e_end
check mount cairn_mount "$T/cache" "$STORE" "$mnt" || e2e_end
seeded "$T/file" 3000000 1 && cp "$T/file" "$mnt/file" && mkdir "$mnt/dir" && echo x >"$mnt/dir/x"
check umount cairn_umount "$mnt"

without_keys() { (unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; "$@"); }
with_wrong_keys() { (export AWS_ACCESS_KEY_ID=nobody AWS_SECRET_ACCESS_KEY=secret-of-nobody; "$@"); }
says() {  # PATTERN COMMAND...: fails, and says so
  local pattern=$1 out
  shift
  if out=$("$@" 2>&1 </dev/null); then echo "worked: $out"; return 1; fi
  grep -qiE -e "$pattern" <<<"$out" || { echo "does not say /$pattern/: $out"; return 1; }
}

check private-is-refused says 'anonymous request may not' without_keys \
  cairn mount --cache-dir "$T/private" --no-sign-request --read-only "$STORE" "$mnt"
check policy python3 "$repo/tests/e2e/bucket_policy.py" data s3:GetObject s3:ListBucket || e2e_end
check keys-are-asked-for says 'no-sign-request' without_keys \
  cairn mount --cache-dir "$T/keys" --read-only "$STORE" "$mnt"
mounts+=("$mnt")
check mounts-without-keys without_keys cairn_mount "$T/cold" "$STORE" "$mnt" --no-sign-request --read-only
check reads cmp "$T/file" "$mnt/file"
check lists test "$(ls "$mnt")" = "dir
file"
check umount-follower cairn_umount "$mnt"
check keys-are-left-out with_wrong_keys cairn_mount "$T/cold2" "$STORE" "$mnt" --no-sign-request --read-only
check reads-again cmp "$T/file" "$mnt/file"
check umount-follower-again cairn_umount "$mnt"
check checks-without-keys without_keys cairn check --data --no-sign-request "$STORE"
# Who may only read is told so, not what keys to look for.
check writing-is-refused says 'anonymous request may not' without_keys \
  cairn format --no-sign-request s3://data/another
store_done
e2e_end
