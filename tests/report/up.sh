#!/usr/bin/env bash
# up.sh - install Chromium and its driver for the tests of the report, where they are missing.
#
#   ./up.sh              # Debian's packages chromium and chromium-driver, by apt-get
#
# Knobs (environment):
#   REPORT_INSTALL       0: never apt-get      (1)
set -euo pipefail

find_missing() {
  missing=()
  for name in chromium chromedriver; do command -v "$name" >/dev/null || missing+=("$name"); done
}
die() { printf 'ERROR: programs missing%s: %s\n' "$1" "${missing[*]}" >&2; exit 1; }

find_missing
[ ${#missing[@]} -eq 0 ] && exit 0
[ "${REPORT_INSTALL:-1}" = 1 ] || die ""
"$(dirname "$(readlink -f "$0")")/../install.sh" chromium chromium-driver
find_missing
[ ${#missing[@]} -eq 0 ] || die " after the installation"
