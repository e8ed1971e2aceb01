#!/usr/bin/env bash
# Keys that change under a running mount, on a store with a real STS. That none of them shows
# anywhere is looked at in the end, as for every script.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin credentials
mnt=$T/mnt
store_ready minio || e2e_end
id=$AWS_ACCESS_KEY_ID secret=$AWS_SECRET_ACCESS_KEY url=$AWS_ENDPOINT_URL
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
mkdir -p "$HOME/.aws" "$T/sts"
printf '%s:%s' "$id" "$secret" >"$T/sts/base"
printf '%s' "$url" >"$T/sts/url"
cp "$repo/tests/e2e/sts_keys.sh" "$T/sts/keys" && chmod 700 "$T/sts/keys"
write_keys() { printf '[base]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$id" "$1" >"$HOME/.aws/credentials"; }
write_keys "$secret"
cat >"$HOME/.aws/config" <<C
[profile role]
role_arn = arn:aws:iam::123456789012:role/any
source_profile = base
duration_seconds = 900
[profile process]
credential_process = "$T/sts/keys" "$T/sts" 8
[profile mfa]
role_arn = arn:aws:iam::123456789012:role/any
source_profile = base
mfa_serial = arn:aws:iam::123456789012:mfa/me
C

pending() { [ "$(status "$mnt" .pending.bytes)" -gt 0 ]; }

# --- a role, from a real STS
check role-format cairn format --aws-profile role "$STORE" || e2e_end
check role-mounts cairn_mount "$T/cache-role" "$STORE" "$mnt" --profile role
check role-writes sh -c "seq 1000 >'$mnt/numbers'"
check role-umounts cairn_umount "$mnt"
mfa() { ! cairn mount --cache-dir "$T/cache-mfa" --profile mfa "$STORE" "$mnt" 2>"$T/mfa.out" && grep -q 'MFA code' "$T/mfa.out"; }
check mfa-is-refused-by-a-sentence mfa

# --- keys of eight seconds, from a process
check process-mounts cairn_mount "$T/cache-process" "$STORE" "$mnt" --profile process \
  --commit-interval 1s
touch "$T/sts/issued"
issued() { [ "$(wc -l <"$T/sts/issued")" -ge "$1" ]; }
writes_until_third_keys() {
  local n=0
  while ! issued 3; do
    n=$((n + 1))
    [ $n -lt 200 ] || return 1
    head -c 100000 /dev/urandom >"$mnt/f$n" || return 1
    sleep 0.3
  done
}
check writes-go-on-over-changes-of-keys writes_until_third_keys
check flush-with-newer-keys cairn flush "$mnt"
pid=$(daemon_pid "$mnt")
cairn status --json "$mnt" >"$T/status.json"
tr '\0' '\n' <"/proc/$pid/cmdline" >"$T/cmdline"
ps -o args= -p "$pid" >>"$T/cmdline"
check core-dumps-are-off grep -qE '^Max core file size +0 +0 ' "/proc/$pid/limits"
check process-umounts cairn_umount "$mnt"

# In the end these are looked for in all that was said.
check keys-that-were-handed-out-are-secrets test "$(awk '{print $2; print $3}' "$T/sts/issued" |
  tee -a "$T/secrets" | awk 'length > 10' | wc -l)" -ge 6

# --- keys that turn wrong and right again: never a remount
check profile-mounts cairn_mount "$T/cache-base" "$STORE" "$mnt" --profile base --commit-interval 1s
write_keys this-is-wrong
check wrong-keys-do-not-stop-writes sh -c "seq 2000 >'$mnt/while-wrong'"
says_why() { status "$mnt" .store_error | grep -qi 'secret'; }
check status-says-why wait_until 60 says_why
check changes-wait pending
write_keys "$secret"
check right-keys-are-found-without-a-remount cairn flush "$mnt"
check everything-is-in-the-store sh -c "[ \"\$(LIMIT=20 '$CAIRN' status --json '$mnt' | jq .pending.bytes)\" = 0 ]"
check base-umounts cairn_umount "$mnt"

# --- memory that no other process of the same user may read: what is in /proc belongs to root then
own=$(mktemp -d /tmp/cairn-own-XXXXXX)
mkdir -p "$own/cache" "$own/mnt" && cp "$CAIRN" "$own/cairn" && chown -R 65534:65534 "$own"
python3 "$repo/tests/e2e/answers.py" silent >"$T/silent.port" 2>/dev/null </dev/null &
pids+=($!)
wait_until 20 test -s "$T/silent.port"
secret key-of-the-own-process
HOME=$own AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=key-of-the-own-process \
  setpriv --reuid=65534 --regid=65534 --clear-groups "$own/cairn" mount -f --cache-dir "$own/cache" \
  --endpoint-url "http://127.0.0.1:$(cat "$T/silent.port")" s3://bucket "$own/mnt" >"$T/own.log" 2>&1 &
pids+=($!)
own_pid=$!
# At first it belongs to its user, as every process does.
belongs_to_root() { [ "$(cat "/proc/$own_pid/comm")" = cairn ] && [ "$(stat -c %u "/proc/$own_pid/environ")" = 0 ] && grep -q '^Uid:.65534' "/proc/$own_pid/status"; }
check memory-is-private wait_until 20 belongs_to_root
end_pid "$own_pid"
rm -rf --one-file-system "$own"
store_done
e2e_end
