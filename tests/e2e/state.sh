#!/usr/bin/env bash
# What status says of a mount and of a path, as text, as JSON, as attributes and as exit status, from
# the write to the commit; and what pin, unpin, warm, evict and a scan do to the cache.
. "$(dirname "$0")/lib.sh"
e2e_begin state
mkdir -p "$T/s3/data"
faulty_s3 --folder "$T/s3" || { fail store "tests/support/faulty_s3.py does not start"; e2e_end; }
store=s3://data/volume
mnt=$T/mnt
check format cairn format "$store" || e2e_end
check mount cairn_mount "$T/cache" "$store" "$mnt" --cache-size 96M --commit-interval 1s || e2e_end

exits() {  # WANT COMMAND...
  local want=$1 rc=0
  shift
  "$@" || rc=$?
  [ $rc = "$want" ] || { echo "exit status $rc, not $want"; return 1; }
}
state_of() { LIMIT=20 cairn status --json "$1" 2>/dev/null | jq -r .state; }
attribute() { getfattr --only-values -n "user.cairn.$2" "$1" 2>/dev/null; }
agree() {  # PATH: attribute and status say the same
  local a b
  a=$(attribute "$1" state) b=$(state_of "$1")
  [ -n "$a" ] && [ "$a" = "$b" ] || { echo "attribute '$a', status '$b'"; return 1; }
}

# --- from local to stored; the store does not answer puts meanwhile
faults '{"fault": "slowdown", "method": "PUT"}'
seeded "$T/file" 3000000 5
cp "$T/file" "$mnt/file"
say "just written: $(state_of "$mnt/file")"
check not-stored-yet exits 3 cairn status "$mnt/file"
check mount-not-safe exits 3 cairn status "$mnt"
sync "$mnt/file"
is() { [ "$(state_of "$1")" = "$2" ]; }
queued_or_more() { is "$mnt/file" queued || is "$mnt/file" uploading; }
check queued wait_until 10 queued_or_more
check no-commit-yet test -z "$(attribute "$mnt/file" commit)"
check no-cid-yet test -z "$(attribute "$mnt/file" cid)"
check uploading wait_until 40 is "$mnt/file" uploading
say "$(cairn status "$mnt/file")"
no_faults
LIMIT=90 check flush cairn flush "$mnt"
check stored is "$mnt/file" stored
check agree-stored agree "$mnt/file"
check stored-is-safe exits 0 cairn status "$mnt/file"
check mount-is-safe exits 0 cairn status "$mnt"
touch "$mnt/"$'caf\xe9'
latin_state() { prints local jq -r .state <<<"$(LIMIT=20 cairn status --json "$mnt/"$'caf\xe9')"; }
check name-in-latin-1 latin_state
rm "$mnt/"$'caf\xe9' && cairn flush "$mnt"
check json-is-safe exits 0 cairn status --json "$mnt"
same_commit() { [ "$(attribute "$mnt/file" commit)" = "$(cairn status --json "$mnt/file" | jq -r .commit)" ]; }
check commit-agrees same_commit
same_cid() { [ "$(attribute "$mnt/file" cid)" = "$(cairn status --json "$mnt/file" | jq -r .cid)" ]; }
check cid-agrees same_cid
check cid-is-there test -n "$(attribute "$mnt/file" cid)"
say "$(cairn status "$mnt/file")"
# The fields of --json are those that tools/README.md has in its two tables, neither more nor fewer.
json_is_documented() {
  cairn status --json "$mnt" | jq -r 'paths(type != "object") | map(tostring) | join(".")' |
    sed 's/^collection\..*/collection/' | sort -u >"$T/fields"
  cairn status --json "$mnt/file" | jq -r 'keys[]' | sort >"$T/path-fields"
  sed -n '/^| field | what |$/,/^$/p' "$repo/tools/README.md" | awk -F'|' '/^\| `/ { print $2 }' |
    grep -o '`[^`]*`' | tr -d '`' | sort -u >"$T/documented"
  sort -u "$T/fields" "$T/path-fields" | diff - "$T/documented"
}
check json-is-documented json_is_documented
faults '{"fault": "slowdown", "method": "PUT"}'
mkdir "$mnt/dir" && echo x >"$mnt/dir/x"
not_stored() { [ "$(state_of "$mnt/dir")" != stored ]; }
check directory-not-stored not_stored
check old-file-still-stored is "$mnt/file" stored
no_faults
LIMIT=90 check flush-2 cairn flush "$mnt"
check directory-is-stored is "$mnt/dir" stored
check not-a-mount exits 1 cairn status /

# --- what is cached
gets() { status "$mnt" .requests.get; }
cached() { cairn status --json "$1" | jq -r .cached_bytes; }
direct() { dd if="$1" of=/dev/null bs=1M iflag=direct status=none; }
check evict cairn evict "$mnt/file"
check evicted test "$(cached "$mnt/file")" = 0
check evicted-still-reads cmp "$T/file" "$mnt/file"
check warm cairn warm "$mnt/file"
check warmed test "$(cached "$mnt/file")" = 3000000
before=$(gets)
check warm-reads direct "$mnt/file"
check warm-asks-nothing test "$(gets)" = "$before"

# --- a scan of a file larger than the cache leaves alone what is pinned and what is read again and again
scan=192
[ "$profile" = quick ] || scan=1024
for n in 1 2 3 4; do seeded "$T/hot$n" 3000000 $((20 + n)); cp "$T/hot$n" "$mnt/hot$n"; done
seeded "$T/pinned" 6000000 30
cp "$T/pinned" "$mnt/pinned"
seeded "$T/cold" 6000000 31
cp "$T/cold" "$mnt/cold"
LIMIT=120 check flush-3 cairn flush "$mnt"
check pin cairn pin "$mnt/pinned"
check is-pinned test "$(cairn status --json "$mnt/pinned" | jq -r .pinned)" = true
check pinned-is-not-evicted exits 1 cairn evict "$mnt/pinned"
truncate -s 80M "$mnt/huge"
check pin-has-a-limit exits 1 cairn pin "$mnt/huge"
for pass in 1 2 3; do for n in 1 2 3 4; do direct "$mnt/hot$n"; done; done
seeded "$T/scan" $((scan << 20)) 40
check write-scan cp "$T/scan" "$mnt/scan"
LIMIT=300 check flush-4 cairn flush "$mnt"
for pass in 1 2 3; do for n in 1 2 3 4; do direct "$mnt/hot$n"; done; done
before=$(gets)
for n in 1 2 3 4; do direct "$mnt/hot$n"; done
say "hot set before the scan: $(($(gets) - before)) requests"
check read-scan direct "$mnt/scan"
before=$(gets)
for n in 1 2 3 4; do direct "$mnt/hot$n"; done
say "hot set after a scan of $scan MiB through 96 MiB: $(($(gets) - before)) requests," \
  "cached $(cached "$mnt/hot1") $(cached "$mnt/hot2") $(cached "$mnt/hot3") $(cached "$mnt/hot4")," \
  "cold $(cached "$mnt/cold"), pinned $(cached "$mnt/pinned")"
check hot-set-survives test "$(gets)" = "$before"
check pinned-survives test "$(cached "$mnt/pinned")" = 6000000
check cold-went test "$(cached "$mnt/cold")" -lt 6000000

# --- the cache and the pins are there after a restart, and a damaged entry is fetched again
check umount cairn_umount "$mnt"
check mount-again cairn_mount "$T/cache" "$store" "$mnt" --cache-size 96M --commit-interval 1s || e2e_end
check still-pinned test "$(cairn status --json "$mnt/pinned" | jq -r .pinned)" = true
before=$(gets)
check pinned-from-cache cmp "$T/pinned" "$mnt/pinned"
check restart-keeps-cache test "$(gets)" = "$before"
check unpin cairn unpin "$mnt/pinned"
check evict-unpinned cairn evict "$mnt/pinned"
check umount-2 cairn_umount "$mnt"
for file in "$T"/cache/*/segments/*.seg; do
  [ -s "$file" ] || continue
  printf 'rot' | dd of="$file" bs=1 seek=5000 conv=notrunc status=none
done
check mount-damaged cairn_mount "$T/cache" "$store" "$mnt" --cache-size 96M || e2e_end
for n in 1 2 3 4; do check "damaged-hot$n" cmp "$T/hot$n" "$mnt/hot$n"; done
check umount-3 cairn_umount "$mnt"
LIMIT=300 check check-data cairn check --data "$store"
e2e_end
