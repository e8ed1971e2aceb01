#!/usr/bin/env bash
# A damaged cache with work that is in no store yet: the mount refuses with a sentence that names the
# file and the way out; `cairn recover --repair` keeps all that is whole, says what is lost, keeps the
# damaged files; the next mount has it. `recover --to` brings files out as they were.
. "$(dirname "$0")/lib.sh"
e2e_begin repair
store=file://$T/store
mnt=$T/mnt
mkdir -p "$T/caches"
check format cairn format "$store" || e2e_end
# The folder of the remote below a cache directory.
folder() { dirname "$(find "$1" -maxdepth 2 -name lock -not -path '*/damaged-*' | head -n 1)"; }
flip() {  # FILE OFFSET
  python3 - "$1" "$2" <<'PY'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte[0] ^ 0x5A]))
PY
}
# What is published, then what only this cache has: of every kind.
fill() {
  seeded "$mnt/published" 3000000 1 && mkdir "$mnt/old" && echo old >"$mnt/old/file" &&
    cairn flush "$mnt" &&
    mkdir -m 2751 "$mnt/empty" && mkdir "$mnt/dir" && seeded "$T/made" 5000000 2 && cp "$T/made" "$mnt/dir/large" &&
    echo small >"$mnt/dir/small" && ln "$mnt/dir/small" "$mnt/dir/second" && ln -s ../published "$mnt/dir/link" &&
    mkfifo -m 640 "$mnt/dir/fifo" && chmod 4711 "$mnt/dir/large" && echo more >>"$mnt/published" &&
    setfattr -n user.note -v 'a value' "$mnt/dir/small" && touch -d 2001-02-03T04:05:06.789 "$mnt/dir/small" &&
    touch -d 1999-01-01 "$mnt/empty" && mv "$mnt/old/file" "$mnt/old/renamed" || return 1
  [ "$(id -u)" != 0 ] || { chown 1234:4321 "$mnt/dir/small" && mknod "$mnt/dir/null" c 1 3; }
}
# refused NAME FILE: the mount says no, with the file's name and the command.
refused() {
  local out
  out=$(cairn mount --cache-dir "$T/cache" --cache-reserve 64M "$store" "$mnt" 2>&1)
  check "$1-refused" test $? = 1
  case $out in *"$2"*) pass "$1-names-the-file" ;; *) fail "$1-names-the-file" "$out" ;; esac
  case $out in *"cairn recover "*--repair*) pass "$1-names-the-way" ;; *) fail "$1-names-the-way" "$out" ;; esac
  ! is_mounted "$mnt"
}
again() {  # the cache and the store as they were when the daemon died
  rm -rf "$T/cache" "$T/store" && cp -a "$T/caches/died" "$T/cache" && cp -a "$T/caches/store" "$T/store"
}
same() { manifest "$mnt" >"$T/got.manifest" && diff "$T/want.manifest" "$T/got.manifest"; }

check mount cairn_mount "$T/cache" "$store" "$mnt" --commit-interval 1h || e2e_end
check fill fill || e2e_end
sleep 1.5  # what was acknowledged is on the disk unasked by now; the next record says so
echo late >"$mnt/late"
manifest "$mnt" >"$T/want.manifest"
check kill kill_daemon "$mnt"
mv "$T/cache" "$T/caches/died"
cp -a "$T/store" "$T/caches/store"
again
cache=$(folder "$T/cache")

# Tables.
flip "$cache/meta/data.mdb" 4100
flip "$cache/meta/data.mdb" 10
refused tables data.mdb
check tables-repair cairn recover "$cache" --repair
check tables-kept-aside test -e "$cache/damaged-1/meta/data.mdb"
check tables-mount cairn_mount "$T/cache" "$store" "$mnt" --commit-interval 1h || e2e_end
check tables-nothing-lost same
check tables-kill kill_daemon "$mnt"

# Identity.
again
flip "$cache/identity" 5
refused identity identity
LIMIT=60 cairn recover "$cache" --repair >"$T/out" 2>&1
check identity-asks-for-remote grep -q -- --remote "$T/out"
check identity-repair cairn recover "$cache" --repair --remote "$store"
check identity-mount cairn_mount "$T/cache" "$store" "$mnt" --commit-interval 1h || e2e_end
check identity-nothing-lost same
check identity-kill kill_daemon "$mnt"

# The journal's head: it can be made up again.
again
journal=$(find "$cache/journal" -name '*.log' | sort | tail -n 1)
flip "$journal" 20
refused journal-head "$(basename "$journal")"
check journal-head-repair cairn recover "$cache" --repair
check journal-head-mount cairn_mount "$T/cache" "$store" "$mnt" --commit-interval 1h || e2e_end
check journal-head-nothing-lost same
check journal-head-kill kill_daemon "$mnt"

# The journal's middle: the prefix stays, the rest comes out.
again
used=$(python3 -c 'import sys; print(len(open(sys.argv[1], "rb").read().rstrip(b"\0")))' "$journal")
flip "$journal" $((used - 2500))
refused journal-middle "$(basename "$journal")"
check journal-middle-take-out sh -c '"$0" recover "$1" --to "$2" >"$3" 2>&1; [ $? = 1 ]' "$CAIRN" "$cache" "$T/out1" "$T/out"
check journal-middle-is-said grep -q "^damaged: .*$(basename "$journal")" "$T/out"
check journal-middle-repair sh -c '"$0" recover "$1" --repair >"$2" 2>&1; [ $? = 1 ]' "$CAIRN" "$cache" "$T/out"
check journal-middle-says-lost grep -q '^lost: .*record' "$T/out"
sed 's/^/    /' "$T/out" | head -n 12
check journal-middle-mount cairn_mount "$T/cache" "$store" "$mnt" --commit-interval 1h || e2e_end
check journal-middle-published test "$(head -c 3000000 "$mnt/published" | sha256sum)" = "$(seeded "$T/same" 3000000 1; sha256sum <"$T/same")"
check journal-middle-writes sh -c 'echo new >"$1/new" && "$0" flush "$1"' "$CAIRN" "$mnt"
check journal-middle-kill kill_daemon "$mnt"
check journal-middle-aside sh -c '"$0" recover "$1" --to "$2" >/dev/null 2>&1; [ $? = 1 ] && [ -e "$2/old/renamed" ]' "$CAIRN" "$cache/damaged-1" "$T/out2"
check check-data cairn check --data "$store"

# Data of a file that waits for its upload.
again
segment=$(find "$cache/segments" -name '*.seg' -size +1M | sort | tail -n 1)
flip "$segment" 1000000
refused data "$(basename "$segment" .seg)"
check data-repair sh -c '"$0" recover "$1" --repair >"$2" 2>&1; [ $? = 1 ]' "$CAIRN" "$cache" "$T/out"
check data-says-bytes grep -q '^lost: .*bytes .* of large' "$T/out"
check data-mount cairn_mount "$T/cache" "$store" "$mnt" --commit-interval 1h || e2e_end
check data-kill kill_daemon "$mnt"

# Nothing damaged: what comes out is what was there, with all that a file has besides its bytes.
again
check sound-repair cairn recover "$cache" --repair
check sound-nothing-aside test ! -e "$cache/damaged-1"
check take-out cairn recover "$cache" --to "$T/out3"
python3 "$repo/tests/e2e/manifest.py" "$T/out3" >"$T/out3.manifest"
# The root is the target itself, which is the user's.
below() { grep -v "^'\.'" "$1"; }
if [ "$(id -u)" = 0 ]; then
  check take-out-is-the-same diff <(below "$T/want.manifest") <(below "$T/out3.manifest")
fi
check take-out-xattr test "$(getfattr --absolute-names --only-values -n user.note "$T/out3/dir/small")" = 'a value'
check take-out-empty-dir test -d "$T/out3/empty"
check take-out-fifo test -p "$T/out3/dir/fifo"
check take-out-link test "$T/out3/dir/small" -ef "$T/out3/dir/second"
e2e_end
