#!/usr/bin/env bash
# What commands do at the edges: the store is dropped with a request under way, names are no UTF-8, the
# output or the disk takes nothing, a mount is used elsewhere, or dead, or shown a second time.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin commands
mnt=$T/mnt

# ---- who leaves waits for its last request, and takes the HTTP client with it
leaves_well() {
  local i
  for i in $(seq 15); do
    cairn gc "$STORE" >"$T/gc.out" 2>&1 || { echo "at $i: $?"; cat "$T/gc.out"; return 1; }
  done
}
if store_ready minio; then
  check s3-format cairn format "$STORE" || e2e_end
  check s3-gc-again-and-again leaves_well
  newest=$(other lsf s3:data/some/prefix/c | tail -n 1)
  check s3-hint-of-the-last test "$(other cat s3:data/some/prefix/HEAD)" = "$((10#$newest))"
  store_done
fi
e2e_end
