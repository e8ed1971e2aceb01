#!/usr/bin/env bash
# What the kernel asks the daemon for, counted as the daemon reads it: requests that nobody needs cost a
# round trip through the kernel each, and are not made. No times here: only what is asked, and how often.
. "$(dirname "$0")/lib.sh"
e2e_begin requests
if ! command -v strace >/dev/null; then skip requests "no strace"; e2e_end; fi
store=file://$T/store
mnt=$T/mnt
check format cairn format "$store" || e2e_end
check mount cairn_mount "$T/cache" "$store" "$mnt" || e2e_end

# asked WHAT: does it (a function of the Python below) and leaves in $T/asked how often each kind came.
# The first eight bytes of a request are its length and its kind.
asked() {
  local tracer daemon
  daemon=$(daemon_pid "$mnt")
  strace -f -qq -p "$daemon" -o "$T/strace.out" -e trace=read -P /dev/fuse -xx -s 8 2>"$T/strace.err" &
  tracer=$!
  pids+=("$tracer")
  attached() { grep -q '^TracerPid:.[1-9]' "/proc/$daemon/status"; }
  wait_until 10 attached || return
  LIMIT=60 timeout 60 python3 - "$1" "$mnt" <<'PY' || return
import os, sys
what, top = sys.argv[1:]
def missing(path):
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    return False
def misses():
    assert all(missing(f"{top}/late") for _ in range(20))
    for again in range(2):
        os.close(os.open(f"{top}/late", os.O_WRONLY | os.O_CREAT))
        assert not missing(f"{top}/late")
        os.rename(f"{top}/late", f"{top}/other")
        assert missing(f"{top}/late") and not missing(f"{top}/other")
        os.link(f"{top}/other", f"{top}/late")
        assert not missing(f"{top}/late")
        os.unlink(f"{top}/late")
        os.unlink(f"{top}/other")
        assert all(missing(f"{top}/{name}") for name in ("late", "other") for _ in range(20))
def links():
    os.symlink("closed", f"{top}/link")
    for n in range(20):
        assert os.readlink(f"{top}/link") == "closed" and not missing(f"{top}/link")
    os.unlink(f"{top}/link")
    os.symlink("other", f"{top}/link")
    assert os.readlink(f"{top}/link") == "other" and missing(f"{top}/link")
def appends():
    with open(f"{top}/log", "wb", buffering=0) as log:
        for n in range(100):
            log.write(b"x" * 4096)
    assert os.stat(f"{top}/log").st_size == 100 * 4096
def closes():
    for n in range(20):
        fd = os.open(f"{top}/closed", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x")
        os.close(fd)
globals()[what]()
PY
  kill "$tracer"
  wait "$tracer"
  python3 - "$T/strace.out" >"$T/asked" <<'PY'
import collections, re, sys
kinds = {1: "LOOKUP", 5: "READLINK", 16: "WRITE", 18: "RELEASE", 22: "GETXATTR", 25: "FLUSH"}
counts = collections.Counter()
for line in open(sys.argv[1]):
    found = re.search(r'"((?:\\x[0-9a-f]{2}){8})"', line)
    if found:
        head = bytes.fromhex(found[1].replace("\\x", ""))
        counts[int.from_bytes(head[4:], "little")] += 1
for number, name in kinds.items():
    print(name, counts[number])
PY
  say "$1: $(tr '\n' ' ' <"$T/asked")"
}
times() { awk -v kind="$1" '$1 == kind { print $2 }' "$T/asked"; }

if ! asked closes; then
  skip requests "strace cannot attach here: $(head -n 1 "$T/strace.err")"
  cairn_umount "$mnt"
  e2e_end
fi
check closes-are-counted test "$(times RELEASE)" -ge 19
check closing-asks-nothing test "$(times FLUSH)" -le 1
# 2 x 2 names come and go, by one look-up each: the kernel looks itself before it makes, and once after.
asked misses || fail misses "the names came and went wrongly"
check missing-is-asked-once test "$(times LOOKUP)" -le 24
asked links || fail links "the links said something else"
check links-are-asked-once test "$(times READLINK)" -le 2

asked appends || fail appends "what was appended is not there"
check appends-are-counted test "$(times WRITE)" = 100
# Before Linux 5.11 each write asks.
check appends-ask-once-for-capabilities test "$(times GETXATTR)" -le 1

check umount cairn_umount "$mnt"
check sound cairn check --data "$store"
e2e_end
