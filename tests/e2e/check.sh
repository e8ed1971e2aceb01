#!/usr/bin/env bash
# The check is checked: in every kind of object one byte flipped, the object cut short, the object
# removed. Each is found and named, exit status 1; a good volume is clean and says what was read.
. "$(dirname "$0")/lib.sh"
e2e_begin check
store=$T/store
remote=file://$store
mnt=$T/mnt

check format cairn format "$remote" || e2e_end
check mount cairn_mount "$T/cache" "$remote" "$mnt" --commit-interval 1h || e2e_end
# 66 commits with data: an index segment is made of the first 64 packs.
for i in $(seq 66); do
  seeded "$mnt/f$i" 3000 "$i"
  LIMIT=30 cairn flush "$mnt" || { fail fill "flush $i"; e2e_end; }
done
seeded "$mnt/large" 2000000 99
check snapshot cairn snapshot create "$mnt" keep
check umount cairn_umount "$mnt" || e2e_end

out=$(cairn check --data "$remote" 2>&1)
check good-volume test $? = 0
check good-says-clean grep -q ': clean$' <<<"$out"
check good-says-what-was-read grep -Eq '^read [0-9.]+ [KMG]iB in [0-9]+ requests$' <<<"$out"
check good-counts grep -Eq '^[0-9]+ commits, 1 snapshots, .* 67 files' <<<"$out"

newest() { find "$store/$1" -type f -printf '%T@ %P\n' | sort -n | tail -n 1 | cut -d' ' -f2; }
# The first pack that the head names as metadata or data, by its footer's flag.
pack_of_kind() {
  python3 - "$store/p" "$1" <<'PY'
import os, sys
found = []
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            file.seek(-64, os.SEEK_END)
            footer = file.read()
        if footer[12] == int(sys.argv[2]):
            found.append((os.stat(path).st_mtime_ns, path))
print(max(found)[1])
PY
}
relative() { echo "${1#"$store/"}"; }

meta=$(relative "$(pack_of_kind 1)")
data=$(relative "$(pack_of_kind 0)")
commit=c/$(newest c)
older=c/$(find "$store/c" -type f -printf '%P\n' | sort | sed -n 5p)
segment=x/$(newest x)

# found NAME OBJECT: check fails with status 1 and names the object.
found() {
  local out rc=0
  out=$(cairn check --data "$remote" 2>&1) || rc=$?
  if [ $rc = 1 ] && grep -q "^$2: " <<<"$out"; then
    pass "$1"
  else
    fail "$1" "status $rc: $(head -c 500 <<<"$out")"
  fi
}

for kind in cairn.json commit older-commit snapshot metadata-pack data-pack index-segment; do
  case $kind in
    cairn.json) object=cairn.json ;;
    commit) object=$commit ;;
    older-commit) object=$older ;;
    snapshot) object=r/keep ;;
    metadata-pack) object=$meta ;;
    data-pack) object=$data ;;
    index-segment) object=$segment ;;
  esac
  cp "$store/$object" "$T/good"
  size=$(stat -c %s "$T/good")
  chmod u+w "$store/$object" 2>/dev/null
  python3 - "$store/$object" $((size / 3)) <<'PY'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0] ^ 4
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte]))
PY
  found "$kind-flipped" "$object"
  head -c $((size / 2)) "$T/good" >"$store/$object"
  found "$kind-cut" "$object"
  if [ $kind != snapshot ]; then  # one that is gone is one that was deleted
    rm -f "$store/$object"
    found "$kind-removed" "$object"
  fi
  cp "$T/good" "$store/$object"
done
check whole-again cairn check --data "$remote"

# What the rest allows is made anew, what it does not is named.
cp "$store/$data" "$T/good-pack"
rm "$store/$segment"
echo nonsense >"$store/HEAD"
out=$(cairn check --data --repair "$remote" 2>&1)
check repair-index test $? = 0
check repair-says-index grep -q '^repaired: the block index' <<<"$out"
check repair-says-head grep -q '^repaired: HEAD' <<<"$out"
check repaired-check cairn check --data "$remote"
check repaired-mount cairn_mount "$T/cache-2" "$remote" "$mnt"
check repaired-reads cmp <(seeded /dev/stdout 3000 7) "$mnt/f7"
check repaired-umount cairn_umount "$mnt"
rm "$store/$data"
out=$(cairn check --repair "$remote" 2>&1)
check lost-pack-stays-lost test $? = 1
check lost-pack-is-named grep -q "^$data: missing" <<<"$(sed -n '/^cannot be repaired/,$p' <<<"$out")"
e2e_end
