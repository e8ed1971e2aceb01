#!/usr/bin/env bash
# The search of lib.sh for secrets is seen to find them: scripts that show one fail.
. "$(dirname "$0")/lib.sh"
e2e_begin secrets

# finds NAME WHERE COMMAND...: a script that runs the commands fails, because of WHERE.
finds() {
  local name=$1 where=$2
  shift 2
  { printf '. "%s/tests/e2e/lib.sh"\ne2e_begin planted\n' "$repo"
    printf '%s\n' "$@" 'pass something' e2e_end
  } >"$T/planted.sh"
  ! CAIRN_E2E_DIR=$T/planted bash "$T/planted.sh" >"$T/planted.out" 2>&1 || return 1
  grep -q "^FAIL $where" "$T/planted.out" && ! grep -q 'no-such-secret' "$T/planted.out"
}
key='export AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=no-such-secret-in-a-log'
shown='secrets: a secret or a signature is shown in:'
check a-key-in-a-log finds key "$shown cache/log" "$key" \
  'mkdir "$T/cache"; echo "x $AWS_SECRET_ACCESS_KEY y" >"$T/cache/log"'
check a-key-in-what-a-check-said finds all-said "$shown all-said" "$key" \
  'check says echo "$AWS_SECRET_ACCESS_KEY"; true'
check a-key-of-a-profile finds profile "$shown some.log" 'mkdir "$HOME/.aws"' \
  'echo "aws_secret_access_key = no-such-secret-of-a-profile" >"$HOME/.aws/credentials"' \
  'echo no-such-secret-of-a-profile >"$T/some.log"'
check a-token finds token "$shown status.json" 'secret no-such-secret-token' \
  'echo "{\"token\": \"no-such-secret-token\"}" >"$T/status.json"'
check a-signature finds signature "$shown some.out" \
  'echo "GET /x?X-Amz-Signature=0a1b2c3d4e5f" >"$T/some.out"'
check a-short-secret finds short 'secrets: 1 are too short' 'secret short'
check a-core-dump finds core 'core-dumps: a mount' 'echo "a mount leaves cores" >"$T/core-dumps"'
nothing_shown() {
  printf '. "%s/tests/e2e/lib.sh"\ne2e_begin planted\n%s\npass one\ne2e_end\n' "$repo" "$key" \
    >"$T/planted.sh"
  CAIRN_E2E_DIR=$T/planted bash "$T/planted.sh"
}
check nothing-is-found-where-nothing-is nothing_shown
e2e_end
