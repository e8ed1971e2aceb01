#!/usr/bin/env bash
# What goes wrong in the first minute is refused with one sentence that says what to do, and touches
# nothing.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin firstminute
mnt=$T/mnt
mkdir "$mnt"

# refuses NAME STATUS PATTERN COMMAND...: exit status, one short message, and what it has to say.
refuses() {
  local name=$1 want=$2 pattern=$3 out rc=0
  shift 3
  out=$("$@" 2>&1 </dev/null) || rc=$?
  if [ "$rc" != "$want" ]; then
    fail "$name" "exit status $rc, not $want: $out"
  elif ! printf '%s' "$out" | grep -qiE -e "$pattern"; then
    fail "$name" "does not say /$pattern/: $out"
  elif [ "$(printf '%s\n' "$out" | wc -l)" -gt 4 ]; then
    fail "$name" "more than a few lines: $out"
  elif is_mounted "$mnt"; then
    fail "$name" "is mounted all the same"
  else
    pass "$name"
    say "$(printf '%s' "$out" | tail -n 1)"
  fi
}

try() { cairn mount --cache-dir "$T/cache" "$@"; }
# with_answers KIND COMMAND...: with a server that gives this answer to everything.
with_answers() {
  local kind=$1 server rc=0
  shift
  python3 "$repo/tests/e2e/answers.py" "$kind" >"$T/port" 2>/dev/null </dev/null &
  server=$!
  pids+=("$server")
  wait_until 20 test -s "$T/port"
  AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=secret-of-example AWS_REGION=us-east-1 \
    AWS_ENDPOINT_URL=http://127.0.0.1:$(cat "$T/port") "$@" || rc=$?
  kill "$server"
  rm -f "$T/port"
  return $rc
}
without_keys() { (unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE; try "$@"); }
wrong_secret() { (export AWS_SECRET_ACCESS_KEY=this-is-not-the-secret; try "$@"); }
listing() { (cd "$1" && find . -printf '%p %s %T@\n' | sort); }

# --- the mount point
mkdir "$T/store"
check format cairn format "file://$T/store/volume" || e2e_end
volume=file://$T/store/volume
refuses mountpoint-missing 1 'nothere' try "$volume" "$T/nothere"
check mountpoint-was-not-made test ! -e "$T/nothere"
mkdir "$T/full" && echo x >"$T/full/file"
refuses mountpoint-not-empty 1 'empty' try "$volume" "$T/full"
echo x >"$T/file"
refuses mountpoint-is-a-file 1 'director' try "$volume" "$T/file"

# --- as the helper of mount(8): its exit status, and nothing said when all is well
ln -s "$CAIRN" "$T/mount.cairn"
as_helper() { timeout 60 "$T/mount.cairn" "$@" -o "cache-dir=$T/cache"; }
refuses helper-without-volume 32 'cairn format' as_helper "file://$T/none" "$mnt"
refuses helper-usage 1 'usage' as_helper "$volume"
mounts+=("$mnt")
check helper-is-silent test -z "$(as_helper "$volume" "$mnt" 2>&1)"
check helper-mounts cairn_umount "$mnt"
check helper-is-verbose grep -q "is mounted at" <<<"$(as_helper "$volume" "$mnt" -v 2>&1)"
check helper-mounts-verbose cairn_umount "$mnt"

# --- a directory as the store
mkdir "$T/other" && echo mine >"$T/other/thing" && mkdir "$T/other/sub" && echo x >"$T/other/sub/y"
before=$(listing "$T/other")
refuses format-on-other-things 1 'empty|other' cairn format "file://$T/other"
# They are shown as they are; nothing is formatted.
check mount-of-other-things cairn_mount "$T/cache" "file://$T/other" "$mnt"
check other-things-are-shown diff -r "$T/other" "$mnt"
check other-things-are-not-changed-unasked test "$before" = "$(listing "$T/other")"
check other-things-umount cairn_umount "$mnt"
refuses create-on-other-things 1 'empty|other' try --create "file://$T/other" "$mnt"
check other-things-untouched test "$before" = "$(listing "$T/other")"
before=$(listing "$T/store")
refuses format-twice 1 'volume|exist' cairn format "$volume"
check first-volume-untouched test "$before" = "$(listing "$T/store")"
check missing-directory-is-made cairn format "file://$T/made/for/me"
refuses mount-without-volume 1 'cairn format|--create|no .*director' try "file://$T/none" "$mnt"
check mount-makes-nothing test ! -e "$T/none"

# --- the cache
check holder-mounts cairn_mount "$T/cache" "$volume" "$T/mnt2" || e2e_end
refuses cache-in-use 1 'in use|used by|lock' try "$volume" "$mnt"
refuses mountpoint-in-use 1 'mounted|in use|empty' cairn mount --cache-dir "$T/cache3" "$volume" "$T/mnt2"
check holder-still-works sh -c "echo x >'$T/mnt2/x' && cat '$T/mnt2/x'"
check holder-umounts cairn_umount "$T/mnt2"
refuses umount-of-nothing 1 'mount' cairn umount "$mnt"
refuses status-of-nothing 1 'mount' cairn status "$mnt"

# --- the command line
refuses unknown-option 2 'no-such' cairn mount --no-such-option "$volume" "$mnt"
refuses unknown-command 2 '' cairn fromat "$volume"
refuses missing-argument 2 '' cairn mount "$volume"
refuses wrong-size 2 'cache-size' cairn mount --cache-size nonsense "$volume" "$mnt"
refuses no-patience 2 '--io-timeout is at least 1s' try --io-timeout 0 "$volume" "$mnt"
refuses little-patience 2 '--io-timeout is at least 1s' try --io-timeout 999ms "$volume" "$mnt"
refuses strictatime 2 'strictatime.*access time' try -o noatime,strictatime "$volume" "$mnt"
refuses wrong-scheme 2 'gopher|remote|s3://' cairn mount gopher://x "$mnt"

refuses no-bucket 2 'name one of them' cairn format s3://
refuses bad-bucket 2 'bucket' try 's3://a bucket!/x' "$mnt"
refuses bad-prefix 2 'component' try s3://bucket/a/../b "$mnt"
refuses bad-endpoint 1 'endpoint' try --endpoint-url nowhere s3://bucket "$mnt"
refuses bad-region 1 'region' try --region 'no region' s3://bucket "$mnt"
refuses two-styles 1 'exclude' try --force-path-style --addressing-style virtual s3://bucket "$mnt"
refuses dual-stack-elsewhere 1 'dual-stack' try --dual-stack --endpoint-url http://127.0.0.1:9 s3://bucket "$mnt"

# --- a volume of another time
cp -r "$T/store/volume" "$T/store/future"
sed -i 's/"format": *[0-9]*/"format": 4711/' "$T/store/future/cairn.json"
refuses future-format 1 '4711|newer' try "file://$T/store/future" "$mnt"
cp -r "$T/store/volume" "$T/store/torn"
head -c 20 "$T/store/volume/cairn.json" >"$T/store/torn/cairn.json"
refuses torn-cairn-json 1 'cairn.json' try "file://$T/store/torn" "$mnt"

# --- the AWS CLI's files
mkdir -p "$HOME/.aws"
refuses missing-profile 1 "profile 'nope'" try --profile nope s3://bucket "$mnt"
printf '[default\naws_access_key_id = x\n' >"$HOME/.aws/credentials"
refuses broken-credentials-file 1 'credentials line 1' try s3://bucket "$mnt"
printf '[default]\naws_access_key_id = x\n' >"$HOME/.aws/credentials"
refuses half-a-key 1 'aws_secret_access_key' try s3://bucket "$mnt"
printf '[default]\ncredential_process = false\n' >"$HOME/.aws/credentials"
refuses failing-process 1 'credential_process.*status 1' try s3://bucket "$mnt"
rm -r "$HOME/.aws"

# --- answers that no good store gives
refuses clock-skew 1 'clock is (119|120) minutes behind' with_answers skew try s3://bucket "$mnt"
refuses no-permission 1 'may not .*policy' with_answers denied try s3://bucket "$mnt"
refuses other-region 1 'redirects to .*--region' with_answers region try s3://bucket "$mnt"
refuses no-s3-store 1 'endpoint-url' with_answers html try s3://bucket "$mnt"
check log-files-hold-no-key sh -c "! grep -rs AKIAIOSFODNN7EXAMPLE '$T/cache' '$T'/*.log"

# --- a server
if store_ready minio; then
  refuses missing-bucket 1 'bucket' try "s3://no-such-bucket-here" "$mnt"
  refuses format-missing-bucket 1 'bucket' cairn format "s3://no-such-bucket-here/p"
  refuses wrong-endpoint 1 'connect|reach|refused|endpoint' \
    cairn mount --cache-dir "$T/cache" --endpoint-url http://127.0.0.1:9 "$STORE" "$mnt"
  refuses no-credentials 1 'credential' without_keys "$STORE" "$mnt"
  refuses wrong-secret 1 'secret|signature|denied|credential' wrong_secret "$STORE" "$mnt"
  store_done
fi
if store_ready versitygw; then
  # Its buckets are folders, so things of others need no client.
  mkdir -p "$S3_DATA/data/other/sub" && cp "$T/file" "$S3_DATA/data/other/sub/thing.txt"
  check bucket-holds-other-things cairn_mount "$T/cache" s3://data/other "$mnt"
  check bucket-things-are-shown cmp "$T/file" "$mnt/sub/thing.txt"
  check bucket-things-umount cairn_umount "$mnt"
  refuses format-bucket-other-things 1 'empty|other' cairn format s3://data/other
  refuses create-bucket-other-things 1 'empty|other' try --create s3://data/other "$mnt"
  check bucket-untouched test "$(cd "$S3_DATA/data" && find . -type f)" = ./other/sub/thing.txt
  store_done
fi

# --- a store whose conditional creates replace what is there
mkdir -p "$T/s3/data"
faulty_s3 --folder "$T/s3" || { fail store "tests/support/faulty_s3.py does not start"; e2e_end; }
faults '{"fault": "overwrites", "method": "PUT"}'
refuses broken-creates 1 'conditional creates .*on BaseHTTP/.*--unsafe-single-writer' \
  cairn format s3://data/broken
refuses broken-creates-at-mount 1 'unsafe-single-writer' try --create s3://data/broken "$mnt"
check broken-store-is-untouched test -z "$(find "$T/s3/data" -type f)"
check accepted-unsafe cairn format --unsafe-single-writer s3://data/broken
said() { jq -r .conditional_creates.result "$T/s3/data/broken/cairn.json"; }
say "cairn.json: $(said)"
check cairn-json-says-so grep -q BaseHTTP <(said)
check unsafe-mounts cairn_mount "$T/cache4" s3://data/broken "$mnt"
check unsafe-writes cp "$T/file" "$mnt/file"
check unsafe-umounts cairn_umount "$mnt"
check unsafe-mounts-again cairn_mount "$T/cache5" s3://data/broken "$mnt"
check unsafe-has-it cmp "$T/file" "$mnt/file"
check unsafe-umounts-again cairn_umount "$mnt"
e2e_end
