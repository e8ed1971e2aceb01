#!/usr/bin/env bash
# Tags, storage class and versions of objects: what boto3 sets a mount shows as attributes, and what is
# set through the mount boto3 reads; what was overwritten or removed is under .versions; a mount as of a
# time has what rclone has of that time.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin bucket_versions
mnt=$T/mnt
mkdir "$mnt" "$T/empty"
export BUCKET=data

if ! have_boto; then
  skip bucket_versions "no boto3 (tests/deps servers gets it)"
  e2e_end
fi
view() {  # CACHE [OPTION...]
  local cache=$1
  shift
  cairn_mount "$T/$cache" "s3://$BUCKET/p" "$mnt" --metadata-ttl 1s --commit-interval 5m "$@"
}
attr() { getfattr --absolute-names --only-values -n "user.s3.$2" "$mnt/$1" 2>&1; }
set_attr() { setfattr -n "user.s3.$2" -v "$3" "$mnt/$1"; }
flushed() { cairn flush "$mnt"; }

tags() {
  check "$1-put" boto put p/d/f "first bytes" team=red site=a/b:c
  check "$1-mounted" view "tags-$1"
  check "$1-tag-of-others" prints red attr d/f tag.team
  check "$1-another" prints a/b:c attr d/f tag.site
  check "$1-listed-once-known" eval 'getfattr -d "$mnt/d/f" | grep -qx "user.s3.tag.team=\"red\""'
  check "$1-no-such-tag" fails_with "No such attribute" attr d/f tag.none
  check "$1-tag-set" set_attr d/f tag.level 3
  check "$1-local-first" prints "site=a/b:c
team=red" boto tags p/d/f
  check "$1-flush" flushed
  check "$1-tag-is-there" prints "level=3
site=a/b:c
team=red" boto tags p/d/f
  # By others, and then written anew, renamed, and moved with the directory.
  check "$1-tagged-by-other" boto tag p/d/f team=blue late=1
  check "$1-overwritten" eval 'echo "second bytes" >"$mnt/d/f"'
  check "$1-flush-content" flushed
  check "$1-tags-stayed" prints "late=1
team=blue" boto tags p/d/f
  check "$1-renamed" mv "$mnt/d/f" "$mnt/d/g"
  check "$1-flush-name" flushed
  check "$1-tags-followed" prints "late=1
team=blue" boto tags p/d/g
  check "$1-moved" mv "$mnt/d" "$mnt/e"
  check "$1-flush-directory" flushed
  check "$1-tags-moved" prints "late=1
team=blue" boto tags p/e/g
  check "$1-content-moved" prints "second bytes" boto cat p/e/g
  check "$1-tag-removed" setfattr -x user.s3.tag.late "$mnt/e/g"
  check "$1-flush-removed" flushed
  check "$1-tag-is-gone" prints team=blue boto tags p/e/g
  check "$1-what-cannot-be" fails_with "Invalid argument" set_attr e/g tag.x 'a&b'
  check "$1-version-is-read-only" fails_with "not permitted" set_attr e/g version-id x
  check "$1-class" prints STANDARD attr e/g storage-class
  check "$1-etag" prints "$(boto head p/e/g ETag | tr -d '"')" attr e/g etag
  if [ "$1" = minio ]; then  # versitygw has no classes
    check "$1-class-set" set_attr e/g storage-class REDUCED_REDUNDANCY
    check "$1-flush-class" flushed
    check "$1-class-is-there" prints REDUCED_REDUNDANCY boto head p/e/g StorageClass
    check "$1-class-shown" prints REDUCED_REDUNDANCY attr e/g storage-class
    check "$1-tags-stay-with-class" prints team=blue boto tags p/e/g
    # What the store has not got holds nothing back.
    check "$1-class-unknown" set_attr e/g storage-class NO_SUCH
    check "$1-flush-unknown" flushed
    check "$1-class-is-said" grep -q "warning 'e/g' is not of storage class NO_SUCH" "$T/tags-$1"/*/log
    check "$1-class-is-the-usual" prints STANDARD attr e/g storage-class
    check "$1-class-is-not-there" prints '' boto head p/e/g StorageClass
    check "$1-bytes-are-there" prints "second bytes" boto cat p/e/g
  fi
  check "$1-no-versions-here" fails_with "No such file" ls "$mnt/e/.versions"
  check "$1-at-is-refused" fails_with "keeps no old versions" \
    cairn mount --cache-dir "$T/none-$1" --at 2026-01-01 "s3://$BUCKET/p" "$T/empty"
  check "$1-unmounted" cairn_umount "$mnt"
}

# A tree by boto3, then what it was at $then and what became of it.
history() {
  boto put q/a.txt one && boto put q/d/b "two" && boto put q/d/gone "was here" &&
    boto put q/old/x "all of it goes" team=then && boto put q/same "never changes" && sleep 2.1 &&
    then=$(date -u +%FT%TZ) && sleep 2.1 &&
    boto put q/a.txt "one and more" && boto put q/a.txt "one and more again" && boto rm q/d/gone &&
    boto rm q/old/x && boto put q/d/new "later" && boto put q/fresh/x "later"
}
past_of() {  # DIRECTORY NAME: what it was, sorted
  local stem=${2%.*} end=
  [ "$stem" = "$2" ] || end=.${2##*.}
  for was in "$mnt/$1/.versions/$stem@"*"$end"; do cat "$was" && echo; done | sort
}
versions() {
  BUCKET=kept
  make_bucket kept
  check "$1-keeps-versions" keep_versions kept
  check "$1-history" history
  check "$1-view" cairn_mount "$T/now-$1" s3://kept/q "$mnt" --commit-interval 5m
  # MinIO still lists directories of which all was removed.
  check "$1-not-listed" prints "./a.txt ./d/b ./d/new ./fresh/x ./same" \
    eval '(cd "$mnt" && find . -type f | sort | xargs)'
  check "$1-past" prints "a.txt d fresh old" eval 'ls "$mnt/.versions" | sed "s/@[-0-9TZ]*Z-[^.]*//" | sort -u | xargs'
  check "$1-two-versions" prints "one
one and more" past_of . a.txt
  check "$1-names-are-times" eval 'ls "$mnt/.versions" | grep -qE "^a@20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{6}Z-[A-Za-z0-9-]+\.txt$"'
  check "$1-removed" prints "was here" past_of d gone
  check "$1-directory-gone" prints "all of it goes" eval 'cat "$mnt/.versions/old/x@"*'
  check "$1-tag-of-a-version" prints then eval 'getfattr --absolute-names --only-values -n user.s3.tag.team "$mnt/.versions/old/"x@*'
  check "$1-read-only" fails_with "Read-only file system" touch "$mnt/.versions/new"
  check "$1-not-removable" fails_with "Read-only file system" rm -f "$mnt/.versions/old/"x@*
  check "$1-brought-back" cp "$mnt/.versions/old/"x@* "$mnt/back"
  check "$1-back-reads" prints "all of it goes" cat "$mnt/back"
  check "$1-flush" flushed
  check "$1-back-is-there" prints "all of it goes" boto cat q/back
  check "$1-version-id" prints "$(boto head q/a.txt VersionId)" attr a.txt version-id
  # Our own changes leave versions, too.
  check "$1-written" eval 'echo ours >"$mnt/same"'
  check "$1-flush-ours" flushed
  check "$1-ours-and-theirs" prints "ours
never changes" eval 'boto versions q/same | grep .'
  check "$1-unmounted" cairn_umount "$mnt"

  check "$1-at" cairn_mount "$T/then-$1" s3://kept/q "$mnt" --at "$then"
  check "$1-rclone-at" other copy --s3-version-at "$then" s3:kept/q "$T/then-$1.rclone"
  check "$1-same-tree" diff -r "$T/then-$1.rclone" "$mnt"
  check "$1-untouched-was" prints "two" cat "$mnt/d/b"
  # versitygw dates a version anew when it is replaced: there both see less.
  if [ "$1" = minio ]; then
    check "$1-what-was" prints "a.txt d old same" eval 'ls -A "$mnt" | xargs'
    check "$1-content-was" prints "one" cat "$mnt/a.txt"
    check "$1-tag-then" prints then attr old/x tag.team
  fi
  check "$1-at-is-read-only" fails_with "Read-only file system" touch "$mnt/new"
  check "$1-at-unmounted" cairn_umount "$mnt"
  check "$1-ago" cairn_mount "$T/ago-$1" s3://kept/q "$mnt" --at=-1h
  check "$1-nothing-then" prints "" ls -A "$mnt"
  check "$1-ago-unmounted" cairn_umount "$mnt"
  check "$1-future" fails_with "in the future" \
    cairn mount --cache-dir "$T/none-$1" --at 2099-01-01 s3://kept/q "$T/empty"
  BUCKET=data
}

for kind in ${CAIRN_E2E_STORES:-minio versitygw}; do
  store_ready "$kind" || continue
  tags "$kind"
  versions "$kind"
  store_done
done
e2e_end
