#!/usr/bin/env bash
# down.sh - stop exactly what up.sh started (by pid file + process start time), jobs included.
#   ./down.sh            stop, keep the state directory (database, job records, logs)
#   ./down.sh --purge    stop and remove the state directory
set -uo pipefail
D=${SLURM_DEV_DIR:-/tmp/redescent-slurm}
export PATH="/usr/sbin:/sbin:$PATH" SLURM_CONF="$D/etc/slurm.conf"
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
# 3. stray step daemons of this cluster: only processes whose SLURM_CONF is ours and whose name is slurmstepd
for p in /proc/[0-9]*; do
  pid=${p#/proc/}
  [ "$(cat "$p/comm" 2>/dev/null)" = slurmstepd ] || continue
  tr '\0' '\n' <"$p/environ" 2>/dev/null | grep -qxF "SLURM_CONF=$SLURM_CONF" || continue
  log "stray slurmstepd $pid: KILL (with its children)"
  for c in $(cat "$p"/task/*/children 2>/dev/null); do kill -KILL "$c" 2>/dev/null; done
  kill -KILL "$pid" 2>/dev/null
done
rm -f "$D/run/munge.sock" "$D/run/munge.sock.lock" "$D/run/mysql.sock"
log "stopped"
[ "${1:-}" = --purge ] && { flock -u 9; exec 9>&-; rm -rf "$D"; log "removed $D"; }
exit 0
