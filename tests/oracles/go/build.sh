#!/usr/bin/env bash
# Builds the Go oracle and prints the path of its binary; a reason on stderr when it cannot.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../../.. && pwd)
tools=${CAIRN_TOOLS_DIR:-$root/build/tools}
"$root/tests/deps" go >/dev/null 2>&1 || { echo "no Go toolchain that is new enough" >&2; exit 1; }
for go in "$(command -v go || true)" /usr/local/go/bin/go "$tools/go/bin/go"; do
  [ -n "$go" ] && [ -x "$go" ] || continue
  # The first one that satisfies go.mod without downloading another toolchain.
  if GOTOOLCHAIN=local "$go" list -f '{{.Name}}' . >/dev/null 2>&1; then
    mkdir -p "$tools/bin"
    GOTOOLCHAIN=local GOFLAGS=-buildvcs=false CGO_ENABLED=0 \
      timeout 600 "$go" build -o "$tools/bin/oracle" . >&2 || exit 1
    echo "$tools/bin/oracle"
    exit 0
  fi
done
echo "no Go toolchain could read go.mod or reach the module proxy" >&2
exit 1
