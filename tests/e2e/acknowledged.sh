#!/usr/bin/env bash
# The daemon is killed at random moments under writers that note what close and fsync acknowledged:
# none of it is lost, names and contents stay an exact prefix of what was done, and no round needs a
# hand. SQLite and PostgreSQL databases that are being written come back clean, here and, from the
# last commit, on another node.
. "$(dirname "$0")/lib.sh"
e2e_begin acknowledged
store=file://$T/store
mnt=$T/mnt
rounds=8
[ "$profile" = quick ] || rounds=${ACKNOWLEDGED_ROUNDS:-300}

# A writer numbers what it does; each file says which step made it. What was acknowledged is noted
# after the call returned, so at the kill at most one step a writer is open.
cat >"$T/writer.py" <<'PY'
import hashlib, os, random, sys
folder, note, seed = sys.argv[1], open(sys.argv[2], "a"), int(sys.argv[3])
random.seed(seed)

def content(step):
    size = random.Random(step * 1000 + seed).choice([0, 10, 4096, 9000, 70000, 300000, 1100000])
    return hashlib.shake_128(f"{seed}/{step}".encode()).digest(size)

def say(*words):
    note.write(" ".join(map(str, words)) + "\n")
    note.flush()

os.makedirs(folder, exist_ok=True)
step, files = 0, {}
try:
    while True:
        step += 1
        what = random.random()
        if what < 0.6 or len(files) < 5:
            name = f"f{step}"
            say("try", "write", step, name)
            fd = os.open(f"{folder}/{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
            data = content(step)
            for start in range(0, len(data), 200000):
                os.write(fd, data[start : start + 200000])
            if random.random() < 0.2:
                os.fsync(fd)
            os.close(fd)
            files[name] = step
        elif what < 0.75:
            name = random.choice(sorted(files))
            say("try", "rename", step, name, f"r{step}")
            os.rename(f"{folder}/{name}", f"{folder}/r{step}")
            files[f"r{step}"] = files.pop(name)
        elif what < 0.9:
            name = random.choice(sorted(files))
            say("try", "unlink", step, name)
            os.unlink(f"{folder}/{name}")
            del files[name]
        else:
            name = random.choice(sorted(files))
            say("try", "append", step, name)
            with open(f"{folder}/{name}", "ab") as file:
                file.write(f"+{step}".encode())
            # An append changes what the file must hold: it is noted as its own kind.
        say("done", step)
except OSError:
    pass
PY
cat >"$T/verify.py" <<'PY'
import hashlib, os, random, sys
folder, note, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])

def content(step):
    size = random.Random(step * 1000 + seed).choice([0, 10, 4096, 9000, 70000, 300000, 1100000])
    return hashlib.shake_128(f"{seed}/{step}".encode()).digest(size)

state, tried, acknowledged = {}, None, 0

def apply(words, state):
    kind, step, name = words[1], int(words[2]), words[3]
    if kind == "write":
        state[name] = content(step)
    elif kind == "rename":
        state[words[4]] = state.pop(name)
    elif kind == "unlink":
        del state[name]
    else:
        state[name] += f"+{step}".encode()

for line in open(note):
    words = line.split()
    if words[0] == "try":
        tried = words
    else:
        apply(tried, state)
        tried, acknowledged = None, acknowledged + 1

found = {}
for name in os.listdir(folder) if os.path.isdir(folder) else []:
    with open(f"{folder}/{name}", "rb") as file:
        found[name] = file.read()
later = dict(state)
if tried:
    apply(tried, later)
ok = found in (state, later)
if not ok and tried:  # killed in the middle of a write, which the kernel sends in parts
    name, step = tried[3], int(tried[2])
    rest = {n: b for n, b in found.items() if n != name}
    before = {n: b for n, b in state.items() if n != name}
    got = found.get(name)
    if tried[1] == "write" and rest == before and got is not None:
        ok = content(step).startswith(got)
if not ok:
    for name in sorted(set(found) | set(state)):
        if found.get(name) != state.get(name):
            print("differs:", name, "is", len(found[name]) if name in found else None, "bytes, was",
                  len(state[name]) if name in state else None)
    print("open step:", tried)
    sys.exit(1)
print(f"{acknowledged} acknowledged steps, {len(state)} files")
PY

check format cairn format "$store" || e2e_end
lost=0 hands=0 steps=0
for round in $(seq 1 $rounds); do
  # The collector works all the time: it dies, too, and the store does not grow round by round.
  if ! cairn_mount "$T/cache" "$store" "$mnt" --commit-interval 1s --cache-size 256M \
    --gc-interval 1s --gc-grace 2s; then
    hands=$((hands + 1))
    fail "round-$round" "the mount does not come back: $(tail -n 1 "$T/cache.log")"
    break
  fi
  if [ "$round" -gt 1 ]; then
    for w in 1 2 3; do
      if timeout 120 python3 "$T/verify.py" "$mnt/w$w" "$T/note$w" $((last * 10 + w)) >"$T/verify.out" 2>&1; then
        steps=$((steps + $(cut -d' ' -f1 "$T/verify.out")))
      else
        lost=$((lost + 1))
        fail "round-$((round - 1))-writer-$w" "$(tail -n 3 "$T/verify.out" | tr '\n' ' ')"
      fi
      rm -rf "$mnt/w$w"
    done
  fi
  last=$round
  writers=()
  for w in 1 2 3; do
    : >"$T/note$w"
    (cd "$mnt" && exec python3 "$T/writer.py" "w$w" "$T/note$w" $((round * 10 + w))) &
    writers+=($!)
  done
  # Any moment: before, during and after commits.
  sleep "$(python3 -c "import random; random.seed($round); print(0.2 + random.random() * 2.5)")"
  kill_daemon "$mnt" || { fail "round-$round" "the daemon was gone already"; break; }
  wait "${writers[@]}" 2>/dev/null
done
say "$rounds rounds, $steps acknowledged steps"
check nothing-lost test $lost = 0
check no-hand-needed test $hands = 0
check really-wrote test $steps -gt $((rounds * 20))

# --- databases
interval_max=3
# NAME_insert prints each row's number and when it was acknowledged, NAME_is_clean what it found: how
# many rows and the last one's number.
rows_written() { [ "$(wc -l <"$T/rows")" -ge "$1" ]; }
commit_reached() { [ "$(status "$mnt" .commit.seq)" -ge "$1" ]; }
# commit_age LAST-ROW KILLED-AT: for how long the first row that the commit lacks was acknowledged.
commit_age() { awk -v last="$1" -v end="$2" '$1 > last { age = end - $2; exit } END { print age + 0 }' "$T/rows"; }
database() {  # NAME: rounds of inserting, killing, checking
  local name=$1 n acknowledged=0 before killed last age
  for n in 1 2 3; do
    check "$name-mount-$n" cairn_mount "$T/cache" "$store" "$mnt" --commit-interval 1s \
      --commit-interval-max ${interval_max}s --allow-other || return
    check "$name-clean-$n" "${name}_is_clean" "$mnt" "$acknowledged" || return
    : >"$T/rows"
    "${name}_insert" "$mnt" "$n" >"$T/rows" 2>"$T/$name.err" &
    local inserter=$!
    pids+=("$inserter")
    # Killed when rows were acknowledged and a commit that began after them is in the store.
    check "$name-rows-$n" wait_until 120 rows_written 15 || { tail -n 5 "$T/$name.err"; return; }
    before=$(wc -l <"$T/rows")
    committed=$(($(status "$mnt" .commit.seq) + 2))
    check "$name-commits-$n" wait_until 60 commit_reached "$committed" || return
    sleep 0.$((n * 3))  # the next commit is on its way or not
    killed=$(now_ms)
    kill_daemon "$mnt"
    "${name}_stop" "$inserter"
    before=$((acknowledged + before))
    acknowledged=$((acknowledged + $(wc -l <"$T/rows")))
    say "$name: $(wc -l <"$T/rows") rows acknowledged, killed at commit $committed"
    # Another node, at the last commit, without what only the cache had.
    check "$name-other-$n" cairn_mount "$T/cache-other$name$n" "$store" "$mnt" --read-only || return
    cp -a "$mnt/$name" "$T/copy-$name"
    check "$name-other-umount-$n" cairn_umount "$mnt"
    mkdir -p "$T/at" && mv "$T/copy-$name" "$T/at/$name"
    check "$name-other-clean-$n" "${name}_is_clean" "$T/at" "$before"
    last=$(sed -n 's/.*rows, the last is //p' "$T/check.out")
    age=$(commit_age "${last:-0}" "$killed")
    say "$name: the other node has $(tail -n 1 "$T/check.out"), at least $before, $age ms old"
    check "$name-commit-is-young-$n" test "$age" -le $((interval_max * 1000 + 2000))
    rm -rf "$T/at" "$T/cache-other$name$n"
  done
  check "$name-mount-last" cairn_mount "$T/cache" "$store" "$mnt" --allow-other || return
  check "$name-clean-last" "${name}_is_clean" "$mnt" "$acknowledged"
  check "$name-wrote" test "$acknowledged" -gt 30
  check "$name-umount" cairn_umount "$mnt"
}

sqlite_insert() {
  mkdir -p "$1/sqlite"
  exec python3 "$repo/tests/e2e/rows.py" insert "$1/sqlite/rows.db"
}
sqlite_stop() { wait "$1" 2>/dev/null; true; }
sqlite_is_clean() {  # DIR AT-LEAST-ROWS
  [ -e "$1/sqlite/rows.db" ] || { [ "$2" = 0 ]; return; }
  python3 "$repo/tests/e2e/rows.py" check "$1/sqlite/rows.db" "$2"
}
database sqlite

# PostgreSQL refuses to run as root.
pg=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
as_user() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; else "$@"; fi
}
postgres_start() {  # DATA-DIR
  as_user "$pg/pg_ctl" -D "$1" -w -t 60 -l "$T/pglog/log" \
    -o "-c listen_addresses='' -c unix_socket_directories='$T/pglog' -c fsync=on -c full_page_writes=on -c shared_buffers=16MB" start || return
  head -n 1 "$1/postmaster.pid" >"$T/pglog/pid"
}
sql() { as_user "$pg/psql" -h "$T/pglog" -d postgres -qtAX "$@"; }
postgres_insert() {
  if [ ! -d "$1/postgres" ]; then
    mkdir "$1/postgres" && { [ "$(id -u)" != 0 ] || chown nobody:nogroup "$1/postgres"; }
    as_user "$pg/initdb" -D "$1/postgres" -A trust -E UTF8 --no-sync >&2 || return
  fi
  postgres_start "$1/postgres" >&2 || return
  sql -c 'create table if not exists t (n serial primary key, s text)' >&2
  while row=$(sql -c "insert into t (s) values (repeat('x', 500)) returning n"); do echo "$row $(now_ms)"; done
}
postgres_stop() {
  local pid
  wait_until 30 gone_or_zombie "$1" || kill "$1"
  wait "$1" 2>/dev/null
  pid=$(cat "$T/pglog/pid" 2>/dev/null)
  [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null  # its children see that and end
  [ -z "$pid" ] || wait_until 20 gone "$pid"
}
postgres_is_clean() {  # DIR AT-LEAST-ROWS
  [ -e "$1/postgres/PG_VERSION" ] || { [ "$2" = 0 ]; return; }
  rm -f "$1/postgres/postmaster.pid"
  [ "$(id -u)" != 0 ] || chown -R nobody:nogroup "$1/postgres"
  chmod 700 "$1/postgres"
  postgres_start "$1/postgres" || { tail -n 5 "$T/pglog/log"; return 1; }
  local rows last rc=0
  rows=$(sql -c "select count(*) from t" 2>/dev/null) || rows=0
  last=$(sql -c "select max(n) from t" 2>/dev/null)
  sql -c "reindex database postgres" >/dev/null || rc=1
  sql -c "select sum(length(s)) from t" >/dev/null || [ "$2" = 0 ] || rc=1
  as_user "$pg/pg_ctl" -D "$1/postgres" -m fast -w stop >/dev/null || rc=1
  echo "$rows rows, the last is $last"
  [ "${rows:-0}" -ge "$2" ] && [ $rc = 0 ]
}
if [ -z "$pg" ]; then
  skip postgres "PostgreSQL is not installed"
else
  mkdir "$T/pglog" && chmod 777 "$T/pglog" && chmod 755 "$T" "$T/.." 2>/dev/null
  database postgres
fi

say "the store holds $(du -sm "$T/store" | cut -f1) MiB"
LIMIT=1200 check check-data cairn check --data "$store"
e2e_end
