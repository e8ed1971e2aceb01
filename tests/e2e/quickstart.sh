#!/usr/bin/env bash
# tools/quickstart from a clone to a mounted volume, in a home of its own; again while mounted, again
# after an unmount, and on a place that holds something else.
. "$(dirname "$0")/lib.sh"
builds_its_own=1
e2e_begin quickstart
mnt=$HOME/cairn-demo/mnt
mounts+=("$mnt")
binary=$repo/build/release/cairn
CAIRN=$binary  # what the clean-up and the checks below use

start=$SECONDS
check first-run timeout 1500 "$repo/tools/quickstart" || e2e_end
say "mounted after $((SECONDS - start)) s"
check mounted is_mounted "$mnt"
check binary test -x "$binary"
check write cp -a "$repo/cache" "$mnt/"
check same diff -r "$repo/cache" "$mnt/cache"

out=$(timeout 60 "$repo/tools/quickstart" 2>&1)
check second-run-succeeds test $? = 0
case $out in *"Already mounted"*) pass second-run-says-so ;; *) fail second-run-says-so "$out" ;; esac

check flush cairn flush "$mnt"
check status cairn status "$mnt"
check umount cairn_umount "$mnt"
check again timeout 300 "$repo/tools/quickstart"
check still-there diff -r "$repo/cache" "$mnt/cache"
check umount-again cairn_umount "$mnt"

# Never formats a place that is not empty.
mkdir -p "$T/other" && echo mine >"$T/other/file"
mounts+=("$T/mnt2")
out=$(timeout 300 "$repo/tools/quickstart" "$T/other" "$T/mnt2" 2>&1)
check other-things-refused test $? != 0
check other-things-untouched test "$(ls -A "$T/other")" = file
check other-not-mounted test ! -e "$T/mnt2/file"

# Arguments: a directory of one's own, relative.
mkdir "$T/own"
mounts+=("$T/own/mnt")
check own-place sh -c "cd '$T/own' && '$repo/tools/quickstart' ./store mnt"
check own-mounted is_mounted "$T/own/mnt"
check own-umount cairn_umount "$T/own/mnt"
timeout 60 "$repo/tools/quickstart" one >/dev/null 2>&1
check one-argument-is-usage test $? = 2
e2e_end
