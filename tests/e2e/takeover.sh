#!/usr/bin/env bash
# Two nodes, one volume: a second writer is refused and told who holds it, a reader follows, a
# takeover fences the first, and `cairn recover` brings out what the fenced one had not published.
. "$(dirname "$0")/lib.sh"
e2e_begin takeover
store=file://$T/store
a=$T/a
b=$T/b
# What status says of a mount that lost its volume to another writer.
fenced() { { LIMIT=20 cairn status "$1" 2>&1 || true; } | grep -qi fenced; }

check format cairn format "$store" || e2e_end
check mount-a cairn_mount "$T/cache-a" "$store" "$a" || e2e_end
echo first >"$a/first"
check flush-a cairn flush "$a"

# Refused, and the sentence names the holder.
mkdir "$b"
out=$(cairn mount --cache-dir "$T/cache-b" "$store" "$b" 2>&1)
rc=$?
check second-writer-refused test $rc = 1
check second-writer-not-mounted test ! -e "$b/first"
case $out in *"$(uname -n)"*) pass refusal-names-host ;; *) fail refusal-names-host "$out" ;; esac
case $out in *--takeover*) pass refusal-offers-takeover ;; *) fail refusal-offers-takeover "$out" ;; esac
case $out in *--read-only*) pass refusal-offers-reader ;; *) fail refusal-offers-reader "$out" ;; esac

# A reader follows new commits, and cannot write.
check reader-mounts cairn_mount "$T/cache-b" "$store" "$b" --read-only || e2e_end
check reader-sees-first test "$(cat "$b/first")" = first
if (echo x >"$b/no") 2>/dev/null; then fail reader-cannot-write "a write was accepted"; else pass reader-cannot-write; fi
echo second >"$a/second"
echo changed >"$a/first"
mkdir "$a/dir" && echo deep >"$a/dir/deep"
check flush-a-again cairn flush "$a"
check reader-follows-new wait_until 60 test -e "$b/second"
check reader-follows-change wait_until 60 sh -c "[ \"\$(cat '$b/first')\" = changed ]"
check reader-follows-dir wait_until 60 test -e "$b/dir/deep"
check reader-umounts cairn_umount "$b"

# Takeover: B becomes the writer; what A has not published stays in A's journal.
echo published >"$a/kept"
check flush-a-third cairn flush "$a"
check takeover cairn_mount "$T/cache-b" "$store" "$b" --takeover || e2e_end
seeded "$a/unpublished" 3000000 5
mkdir "$a/new" && echo mine >"$a/new/file"
sum=$(seeded "$T/same" 3000000 5; sha256sum <"$T/same")
echo by-b >"$b/from-b"
check flush-b cairn flush "$b"
check first-writer-is-fenced wait_until 60 fenced "$a"
if (echo late >"$a/late") 2>/dev/null; then fail fenced-refuses-writes "a write was accepted"; else pass fenced-refuses-writes; fi
check fenced-still-reads test "$(cat "$a/kept")" = published
if timeout 60 python3 -c 'import os,sys; os.fsync(os.open(sys.argv[1], os.O_RDONLY))' "$a/unpublished" 2>"$T/fsync.log"; then
  fail fenced-fsync-is-eio "fsync succeeded"
else
  check fenced-fsync-is-eio grep -q 'Errno 5' "$T/fsync.log"
fi
LIMIT=60 cairn umount "$a" >"$T/umount-a.log" 2>&1
if is_mounted "$a"; then kill_daemon "$a" || umount -l "$a"; fi

# The fenced cache does not mount as if nothing had happened; its work can be taken out.
out=$(cairn mount --cache-dir "$T/cache-a" "$store" "$a" 2>&1)
check fenced-cache-refused test $? != 0
case $out in *recover*) pass fenced-cache-says-recover ;; *) fail fenced-cache-says-recover "$out" ;; esac
check recover cairn recover "$T/cache-a" --to "$T/rescued"
check recovered-file test "$(find "$T/rescued" -name unpublished -exec sha256sum {} + | cut -d' ' -f1)" = "${sum%% *}"
check recovered-small grep -rqx mine "$T/rescued"

# B's volume is whole; after its clean unmount anybody mounts without a flag.
check b-sees-its-own test "$(cat "$b/from-b")" = by-b
check b-sees-a-published test "$(cat "$b/kept")" = published
check umount-b cairn_umount "$b"
check check-data cairn check --data "$store"
check no-flag-needed cairn_mount "$T/cache-c" "$store" "$a"
check umount-c cairn_umount "$a"
e2e_end
