#!/usr/bin/env bash
# Filters on the objects of a bucket: what is shown, stays in the cache, is pinned, is fetched whole
# and is uploaded. What is held from the upload survives kill -9 and remounts, makes status say that
# the disk may not be lost, and goes when the rules let it.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin filters
mnt=$T/mnt
mkdir "$mnt"

# view CACHE [OPTION...]
view() {
  local cache=$1
  shift
  cairn_mount "$T/$cache" s3://data "$mnt" --metadata-ttl 1s --commit-interval 1s "$@"
}
put() { local key=$1 from=$2; shift 2; signed -T "$from" "$@" "$AWS_ENDPOINT_URL/data/$key" >/dev/null; }
has() { prints 200 object_status "data/$1"; }
has_not() { prints 404 object_status "data/$1"; }
object_is() { signed "$AWS_ENDPOINT_URL/data/$1" | cmp - "$2"; }
tree() { (cd "$mnt" && find . -mindepth 1 | sort | tr '\n' ' '); }
path_status() { LIMIT=20 cairn status --json "$1" | jq -r "$2"; }
refused() {  # STATUS TEXT... COMMAND is `cairn mount` with the options in $options
  local out
  out=$(cairn mount --cache-dir "$T/refused" "${options[@]}" s3://data "$mnt" 2>&1 </dev/null) && return 1
  [ $? = "$1" ] || { echo "$out"; return 1; }
  shift
  for text; do grep -qF -- "$text" <<<"$out" || { echo "$out"; return 1; }; done
}

if ! store_ready minio; then e2e_end; fi
seeded "$T/3m" 3000000 1
seeded "$T/9m" 9000000 2
echo small >"$T/small"
put photos/2024/a.jpg "$T/small"
check raw-is-put put photos/2024/a.raw "$T/3m"
put photos/2023/b.jpg "$T/small"
put other/c "$T/small"
put videos/d.mp4 "$T/9m" -H 'content-type: video/mp4'
put videos/e.mp4 "$T/3m" -H 'content-type: video/mp4'

# --- errors point
options=(--filter-visible '/a[tag:k v]')
check error-points refused 2 '--filter-visible: a comparison is missing' '  /a[tag:k v]' '           ^'
options=(--filter-cache photos)
check error-says-slash refused 2 "--filter-cache: a rule is BUCKET/KEY or /PATH"
options=(--filter-visible '/**[hdr:content-type=image/*]')
check visible-needs-attrs refused 2 'add --attrs=full'
printf '[filter]\ncache = ["/ok/**",\n  "bad"]\n' >"$T/bad.toml"
options=(--config "$T/bad.toml")
check file-and-line refused 2 "$T/bad.toml:3: filter-cache: a rule is" '  bad'
printf '[filter]\nvisibel = "/a"\n' >"$T/bad.toml"
check unknown-key refused 2 'filter-visibel is not the name of an option' 'filter-visible'
mkdir "$T/volume"
check volume-is-made cairn format "file://$T/volume"
check volume-has-no-filters fails_with 'holds a volume: filters (--filter-visible and the like) are for the objects' \
  cairn mount --cache-dir "$T/v" --filter-cache '/**' "file://$T/volume" "$mnt"

# --- visible
check visible-mounts view visible --filter-visible 'data/photos/2024/**' --filter-visible '!*/**.raw'
check visible-tree test "$(tree)" = './photos ./photos/2024 ./photos/2024/a.jpg '
check hidden-is-not-there fails_with 'No such file' cat "$mnt/photos/2024/a.raw"
check hidden-is-not-made fails_with 'Operation not permitted' touch "$mnt/photos/2024/x.raw"
check visible-is-made sh -c "echo x >'$mnt/photos/2024/x.jpg'"
check visible-umounts cairn_umount "$mnt"
check visible-is-stored has photos/2024/x.jpg
check hidden-is-not-stored has_not photos/2024/x.raw
cat >"$T/rules.toml" <<END
[filter]
visible = ["!/videos/**", "/videos/**[hdr:content-type='VIDEO/*'][hdr:content-length<4M]"]
END
check full-mounts view full --config "$T/rules.toml" --attrs full
check by-type-and-size test "$(ls "$mnt/videos")" = e.mp4
check full-umounts cairn_umount "$mnt"

# --- cache, pin, prefetch
check policies-mounts view policies --filter-cache '!/videos/**' --filter-pin '/photos/**[hdr:content-length<1M]' \
  --filter-prefetch '/other/**' --filter-prefetch '/photos/2024/a.raw'
check stream-reads cmp "$T/9m" "$mnt/videos/d.mp4"
check stream-is-not-kept wait_until 10 sh -c "test \$('$CAIRN' status --json '$mnt/videos/d.mp4' | jq .cached_bytes) = 0"
check other-is-pinned sh -c "cat '$mnt/photos/2023/b.jpg' && test \$('$CAIRN' status --json '$mnt/photos/2023/b.jpg' | jq .pinned) = true"
head -c 1 "$mnt/photos/2024/a.raw" >/dev/null
check whole-is-fetched wait_until 20 sh -c "test \$('$CAIRN' status --json '$mnt/photos/2024/a.raw' | jq .cached_bytes) = 3000000"
check large-is-not-pinned test "$(path_status "$mnt/photos/2024/a.raw" .pinned)" = false
check policies-umounts cairn_umount "$mnt"

# --- upload
hold=(--filter-upload '!/**.tmp' --filter-upload '!/scratch/**')
check upload-mounts view upload "${hold[@]}"
mkdir "$mnt/scratch"
cp "$T/9m" "$mnt/scratch/nine"
cp "$T/small" "$mnt/notes.tmp"
cp "$T/3m" "$mnt/three"
check flush-waits-for-the-rest cairn flush "$mnt"
check the-rest-is-stored object_is three "$T/3m"
check held-is-not-stored has_not notes.tmp
check large-held-is-not-stored has_not scratch/nine
check held-is-counted test "$(status "$mnt" '[.held.files, .held.bytes, .pending.files] | join(" ")')" = "2 9000006 0"
check status-says-no sh -c "'$CAIRN' status '$mnt' >'$T/said'; test \$? = 3"
check status-says-held grep -q 'held by --filter-upload: .* in 2 files' "$T/said"
check path-says-held sh -c "'$CAIRN' status '$mnt/notes.tmp' >'$T/said'; test \$? = 3 && grep -q ': held' '$T/said'"
check xattr-says-held test "$(getfattr -n user.cairn.state --only-values "$mnt/notes.tmp" 2>/dev/null || python3 -c 'import os, sys
print(os.getxattr(sys.argv[1], "user.cairn.state").decode(), end="")' "$mnt/notes.tmp")" = held
printf appended >>"$mnt/scratch/nine"
cp "$T/9m" "$T/nine" && printf appended >>"$T/nine"
check killed kill_daemon "$mnt"
check mounts-after-death view upload "${hold[@]}"
check held-after-death cmp "$T/nine" "$mnt/scratch/nine"
check small-after-death cmp "$T/small" "$mnt/notes.tmp"
check flush-after-death cairn flush "$mnt"
check held-again test "$(status "$mnt" .held.files)" = 2
check umounts-with-held cairn_umount "$mnt"
check log-says-held grep -q '2 files that --filter-upload holds back' "$T"/upload/*/log
check still-not-stored has_not notes.tmp
check not-read-only fails_with 'mount without --read-only' \
  cairn mount --cache-dir "$T/upload" --read-only s3://data "$mnt"
check mounts-again view upload "${hold[@]}"
check still-held cmp "$T/nine" "$mnt/scratch/nine"
mv "$mnt/notes.tmp" "$mnt/notes"
check renamed-goes wait_until 20 object_is notes "$T/small"
check renamed-is-stored wait_until 10 prints stored path_status "$mnt/notes" .state
check killed-again kill_daemon "$mnt"
check mounts-without-rules view upload
check held-goes wait_until 30 object_is scratch/nine "$T/nine"
check nothing-is-held wait_until 10 cairn status "$mnt"
check reads-after-it cmp "$T/nine" "$mnt/scratch/nine"
check umounts-at-the-end cairn_umount "$mnt"
store_done

# --- tags of buckets
by_bucket_tags() {
  store_ready "$1" || return
  other mkdir s3:team
  put x "$T/small"
  signed -T "$T/small" "$AWS_ENDPOINT_URL/team/y" >/dev/null
  signed -T "$T/small" "$AWS_ENDPOINT_URL/team/logs/z" >/dev/null
  BUCKET=team check "$1-bucket-is-tagged" boto tag-bucket kind=scratch
  check "$1-tags-choose-buckets" cairn_mount "$T/$1-all" s3:// "$mnt" --metadata-ttl 1s --commit-interval 1s \
    --filter-visible '*[tag:kind=scratch]/**' --filter-upload '!*[tag:kind=scratch]/logs/**'
  check "$1-tagged-bucket-is-there" prints team ls "$mnt"
  check "$1-and-what-is-in-it" cmp "$T/small" "$mnt/team/y"
  check "$1-other-bucket-is-not" fails_with 'No such file' cat "$mnt/data/x"
  check "$1-is-written" cp "$T/small" "$mnt/team/logs/held"
  check "$1-the-rest-is-written" cp "$T/small" "$mnt/team/sent"
  check "$1-flush" cairn flush "$mnt"
  check "$1-is-held" prints 1 status "$mnt" .held.files
  check "$1-the-rest-is-sent" other_has team/sent "$T/small"
  check "$1-held-by-the-tag" prints 404 object_status team/logs/held
  BUCKET=team check "$1-tag-goes" boto tag-bucket kind=done
  check "$1-then-it-is-hidden" wait_until 10 prints '' ls "$mnt"
  check "$1-all-umounts" cairn_umount "$mnt"
  check "$1-one-bucket" cairn_mount "$T/$1-one" s3://team "$mnt" --filter-visible '!team[tag:kind=done]/logs/'
  check "$1-hides-of-one" prints 'sent y' sh -c "ls '$mnt' | xargs"
  check "$1-one-umounts" cairn_umount "$mnt"
  store_done
}
if have_boto; then
  by_bucket_tags minio
  by_bucket_tags versitygw
else
  skip filters-bucket-tags "no boto3 (tests/deps servers gets it)"
fi
e2e_end
