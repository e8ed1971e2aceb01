# S3 servers for tests: source this, then start_s3_server minio|versitygw, stop_s3_servers.
#
# Each server gets a free loopback port and a fresh data folder below $S3_DIR (made when unset), and
# is ready when start_s3_server returns. It exports AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
# AWS_SECRET_ACCESS_KEY and AWS_REGION for the one started last, and sets S3_PID, S3_DATA and
# S3_LOG. With S3_CERTS (a folder with public.crt and private.key) MinIO speaks TLS. Binaries come from $CAIRN_TOOLS_DIR/bin or PATH. Only what was started here is ended.

S3_PIDS=()

s3_binary() {  # NAME
  local dir=${CAIRN_TOOLS_DIR:-}
  if [ -n "$dir" ] && [ -x "$dir/bin/$1" ]; then echo "$dir/bin/$1"; else command -v "$1"; fi
}

s3_free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

s3_wait_ready() {  # PORT PID
  local i
  for i in $(seq 1 300); do
    # Any HTTP answer will do: unsigned requests are refused with 403.
    curl -sk -o /dev/null --noproxy '*' --max-time 2 "http${S3_CERTS:+s}://127.0.0.1:$1/" && return 0
    kill -0 "$2" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

start_s3_server() {  # KIND
  local kind=$1 binary port try
  binary=$(s3_binary "$kind") || { echo "start_s3_server: no $kind in \$CAIRN_TOOLS_DIR/bin or PATH" >&2; return 1; }
  S3_DIR=${S3_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/cairn-s3-XXXXXX")}
  # No proxy, no credentials and no CA of ours: the servers would use them for themselves.
  export no_proxy=127.0.0.1,localhost NO_PROXY=127.0.0.1,localhost
  unset AWS_CA_BUNDLE AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL_S3
  export AWS_ACCESS_KEY_ID=cairn-test AWS_SECRET_ACCESS_KEY=cairn-test-secret AWS_REGION=us-east-1
  for try in 1 2 3; do  # the port may be taken between looking and binding
    port=$(s3_free_port)
    S3_DATA=$(mktemp -d "$S3_DIR/$kind-XXXXXX")
    mkdir -p "$S3_DATA.versions"
    S3_LOG=$S3_DATA.log
    case $kind in
      minio)
        MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY \
          MINIO_BROWSER=off MINIO_UPDATE=off "$binary" server "$S3_DATA" \
          ${S3_CERTS:+--certs-dir "$S3_CERTS"} --address "127.0.0.1:$port" >"$S3_LOG" 2>&1 </dev/null & ;;
      versitygw)
        "$binary" --access "$AWS_ACCESS_KEY_ID" --secret "$AWS_SECRET_ACCESS_KEY" \
          --port "127.0.0.1:$port" posix --versioning-dir "$S3_DATA.versions" "$S3_DATA" >"$S3_LOG" 2>&1 </dev/null & ;;
      *) echo "start_s3_server: minio or versitygw, not '$kind'" >&2; return 2 ;;
    esac
    S3_PID=$!
    S3_PIDS+=("$S3_PID")
    if s3_wait_ready "$port" "$S3_PID"; then
      export AWS_ENDPOINT_URL=http${S3_CERTS:+s}://127.0.0.1:$port
      return 0
    fi
  done
  echo "start_s3_server: $kind did not start:" >&2
  tail -n 5 "$S3_LOG" >&2
  return 1
}

# A bucket is a folder in both servers' data: no client is needed to make one.
make_bucket() {  # NAME
  mkdir -p "$S3_DATA/$1"
}

# From now on the bucket keeps what is overwritten and removed.
keep_versions() {  # NAME
  python3 "$(dirname "${BASH_SOURCE[0]}")/put_setting.py" "$1" versioning <<'XML'
<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>
XML
}

stop_s3_servers() {
  local pid
  for pid in ${S3_PIDS[@]+"${S3_PIDS[@]}"}; do kill "$pid" 2>/dev/null || true; done
  for pid in ${S3_PIDS[@]+"${S3_PIDS[@]}"}; do wait "$pid" 2>/dev/null || true; done
  S3_PIDS=()
  [ -z "${S3_DIR:-}" ] || rm -rf "$S3_DIR"
  unset S3_DIR
}
