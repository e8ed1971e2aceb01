#!/usr/bin/env bash
# Programs that people run, on a mount: git, SQLite in both journal modes under several writers, tar
# with holes and attributes, rsync twice, fio with verification. The full profile adds PostgreSQL, a
# CMake project, dpkg, more of fio, dbench and stress-ng, and a far store. After all `cairn check --data`
# finds nothing, and on an empty cache fio finds what it wrote.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin apps

mnt=$T/mnt

# A repository with some thousand objects, made from the system's own files.
make_repository() {
  local i files=1500
  [ "$profile" = quick ] || files=12000
  mkdir "$T/repo" && cd "$T/repo" || return
  git init -q . && git config user.name tester && git config user.email tester@localhost || return
  find /usr/include /usr/share/doc -type f -size -200k 2>/dev/null | sort | head -n $files |
    tar -C / -T - -cf - 2>/dev/null | tar -xf -
  for i in 1 2 3; do
    echo "round $i" >"file-$i"
    git add -A && git -c gc.auto=0 commit -qm "round $i" || return
  done
}

git_clone() (
  set -e
  git clone -q --no-local "$T/repo" "$mnt/clone"
  cd "$mnt/clone"
  git fsck --full --strict
  test "$(git rev-parse HEAD)" = "$(git -C "$T/repo" rev-parse HEAD)"
  test -z "$(git status --porcelain)"
  git checkout -q -b other HEAD~1
  git config user.name tester && git config user.email tester@localhost
  echo more >more && git add more && git commit -qm more
  git repack -qad && git gc -q --prune=now
  git fsck --full
)

# Writers and a reader at once; what every writer was told is there, is there.
sqlite_writers() (  # JOURNAL-MODE
  set -e
  db=$mnt/$1.db rows=150
  [ "$profile" = quick ] || rows=1500
  sqlite3 "$db" "pragma journal_mode=$1; create table t(writer, n, body);" >/dev/null
  workers=()
  for writer in 1 2 3; do
    python3 - "$db" "$writer" $rows <<'END' &
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=120, isolation_level=None)
for n in range(int(sys.argv[3])):
    db.execute("begin immediate")
    db.execute("insert into t values(?, ?, ?)", (sys.argv[2], n, "x" * (n * 37 % 3000)))
    db.execute("update t set body = body || 'y' where writer = ? and n = ?", (sys.argv[2], n // 2))
    db.execute("rollback" if n % 10 == 9 else "commit")
END
    workers+=($!)
  done
  for worker in "${workers[@]}"; do wait "$worker"; done
  test "$(sqlite3 "$db" 'pragma integrity_check')" = ok
  test "$(sqlite3 "$db" 'select count(*) from t')" = $((rows * 9 / 10 * 3))
)

make_odd_tree() (
  set -e
  mkdir -p "$T/odd/a/b"
  cd "$T/odd"
  truncate -s 30M sparse
  printf x | dd of=sparse bs=1 seek=20000000 conv=notrunc status=none
  seeded large 3000000 3
  ln large hard
  ln -s ../large a/link
  mkfifo pipe
  printf hello >named
  setfattr -n user.note -v 'some value' named
  setfattr -n user.large -v "0x$(head -c 2000 large | od -An -v -tx1 | tr -d ' \n')" a/b
  touch -d '2001-02-03 04:05:06.070809010 UTC' named a
  chmod 2750 a/b
  for i in $(seq 300); do printf '%s' "$i" >"a/b/$i"; done
)

tar_round_trip() (
  set -e
  tar -C "$T/odd" --sparse --xattrs --xattrs-include='*' -cf "$mnt/odd.tar" .
  mkdir "$mnt/untarred"
  tar -C "$mnt/untarred" --xattrs --xattrs-include='*' -xpf "$mnt/odd.tar"
  diff <(manifest "$T/odd") <(manifest "$mnt/untarred")
  test "$(stat -c %b "$mnt/untarred/sparse")" -lt 2048
  tar -C "$mnt/untarred" --sparse --xattrs --xattrs-include='*' -cf "$T/back.tar" .
  rm -rf "$T/back"
  mkdir "$T/back"
  tar -C "$T/back" --xattrs --xattrs-include='*' -xpf "$T/back.tar"
  diff <(manifest "$T/odd") <(manifest "$T/back")
)

rsync_twice() (
  set -e
  mkdir "$mnt/synced"
  touch "$mnt/synced/to be deleted"
  rsync -aHAX --delete "$T/odd/" "$mnt/synced/"
  rsync -aHAX --delete --itemize-changes "$T/odd/" "$mnt/synced/" >"$T/second"
  cat "$T/second"
  test ! -s "$T/second"
  rsync -aHAX --checksum --itemize-changes "$mnt/synced/" "$T/odd/" >"$T/third"
  cat "$T/third"
  test ! -s "$T/third"
)

copies() (
  set -e
  cp --reflink=auto --sparse=auto "$mnt/synced/sparse" "$mnt/copy of sparse"
  cp --reflink=auto "$mnt/synced/large" "$mnt/copy of large"
  cmp "$T/odd/sparse" "$mnt/copy of sparse"
  cmp "$T/odd/large" "$mnt/copy of large"
  test "$(stat -c %b "$mnt/copy of large")" = "$(stat -c %b "$mnt/synced/large")"
)

# ---- full profile

as_postgres() { runuser -u postgres -- env -C / "$@"; }

postgres() (
  set -e
  bin=$(dirname "$(find /usr/lib/postgresql -name initdb | sort -V | tail -n 1)")
  install -d -o postgres -m 700 "$mnt/pg"
  start() { as_postgres "$bin/pg_ctl" -D "$mnt/pg" -w -t 120 -l "$mnt/pg/log" \
    -o "-c listen_addresses= -c unix_socket_directories=$mnt/pg" start; }
  as_postgres "$bin/initdb" -D "$mnt/pg" --data-checksums >/dev/null
  start
  trap 'as_postgres "$bin/pg_ctl" -D "$mnt/pg" -m immediate stop || true' EXIT
  as_postgres "$bin/pgbench" -h "$mnt/pg" -i -q -s 3 postgres
  as_postgres "$bin/pgbench" -h "$mnt/pg" -c 4 -T 30 postgres
  before=$(as_postgres psql -h "$mnt/pg" -Atc 'select sum(abalance), count(*) from pgbench_accounts' postgres)
  as_postgres "$bin/pg_ctl" -D "$mnt/pg" -m immediate stop
  start  # from the write-ahead log
  after=$(as_postgres psql -h "$mnt/pg" -Atc 'select sum(abalance), count(*) from pgbench_accounts' postgres)
  test "$before" = "$after"
  as_postgres "$bin/pg_ctl" -D "$mnt/pg" -m fast stop
  as_postgres "$bin/pg_checksums" -D "$mnt/pg" --check
  trap - EXIT
)

cmake_project() (
  set -e
  mkdir -p "$mnt/project/src"
  cd "$mnt/project"
  for i in $(seq 60); do
    echo "#include <vector>
int f$i() { std::vector<int> v($i); return static_cast<int>(v.size()); }" >"src/f$i.cc"
  done
  { seq 60 | sed 's/.*/int f&();/'; echo 'int main() { int n = 0;'; seq 60 | sed 's/.*/n += f&();/'
    echo 'return n == 1830 ? 0 : 1; }'; } >src/main.cc
  cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.25)
project(sample CXX)
file(GLOB sources src/f*.cc)
add_library(parts STATIC ${sources})
add_executable(sample src/main.cc)
target_link_libraries(sample parts)
enable_testing()
add_test(NAME sample COMMAND sample)
END
  cmake -G Ninja -S . -B build >/dev/null
  cmake --build build -j 4
  ctest --test-dir build
  test "$(cmake --build build -- -n | grep -c Building)" = 0
)

dpkg_unpack() (
  set -e
  mkdir -p "$mnt/root/var/lib/dpkg/"{info,updates} "$T/debs"
  touch "$mnt/root/var/lib/dpkg/status"
  cd "$T/debs"
  apt-get download -qq coreutils tar bash tzdata >/dev/null
  dpkg --root="$mnt/root" --force-depends --force-script-chrootless --unpack ./*.deb
  dpkg --root="$mnt/root" --verify
  test -x "$mnt/root/bin/bash"
)

# Blocks in random order, by three writers at once, read back against their sums.
fio_blocks() {  # ENGINE BLOCK FLAG...
  local size=8m
  [ "$profile" = quick ] || size=64m
  fio --directory="$mnt/fio" --name="$1-$2" --ioengine="$1" --rw=randwrite --bs="$2" --size=$size \
    --numjobs=3 --verify=sha256 --verify_fatal=1 --verify_state_save=0 --group_reporting "${@:3}"
}
each_fio() {  # FLAG
  fio_blocks psync 4k "$1" && fio_blocks psync 64k "$1" && fio_blocks mmap 4k "$1" &&
    fio_blocks mmap 64k "$1"
}
fio_verify() { mkdir "$mnt/fio" && each_fio --do_verify=1; }
fio_again() { each_fio --verify_only=1; }
# Blocks of any size at any place, reads in between.
fio_mixed() {
  fio --directory="$mnt/fio" --name=mixed --rw=randrw --bsrange=1k-128k --bs_unaligned --size=48m \
    --numjobs=2 --ioengine=psync --verify=sha256 --do_verify=1 --verify_fatal=1 --group_reporting
}

run_dbench() { mkdir "$mnt/dbench" && dbench -t 30 -D "$mnt/dbench" 4; }

run_stress() {
  mkdir "$mnt/stress" && stress-ng --class filesystem --sequential 1 --timeout 3s --verify \
    --temp-path "$mnt/stress" --exclude binderfs,apparmor,ramfs,swap,inotify,fanotify
}

with_program() {  # PROGRAM NAME COMMAND...
  if command -v "$1" >/dev/null || find /usr/lib/postgresql -name "$1" 2>/dev/null | grep -q .; then
    check "${@:2}"
  else
    skip "$2" "$1 is not installed"
  fi
}

run_on() {  # KIND
  check format cairn format "$STORE" || return
  check mount cairn_mount "$T/cache-$1" "$STORE" "$mnt" --cache-size 512M -o dev,suid || return
  check git git_clone
  check sqlite-wal sqlite_writers wal
  check sqlite-rollback sqlite_writers delete
  with_program rsync rsync rsync_twice
  check tar tar_round_trip
  check copies copies
  with_program fio fio fio_verify
  if [ "$profile" = full ]; then
    with_program initdb postgres postgres
    check cmake cmake_project
    check dpkg dpkg_unpack
    with_program fio fio-mixed fio_mixed
    with_program dbench dbench run_dbench
    with_program stress-ng stress-ng run_stress
  fi
  LIMIT=600 check umount cairn_umount "$mnt"
  LIMIT=900 check check-data cairn check --data "$STORE"
  check mount-empty cairn_mount "$T/cache-$1-2" "$STORE" "$mnt" --cache-size 512M || return
  with_program fio fio-from-the-store fio_again
  check umount-empty cairn_umount "$mnt"
}

check odd-tree make_odd_tree
check repository make_repository
on_stores run_on
e2e_end
