# shellcheck shell=bash
# Empty stores for the end-to-end scripts: source it after lib.sh.
#
#   store_ready file|minio|versitygw   sets STORE; a server is started and its AWS_ variables set.
#                                      False, with a skip or a failure counted, when there is none.
#   delay_store MS                     from here on the server is MS of round trip away
#   store_done                         stops the server and frees what the store holds
. "$repo/tests/s3/servers.sh"

store_ready() {
  local kind=$1
  case $kind in
    file)
      STORE=file://$T/store-file ;;
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

delay_store() {
  local url
  "$(dirname "$CAIRN")/tests/delay_proxy" "$AWS_ENDPOINT_URL" "$1" >"$T/delay_proxy" \
    2>/dev/null </dev/null &
  pids+=("$!")
  wait_until 10 test -s "$T/delay_proxy" || return 1
  read -r url <"$T/delay_proxy"
  export AWS_ENDPOINT_URL=$url
}

store_done() {
  stop_s3_servers
  rm -rf "$T/store-file"
}
