#!/usr/bin/env bash
# install.sh PACKAGE...: install Debian's packages that are missing, by apt-get, as root or with sudo.
# One at a time: the clusters and the browser of the tests start together on a machine that has neither,
# and an apt-get that finds another at work fails.
set -euo pipefail

die() { printf 'ERROR: %s\n' "$*" >&2; exit 1; }
find_missing() {
  missing=()
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
}
apt() { $SUDO env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 "$@"; }
add() { apt install -y --no-install-recommends "${missing[@]}"; }

find_missing "$@"
[ ${#missing[@]} -eq 0 ] && exit 0
exec 8>"${TMPDIR:-/tmp}/redescent-install-$(id -u).lock"
flock -w 900 8 || die "another install.sh has been at work for 15 minutes"
find_missing "$@"
[ ${#missing[@]} -eq 0 ] && exit 0
SUDO=; [ "$(id -u)" = 0 ] || SUDO="sudo -n"
log=$(mktemp)
# the lists of packages may be old or missing
{ add || { apt update && add; }; } >"$log" 2>&1 8>&- || { tail -20 "$log" >&2; die "apt-get install failed; its output is $log"; }
rm "$log"
