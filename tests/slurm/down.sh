#!/usr/bin/env bash
# down.sh - stop exactly what up.sh started (by pid file + process start time), jobs included.
#   ./down.sh            stop, keep the state directory (database, job records, logs)
#   ./down.sh --purge    stop and remove the state directory
set -uo pipefail
D=${SLURM_DEV_DIR:-/tmp/redescent-slurm}
export PATH="/usr/sbin:/sbin:$PATH" SLURM_CONF="$D/etc/slurm.conf"
unset SLURM_JOB_ID   # where this runs inside a job of another cluster, it is no job of this one
log() { printf '[slurm-down] %s\n' "$*" >&2; }
[ -d "$D/run" ] || { log "nothing at $D"; exit 0; }
exec 9>"$D/.lock"; flock -w 120 9 || { log "another up.sh/down.sh holds $D/.lock"; exit 1; }

starttime() { [ -r "/proc/$1/stat" ] && sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
same() { # same PID START: still that very process and not a zombie
  [ -n "${2:-}" ] && [ "$(starttime "$1")" = "$2" ] && [ "$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1)" != Z ]; }
stop() { # stop NAME GRACE_S
  local f="$D/run/$1.pid" pid st i
  [ -s "$f" ] || return 0
  read -r pid st <"$f"
  if same "$pid" "$st"; then
    kill -TERM "$pid" 2>/dev/null
    for ((i=0;i<$2*20;i++)); do same "$pid" "$st" || break; sleep 0.05; done
    if same "$pid" "$st"; then log "$1 ($pid) did not stop in $2 s: KILL"; kill -KILL "$pid" 2>/dev/null; sleep 0.1; fi
  fi
  rm -f "$f"
}
running() { local f="$D/run/$1.pid" pid st; [ -s "$f" ] && read -r pid st <"$f" && same "$pid" "$st"; }

# 0. the watcher, unless this is what became of it
[ "$(cut -d' ' -f1 "$D/run/watcher.pid" 2>/dev/null)" = $$ ] || stop watcher 5
# 1. jobs: without this, slurmstepd and the user's processes outlive slurmd
if running slurmctld; then
  # one RPC per job set; -Q: no message for jobs that end meanwhile
  if [ -n "$(timeout 20 squeue -h -o %i 2>/dev/null | head -1)" ]; then
    timeout 60 scancel -Q --state=PENDING --user="$(id -un)" 2>/dev/null
    timeout 60 scancel -Q --user="$(id -un)" 2>/dev/null
    for ((i=0;i<100;i++)); do
      [ -z "$(timeout 20 squeue -h -t RUNNING,COMPLETING,SUSPENDED -o %i 2>/dev/null | head -1)" ] && break; sleep 0.1
    done
  fi
fi
# 2. daemons, in the reverse order of up.sh
for f in "$D"/run/slurmd-*.pid; do
  case "$f" in *.own.pid|*'*'*) continue ;; esac
  read -r pid st <"$f"; same "$pid" "${st:-}" && kill -TERM "$pid" 2>/dev/null
done
for f in "$D"/run/slurmd-*.pid; do
  case "$f" in *.own.pid|*'*'*) continue ;; esac
  stop "$(basename "$f" .pid)" 10
done
stop slurmctld 20
stop slurmdbd 20
stop mariadbd 30
stop munged 5
# 3. what is left of the jobs: step daemons and processes with a job id that have our SLURM_CONF.  A user's shell has
#    that too, and no job id.  Processes that start meanwhile are found by looking again.
strays() {
  local file
  for file in $(grep -lszxF "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ); do
    if grep -qsz '^SLURM_JOB_ID=' "$file" || grep -qsx slurmstepd "${file%environ}comm"; then
      file=${file#/proc/}; echo "${file%/environ}"
    fi
  done
}
for ((i=0;i<50;i++)); do
  pids=$(strays)
  [ -n "$pids" ] || break
  log "left of its jobs: KILL to" $pids
  kill -KILL $pids 2>/dev/null
  sleep 0.1
done
rm -f "$D/run/munge.sock" "$D/run/munge.sock.lock" "$D/run/mysql.sock"
log "stopped"
[ "${1:-}" = --purge ] && { flock -u 9; exec 9>&-; rm -rf "$D"; log "removed $D"; }
exit 0
