#!/usr/bin/env bash
# 2,000 small files are in the store within 10 s of the last close, in at most 20 requests, those of
# the mount counted, while the mount stays up and nobody asked for a flush.
# needs: servers quiet
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin small
mnt=$T/mnt
store_ready minio || e2e_end
check format cairn format "$STORE" || e2e_end
check mount cairn_mount "$T/cache" "$STORE" "$mnt" || e2e_end

python3 - "$mnt" <<'END' || fail write "the files could not be written"
import hashlib, os, sys
top = os.path.join(sys.argv[1], "small")
os.mkdir(top)
for n in range(2000):
    if n % 100 == 0:
        os.mkdir(f"{top}/{n // 100}")
    with open(f"{top}/{n // 100}/{n}", "wb") as file:
        file.write(hashlib.shake_128(str(n).encode()).digest(100 + n * 7 % 4000))
END
closed=$(date +%s%N)

idle() {
  [ "$(status "$mnt" '.pending.files == 0 and .pending.bytes == 0 and
    .lsn.published == .lsn.appended')" = true ]
}
if wait_until 30 idle; then
  ms=$((($(date +%s%N) - closed) / 1000000))
  say "in the store after $ms ms"
  check within-10-s test $ms -le 10000
else
  fail within-10-s "$(status "$mnt" '{lsn, pending} | tostring')"
fi
say "requests: $(LIMIT=20 cairn status --json "$mnt" | jq -c .requests)"
check at-most-20-requests test "$(status "$mnt" '[.requests | .. | numbers] | add')" -le 20
check requests-are-counted test "$(status "$mnt" '[.requests | .. | numbers] | add')" -ge 3
check umount cairn_umount "$mnt"

# What was counted is really there: another cache reads all of it.
check mount-elsewhere cairn_mount "$T/cache2" "$STORE" "$mnt" || e2e_end
check all-there python3 - "$mnt" <<'END'
import hashlib, sys
for n in range(2000):
    with open(f"{sys.argv[1]}/small/{n // 100}/{n}", "rb") as file:
        assert file.read() == hashlib.shake_128(str(n).encode()).digest(100 + n * 7 % 4000), n
END
check umount-elsewhere cairn_umount "$mnt"
store_done
e2e_end
