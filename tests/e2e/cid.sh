#!/usr/bin/env bash
# A file's CID, as the mount shows it, is what an independent UnixFS importer computes for the same
# bytes and parameters: for the default parameters and for the profile unixfs-v1-2025.
. "$(dirname "$0")/lib.sh"
e2e_begin cid
mnt=$T/mnt

importer=$CAIRN_TOOLS_DIR/unixfs
prepare_importer() {
  mkdir -p "$importer"
  cmp -s "$repo/tests/oracles/unixfs/package-lock.json" "$importer/package-lock.json" &&
    [ -d "$importer/node_modules" ] && return 0
  cp "$repo"/tests/oracles/unixfs/*.json "$repo"/tests/oracles/unixfs/*.mjs "$importer/" &&
    (cd "$importer" && timeout 300 npm ci --no-audit --no-fund)
}
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  skip importer "no node and npm here"
  e2e_end
fi
check importer prepare_importer || e2e_end

# shown PATH: the CID, once the mount has computed it.
shown() { getfattr --absolute-names --only-values -n user.cairn.cid "$1" 2>/dev/null; }

one_profile() {  # NAME CHUNK LINKS FORMAT-OPTION...
  local name=$1 chunk=$2 links=$3 size file want got store=file://$T/store-$1
  shift 3
  check "$name-format" cairn format "$@" "$store" || return
  check "$name-mount" cairn_mount "$T/cache-$name" "$store" "$mnt" || return
  for size in 0 1 $((chunk - 1)) "$chunk" $((chunk + 1)) $((chunk * links)) \
    $((chunk * (links + 1))) 1073741824; do
    file=$T/$name-$size
    seeded "$file" "$size" $((size % 251 + 1))
    cp "$file" "$mnt/$size"
    # The same bytes, written out of order.
    if [ "$size" -gt 1 ] && [ "$size" -le $((chunk + 1)) ]; then
      dd if="$file" of="$mnt/$size-pieces" bs=$((size / 2)) skip=1 seek=1 status=none
      dd if="$file" of="$mnt/$size-pieces" bs=$((size / 2)) count=1 conv=notrunc status=none
    fi
  done
  truncate -s $((chunk * 3 + 5)) "$T/$name-zeros" "$mnt/zeros"
  LIMIT=600 check "$name-flush" cairn flush "$mnt"
  for file in "$T/$name"-*; do
    size=${file##*/"$name"-}
    want=$(node "$importer/unixfs.mjs" file "$chunk" "$links" "$file" 2>"$T/node.log")
    want=${want%% *}
    got=$(shown "$mnt/$size")
    if [ -z "$want" ]; then
      fail "$name-$size" "the importer failed: $(tail -n 3 "$T/node.log")"
    elif [ "$want" = "$got" ]; then
      pass "$name-$size"
    else
      fail "$name-$size" "the mount says '$got', the importer $want"
    fi
    if [ -e "$mnt/$size-pieces" ]; then
      check "$name-$size-pieces" test "$(shown "$mnt/$size-pieces")" = "$want"
    fi
    rm -f "$file"
  done
  LIMIT=300 check "$name-umount" cairn_umount "$mnt"
  rm -rf "$T/cache-$name" "$T/store-$name"
}

one_profile default 262144 174
one_profile unixfs-v1-2025 1048576 1024 --profile unixfs-v1-2025
e2e_end
