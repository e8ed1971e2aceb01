#!/usr/bin/env bash
# The same random operations on a mount and in a plain folder: every answer must be the same, and so
# must the trees, also after the daemon was killed and after a mount on an empty cache.
. "$(dirname "$0")/lib.sh"
e2e_begin model

rounds=2 steps=2500
[ "$profile" = quick ] || rounds=${MODEL_ROUNDS:-40} steps=25000
first=${MODEL_SEED:-1}

play() { timeout 3000 python3 "$repo/tests/e2e/model.py" "$T/mnt" "$T/plain" "$@"; }

mkdir "$T/store" "$T/plain"
check format cairn format "$T/store" || e2e_end
check mount cairn_mount "$T/cache0" "$T/store" "$T/mnt" --cache-size 64M || e2e_end
for ((round = 0; round < rounds; round++)); do
  start=$SECONDS
  check "play-$((first + round))" play $((first + round)) "$steps" || break
  say "$steps operations in $((SECONDS - start)) s"
  check "kill-$((first + round))" kill_daemon "$T/mnt" || break
  check "mount-$((first + round))" cairn_mount "$T/cache$round" "$T/store" "$T/mnt" \
    --cache-size 64M || break
  check "after-kill-$((first + round))" play --compare || break
  check "umount-$((first + round))" cairn_umount "$T/mnt" || break
  rm -rf "$T/cache$round"
  check "empty-cache-$((first + round))" cairn_mount "$T/cache$((round + 1))" "$T/store" "$T/mnt" \
    --cache-size 64M || break
  check "from-the-store-$((first + round))" play --compare || break
done
check umount cairn_umount "$T/mnt"
LIMIT=900 check check-data cairn check --data "$T/store"
e2e_end
