#!/usr/bin/env bash
# Any bucket is a directory: what other tools put there is shown as files, byte for byte, whatever
# its keys, at one list a thousand entries; what is replaced under a reader is never a mixture.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin bucket
mnt=$T/mnt
mkdir "$mnt"

# view CACHE REMOTE [OPTION...]
view() { local cache=$1 remote=$2; shift 2; cairn_mount "$T/$cache" "$remote" "$mnt" "$@"; }
requests() { status "$mnt" ".requests.$1"; }
# A tree as other tools leave it: sizes from nothing to several chunks, spaces, umlauts, many levels.
plain_tree() {
  mkdir -p "$1/deep/er/and deeper" "$1/photos/2026"
  seeded "$1/big.bin" 3000001 1
  seeded "$1/photos/2026/one.jpg" 262144 2
  seeded "$1/photos/2026/two.jpg" 262145 3
  : >"$1/deep/nothing"
  echo "hello" >"$1/deep/er/and deeper/ä ö%20+&=.txt"
  echo "a-b" >"$1/deep-er"
  echo "dot" >"$1/deep.txt"
}
same_tree() { diff -r "$1" "$2"; }
# put KEY FILE: as any S3 client does it, in bucket data.
put() {
  local path
  path=$(python3 -c 'import sys, urllib.parse as u; print(u.quote(sys.argv[1]))' "$1")
  signed -T "$2" "$AWS_ENDPOINT_URL/data/$path" >/dev/null
}
put_tree() {  # DIR PREFIX
  local file
  (cd "$1" && find . -type f -print0) | while IFS= read -r -d '' file; do
    put "$2${file#./}" "$1/$file" || return 1
  done
}

# --- a directory of ordinary files
plain_tree "$T/plain"
mkdir "$T/plain/empty"
before=$(manifest "$T/plain")
check directory-mounts view c1 "file://$T/plain" --read-only
check directory-same-tree same_tree "$T/plain" "$mnt"
check directory-empty test -d "$mnt/empty"
check directory-is-read-only fails_with 'Read-only file system' touch "$mnt/new"
check status-says-objects test "$(status "$mnt" '.view + " " + .mode')" = 'objects read-only'
check status-text sh -c "'$CAIRN' status '$mnt' | grep -q 'objects, read-only'"
check status-of-a-file sh -c "'$CAIRN' status '$mnt/big.bin' | grep -q 'in the store'"
check mtime-is-the-objects test "$(stat -c %Y "$mnt/big.bin")" = "$(stat -c %Y "$T/plain/big.bin")"
check mode-and-owner test "$(stat -c '%a %u %g' "$mnt/big.bin")" = "644 $(id -u) $(id -g)"
check no-snapshots fails_with 'only volumes have snapshots' cairn snapshot create "$mnt" x
check pin cairn pin "$mnt/big.bin"
check evict cairn evict "$mnt/photos/2026/one.jpg"
check read-after-evict cmp "$T/plain/photos/2026/one.jpg" "$mnt/photos/2026/one.jpg"
check directory-umounts cairn_umount "$mnt"
check directory-untouched test "$before" = "$(manifest "$T/plain")"
rmdir "$T/plain/empty"
# What was known of it is damaged: listed anew.
names=$(find "$T/c1" -path '*/names/data.mdb')
check names-are-kept test -s "$names"
dd if=/dev/zero of="$names" bs=64 count=1 conv=notrunc status=none
check damaged-names-mount view c1 "file://$T/plain" --read-only
check damaged-names-same-tree same_tree "$T/plain" "$mnt"
check damaged-names-umount cairn_umount "$mnt"
check takeover-is-for-volumes fails_with 'are for volumes' \
  cairn mount --cache-dir "$T/c1" --takeover "file://$T/plain" "$mnt"

# --- a volume that lost its first object is not taken for a bucket where its cache is
check lost-format cairn format "file://$T/lost"
check lost-mounts view c8 "file://$T/lost"
check lost-umounts cairn_umount "$mnt"
rm "$T/lost/cairn.json"
check lost-is-refused fails_with 'was a volume' cairn mount --cache-dir "$T/c8" "file://$T/lost" "$mnt"

# --- replaced under a reader
mkdir "$T/live"
seeded "$T/live/f" 20000000 7
check live-mounts view c2 "file://$T/live" --metadata-ttl 1s
cat >"$T/reader.py" <<'END'
import errno, os, sys
mnt, source = sys.argv[1:3]
new = os.urandom(20000000)
fd = os.open(f"{mnt}/f", os.O_RDONLY)
old = open(f"{source}/f", "rb").read()
assert os.pread(fd, 1000, 0) == old[:1000]
with open(f"{source}/f.new", "wb") as file:
    file.write(new)
os.rename(f"{source}/f.new", f"{source}/f")
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
kinds = set()
for offset in range(0, 20000000, 500000):
    try:
        at = offset
        while at < offset + 500000:  # what is here comes before the error
            data = os.pread(fd, offset + 500000 - at, at)
            assert data and data == old[at:at + len(data)], f"other bytes at {at}"
            at += len(data)
        kinds.add("old")
    except OSError as error:
        assert error.errno == errno.ESTALE, error
        kinds.add("stale")
assert "stale" in kinds, kinds
for _ in range(50):
    try:
        if open(f"{mnt}/f", "rb").read() == new:
            break
    except OSError as error:
        assert error.errno == errno.ESTALE, error
    os.system("sleep 0.2")
else:
    raise SystemExit("the new content does not come")
print(kinds)
END
check replaced-is-stale-then-new python3 "$T/reader.py" "$mnt" "$T/live"
rm "$T/live/f" && echo x >"$T/live/other"
check removal-and-news-are-seen wait_until 10 sh -c "! test -e '$mnt/f' && test -e '$mnt/other'"
check live-umounts cairn_umount "$mnt"

# --- a bucket of a real server
if store_ready minio; then
  check put-objects put_tree "$T/plain" some/prefix/
  check minio-mounts view c3 s3://data/some/prefix
  check minio-same-tree same_tree "$T/plain" "$mnt"
  check minio-etag test "$(getfattr --only-values -n user.s3.etag "$mnt/deep-er" 2>/dev/null)" = \
    "$(md5sum <"$T/plain/deep-er" | cut -d' ' -f1)"
  before=$(requests 'list + .requests.get')
  check minio-cached-tree same_tree "$T/plain" "$mnt"
  check minio-cached-costs-nothing test "$(requests 'list + .requests.get')" = "$before"
  check minio-umounts cairn_umount "$mnt"
  check minio-whole-bucket view c4 s3://data
  check minio-prefix-is-a-directory same_tree "$T/plain" "$mnt/some/prefix"
  check minio-bucket-umounts cairn_umount "$mnt"
  check beside-a-volume cairn format s3://data/volume
  check volume-is-a-volume view c5 s3://data/volume
  check volume-takes-writes sh -c "echo x >'$mnt/x'"
  check status-says-volume test "$(status "$mnt" .view)" = volume
  check volume-umounts cairn_umount "$mnt"
  store_done
fi

# --- any key, and many of them
python3 "$repo/tests/support/any_key_s3.py" >"$T/port" 2>"$T/any_key.log" </dev/null &
pids+=("$!")
wait_until 20 test -s "$T/port"
export AWS_ENDPOINT_URL=http://127.0.0.1:$(cat "$T/port") AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret-of-bucket-test
cat >"$T/keys.py" <<'END'
"""keys.py put|compare [MOUNT]: objects with awkward keys, and whether the mount shows each of them."""
import os, sys, urllib.parse, urllib.request
keys = {b"/lead": 1, b"d//e": 2, b"d/./f": 3, b"d/../g": 4, b"a": 5, b"a/b": 6, b"m/": 7, b"m/x": 8,
        b"%key%.": 9, "ä/ö".encode(): 10, b"new\nline": 11, b"tab\there": 12, b"x" * 300: 13,
        b"tail//": 14, b"q?a=b&c#d": 15, b"e/": 0, b"50%": 16, b"50%25": 17, b" ": 18, b"+ +": 19}
content = {key: (key * 40000)[: size * 3000] for key, size in keys.items()}
if sys.argv[1] == "put":
    for key, data in content.items():
        url = os.environ["AWS_ENDPOINT_URL"] + "/data/" + urllib.parse.quote(key)
        urllib.request.urlopen(urllib.request.Request(url, data=data, method="PUT")).read()
    for n in range(2501):
        url = os.environ["AWS_ENDPOINT_URL"] + f"/many/n{n:05}/x"[: None if n < 1 else -2]
        urllib.request.urlopen(urllib.request.Request(url, data=b"x", method="PUT")).read()
else:
    seen = {}
    for top, folders, names in os.walk(os.fsencode(sys.argv[2])):
        for name in names:
            path = os.path.join(top, name)
            key = os.getxattr(path, "user.s3.key")
            assert key not in seen, key
            with open(path, "rb") as file:
                seen[key] = file.read()
            assert os.stat(path).st_size == len(seen[key])
    assert os.path.isdir(os.fsencode(sys.argv[2]) + b"/e")
    wanted = {key: data for key, data in content.items() if data}
    assert seen.keys() == wanted.keys(), seen.keys() ^ wanted.keys()
    assert seen == wanted
END
check put-awkward-keys env no_proxy=127.0.0.1 python3 "$T/keys.py" put
check awkward-mounts view c6 s3://data
check awkward-keys-are-shown python3 "$T/keys.py" compare "$mnt"
check beside-is-named cmp <(printf 'a%.0s' $(seq 15000)) "$mnt/%file%a"
check awkward-umounts cairn_umount "$mnt"
check many-mounts view c7 s3://many
before=$(requests list)
check many-are-listed test "$(find "$mnt" -mindepth 1 -maxdepth 1 | wc -l)" = 2501
say "lists for 2,501 entries: $(($(requests list) - before))"
check many-cost-three-lists test $(($(requests list) - before)) -le 3
before=$(requests 'list + .requests.get')
check many-are-statted sh -c "ls -l '$mnt' >/dev/null"
check many-stats-cost-nothing test "$(requests 'list + .requests.get')" = "$before"
check many-umounts cairn_umount "$mnt"

# --- without the store
end_pid "${pids[-1]}"
check offline-mounts view c6 s3://data
check offline-shows-what-was-seen test -f "$mnt/d/%key%../g"
check offline-reads-what-was-read cmp <(printf 'a%.0s' $(seq 15000)) "$mnt/%file%a"
check offline-umounts cairn_umount "$mnt"
e2e_end
