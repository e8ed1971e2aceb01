#!/usr/bin/env bash
# Programs that people run on the objects of a bucket: rsync both ways and a web server; the full profile
# adds MinIO's client beside the mount, a video that ffmpeg seeks in and a Parquet file that pandas takes one
# column of. Of what they do not ask for little is fetched, and what they write other tools read.
# needs: servers
#
# How much of a file is fetched for what reads a part of it: that part, in chunks of 256 KiB, and what
# read-ahead takes for a stream, at most 16 MiB behind where it stops.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin bucket_clients
mnt=$T/mnt
mkdir "$mnt"

# view CACHE [OPTION...]: a part of the bucket, and published every second while programs are at work.
view() {
  local cache=$1
  shift
  cairn_mount "$T/$cache" s3://data/some/prefix "$mnt" --commit-interval 1s "$@"
}
# What was asked for ahead may still be on its way.
fetched() {
  local before now
  now=$(status "$mnt" .transferred.bytes_read)
  until [ "$now" = "${before:-}" ]; do
    sleep 0.3
    before=$now
    now=$(status "$mnt" .transferred.bytes_read)
  done
  echo "$now"
}
# fetches_less NAME PART SIZE COMMAND...: it works, and fetches less than a PART-th of SIZE bytes.
fetches_less() {
  local name=$1 part=$2 size=$3 before now
  shift 3
  before=$(fetched)
  check "$name" "$@"
  now=$(($(fetched) - before))
  say "$name: $now of $size bytes fetched, $((now * 1000 / size)) ‰"
  check "$name-fetches-little" test $((now * part)) -lt "$size"
}

# --- rsync

# With old times: rsync compares whole seconds, and leaves what it made in the same one as it is.
make_tree() {
  mkdir -p "$1/deep/er" "$1/empty" "$1/linux"
  if [ "$profile" = quick ]; then
    cp -r /usr/include/linux/{netfilter*,usb,fuse.h,kvm.h} "$1/linux"
  else
    cp -r /usr/include/linux/* "$1/linux"
  fi
  seeded "$1/big.bin" 20000001 1
  seeded "$1/deep/er/ä ö%20+&=.txt" 300000 2
  : >"$1/deep/nothing"
  echo hidden >"$1/.hidden"
  printf '#!/bin/sh\n' >"$1/run.sh"
  chmod 755 "$1/run.sh"
  chmod 600 "$1/deep/nothing"
  chmod 444 "$1/.hidden"
  chmod 750 "$1/deep/er"
  ln -s ../big.bin "$1/deep/link"
  find "$1" -exec touch -h -d '2019-01-01 01:01:01.987654321' {} +
  touch -d '2020-02-02 02:02:02.123456789' "$1/big.bin" "$1/deep/er"
}
change_tree() {
  printf changed | dd of="$1/big.bin" bs=1 seek=10000000 conv=notrunc status=none
  echo more >>"$1/linux/fuse.h"
  mv "$1/linux/netfilter" "$1/moved"
  rm "$1/run.sh"
  chmod 640 "$1/.hidden"
  touch -d '2021-03-04 05:06:07' "$1/deep/nothing"
  find "$1" -newermt 2022-01-01 -exec touch -h -d '2021-01-01 01:01:01.5' {} +
}
# syncs FROM TO [OPTION...], then quiet FROM TO [OPTION...]: nothing is to be done any more.
syncs() { rsync -a --delete "${@:3}" "$1/" "$2/"; }
quiet() {
  local todo
  todo=$(syncs "$1" "$2" --dry-run --itemize-changes "${@:3}") && echo "$todo" && test -z "$todo"
}
names_of() { (cd "$1" && find . -mindepth 1 | sort); }
rclone_equal() { other check --download --exclude /deep/link "$T/tree" "$remote/tree"; }

run_rsync() {
  local sent tree=$mnt/tree
  make_tree "$T/tree"
  check mounts view "$1-1" --objects || return
  check rsync-to-the-mount syncs "$T/tree" "$tree"
  check rsync-again quiet "$T/tree" "$tree"
  check rsync-checksum quiet "$T/tree" "$tree" --checksum
  check rsync-flush cairn flush "$mnt"
  check rsync-after-flush quiet "$T/tree" "$tree"
  check rsync-rclone-says-equal rclone_equal
  sent=$(status "$mnt" .transferred.bytes_written)
  change_tree "$T/tree"
  check rsync-changes syncs "$T/tree" "$tree" --inplace --no-whole-file
  check rsync-changes-again quiet "$T/tree" "$tree" --checksum
  check rsync-changes-flush cairn flush "$mnt"
  sent=$(($(status "$mnt" .transferred.bytes_written) - sent))
  say "bytes sent for the changes: $sent"
  # The part of the large file that changed, and the directory that moved.
  check rsync-changes-send-little test $sent -lt 10000000
  check rsync-changes-rclone-says-equal rclone_equal
  check rsync-leaves-no-other-object diff <(cd "$T/tree" && find . -type f -o -type l | cut -c3- | sort) \
    <(other lsf -R --files-only "$remote/tree" | sort)
  check rsync-umounts cairn_umount "$mnt"
  # The same cache still knows times and modes of what it wrote.
  check rsync-mounts-again view "$1-1"
  check rsync-after-remount quiet "$T/tree" "$tree"
  check rsync-from-the-mount syncs "$tree" "$T/back"
  check rsync-back-is-the-same diff <(manifest "$T/tree") <(manifest "$T/back")
  check rsync-from-the-mount-again quiet "$tree" "$T/back" --checksum
  check rsync-umounts-again cairn_umount "$mnt"
  # An empty one has the times of the objects, and a link is a file.
  check rsync-mounts-elsewhere view "$1-2"
  check rsync-elsewhere-content quiet "$T/tree" "$tree" --checksum --no-times --no-perms --exclude /deep/link
  check rsync-from-elsewhere syncs "$tree" "$T/elsewhere"
  check rsync-from-elsewhere-again quiet "$tree" "$T/elsewhere" --checksum
  check rsync-elsewhere-names diff <(names_of "$T/tree") <(names_of "$T/elsewhere")
  check rsync-umounts-elsewhere cairn_umount "$mnt"
  rm -rf "$T/back" "$T/elsewhere"
}

# --- a web server

start_nginx() {
  nginx_port=$(s3_free_port)
  mkdir -p "$T/nginx"
  cat >"$T/nginx.conf" <<END
daemon off;
master_process off;
pid $T/nginx/pid;
error_log $T/nginx/error.log;
events {}
http {
  access_log off;
  client_body_temp_path $T/nginx; proxy_temp_path $T/nginx; fastcgi_temp_path $T/nginx;
  uwsgi_temp_path $T/nginx; scgi_temp_path $T/nginx;
  sendfile on;
  server { listen 127.0.0.1:$nginx_port; root $mnt/tree; }
}
END
  "$(s3_binary nginx)" -e "$T/nginx/error.log" -p "$T/nginx" -c "$T/nginx.conf" >>"$T/nginx.log" 2>&1 </dev/null &
  nginx_pid=$!
  pids+=("$nginx_pid")
  wait_until 20 web_get big.bin -r 0-0
}
start_python_server() {
  python_port=$(s3_free_port)
  python3 -m http.server --bind 127.0.0.1 -d "$mnt/tree" "$python_port" >>"$T/http.log" 2>&1 </dev/null &
  python_pid=$!
  pids+=("$python_pid")
  wait_until 20 curl -sS --fail --noproxy '*' --max-time 60 -o "$T/index" "http://127.0.0.1:$python_port/"
}
web_get() { curl -sS --fail --noproxy '*' --max-time 60 "${@:2}" "http://127.0.0.1:$nginx_port/$1"; }
part_of() { tail -c "+$(($2 + 1))" "$1" | head -c "$3"; }
range() { cmp <(web_get big.bin -r "$1-$(($1 + $2 - 1))") <(part_of "$T/tree/big.bin" "$1" "$2"); }
web_status() { web_get "$1" -o /dev/null -w '%{http_code}' "${@:2}" 2>/dev/null; }
serves() { web_get big.bin | cmp - "$1"; }
# A client asks for all files, eight at a time.
download() {  # PORT DIR
  rm -rf "$2"
  python3 - "$@" "$T/tree" <<'END'
import concurrent.futures, os, sys, urllib.parse, urllib.request
port, to, tree = sys.argv[1:]
def get(name):
    url = f"http://127.0.0.1:{port}/" + urllib.parse.quote(name)
    with urllib.request.urlopen(url, timeout=60) as answer:
        data = answer.read()
        assert len(data) == int(answer.headers["Content-Length"]), name
    path = os.path.join(to, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
paths = [os.path.join(top, name) for top, _, names in os.walk(tree) for name in names]
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(get, (os.path.relpath(path, tree) for path in paths if not os.path.islink(path))))
END
}
sums_of() { (cd "$1" && find . -type f -exec sha256sum {} + | sort); }
same_files() { diff <(sums_of "$1") <(sums_of "$2"); }

run_web() {
  local size
  size=$(stat -c %s "$T/tree/big.bin")
  check web-mounts view "$1-3" --metadata-ttl 1s || return
  if s3_binary nginx >/dev/null; then
    check nginx-starts start_nginx
    fetches_less nginx-range 4 "$size" range 12345678 1000
    check nginx-says-partial test "$(web_status big.bin -r 5-9)" = 206
    check nginx-long-range range 9000001 3000000
    check nginx-last-bytes cmp <(web_get big.bin -r -777) <(tail -c 777 "$T/tree/big.bin")
    check nginx-open-range cmp <(web_get big.bin -r 19000000-) <(tail -c 1000001 "$T/tree/big.bin")
    check nginx-two-ranges test "$(web_get big.bin -r 0-9,20000000-20000000 |
      grep -ac '^Content-Range: bytes')" = 2
    check nginx-beyond-the-end test "$(web_status big.bin -r "$size"-)" = 416
    check nginx-whole serves "$T/tree/big.bin"
    check nginx-if-range cmp <(web_get big.bin -r 100-199 -H "If-Range: \"$(printf '%x-%x' \
      "$(stat -c %Y "$mnt/tree/big.bin")" "$size")\"") <(part_of "$T/tree/big.bin" 100 100)
    check nginx-last-modified test "$(date -d "$(web_get big.bin -I | tr -d '\r' |
      sed -n 's/^Last-Modified: //p')" +%s)" = "$(stat -c %Y "$mnt/tree/big.bin")"
    check nginx-not-modified test "$(web_status big.bin -z "$(date -Rud "@$(stat -c %Y "$mnt/tree/big.bin")")")" = 304
    check nginx-all-files download "$nginx_port" "$T/downloaded"
    check nginx-same-files same_files "$T/tree" "$T/downloaded"
    seeded "$T/new.bin" 3000000 5
    check nginx-object-is-replaced other copyto "$T/new.bin" "$remote/tree/big.bin"
    check nginx-serves-the-new-one wait_until 20 serves "$T/new.bin"
    end_pid "$nginx_pid"
  else
    skip nginx "no nginx in \$CAIRN_TOOLS_DIR/bin or PATH"
  fi
  check python-server-starts start_python_server
  other copyto "$T/tree/big.bin" "$remote/tree/big.bin"
  check python-serves-what-came-back wait_until 20 cmp "$T/tree/big.bin" "$mnt/tree/big.bin"
  check python-all-files download "$python_port" "$T/downloaded"
  check python-same-files same_files "$T/tree" "$T/downloaded"
  end_pid "$python_pid"
  check web-umounts cairn_umount "$mnt"
  rm -rf "$T/downloaded"
}

# --- two clients change the same files

run_conflicts() {
  check conflict-mounts view "$1-4" --commit-interval 5m --metadata-ttl 1s || return
  mkdir "$T/ours"
  echo "ours, and not sent yet" | tee "$T/ours/fuse.h" >"$T/ours/kvm.h"
  check conflict-rsync rsync -a "$T/ours/" "$mnt/tree/linux/"
  echo theirs >"$T/theirs"
  check conflict-other-replaces other copyto "$T/theirs" "$remote/tree/linux/fuse.h"
  check conflict-other-removes other deletefile "$remote/tree/linux/kvm.h"
  check conflict-flush cairn flush "$mnt"
  check conflict-theirs-stays cmp "$T/theirs" <(other cat "$remote/tree/linux/fuse.h")
  check conflict-ours-is-beside cmp "$T/ours/fuse.h" \
    <(other cat --include 'fuse.conflict-*.h' "$remote/tree/linux")
  check conflict-is-logged grep -q "warning 'tree/linux/fuse.h' was changed by somebody else" "$T/$1-4"/*/log
  check conflict-status sh -c "'$CAIRN' status '$mnt' | grep -q 'conflicts: 1'"
  check conflict-of-what-is-gone-ours-stays cmp "$T/ours/kvm.h" <(other cat "$remote/tree/linux/kvm.h")
  check conflict-umounts cairn_umount "$mnt"
  rm -rf "$T/ours"
}

# --- a video

# The index of a plain .mp4 is at its end; in the other one it was moved to the front.
make_videos() {
  mkdir "$T/video"
  ffmpeg -v error -nostdin -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440 -t 90 \
    -vf noise=alls=30:allf=t -c:v libx264 -preset ultrafast -g 60 -b:v 12M -pix_fmt yuv420p -c:a aac \
    "$T/video/index-last.mp4" &&
    ffmpeg -v error -nostdin -i "$T/video/index-last.mp4" -c copy -movflags +faststart "$T/video/index-first.mp4"
}
probe() { ffprobe -v error -of json -show_format -show_streams "$1" | jq 'del(.format.filename)'; }
frames() { ffmpeg -v error -nostdin -ss "$2" -i "$1" -t 1 -f framemd5 - | grep -v '^#'; }
clip() {
  ffmpeg -v error -nostdin -y -ss 50 -i "$1" -t 2 -vf scale=640:-1 -threads 1 -fflags +bitexact -flags:v +bitexact \
    -flags:a +bitexact -c:v libx264 -preset ultrafast -c:a aac -movflags +faststart "$2"
}
same_probe() { diff <(probe "$1") <(probe "$2"); }
same_frames() {
  frames "$1" "$3" >"$T/frames" && test "$(grep -c '^0,' "$T/frames")" = 30 && diff <(frames "$2" "$3") "$T/frames"
}

run_video() {
  local file size
  check video-put other copy "$T/video" "$remote/video"
  for file in index-last index-first; do
    prefix="$1-$file-"
    size=$(stat -c %s "$T/video/$file.mp4")
    check video-mounts view "$1-$file" || return
    fetches_less ffprobe 10 "$size" same_probe "$T/video/$file.mp4" "$mnt/video/$file.mp4"
    fetches_less ffmpeg-seeks 4 "$size" same_frames "$T/video/$file.mp4" "$mnt/video/$file.mp4" 45.5
    clip "$T/video/$file.mp4" "$T/clip.mp4"
    fetches_less ffmpeg-transcodes 10 "$size" clip "$mnt/video/$file.mp4" "$mnt/clip.mp4"
    check video-flush cairn flush "$mnt"
    check clip-is-the-same cmp "$T/clip.mp4" <(other cat "$remote/clip.mp4")
    check video-whole cmp "$T/video/$file.mp4" "$mnt/video/$file.mp4"
    check video-umounts cairn_umount "$mnt"
  done
  prefix=$1-
}

# --- a table

cat >"$T/table.py" <<'END'
"""table.py make|column|row|group|write FILE"""
import sys
import numpy, pandas, pyarrow, pyarrow.parquet
what, path = sys.argv[1:]
rows, columns, group = 200_000, 60, 10_000
def column(n):
    return numpy.random.default_rng(n).standard_normal(rows)
if what == "make":
    table = {"id": numpy.arange(rows) * 3} | {f"c{n}": column(n) for n in range(columns)}
    pyarrow.parquet.write_table(pyarrow.table(table), path, row_group_size=group, use_dictionary=["id"])
elif what == "column":
    frame = pandas.read_parquet(path, columns=["c37"])
    assert list(frame.columns) == ["c37"] and (frame["c37"].to_numpy() == column(37)).all()
elif what == "row":
    frame = pandas.read_parquet(path, columns=["id", "c5"], filters=[("id", "==", 300_003)])
    assert frame.to_numpy().tolist() == [[300_003, column(5)[100_001]]], frame
elif what == "group":
    frame = pyarrow.parquet.ParquetFile(path).read_row_group(7).to_pandas()
    assert frame.shape == (group, columns + 1)
    for n in range(columns):
        assert (frame[f"c{n}"].to_numpy() == column(n)[7 * group:8 * group]).all()
elif what == "write":
    pandas.DataFrame({"c1": column(1), "word": [f"w{n % 1000}" for n in range(rows)]}).to_parquet(path)
END
table() { "$CAIRN_TOOLS_DIR/pandas/bin/python" "$T/table.py" "$@"; }

run_table() {
  local size
  size=$(stat -c %s "$T/table.parquet")
  check table-put other copy "$T/table.parquet" "$remote"
  check table-mounts view "$1-table" || return
  fetches_less pandas-one-column 10 "$size" table column "$mnt/table.parquet"
  check evict cairn evict "$mnt/table.parquet"
  fetches_less pandas-one-row 50 "$size" table row "$mnt/table.parquet"
  check evict-again cairn evict "$mnt/table.parquet"
  fetches_less pyarrow-one-group 2 "$size" table group "$mnt/table.parquet"
  check pandas-writes table write "$mnt/written.parquet"
  table write "$T/written.parquet"
  check pandas-flush cairn flush "$mnt"
  check pandas-written-is-the-same cmp "$T/written.parquet" <(other cat "$remote/written.parquet")
  check pandas-whole cmp "$T/table.parquet" "$mnt/table.parquet"
  check table-umounts cairn_umount "$mnt"
}

# --- MinIO's client on the same bucket

# The keys are in a file, as mc keeps them: they are in no command line.
mc_bin=$(s3_binary mc) || mc_bin=
mc_setup() {
  mkdir -p "$HOME/.mc"
  jq -n '{version: "10", aliases: {s: {url: env.AWS_ENDPOINT_URL, accessKey: env.AWS_ACCESS_KEY_ID,
    secretKey: env.AWS_SECRET_ACCESS_KEY, api: "S3v4", path: "on"}}}' >"$HOME/.mc/config.json"
}
mc() { timeout -k 10 "${LIMIT:-120}" "$mc_bin" --config-dir "$HOME/.mc" --quiet --disable-pager "$@" </dev/null; }
mc_stat() { mc stat --json "s/data/some/prefix/mc/$1" | jq -r "$2"; }
xattr_of() { getfattr --absolute-names --only-values -n "user.s3.$2" "$mnt/mc/$1"; }
# What mc diff says is different, but for times (7) and the objects of directories, which no files are.
mc_diff() {
  mc diff --json "$1" s/data/some/prefix/mc >"$T/mc.diff" || return 1
  prints '' jq -r 'select(.diff != 7 and (.second | endswith("/") | not))' "$T/mc.diff"
}

run_mc() {
  local at=s/data/some/prefix/mc
  mc_setup
  mkdir -p "$T/mc/deep/er"
  seeded "$T/mc/big.bin" 70000001 11  # in parts
  seeded "$T/mc/deep/er/ä ö+&=.bin" 300000 12
  echo hello >"$T/mc/page.html"
  check mc-fills mc mirror "$T/mc" "$at"
  check mc-attr mc cp --attr 'project=plain words;owner-name=jd' "$T/mc/page.html" "$at/page.html"
  check mc-mounts view "$1-mc" --metadata-ttl 1s || return
  check mc-same-tree diff -r "$T/mc" "$mnt/mc"
  check mc-metadata prints 'plain words' xattr_of page.html meta.project
  check mc-metadata-two prints jd xattr_of page.html meta.owner-name
  check mc-type prints text/html xattr_of page.html content-type
  check mc-etag prints "$(mc_stat page.html .etag)" xattr_of page.html etag

  # What the mount writes.
  mkdir -p "$mnt/mc/ours" "$T/mc/ours"
  seeded "$T/mc/ours/large.bin" 20000001 13
  echo "written here" >"$T/mc/ours/note.txt"
  cp "$T/mc/ours/"* "$mnt/mc/ours/"
  check mc-set-metadata setfattr -n user.s3.meta.reviewed -v yes "$mnt/mc/ours/note.txt"
  echo changed | tee -a "$mnt/mc/page.html" >>"$T/mc/page.html"
  printf inside | dd of="$mnt/mc/big.bin" bs=1 seek=35000000 conv=notrunc status=none
  printf inside | dd of="$T/mc/big.bin" bs=1 seek=35000000 conv=notrunc status=none
  check mc-flush cairn flush "$mnt"
  check mc-reads-back mc cp --recursive "$at/" "$T/mc-back/"
  check mc-same-back diff -r "$T/mc" "$T/mc-back"
  check mc-sees-metadata prints yes mc_stat ours/note.txt '.metadata["X-Amz-Meta-Reviewed"]'
  check mc-sees-type prints text/plain mc_stat ours/note.txt '.metadata["Content-Type"]'
  check mc-metadata-stays prints 'plain words' mc_stat page.html '.metadata["X-Amz-Meta-Project"]'
  check mc-sees-size prints 20000001 mc_stat ours/large.bin .size
  check mc-diff-with-the-mount mc_diff "$mnt/mc"

  # Mirrored both ways: from the mount to another place, and from the bucket to the mount.
  check mc-mirrors-the-mount mc mirror "$mnt/mc" s/data/some/prefix/mirrored
  check mc-mirrored-is-shown wait_until 20 diff -r "$mnt/mc" "$mnt/mirrored"
  echo more >"$T/mc/later.txt" && rm -r "$T/mc/deep"
  check mc-mirror-removes mc mirror --overwrite --remove "$T/mc" "$at"
  check mc-removal-is-shown wait_until 20 diff -r "$T/mc" "$mnt/mc"
  check mc-mirrors-into-the-mount mc mirror --overwrite --remove "$at" "$mnt/mirrored"
  check mc-flush-mirrored cairn flush "$mnt"
  check mc-mirror-is-the-same mc cp --recursive s/data/some/prefix/mirrored/ "$T/mc-mirrored/"
  check mc-same-mirrored diff -r "$T/mc" "$T/mc-mirrored"
  check mc-umounts cairn_umount "$mnt"
  rm -rf "$T/mc" "$T/mc-back" "$T/mc-mirrored"
}

run_on() {
  remote=s3:data/some/prefix
  run_rsync "$1"
  run_web "$1"
  run_conflicts "$1"
  [ "$profile" = quick ] || [ -z "$mc_bin" ] || run_mc "$1"
  [ ! -d "$T/video" ] || run_video "$1"
  [ ! -e "$T/table.parquet" ] || run_table "$1"
  rm -rf "$T/tree"
}
if [ "$profile" = full ]; then
  [ -n "$mc_bin" ] || skip mc "no mc in \$CAIRN_TOOLS_DIR/bin or PATH"
  if command -v ffmpeg >/dev/null; then
    check make-videos make_videos
  else
    skip ffmpeg "ffmpeg is not installed"
  fi
  if table make "$T/table.parquet" 2>"$T/table.log"; then
    pass make-table
  elif [ -x "$CAIRN_TOOLS_DIR/pandas/bin/python" ]; then
    fail make-table "$(tail -n 1 "$T/table.log")"
  else
    skip pandas "not in \$CAIRN_TOOLS_DIR/pandas"
  fi
fi
on_stores run_on minio versitygw
e2e_end
