# shellcheck shell=bash
# Empty stores for the end-to-end scripts: source it after lib.sh.
#
#   store_ready KIND     file, minio, versitygw, or far: MinIO with 20 ms of added round trip. Sets STORE;
#                        a server is started and its AWS_ variables set. False, with a skip or a failure
#                        counted, when there is none.
#   store_done           stops the server and frees what the store holds
#   on_stores RUN [KIND...]   does RUN KIND on each: those of CAIRN_E2E_STORES, else those named, else file,
#                        in the full profile far too. RUN may leave its mounts; it finds no cache of
#                        another store when it names them after KIND. Tests are named KIND-TEST, on file TEST.
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
