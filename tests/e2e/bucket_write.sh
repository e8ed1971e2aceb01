#!/usr/bin/env bash
# What is written to a bucket through a mount is plain objects: other tools (rclone, s3fs) read them
# byte for byte, with modes and times; what they write is seen; who changes the same object twice
# finds both; nothing acknowledged is lost when the daemon dies.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin bucket_write
mnt=$T/mnt
mkdir "$mnt"

# view CACHE REMOTE [OPTION...]: nothing is published but by a flush, or an unmount.
view() {
  local cache=$1 remote=$2
  shift 2
  cairn_mount "$T/$cache" "$remote" "$mnt" --metadata-ttl 1s --commit-interval 5m "$@"
}
counter() { status "$mnt" ".$1"; }
same_tree() { diff -r --no-dereference -x .tmp "$1" "$2"; }
# Modes and times to the second, as far as a listing goes.
attributes() { (cd "$1" && find . -mindepth 1 -type f -printf '%p %m %s %T@\n' | sed 's/\.[0-9]*$//' | sort); }

# A tree of real files, and what programs do to one.
make_tree() {
  mkdir -p "$1/empty" "$1/deep/er" "$1/was-directory"
  echo y >"$1/was-directory/y"
  cp -r /usr/include/linux/netfilter "$1/netfilter"
  seeded "$1/big.bin" 20000001 1
  seeded "$1/deep/er/ä ö%20+&=.txt" 300000 2
  : >"$1/deep/nothing"
  echo "moves into what takes its name" >"$1/becomes"
  printf '#!/bin/sh\n' >"$1/run.sh"
  chmod 755 "$1/run.sh"
  touch -d '2020-02-02 02:02:02.5' "$1/deep/nothing"
}
change_tree() {
  printf changed | dd of="$1/big.bin" bs=1 seek=10000000 conv=notrunc status=none
  printf appended >>"$1/netfilter/x_tables.h"
  truncate -s 100 "$1/netfilter/nf_tables.h"
  mv "$1/netfilter" "$1/deep/moved"
  mv "$1/run.sh" "$1/deep/moved/x_tables.h"
  # A file becomes a directory, and a directory a file: not every store has both under one name.
  rm "$1/deep/nothing" && mkdir "$1/deep/nothing" && echo x >"$1/deep/nothing/x"
  rm -r "$1/was-directory" && echo x >"$1/was-directory"
  mv "$1/becomes" "$1/aside" && mkdir "$1/becomes" && mv "$1/aside" "$1/becomes/becomes"
  mkdir -p "$1/new/dir"
  cp "$1/deep/moved/nf_conntrack_common.h" "$1/new/dir/copy.html"
  rm -r "$1/empty"
}
work() {
  mkdir "$T/model"
  check "$1-copied" make_tree "$mnt"
  make_tree "$T/model"
  check "$1-reads-back" same_tree "$T/model" "$mnt"
  check "$1-flush" cairn flush "$mnt"
  check "$1-changed" change_tree "$mnt"
  change_tree "$T/model"
  check "$1-changes-read-back" same_tree "$T/model" "$mnt"
  check "$1-flush-changes" cairn flush "$mnt"
  check "$1-nothing-waits" cairn status "$mnt"
}
elsewhere() {  # NAME CACHE REMOTE: an empty cache sees the same
  check "$1-umounts" cairn_umount "$mnt"
  check "$1-mounts-elsewhere" view "$2" "$3"
  check "$1-is-the-same-elsewhere" same_tree "$T/model" "$mnt"
}

# --- a directory: its files are the objects
mkdir "$T/plain"
echo old >"$T/plain/there.txt"
check directory-mounts view c1 "file://$T/plain"
check directory-is-written test "$(status "$mnt" '.view + " " + .mode')" = 'objects read-write'
rm "$mnt/there.txt"
work directory
check directory-has-the-files same_tree "$T/model" "$T/plain"
check no-hard-links fails_with 'Operation not permitted' ln "$mnt/big.bin" "$mnt/link"
check no-fifos fails_with 'Operation not permitted' mkfifo "$mnt/fifo"
elsewhere directory c2 "file://$T/plain"
# Nothing is left: the next mount still knows what it is of, another one is told.
rm -rf "$mnt"/*
check directory-umounts-empty cairn_umount "$mnt"
check directory-empty-mounts view c2 "file://$T/plain"
check directory-empty-umounts cairn_umount "$mnt"
check empty-is-said fails_with 'or mount with --objects' \
  cairn mount --cache-dir "$T/c3" "file://$T/plain" "$mnt"
check empty-mounts-as-objects view c3 "file://$T/plain" --objects
check empty-takes-files sh -c "echo first >'$mnt/first.txt'"
check directory-umounts-again cairn_umount "$mnt"
check first-is-there test "$(cat "$T/plain/first.txt")" = first
# A cache that lost all but the names begins anew: neither numbers nor records are those of before.
rm -rf "$T"/c3/*/meta "$T"/c3/*/journal "$T"/c3/*/segments
check lost-mounts view c3 "file://$T/plain"
for n in 1 2 3; do echo "new $n" >"$mnt/new-$n"; done
check lost-umounts cairn_umount "$mnt"
check lost-keeps-the-old test "$(cat "$T/plain/first.txt")" = first
check lost-has-the-new test "$(cat "$T"/plain/new-*)" = "$(printf 'new %s\n' 1 2 3)"
rm -rf "$T/plain" "$T/model"

on_server() {  # NAME
  local kind=$1 key file store=s3://data/some/prefix remote before
  store_ready "$kind" || return
  remote=s3:data/some/prefix
  printf 'seen before' >"$T/there.txt"
  check "$kind-other-puts" other copy "$T/there.txt" "$remote"
  check "$kind-mounts" view "$kind-1" "$store" || return
  check "$kind-sees-it" cmp "$T/there.txt" "$mnt/there.txt"
  rm "$mnt/there.txt"
  work "$kind"
  # Other tools read it back.
  check "$kind-rclone-says-equal" other check --download "$T/model" "$remote"
  check "$kind-rclone-sees-times" test "$(other lsl "$remote/deep/er" | cut -c11-29)" = \
    "$(date -d "@$(stat -c %Y "$mnt/deep/er/ä ö%20+&=.txt")" '+%Y-%m-%d %H:%M:%S')"
  check "$kind-type-by-ending" grep -qi '^content-type: text/html' <(head_of some/prefix/new/dir/copy.html)
  if command -v s3fs >/dev/null; then
    mkdir -p "$T/s3fs"
    mounts+=("$T/s3fs")
    check "$kind-s3fs-mounts" s3fs data:/some/prefix "$T/s3fs" -o "url=$AWS_ENDPOINT_URL" \
      -o use_path_request_style
    check "$kind-s3fs-sees-the-same" same_tree "$T/model" "$T/s3fs"
    check "$kind-s3fs-sees-modes-and-times" diff <(attributes "$mnt") <(attributes "$T/s3fs")
    umount "$T/s3fs"
  else
    skip "$kind-s3fs" "s3fs is not installed"
  fi
  # Of a large object that is changed in one place most is copied by the store.
  seeded "$T/model/large.bin" 100000000 9
  cp "$T/model/large.bin" "$mnt/" && cairn flush "$mnt"
  before=$(counter transferred.bytes_written)
  for file in "$mnt" "$T/model"; do
    printf 'in the middle' | dd of="$file/large.bin" bs=1 seek=50000000 conv=notrunc status=none
  done
  check "$kind-large-flush" cairn flush "$mnt"
  say "bytes sent for 13 changed ones of 100,000,000: $(($(counter transferred.bytes_written) - before))"
  check "$kind-large-travels-in-part" test $(($(counter transferred.bytes_written) - before)) -lt 10000000
  check "$kind-large-is-right" other check --download "$T/model" "$remote"
  # Both changed it.
  printf 'ours, longer' >"$mnt/both.txt" && cairn flush "$mnt" && cat "$mnt/both.txt" >/dev/null
  printf 'theirs' >"$T/both.txt"
  check "$kind-writes-while-pending" sh -c "printf 'ours again' >'$mnt/both.txt'"
  check "$kind-other-overwrites" other copyto "$T/both.txt" "$remote/both.txt"
  check "$kind-conflict-flush" cairn flush "$mnt"
  check "$kind-both-are-there" cmp <(printf 'ours again') "$mnt"/both.conflict-*.txt
  check "$kind-status-says-so" sh -c "'$CAIRN' status '$mnt' | grep -q 'conflicts: 1'"
  check "$kind-theirs-stays" cmp "$T/both.txt" <(other cat "$remote/both.txt")
  check "$kind-theirs-is-shown" wait_until 10 cmp "$T/both.txt" "$mnt/both.txt"
  rm -f "$mnt"/both*
  # A program that writes a lot of small files, links and renames.
  check "$kind-git" sh -c "cd '$mnt' && git init -q repo && cd repo && cp -r '$T/model/deep' . &&
    git add -A && git -c user.name=a -c user.email=a@b commit -qm one && git fsck --strict"
  # The daemon dies with what it has not sent.
  seeded "$T/model/last" 5000000 11
  cp "$T/model/last" "$mnt/last" && mv "$mnt/deep" "$mnt/shallow" && mv "$T/model/deep" "$T/model/shallow"
  check "$kind-killed" kill_daemon "$mnt"
  check "$kind-is-not-only-read" fails_with 'mount without --read-only' \
    cairn mount --cache-dir "$T/$kind-1" --read-only "$store" "$mnt"
  check "$kind-mounts-again" view "$kind-1" "$store"
  check "$kind-last-is-there" cmp "$T/model/last" "$mnt/last"
  check "$kind-flush-after-death" cairn flush "$mnt"
  check "$kind-git-after-death" git -C "$mnt/repo" fsck --strict
  rm -rf "$mnt/repo"
  # What an object says beside its bytes.
  chmod 640 "$mnt/last" && ln -s last "$mnt/link" && ln -s last "$T/model/link"
  check "$kind-sets-metadata" python3 -c 'import os, sys
os.setxattr(sys.argv[1], "user.s3.meta.colour", b"blue")' "$mnt/last"
  check "$kind-flush-metadata" cairn flush "$mnt"
  check "$kind-metadata-is-there" grep -qi '^x-amz-meta-colour: blue' <(head_of some/prefix/last)
  check "$kind-link-is-a-link" test "$(find "$mnt" -type l -printf '%f %l')" = 'link last'
  # Names that no key can have are refused, and hold nothing back; control characters are none.
  check "$kind-no-name-in-latin-1" fails_with 'Invalid or incomplete' touch "$mnt/"$'caf\xe9.txt'
  check "$kind-no-rename-to-latin-1" fails_with 'Invalid or incomplete' mv "$mnt/last" "$mnt/"$'caf\xe9.txt'
  check "$kind-it-is-nowhere" fails_with 'No such file' stat "$mnt/"$'caf\xe9.txt'
  if [ "$kind" = minio ]; then  # versitygw lists other keys for these
    check "$kind-control-characters" sh -c "echo x >'$mnt/"$'a\x01\x1fb'"' && '$CAIRN' flush '$mnt'"
    check "$kind-control-characters-are-kept" prints 200 object_status 'data/some/prefix/a%01%1Fb'
    rm "$mnt/"$'a\x01\x1fb'
  fi
  # What others say of an object for caches and browsers outlives what is done to it.
  check "$kind-other-puts-page" put_page some/prefix/p/page.css
  check "$kind-page-is-seen" wait_until 10 test -f "$mnt/p/page.css"
  check "$kind-page-changes" change_page "$mnt/p/page.css"
  check "$kind-page-keeps-its-headers" has_page_headers some/prefix/p/page.css
  check "$kind-page-moves" sh -c "mv '$mnt/p/page.css' '$mnt/p/moved.css' && '$CAIRN' flush '$mnt' &&
    mv '$mnt/p' '$mnt/q' && '$CAIRN' flush '$mnt'"
  check "$kind-page-keeps-them-moved" has_page_headers some/prefix/q/moved.css
  check "$kind-page-is-set" cairn set --meta colour=red "$store/q/moved.css"
  check "$kind-page-keeps-them-set" has_page_headers some/prefix/q/moved.css
  check "$kind-page-is-set-indeed" grep -qi '^x-amz-meta-colour: red' <(head_of some/prefix/q/moved.css)
  check "$kind-large-page-is-put" put_page some/prefix/q/large.css "$T/model/large.bin"
  check "$kind-large-page-is-seen" wait_until 10 test -f "$mnt/q/large.css"
  check "$kind-large-page-changes" change_page "$mnt/q/large.css"
  check "$kind-large-page-keeps-them" has_page_headers some/prefix/q/large.css
  rm -r "$mnt/q"
  attributes "$mnt" >"$T/attributes"
  check "$kind-umounts-for-attributes" cairn_umount "$mnt"
  # An upload that somebody left.
  signed -X POST "$AWS_ENDPOINT_URL/data/some/prefix/never?uploads=" >"$T/upload"
  check "$kind-upload-begins" grep -q '<UploadId>' "$T/upload"
  sleep 4  # servers count whole seconds
  check "$kind-mounts-with-attributes" view "$kind-3" "$store" --attrs full --stale-uploads 2s
  check "$kind-upload-is-aborted" wait_until 10 grep -q 'nobody finished were aborted: 1' "$(find "$T/$kind-3" -name log)"
  check "$kind-attributes-are-the-same" diff "$T/attributes" <(attributes "$mnt")
  check "$kind-link-is-one-elsewhere" test "$(find "$mnt" -type l -printf '%f %l')" = 'link last'
  check "$kind-metadata-elsewhere" test "$(python3 -c 'import os, sys
print(os.getxattr(sys.argv[1], "user.s3.meta.colour").decode(), *sorted(os.listxattr(sys.argv[1]))[:4])' "$mnt/last")" = \
    'blue user.s3.content-type user.s3.etag user.s3.key user.s3.meta.cairn-writer'
  rm "$mnt/link" "$T/model/link"
  elsewhere "$kind" "$kind-2" "$store"
  check "$kind-umounts-again" cairn_umount "$mnt"
  check "$kind-rclone-says-equal-at-the-end" other check --download "$T/model" "$remote"
  check "$kind-leaves-nothing-else" leaves_nothing_else
  store_done
  rm -rf "$T/model"
}
leaves_nothing_else() {
  local names
  names=$(other lsf -R s3:data/some/prefix) && [ -n "$names" ] && ! grep -E 'cairn|\.part-|moving|conflict' <<<"$names"
}
page_headers=('cache-control: max-age=60' 'content-disposition: inline; filename="bäh"' 'content-encoding: gzip'
  'content-language: de' 'expires: Wed, 01 Jan 2031 00:00:00 GMT')
put_page() {  # KEY [FILE]
  local arguments=() each
  for each in "${page_headers[@]}"; do arguments+=(-H "$each"); done
  signed -T "${2:-$T/there.txt}" "${arguments[@]}" "$AWS_ENDPOINT_URL/data/$1"
}
change_page() {  # as one publication each
  chmod 600 "$1" && cairn flush "$mnt" && printf more >>"$1" && cairn flush "$mnt" && touch "$1" && cairn flush "$mnt"
}
has_page_headers() {
  local answer each
  answer=$(head_of "$1") || return
  for each in "${page_headers[@]}"; do
    grep -qiF "$each" <<<"$answer" || { echo "$1 lost $each: $answer" >&2; return 1; }
  done
}
head_of() { signed -I "$AWS_ENDPOINT_URL/data/$1"; }
on_server minio
on_server versitygw
e2e_end
