#!/usr/bin/env bash
# up.sh - start a real, private, single-host Slurm cluster (no systemd, no /etc, loopback only).
#
#   eval "$(./up.sh)"          # starts (or finds) the cluster and exports SLURM_CONF
#   ./up.sh --env              # only print the export line
#
# Idempotent: a second call finds the running daemons and returns at once; a call after a crash
# starts only what is missing.  Logs go to stderr + $SLURM_DEV_DIR/log; stdout has only `export ...`.
#
# Knobs (environment):
#   SLURM_DEV_DIR    state directory              (/tmp/redescent-slurm)
#   SLURM_DEV_NODES  number of virtual nodes      (4)
#   SLURM_DEV_CPUS   fake CPUs per node           (4)
#   SLURM_DEV_MEM    fake MB per node             (16000)
#   SLURM_DEV_GPUS   fake v100 GPUs per node      (2)
#   SLURM_DEV_PORT   base of the port range       (a free range from 16800 on)
#   SLURM_DEV_EXTRA  file with further slurm.conf lines, appended verbatim
#   SLURM_DEV_NODE_TIMEOUT  SlurmdTimeout, s      (20)
#   SLURM_DEV_OVERRIDE      newline-separated Key=Value lines that replace keys of slurm.conf
#   SLURM_DEV_INSTALL       0: never apt-get      (1)
#   SLURM_DEV_OWNER  pid: when this process ends, however it does, the cluster and its jobs end  (none: down.sh ends them)
set -euo pipefail

D=${SLURM_DEV_DIR:-/tmp/redescent-slurm}
NODES=${SLURM_DEV_NODES:-4}
CPUS=${SLURM_DEV_CPUS:-4}
MEM=${SLURM_DEV_MEM:-16000}
GPUS=${SLURM_DEV_GPUS:-2}
NODE_TIMEOUT=${SLURM_DEV_NODE_TIMEOUT:-20}
PKGS="munge slurmctld slurmd slurmdbd slurm-client slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core"

log() { printf '[slurm-up %6.2fs] %s\n' "$(awk -v a="$T0" -v b="${EPOCHREALTIME/,/.}" 'BEGIN{print b-a}')" "$*" >&2; }
die() { log "ERROR: $*"; exit 1; }
T0=${EPOCHREALTIME/,/.}

emit() { printf 'export SLURM_CONF=%q\n' "$D/etc/slurm.conf"; }
[ "${1:-}" = --env ] && { emit; exit 0; }

# slurm and munge leave every service that they can find in /usr/sbin
export PATH="/usr/sbin:/sbin:$PATH"
# a job's environment must not leak into the daemons: slurmd hands its own on to nothing, but sbatch run
# by tests inside a job would inherit SLURM_*; munged/slurm daemons also must not see another SLURM_CONF
for v in $(compgen -e | grep -E '^(SLURM_|SBATCH_|SRUN_|SALLOC_|SQUEUE_|SINFO_|SACCT_)' | grep -v '^SLURM_DEV_' || true); do unset "$v"; done

# ---------------------------------------------------------------- packages
missing=()
for p in $PKGS; do dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p"); done
if [ ${#missing[@]} -gt 0 ]; then
  [ "${SLURM_DEV_INSTALL:-1}" = 1 ] || die "packages missing: ${missing[*]}"
  log "installing: ${missing[*]}"
  # A package's own daemon may start on a machine that has an init system (GitHub runners do): munge's
  # postinst starts munged, which stays on its own socket in /run/munge and does not clash.
  "$(dirname "$(readlink -f "$0")")/../install.sh" "${missing[@]}" || die "SLURM cannot be installed"
  log "packages installed"
fi

# ---------------------------------------------------------------- one at a time
umask 022
mkdir -p "$D"; chmod 755 "$D"
exec 9>"$D/.lock"
flock -w 120 9 || die "another up.sh/down.sh holds $D/.lock"
mkdir -p "$D"/{etc,run,log,ctld,spool,db,dev,tmp}
chmod 700 "$D/run" "$D/db" "$D/ctld"
chmod 755 "$D/run"            # clients of any uid must reach the munge socket (munged insists on o+x)

# ---------------------------------------------------------------- pid bookkeeping
# run/NAME.pid holds "PID STARTTIME"; STARTTIME (field 22 of /proc/PID/stat) makes a reused pid harmless.
starttime() { [ -r "/proc/$1/stat" ] && sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20; }
alive() { local pid st; [ -s "$D/run/$1.pid" ] || return 1; read -r pid st <"$D/run/$1.pid"
          [ -n "${st:-}" ] && [ "$(starttime "$pid" 2>/dev/null)" = "$st" ] && [ "$(sed 's/.*) //' "/proc/$pid/stat" | cut -c1)" != Z ]; }
start() { # start NAME cmd...: in the background, own session, fds 9 and 7 (the locks) closed
  local name=$1; shift
  setsid "$@" </dev/null >>"$D/log/$name.out" 2>&1 9>&- 7>&- &
  local pid=$! st
  # setsid execs in place here (a background child is never a group leader), so $! is the daemon itself
  st=$(starttime "$pid" || true); [ -n "$st" ] || die "$name died at once; see $D/log/$name.out"
  echo "$pid $st" >"$D/run/$name.pid"
}
wait_for() { # wait_for SECONDS WHAT cmd...
  local t=$1 what=$2 end; shift 2; end=$(( ${EPOCHREALTIME%[.,]*} + t ))
  until "$@" >/dev/null 2>&1; do
    [ "${EPOCHREALTIME%[.,]*}" -lt "$end" ] || die "timed out after ${t}s waiting for $what; logs in $D/log"
    sleep 0.05
  done
}

# ---------------------------------------------------------------- the watcher
# before the first daemon: an owner that is killed while this script runs leaves nothing either
if [ -n "${SLURM_DEV_OWNER:-}" ] && ! alive watcher; then
  st=$(starttime "$SLURM_DEV_OWNER") || die "SLURM_DEV_OWNER=$SLURM_DEV_OWNER: there is no such process"
  start watcher env SLURM_DEV_DIR="$D" "$(dirname "$(readlink -f "$0")")/watch.sh" "$SLURM_DEV_OWNER" "$st"
fi

# ---------------------------------------------------------------- ports and configuration (only when not running)
HOST=$(hostname -s)
ME=$(id -un)
# NoInAddrAny makes every daemon bind to the address of gethostname() rather than to 0.0.0.0.  Where that is not a
# loopback address (some CI machines), bind to any and let clients use 127.0.0.1 (munge authenticates all the same).
ADDR=$(getent ahostsv4 "$(hostname)" 2>/dev/null | awk 'NR==1{print $1}' || true)
case "$ADDR" in 127.*) COMM=NoCtldInAddrAny,NoInAddrAny ;;
  *) ADDR=127.0.0.1; COMM=keepaliveprobes=3; log "warning: $(hostname) is not a loopback name: daemons listen on all interfaces" ;; esac
export SLURM_CONF="$D/etc/slurm.conf"
# of clusters that start at once one after the other looks for ports, and holds them when the next one looks
if [ ! -s "$D/etc/port_base" ]; then
  exec 7>"${TMPDIR:-/tmp}/redescent-slurm-start-$(id -u).lock"
  flock -w 300 7 || die "another up.sh has been starting a cluster for 5 minutes"
fi
port_free() { ! (exec 3<>"/dev/tcp/$ADDR/$1") 2>/dev/null; }
if ! alive slurmctld; then
  if [ -n "${SLURM_DEV_PORT:-}" ]; then BASE=$SLURM_DEV_PORT
  elif [ -s "$D/etc/port_base" ] && { alive slurmdbd || alive slurmd-n1; }; then BASE=$(cat "$D/etc/port_base")
  else
    BASE=$((16800 + 100 * (RANDOM % 100)))
    while :; do ok=1
      for ((i=0;i<NODES+3;i++)); do port_free $((BASE+i)) || { ok=0; break; }; done
      [ $ok = 1 ] && break; BASE=$((BASE+100)); [ $BASE -lt 32000 ] || die "no free port range"
    done
  fi
  echo "$BASE" >"$D/etc/port_base"

  cat >"$SLURM_CONF.new" <<CONF
# generated by up.sh
ClusterName=dev
SlurmctldHost=$HOST($ADDR)
SlurmctldPort=$((BASE+1))
SlurmUser=$ME
SlurmdUser=$ME
AuthType=auth/munge
CredType=cred/munge
# cred_expire: a requeued job may not start again before this has passed (default 120 s; 5 is the least allowed)
AuthInfo=socket=$D/run/munge.sock,cred_expire=5
# the connection to slurmdbd does not read AuthInfo: its munge socket is named here
AccountingStoragePass=$D/run/munge.sock
CommunicationParameters=$COMM
StateSaveLocation=$D/ctld
SlurmdSpoolDir=$D/spool/%n
SlurmctldPidFile=$D/run/slurmctld.own.pid
SlurmdPidFile=$D/run/slurmd-%n.own.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd-%n.log
SlurmctldDebug=info
SlurmdDebug=info
LogTimeFormat=iso8601_ms
# no cgroups, no affinity
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=5
MpiDefault=none
SwitchType=switch/none
# failure handling, all much faster than in production
ReturnToService=2
SlurmdTimeout=$NODE_TIMEOUT
SlurmctldTimeout=30
MessageTimeout=20
InactiveLimit=0
KillWait=5
OverTimeLimit=0
CompleteWait=0
WaitTime=0
UnkillableStepTimeout=30
JobRequeue=1
# sizes
MaxArraySize=20001
MaxJobCount=100000
MinJobAge=300
# scheduling
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,default_queue_depth=2000,bf_interval=1,bf_max_job_test=2000,bf_continue,bf_resolution=1,nohold_on_prolog_fail
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
PriorityType=priority/basic
DefMemPerCPU=$((MEM/CPUS/4))
# preemption
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# 22.05 reads this one from SlurmctldParameters: the signal of --signal= is sent at the start of GraceTime, instead of SIGTERM
SlurmctldParameters=preempt_send_user_signal
# accounting
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=$ADDR
AccountingStoragePort=$((BASE+2))
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
# nodes
GresTypes=gpu
SlurmdParameters=config_overrides
CONF
  [ "$GPUS" -gt 0 ] && gres="Gres=gpu:v100:$GPUS" || gres=
  for ((i=1;i<=NODES;i++)); do
    echo "NodeName=n$i NodeHostname=$HOST NodeAddr=$ADDR Port=$((BASE+2+i)) CPUs=$CPUS RealMemory=$MEM $gres State=UNKNOWN"
  done >>"$SLURM_CONF.new"
  cat >>"$SLURM_CONF.new" <<CONF
# partitions: "main" is not preemptable by equals; "spot" is preempted (10 s of grace) by "main" and "prio"
PartitionName=main  Nodes=ALL Default=YES MaxTime=24:00:00 DefaultTime=00:30:00 PriorityTier=10 PreemptMode=OFF     State=UP
PartitionName=spot  Nodes=ALL             MaxTime=24:00:00 DefaultTime=00:30:00 PriorityTier=1  PreemptMode=REQUEUE GraceTime=10 State=UP
PartitionName=prio  Nodes=ALL             MaxTime=24:00:00 DefaultTime=00:30:00 PriorityTier=20 PreemptMode=OFF     State=UP
PartitionName=short Nodes=n1              MaxTime=00:02:00 DefaultTime=00:01:00 PriorityTier=10 PreemptMode=OFF     State=UP
CONF
  if [ -n "${SLURM_DEV_EXTRA:-}" ]; then cat "$SLURM_DEV_EXTRA" >>"$SLURM_CONF.new"; fi
  if [ -n "${SLURM_DEV_OVERRIDE:-}" ]; then
    while IFS= read -r kv; do [ -n "$kv" ] || continue; k=${kv%%=*}
      grep -vE "^$k=" "$SLURM_CONF.new" >"$SLURM_CONF.tmp"; { echo "$kv"; cat "$SLURM_CONF.tmp"; } >"$SLURM_CONF.new"
    done <<<"$SLURM_DEV_OVERRIDE"; rm -f "$SLURM_CONF.tmp"
  fi
  mv "$SLURM_CONF.new" "$SLURM_CONF"

  # fake GPUs: File must be an existing character device whose name ends in a number: that number becomes the
  # index in CUDA_VISIBLE_DEVICES (a regular file is accepted, with an error in the log, but then no variable is set)
  : >"$D/etc/gres.conf"
  if [ "$GPUS" -gt 0 ]; then
    gdev="$D/dev/nvidia"
    for ((g=0;g<GPUS;g++)); do [ -c "$gdev$g" ] || { rm -f "$gdev$g"; mknod "$gdev$g" c 1 3 2>/dev/null || gdev=/dev/tty; }; done   # null devices; needs root
    echo "NodeName=n[1-$NODES] Name=gpu Type=v100 File=${gdev}[0-$((GPUS-1))]" >"$D/etc/gres.conf"
  fi
  # no cgroup.conf is needed up to 23.11 with these plugins; from 24.05 on it has to be switched off by name
  rm -f "$D/etc/cgroup.conf"
  case "$(slurmd -V | awk '{print $2}')" in 2[0-3].*|1*) ;; *) echo CgroupPlugin=disabled >"$D/etc/cgroup.conf" ;; esac
  ( umask 077; cat >"$D/etc/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$D/run/munge.sock
DbdHost=localhost
DbdAddr=$ADDR
CommunicationParameters=${COMM:-keepaliveprobes=3}
DbdPort=$((BASE+2))
SlurmUser=$ME
DebugLevel=info
LogFile=$D/log/slurmdbd.log
PidFile=$D/run/slurmdbd.own.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=$ME
StorageLoc=slurm_acct_db
CONF
  )
fi

# ---------------------------------------------------------------- munged
if ! alive munged; then
  [ -s "$D/etc/munge.key" ] || ( umask 077; head -c 1024 /dev/urandom >"$D/etc/munge.key" )
  chmod 400 "$D/etc/munge.key"
  rm -f "$D/run/munge.sock" "$D/run/munge.sock.lock"
  # --force: the state directory is under world-writable /tmp, which munged otherwise refuses
  start munged munged -F --force --key-file="$D/etc/munge.key" --socket="$D/run/munge.sock" \
    --pid-file="$D/run/munged.own.pid" --log-file="$D/log/munged.log" --seed-file="$D/run/munged.seed" --num-threads=4
  wait_for 10 munged munge -n -S "$D/run/munge.sock"
  log "munged up"
fi

# ---------------------------------------------------------------- mariadbd (unix socket only)
MY="$D/run/mysql.sock"
if ! alive mariadbd; then
  if [ ! -d "$D/db/mysql" ]; then
    rm -rf "$D/db"; mkdir -m 700 "$D/db"
    mariadb-install-db --no-defaults --user="$ME" --datadir="$D/db" --auth-root-authentication-method=socket \
      --auth-root-socket-user="$ME" --skip-test-db --skip-name-resolve --innodb-flush-log-at-trx-commit=0 \
      --innodb-flush-method=nosync --skip-log-bin >"$D/log/mariadb-install-db.log" 2>&1 || die "mariadb-install-db failed; see $D/log/mariadb-install-db.log"
    log "database created"
  fi
  rm -f "$MY"
  start mariadbd mariadbd --no-defaults --user="$ME" --datadir="$D/db" --socket="$MY" --pid-file="$D/run/mariadbd.own.pid" \
    --skip-networking --skip-name-resolve --skip-log-bin --log-error="$D/log/mariadbd.log" --tmpdir="$D/tmp" \
    --innodb-buffer-pool-size=128M --innodb-flush-log-at-trx-commit=0 --innodb-flush-method=nosync --innodb-doublewrite=0 \
    --innodb-lock-wait-timeout=900 --performance-schema=off
  wait_for 30 mariadbd mariadb --no-defaults -S "$MY" -u "$ME" -e 'select 1'
  log "mariadbd up"
fi

# ---------------------------------------------------------------- slurmdbd
if ! alive slurmdbd; then
  start slurmdbd env MYSQL_UNIX_PORT="$MY" slurmdbd -D
  wait_for 40 slurmdbd sacctmgr -n -P list cluster
  sacctmgr -n -P list cluster format=cluster | grep -qx dev || sacctmgr -i add cluster dev >/dev/null 2>&1 || true
  log "slurmdbd up"
fi

# ---------------------------------------------------------------- slurmctld, slurmd
if ! alive slurmctld; then
  start slurmctld slurmctld -D
  wait_for 30 slurmctld bash -c 'scontrol ping | grep -q "is UP"'
  log "slurmctld up"
fi
for ((i=1;i<=NODES;i++)); do
  if ! alive "slurmd-n$i"; then
    mkdir -p "$D/spool/n$i"
    start "slurmd-n$i" slurmd -D -N "n$i"
  fi
done
ready() { [ "$(sinfo -h -N -p main -o '%T' | grep -cE '^(idle|mixed|allocated|completing)$')" = "$NODES" ]; }
NODES=$(grep -c '^NodeName=' "$SLURM_CONF")
end=$(( ${EPOCHREALTIME%[.,]*} + 40 ))
until ready; do
  [ "${EPOCHREALTIME%[.,]*}" -lt "$end" ] || { sinfo -N -l >&2 || true; die "nodes not ready; logs in $D/log"; }
  # a node that was left DOWN/DRAINED by an earlier run
  for n in $(sinfo -h -N -o '%N %T' | awk '$2 ~ /^(down|drained|draining)/ {print $1}' | sort -u); do scontrol update nodename="$n" state=resume 2>/dev/null || true; done
  sleep 0.1
done
exec 7>&-
log "$NODES nodes ready: $(sinfo -h -o '%P:%D:%t' | tr '\n' ' ')"
emit
