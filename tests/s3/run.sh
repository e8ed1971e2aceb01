#!/usr/bin/env bash
# Runs the ObjectStore conformance suite on real S3 servers: MinIO and versitygw, started here on
# loopback ports. Each with signed hashes, MinIO with CRC32C checksums too, and each on a bucket that
# keeps versions (of which versitygw gives right pages only when they are large). Then each mistake of
# the first minute, which has to be refused with a sentence that says what to do. The suite is
# CAIRN_STORE_SUITE (default: of the preset dev). Last line: "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/s3/servers.sh
trap stop_s3_servers EXIT

suite=${CAIRN_STORE_SUITE:-build/dev/tests/store_suite}
passed=0 failed=0 skipped=0

run_one() {  # NAME COMMAND...
  local name=$1 out
  shift
  if out=$(timeout 600 "$@" 2>&1); then
    passed=$((passed + 1))
    echo "ok $name"
  else
    failed=$((failed + 1))
    printf '%s\n' "$out" | tail -n 40
    echo "FAIL $name: see above"
  fi
}

# The first minute: each mistake is one sentence that says what to do.
expect_refusal() {  # NAME PATTERN ENV... (store suite's environment)
  local name=$1 pattern=$2 out
  shift 2
  if out=$(timeout 60 env "$@" "$suite" 2>&1); then
    failed=$((failed + 1))
    echo "FAIL $name: the suite passed"
  elif grep -qE "$pattern" <<<"$out"; then
    passed=$((passed + 1))
    echo "ok $name"
  else
    failed=$((failed + 1))
    printf '%s\n' "$out" | tail -n 20
    echo "FAIL $name: no sentence like '$pattern'"
  fi
}

if [ ! -x "$suite" ]; then
  echo "FAIL s3: $suite is not built"
  echo "0 passed, 1 failed"
  exit 1
fi

for kind in minio versitygw; do
  unset CAIRN_STORE_VERSIONS
  [ "$kind" = minio ] || export CAIRN_STORE_VERSIONS=one-page
  if ! s3_binary "$kind" >/dev/null; then
    skipped=$((skipped + 1))
    echo "SKIP s3-$kind: no $kind in \$CAIRN_TOOLS_DIR/bin or PATH"
    continue
  fi
  if ! start_s3_server "$kind"; then
    failed=$((failed + 1))
    echo "FAIL s3-$kind: the server does not start"
    continue
  fi
  make_bucket data
  url=s3://data/some/prefix
  run_one "$kind" env CAIRN_STORE_URL="$url" "$suite"
  [ "$kind" != minio ] ||
    run_one "$kind-crc32c" env CAIRN_STORE_URL="$url" CAIRN_STORE_PAYLOAD=crc32c "$suite"

  make_bucket kept
  if keep_versions kept; then
    run_one "$kind-versions" env CAIRN_STORE_URL=s3://kept/some/prefix CAIRN_STORE_VERSIONED=1 \
      "$suite"
  else
    failed=$((failed + 1))
    echo "FAIL $kind-versions: versioning cannot be switched on"
  fi

  expect_refusal "$kind-missing-bucket" "bucket 'nobody' does not exist" \
    CAIRN_STORE_URL=s3://nobody
  expect_refusal "$kind-wrong-secret" "secret key does not belong" \
    CAIRN_STORE_URL="$url" AWS_SECRET_ACCESS_KEY=wrong
  expect_refusal "$kind-unknown-key" "does not know access key" \
    CAIRN_STORE_URL="$url" AWS_ACCESS_KEY_ID=stranger-key
  expect_refusal "$kind-no-credentials" "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" \
    -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY HOME=/nonexistent CAIRN_STORE_URL="$url"
  port=$(s3_free_port)
  expect_refusal "$kind-nobody-listens" "cannot connect to 127.0.0.1:$port" \
    CAIRN_STORE_URL="$url" AWS_ENDPOINT_URL="http://127.0.0.1:$port"
  expect_refusal "$kind-not-tls" "no TLS connection|the connection with" \
    CAIRN_STORE_URL="$url" AWS_ENDPOINT_URL="${AWS_ENDPOINT_URL/http:/https:}"
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
