#!/usr/bin/env bash
# The store refuses a running mount: keys expire, the permission is withdrawn, the bucket vanishes, the
# store is full, the clock is wrong. Writes, fsync and cached reads go on, other reads end with EIO; status
# and log say it, the log once and not with every try; when it is healed everything gets to the store
# without a hand, and nothing is lost. A reader that follows stays as it was, and goes on.
. "$(dirname "$0")/lib.sh"
e2e_begin refused
mkdir -p "$T/s3/data"
faulty_s3 --folder "$T/s3" || { fail store "tests/support/faulty_s3.py does not start"; e2e_end; }
store=s3://data/volume
mnt=$T/mnt reader=$T/reader
long=3 kinds="expired vanished full"  # seconds that a refusal lasts
[ "$profile" = quick ] || long=90 kinds="expired denied vanished full quota skewed"

log_of() { find "$T/$1" -maxdepth 2 -name log; }
log_lines() { grep -c -e warning -e error "$(log_of "$1")"; }
refused_since() { [ $(($(refusals) - $1)) -ge "$2" ]; }
refusals() { fault_control | jq '.counts.answer // 0'; }
check format cairn format "$store" || e2e_end
check mount cairn_mount "$T/cache" "$store" "$mnt" --io-timeout 4s --commit-interval 1s || e2e_end
mkdir "$T/model"
both() { "$@" "$mnt" && "$@" "$T/model"; }
put() { seeded "$3/$1" $((300000 + $2 * 1000)) "$2"; }
seed=1000  # no two with the same content: one would bring the other back
for name in $kinds; do both put "cold-$name" $((seed++)); done
check flush cairn flush "$mnt"
check reader cairn_mount "$T/cache-reader" "$store" "$reader" --read-only --poll-interval 1s \
  --io-timeout 4s || e2e_end

# refused NAME RULE PATTERN READS: PATTERN is what status has to say, READS `eio` or `fine`.
refused() {
  local name=$1 start=$SECONDS n before before_reader tries want
  before=$(log_lines cache) before_reader=$(log_lines cache-reader) tries=$(refusals)
  cold=cold-$name  # what the kernel has not seen, either
  check "$name-evict" cairn evict "$mnt/$cold"
  faults "$2" || return
  for ((n = 0; n == 0 || SECONDS - start < long; n++)); do  # however slow the machine is
    both put "$name$n" $((n + 2)) && sync "$mnt/$name$n" || { fail "$name-writes" "file $n"; break; }
    [ $n -lt 40 ] || sleep 1
  done
  want=$4
  check "$name-other-reads-$want" reads_are "$want"
  check "$name-cached-reads" cmp "$T/model/${name}0" "$mnt/${name}0"
  check "$name-status" wait_until 20 status_says "$mnt" "$3"
  if [ "$4" = eio ]; then check "$name-status-of-reader" wait_until 20 status_says "$reader" "$3"; fi
  say "$(status "$mnt" .store_error)"
  check "$name-is-not-safe" not_safe
  check "$name-reader-stays" test -e "$reader/$cold"
  # What is tried again and again is said once.
  check "$name-is-tried-again" wait_until 20 refused_since "$tries" 3
  tries=$(($(refusals) - tries))
  say "$tries requests were refused in $((SECONDS - start)) s; lines in the log: of the writer" \
    "$(($(log_lines cache) - before)), of the reader $(($(log_lines cache-reader) - before_reader))"
  check "$name-is-said" test $(($(log_lines cache) - before)) -ge 1
  check "$name-is-said-once" test $(($(log_lines cache) - before)) -le 4
  before_reader=$(($(log_lines cache-reader) - before_reader))
  [ "$4" = fine ] || check "$name-reader-says-it-once" test $before_reader = 1
  no_faults
  check "$name-heals-by-itself" wait_until 60 cairn status "$mnt"
  check "$name-status-is-clean" test -z "$(status "$mnt" .store_error)"
  check "$name-still-the-writer" test "$(status "$mnt" .mode)" = read-write
  check "$name-reads-again" cmp "$T/model/$cold" "$mnt/$cold"
  check "$name-reader-goes-on" wait_until 20 cmp "$T/model/${name}0" "$reader/${name}0"
}
reads_are() {
  if timeout 20 cmp "$T/model/$cold" "$mnt/$cold" 2>"$T/read.err"; then [ "$1" = fine ]; return; fi
  cat "$T/read.err"
  [ "$1" = eio ] && grep -q 'Input/output error' "$T/read.err"
}
status_says() { status "$1" .store_error | grep -qiE -e "$2"; }
not_safe() { cairn status "$mnt"; [ $? = 3 ]; }
puts='"method": "PUT|POST"' behind='clock is 1[12][0-9] minutes behind'
error() { printf '{"fault": "answer", "status": %s, "code": "%s"%s}' "$1" "$2" "${3:+, $3}"; }

for name in $kinds; do
  case $name in
    expired) refused $name "$(error 400 ExpiredToken)" 'session token has expired' eio ;;
    denied) refused $name "$(error 403 AccessDenied)" 'may not .*policy' eio ;;
    vanished) refused $name "$(error 404 NoSuchBucket)" "bucket 'data' does not exist" eio ;;
    full) refused $name "$(error 507 XMinioStorageFull "$puts")" 'full or its quota' fine ;;
    quota) refused $name "$(error 403 QuotaExceeded "$puts")" 'full or its quota' fine ;;
    skewed) refused $name "$(error 403 RequestTimeTooSkewed '"ahead": 7200')" "$behind" eio ;;
  esac
done

check umount-reader cairn_umount "$reader"
LIMIT=120 check umount cairn_umount "$mnt"
check mount-elsewhere cairn_mount "$T/cache2" "$store" "$mnt" || e2e_end
check nothing-is-lost diff -r "$T/model" "$mnt"
check umount-elsewhere cairn_umount "$mnt"
LIMIT=300 check check-data cairn check --data "$store"
e2e_end
