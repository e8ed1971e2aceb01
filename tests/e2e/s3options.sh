#!/usr/bin/env bash
# What is said with every request, and by which way it goes, on a real store over TLS: the CA bundle,
# proxies, encryption with each kind of key, storage class, how the bucket is addressed.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin s3options
mnt=$T/mnt

# --- a server with a certificate that only --ca-bundle makes good, and a KMS
mkdir -p "$T/certs"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout "$T/certs/private.key" \
  -out "$T/certs/public.crt" -subj "/CN=cairn test" \
  -addext "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:data.localhost" 2>/dev/null
export S3_CERTS=$T/certs MINIO_DOMAIN=localhost
MINIO_KMS_SECRET_KEY=cairn-key:$(head -c 32 /dev/zero | base64)
export MINIO_KMS_SECRET_KEY
store_ready minio || e2e_end
ca=$T/certs/public.crt
head -c 32 /dev/urandom >"$T/key"
base64 -w0 "$T/key" >"$T/key64"
head -c 32 /dev/urandom >"$T/otherkey"

says() {  # PATTERN COMMAND...: fails, and says so
  local pattern=$1 out
  shift
  if out=$("$@" 2>&1 </dev/null); then echo "worked: $out"; return 1; fi
  printf '%s' "$out" | grep -qiE -e "$pattern" || { echo "does not say /$pattern/: $out"; return 1; }
}
# header_of KEY NAME: what the store says about an object.
header_of() {
  curl -sS --noproxy '*' --max-time 20 --cacert "$ca" --aws-sigv4 aws:amz:us-east-1:s3 \
    --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" --head "$AWS_ENDPOINT_URL/data/$1" |
    tr -d '\r' | sed -n "s/^$2: *//Ip"
}
# round NAME OPTION...: a volume of its own, made, written, checked and read with these options.
round() {
  local name=$1 remote=s3://data/$1
  shift
  cairn format --ca-bundle "$ca" "$@" "$remote" &&
    cairn_mount "$T/cache-$name" "$remote" "$mnt" --ca-bundle "$ca" "$@" &&
    seq 5000 >"$mnt/numbers" && cairn_umount "$mnt" &&
    cairn check --data --ca-bundle "$ca" "$@" "$remote" &&
    cairn_mount "$T/cold-$name" "$remote" "$mnt" --ca-bundle "$ca" "$@" &&
    seq 5000 | cmp - "$mnt/numbers" && cairn_umount "$mnt"
}

check unknown-authority-is-refused says 'certificate.*--ca-bundle' cairn format s3://data/none
check missing-ca-bundle-is-refused says 'ca bundle' cairn format --ca-bundle "$T/none" s3://data/none
check ca-bundle round ca
ca_from_environment() { AWS_CA_BUNDLE=$ca cairn check s3://data/ca; }
check ca-bundle-from-the-environment ca_from_environment

check sse round sse --sse AES256
check sse-is-on test "$(header_of sse/cairn.json x-amz-server-side-encryption)" = AES256
check kms round kms --sse aws:kms --sse-kms-key-id cairn-key
check kms-is-on test "$(header_of kms/cairn.json x-amz-server-side-encryption)" = aws:kms
kms_key() { header_of kms/cairn.json x-amz-server-side-encryption-aws-kms-key-id | grep -q 'cairn-key$'; }
check kms-key-is-named kms_key
check customer-key round customer --sse-c-key-file "$T/key"
check customer-key-as-base64 cairn check --ca-bundle "$ca" --sse-c-key-file "$T/key64" s3://data/customer
check without-the-key says '.' cairn check --ca-bundle "$ca" s3://data/customer
check with-another-key says '.' cairn check --ca-bundle "$ca" --sse-c-key-file "$T/otherkey" s3://data/customer
check customer-key-needs-tls says 'https://' \
  cairn check --endpoint-url http://127.0.0.1:9 --sse-c-key-file "$T/key" s3://data/customer
echo nothing >"$T/nokey"
check key-that-is-none says '32 bytes' cairn check --sse-c-key-file "$T/nokey" s3://data/customer
check storage-class round class --storage-class REDUCED_REDUNDANCY
check storage-class-is-on test "$(header_of class/cairn.json x-amz-storage-class)" = REDUCED_REDUNDANCY
check archive-is-refused says 'GLACIER_IR' cairn format --ca-bundle "$ca" --storage-class DEEP_ARCHIVE s3://data/x
check wrong-sse-is-refused says '--sse' cairn format --sse rot13 s3://data/x
check acl round acl --acl bucket-owner-full-control
check wrong-acl-is-refused says '--acl' cairn format --acl everybody s3://data/x
check requester-pays round pays --requester-pays --expected-bucket-owner 123456789012

# --- the bucket in the host name: every *.localhost is this machine
virtual=https://localhost:${AWS_ENDPOINT_URL##*:}
check virtual-host-style round virtual --endpoint-url "$virtual" --addressing-style virtual
check path-style-sees-the-same cairn check --ca-bundle "$ca" --force-path-style s3://data/virtual

# --- by a proxy, unless NO_PROXY says otherwise
python3 "$repo/tests/e2e/connect_proxy.py" "$T/tunnels" >"$T/proxy.port" 2>"$T/proxy.log" </dev/null &
pids+=($!)
wait_until 20 test -s "$T/proxy.port"
proxy=http://127.0.0.1:$(cat "$T/proxy.port")
through_proxy() { (unset no_proxy NO_PROXY; HTTPS_PROXY=$proxy cairn check --ca-bundle "$ca" s3://data/ca); }
past_proxy() { (unset no_proxy; NO_PROXY=127.0.0.1 HTTPS_PROXY=$proxy cairn check --ca-bundle "$ca" s3://data/ca); }
check past-the-proxy past_proxy
check nothing-was-tunnelled test ! -e "$T/tunnels"
check through-the-proxy through_proxy
check tunnel-to-the-store grep -qx "CONNECT ${AWS_ENDPOINT_URL#https://}" "$T/tunnels"
store_done
e2e_end
