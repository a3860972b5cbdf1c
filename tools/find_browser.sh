#!/bin/sh
# Print the path of a Chromium for the tests of the built pages; with --install, install Debian's where that is possible.
find_one() {
  for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome chrome; do
    [ -n "$name" ] && command -v "$name" && return 0
  done
  return 1
}
find_one && exit 0
[ "${1:-}" = "--install" ] || exit 1
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1
echo "==> installing Debian's chromium, for the tests of the built pages" >&2
{ apt-get update -q && apt-get install -qy --no-install-recommends chromium; } >&2 || exit 1
find_one
