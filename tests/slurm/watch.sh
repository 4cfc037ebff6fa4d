#!/usr/bin/env bash
# watch.sh PID START - wait until that process has ended, however it did, then stop its cluster ($SLURM_DEV_DIR).
# up.sh starts it in a session of its own; START, field 22 of /proc/PID/stat, makes a reused pid harmless.
set -u
lives() {
  local stat fields
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
  fields=(${stat##*) })   # from field 3 on: the name before may hold blanks
  [ "${fields[19]}" = "$2" ] && [ "${fields[0]}" != Z ]
}
while lives "$1" "$2"; do sleep 0.5; done
exec "$(dirname "$0")/down.sh" --purge
