#!/usr/bin/env bash
# up.sh - install Chromium and its driver for the tests of the report, where they are missing.
#
#   ./up.sh              # Debian's packages chromium and chromium-driver, by apt-get
#
# Knobs (environment):
#   REPORT_INSTALL       0: never apt-get      (1)
set -euo pipefail

PKGS="chromium chromium-driver"

die() { printf 'ERROR: %s\n' "$*" >&2; exit 1; }
find_missing() {
  missing=()
  for name in chromium chromedriver; do command -v "$name" >/dev/null || missing+=("$name"); done
}

find_missing
[ ${#missing[@]} -eq 0 ] && exit 0
[ "${REPORT_INSTALL:-1}" = 1 ] || die "programs missing: ${missing[*]}"
# of two runs of the tests that start at once one installs
exec 8>"${TMPDIR:-/tmp}/redescent-chromium-install-$(id -u).lock"
flock -w 900 8 || die "another up.sh has been installing packages for 15 minutes"
find_missing
[ ${#missing[@]} -eq 0 ] && exit 0
SUDO=; [ "$(id -u)" = 0 ] || SUDO="sudo -n"
log=$(mktemp)
install() { $SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $PKGS; }
{ install || { $SUDO apt-get update -q && install; }; } >"$log" 2>&1 ||
  { tail -20 "$log" >&2; die "apt-get install failed"; }
find_missing
[ ${#missing[@]} -eq 0 ] || die "programs missing after the installation: ${missing[*]}"
