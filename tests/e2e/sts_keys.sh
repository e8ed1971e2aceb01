#!/usr/bin/env bash
# A credential process: temporary keys from the store's own STS, as JSON for `credential_process`.
#
#   sts_keys.sh FOLDER SECONDS
#
# Asks with the access key in FOLDER/base ("id:secret") at the URL in FOLDER/url, says that the keys
# end in SECONDS, and keeps what it handed out in FOLDER/issued: "id secret token", a line each.
set -euo pipefail
folder=$1 seconds=$2
answer=$(curl -sS --noproxy '*' --max-time 20 --aws-sigv4 aws:amz:us-east-1:sts \
  --user "$(cat "$folder/base")" "$(cat "$folder/url")/" \
  -d 'Action=AssumeRole&Version=2011-06-15&DurationSeconds=900&RoleSessionName=cairn-test&RoleArn=arn:aws:iam::123456789012:role/any')
field() { printf '%s' "$answer" | sed -n "s:.*<$1>\(.*\)</$1>.*:\1:p"; }
id=$(field AccessKeyId) secret=$(field SecretAccessKey) token=$(field SessionToken)
[ -n "$token" ] || { echo "no keys: $answer" | head -c 300 >&2; exit 1; }
echo "$id $secret $token" >>"$folder/issued"
printf '{"Version":1,"AccessKeyId":"%s","SecretAccessKey":"%s","SessionToken":"%s","Expiration":"%s"}' \
  "$id" "$secret" "$token" "$(date -u -d "+$seconds seconds" +%Y-%m-%dT%H:%M:%SZ)"
