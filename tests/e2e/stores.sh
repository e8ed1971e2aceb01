# shellcheck shell=bash
# Empty stores for the end-to-end scripts, and other clients of them: source it after lib.sh.
#
#   store_ready KIND     file, minio, versitygw, or far: MinIO with 20 ms of added round trip. Sets STORE;
#                        a server is started and its AWS_ variables set. False, with a skip or a failure
#                        counted, when there is none.
#   store_done           stops the server and frees what the store holds
#   on_stores RUN [KIND...]   does RUN KIND on each: those of CAIRN_E2E_STORES, else those named, else file,
#                        in the full profile far too. RUN may leave its mounts; it finds no cache of
#                        another store when it names them after KIND. Tests are named KIND-TEST, on file TEST.
#
# At the server started last, with the keys of the environment:
#   other ARGS...        rclone; the remote is "s3:"
#   other_has KEY FILE   whether rclone reads just these bytes there (BUCKET/KEY)
#   nothing_in BUCKET    whether rclone lists nothing there, and the bucket
#   signed ARGS...       curl, which fails when the server refuses
#   object_status KEY    the status of its answer to a HEAD of BUCKET/KEY
#   uploads_of BUCKET    how many uploads in parts are under way
#   boto COMMAND ARG...  bucket_object.py, on bucket $BUCKET; have_boto: it is here
. "$repo/tests/s3/servers.sh"

store_ready() {
  local kind=$1
  case $kind in
    file)
      STORE=file://$T/store-file ;;
    far)
      store_ready minio && delay_store 20 ;;
    *)
      if ! s3_binary "$kind" >/dev/null; then
        skip "$kind" "no $kind in \$CAIRN_TOOLS_DIR/bin or PATH"
        return 1
      fi
      S3_DIR=$T/s3
      mkdir -p "$S3_DIR"
      if ! start_s3_server "$kind"; then
        fail "$kind" "the server does not start"
        return 1
      fi
      make_bucket data
      STORE=s3://data/some/prefix ;;
  esac
}

# delay_store MS: from here on the server is MS of round trip away.
delay_store() {
  local url
  rm -f "$T/delay_proxy"
  "$(dirname "$CAIRN")/tests/delay_proxy" "$AWS_ENDPOINT_URL" "$1" >"$T/delay_proxy" \
    2>/dev/null </dev/null &
  pids+=("$!")
  wait_until 10 test -s "$T/delay_proxy" || { fail far "no proxy to delay the store"; return 1; }
  read -r url <"$T/delay_proxy"
  export AWS_ENDPOINT_URL=$url
}

store_done() {
  stop_s3_servers
  rm -rf "$T"/store-file*
}

on_stores() {
  local run=$1 kind before=${#mounts[@]}
  shift
  if [ $# = 0 ]; then
    set -- file
    [ "$profile" = quick ] || set -- file far
  fi
  # shellcheck disable=SC2086  # words
  [ -z "${CAIRN_E2E_STORES:-}" ] || set -- $CAIRN_E2E_STORES
  for kind; do
    say "--- $kind"
    [ "$kind" = file ] || prefix=$kind-
    if store_ready "$kind"; then "$run" "$kind"; fi
    end_mounts "$before"
    store_done
    prefix=
  done
}

other() {
  # Asked to make a bucket that is there versitygw says what rclone tries again and again.
  local no_check_bucket=true
  [ "$1" != mkdir ] || no_check_bucket=false
  RCLONE_CONFIG_S3_NO_CHECK_BUCKET=$no_check_bucket RCLONE_CONFIG_S3_TYPE=s3 \
    RCLONE_CONFIG_S3_PROVIDER=Other RCLONE_CONFIG_S3_ENV_AUTH=true \
    RCLONE_CONFIG_S3_ENDPOINT=$AWS_ENDPOINT_URL RCLONE_CONFIG_S3_REGION=us-east-1 \
    timeout -k 10 "${LIMIT:-300}" rclone --config "$T/rclone.conf" --no-check-certificate \
    --contimeout 10s --timeout 60s -q "$@"
}
other_has() {
  # Of what is not there rclone reads nothing and is content: it has to be listed, too.
  prints "${1##*/}" other lsf --files-only "s3:$1" && other cat "s3:$1" | cmp - "$2"
}
nothing_in() { prints '' other lsf -R "s3:$1"; }
signed() {
  curl -sS --fail --path-as-is --noproxy '*' --max-time 60 --aws-sigv4 aws:amz:us-east-1:s3 \
    -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" "$@"
}
object_status() { signed -I -o /dev/null -w '%{http_code}' "$AWS_ENDPOINT_URL/$1" 2>/dev/null || true; }
uploads_of() {
  local answer
  answer=$(signed "$AWS_ENDPOINT_URL/$1?uploads=") || return
  case $answer in *'<ListMultipartUploadsResult'*) ;; *) echo "$answer" >&2; return 1 ;; esac
  { grep -o '<UploadId>' || true; } <<<"$answer" | wc -l
}
boto_python() { [ -x "$CAIRN_TOOLS_DIR/boto3/bin/python" ] && echo "$CAIRN_TOOLS_DIR/boto3/bin/python" || echo python3; }
have_boto() { "$(boto_python)" -c 'import boto3' 2>/dev/null; }
boto() { timeout -k 10 60 "$(boto_python)" -B "$repo/tests/e2e/bucket_object.py" "$@"; }
