#!/usr/bin/env bash
# pjdfstest on a mounted volume, with the time limits of its own defaults (the kernel caches
# attributes): what it says must be what it says on ext4.
#
# The Rust form comes from crates.io (tests/deps rust). The C form is run when PJDFSTEST_DIR names
# the folder of a built checkout of github.com/pjd/pjdfstest; every assertion must hold, and there must
# be as many as on other FUSE mounts: 8,798, or what PJDFSTEST_COUNT says for another checkout. In the
# full profile both run on MinIO behind 20 ms too.
#
# One case is left out: link::link_count_max asks the C library for the limit, which knows ext4's and
# none of a FUSE mount, so it skips itself there. tests/e2e/posix.py tries the limit (links).
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
# Other users must be able to walk there: not below somebody's home.
CAIRN_E2E_DIR=${CAIRN_E2E_DIR:-${TMPDIR:-/tmp}/cairn-e2e}
e2e_begin pjdfstest
chmod 755 "$T"
if [ "$(id -u)" != 0 ]; then skip pjdfstest "needs root: it changes owners"; e2e_end; fi
export NO_COLOR=1

rust=$CAIRN_TOOLS_DIR/bin/pjdfstest
if ! [ -x "$rust" ]; then
  skip rust "no pjdfstest in \$CAIRN_TOOLS_DIR/bin: see tests/deps rust"
  rust=
fi
if [ -z "${PJDFSTEST_DIR:-}" ]; then
  skip c-suite "PJDFSTEST_DIR is not set"
elif ! [ -x "$PJDFSTEST_DIR/pjdfstest" ]; then
  fail c-suite "there is no $PJDFSTEST_DIR/pjdfstest: build it (autoreconf -ifs, configure, make)"
  PJDFSTEST_DIR=
fi

mkdir -p "$T/plain" "$T/other" "$T/mnt"
truncate -s 512M "$T/plain.img"
mkfs.ext4 -q "$T/plain.img"
check loop mount -o loop "$T/plain.img" "$T/plain" || e2e_end
mounts+=("$T/plain")
mount -t tmpfs cairn-other "$T/other" || { fail tmpfs "the second file system is not there"; e2e_end; }
mounts+=("$T/other")
cat >"$T/pjdfstest.toml" <<'END'
[features]
posix_fallocate = {}
rename_ctime = {}
utimensat = {}
utime_now = {}

[settings]
naptime = 0.01
allow_remount = false

[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
END

# rust_cases FOLDER OUT: "case result", one a line.
rust_cases() {
  mkdir -p "$1"
  (cd / && timeout -k 10 900 "$rust" -c "$T/pjdfstest.toml" -p "$1" -s "$T/other") >"$2.log" 2>&1
  sed -n 's/^\([a-z_]*::[a-z0-9_:]*\) *\(ok\|FAILED\|skipped\)$/\1 \2/p' "$2.log" |
    grep -v '^link::link_count_max ' | sort >"$2"
  sed -n 's/^Summary: //p' "$2.log"
}

run_rust() {  # STORE
  local line name
  say "rust, $1: $(rust_cases "$T/mnt/rust" "$T/rust-$1")"
  while read -r line; do
    name=${line%% *}
    fail "rust/$name" "ext4: $(grep "^$name " "$T/rust-plain" || echo missing); here: ${line#* }"
    grep -F -A 3 "$name " "$T/rust-$1.log" | head -n 4 | sed 's/^/    | /'
  done < <(comm -13 "$T/rust-plain" "$T/rust-$1")
  check rust-ran-all test "$(wc -l <"$T/rust-plain")" = "$(wc -l <"$T/rust-$1")"
  passed=$((passed + $(comm -12 "$T/rust-plain" "$T/rust-$1" | grep -c ' ok$')))
}

c_count=${PJDFSTEST_COUNT:-8798}
run_c() {  # STORE
  local out=$T/c-$1.log count
  mkdir -p "$T/mnt/c"
  (cd "$T/mnt/c" && timeout -k 10 3600 prove -r "$PJDFSTEST_DIR/tests") >"$out" 2>&1 </dev/null
  count=$(sed -n 's/^Files=.* Tests=\([0-9]*\),.*/\1/p' "$out")
  if grep -q '^Result: PASS$' "$out" && [ "${count:-0}" = "$c_count" ]; then
    say "c, $1: $count assertions hold"
    passed=$((passed + count))
  else
    fail c "${count:-no} assertions, should be $c_count: $(tail -n 1 "$out")"
    sed -n '/^Test Summary Report/,$p' "$out" | sed 's/^/    | /'
  fi
}

if [ -n "$rust" ]; then
  say "rust, ext4: $(rust_cases "$T/plain/rust" "$T/rust-plain")"
  check ext4-passes test "$(grep -c ' ok$' "$T/rust-plain")" -ge 380
fi

run_on() {  # KIND
  check format cairn format "$STORE" || return
  check mount cairn_mount "$T/cache-$1" "$STORE" "$T/mnt" -o allow_other || return
  [ -z "$rust" ] || run_rust "$1"
  [ -z "${PJDFSTEST_DIR:-}" ] || run_c "$1"
  check umount cairn_umount "$T/mnt"
  check check-data cairn check --data "$STORE"
}
on_stores run_on
e2e_end
