#!/usr/bin/env bash
# The same random operations on a mount and in a plain folder: every answer must be the same, and so
# must the trees, also after the daemon was killed and after a mount on an empty cache.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin model

rounds=2 far_rounds=2 steps=2500
[ "$profile" = quick ] || rounds=${MODEL_ROUNDS:-40} far_rounds=4 steps=25000
first=${MODEL_SEED:-1}

play() { timeout 3000 python3 "$repo/tests/e2e/model.py" "$T/mnt" "$T/plain" "$@"; }

mount_it() { cairn_mount "$T/$1" "$STORE" "$T/mnt" --cache-size 64M; }

run_on() {  # KIND
  local round seed start rounds=$rounds
  [ "$1" != far ] || rounds=$far_rounds
  rm -rf "$T/plain"
  mkdir "$T/plain"
  check format cairn format "$STORE" || return
  check mount mount_it "$1-0" || return
  for ((round = 0; round < rounds; round++)); do
    seed=$((first + round))
    start=$SECONDS
    check "play-$seed" play $seed "$steps" || return
    say "$steps operations in $((SECONDS - start)) s"
    check "kill-$seed" kill_daemon "$T/mnt" || return
    check "mount-$seed" mount_it "$1-$round" || return
    check "after-kill-$seed" play --compare || return
    check "umount-$seed" cairn_umount "$T/mnt" || return
    rm -rf "${T:?}/$1-$round"
    check "empty-cache-$seed" mount_it "$1-$((round + 1))" || return
    check "from-the-store-$seed" play --compare || return
  done
  check umount cairn_umount "$T/mnt"
  LIMIT=900 check check-data cairn check --data "$STORE"
}
on_stores run_on
e2e_end
