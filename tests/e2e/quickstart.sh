#!/usr/bin/env bash
# tools/quickstart from a clone to a mounted volume, in a home of its own; again while mounted, again
# after an unmount, and on a place that holds something else; on S3; as a user without privileges; and
# what it says where /dev/fuse or fusermount3 is missing. One build serves them all.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
builds_its_own=1
e2e_begin quickstart
mnt=$HOME/cairn-demo/mnt
mounts+=("$mnt")
binary=$repo/build/release/cairn
CAIRN=$binary  # what the clean-up and the checks below use
export CAIRN_CACHE_DIR=$T/cache  # not the machine's, which knows the remotes of earlier runs

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

# A bucket.
if store_ready minio; then
  mounts+=("$T/s3mnt")
  check s3 timeout 300 "$repo/tools/quickstart" "$STORE" "$T/s3mnt"
  check s3-mounted test "$(findmnt -n -o SOURCE --mountpoint "$T/s3mnt")" = "$STORE"
  check s3-write cp -a "$repo/tools" "$T/s3mnt/"
  check s3-umount cairn_umount "$T/s3mnt"
  check s3-again timeout 300 "$repo/tools/quickstart" "$STORE" "$T/s3mnt"
  check s3-still-there diff -r "$repo/tools" "$T/s3mnt/tools"
  check s3-umount-again cairn_umount "$T/s3mnt"
  store_done
fi

# What is missing is said in one sentence, before anything is made.
says() {  # PATTERN COMMAND...
  local pattern=$1 out rc=0
  shift
  out=$(timeout 60 "$@" "$repo/tools/quickstart" "$T/no/store" "$T/no/mnt" 2>&1 </dev/null) || rc=$?
  printf '%s\n' "$out"
  [ $rc = 1 ] && [[ $out =~ $pattern ]] && [ "$(grep -c '^quickstart:' <<<"$out")" = 1 ] && [ ! -e "$T/no" ]
}
mkdir "$T/bin" && ln -s /usr/bin/* /bin/* /usr/sbin/* "$T/bin/" 2>/dev/null
rm -f "$T/bin/fusermount3"
check no-fusermount3-is-said says 'fusermount3 is missing: install the package fuse3' env PATH="$T/bin"
if [ "$(id -u)" != 0 ]; then
  skip without-fuse "needs root for a mount namespace of its own"
  e2e_end
fi
# in_namespace MOUNTS: sets `inside` to the command that runs another one where MOUNTS, a piece of
# shell, changed what is mounted.
mkdir "$T/dev"
in_namespace() { inside=(unshare --mount --propagation private sh -ec "$1; exec \"\$@\"" sh); }
in_namespace "mount -t tmpfs none $T/dev; mknod -m 666 $T/dev/null c 1 3; mount --bind $T/dev /dev"
check no-dev-fuse-is-said says 'there is no /dev/fuse: .*modprobe fuse.*--device /dev/fuse' "${inside[@]}"
fuse_node="mknod -m 666 $T/dev/fuse c 10 229; mount --bind $T/dev/fuse /dev/fuse"
in_namespace "mount -t tmpfs -o nodev none $T/dev; $fuse_node"
check closed-dev-fuse-is-said says '/dev/fuse cannot be opened: start the container with' "${inside[@]}"

# Without root, when nothing must be installed: the build folder is this user's, as in a clone of his, and
# /dev/fuse is open to everybody, as udev leaves it.
mkdir "$T/user" && chown 65534:65534 "$T/user" && chmod 755 "$T"
in_namespace "mount -t tmpfs none $T/dev; $fuse_node"
user=("${inside[@]}" setpriv --reuid=65534 --regid=65534 --clear-groups env -u CCACHE_DIR -u CAIRN_CACHE_DIR HOME="$T/user")
if ! "${user[@]}" test -x "$repo/tools/quickstart" -a -w "$T/user"; then
  skip without-root "another user cannot walk to $repo"
  e2e_end
fi
owner=$(stat -c %u:%g "$repo/build/release")
chown -R 65534:65534 "$repo/build/release"
# In one go: the mount is seen in this namespace only.
check without-root timeout 1500 "${user[@]}" sh -exc "'$repo/tools/quickstart'
  cp -r '$repo/tools' '$T/user/cairn-demo/mnt/'
  '$binary' flush '$T/user/cairn-demo/mnt'
  diff -r '$repo/tools' '$T/user/cairn-demo/mnt/tools'
  '$binary' umount '$T/user/cairn-demo/mnt'"
check without-root-in-the-store test -f "$T/user/cairn-demo/store/cairn.json"
chown -R "$owner" "$repo/build/release"
e2e_end
