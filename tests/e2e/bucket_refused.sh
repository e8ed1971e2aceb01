#!/usr/bin/env bash
# A bucket in which nothing may be removed: what else is written gets there, status names what was
# refused, and who waits for it is told so, and how to leave.
# needs: servers
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
e2e_begin bucket_refused
mnt=$T/mnt
mkdir "$mnt"
store_ready minio || e2e_end
faulty_s3 --upstream "${AWS_ENDPOINT_URL##*:}" || { fail store "tests/support/faulty_s3.py does not start"; e2e_end; }

view() { cairn_mount "$T/cache" s3://data/p "$mnt" --commit-interval 1s --metadata-ttl 1s --shutdown-timeout 5s; }
deny() { faults '{"fault": "answer", "status": 403, "code": "AccessDenied", "method": "DELETE"}'; }
status_says() { status "$mnt" .store_error | grep -q -e "$1"; }
told_on_the_way() {  # COMMAND...: it waits in vain, and said so before it ended
  within "$@" 2>"$T/told" && return 1
  head -n 1 "$T/told" | grep -q 'store refuses something.*may not remove' && grep -q "'kill $(daemon_pid "$mnt")' ends" "$T/told"
}
printf kept >"$T/kept"
check puts other copyto "$T/kept" s3:data/p/kept
check mounts view || e2e_end
deny
check is-removed rm "$mnt/kept"
check is-named wait_until 20 status_says "'kept'.*may not remove"
printf others >"$T/other" && cp "$T/other" "$mnt/other"
check others-are-sent wait_until 20 other_has data/p/other "$T/other"
# One probe of conditions: what it found counts, though its object stays.
check conditions-are-known test "$(status "$mnt" .objects.conditional_puts)" = true
check flush-says-why told_on_the_way cairn flush --timeout 6s "$mnt"
check umount-says-why told_on_the_way cairn umount --timeout 6s "$mnt"
check is-mounted is_mounted "$mnt"
pid=$(daemon_pid "$mnt")
check leaves sh -c "kill $pid; sleep 1; kill $pid || true"
check has-left wait_until 20 gone_or_zombie "$pid"
check mounts-again view || e2e_end
check is-gone-here test ! -e "$mnt/kept"
no_faults
check heals cairn flush "$mnt"
check is-gone-there test "$(object_status data/p/kept)" = 404
check umounts cairn_umount "$mnt"
store_done
e2e_end
