#!/bin/sh
# Proves launcher=slurm on a real SLURM: makes a one-node cluster of Debian's packages on this machine, runs a
# small study on it, kills one of its runs with SIGKILL in the middle, and repeats the command to completion.
#   sudo sh scripts/slurm_one_node.sh       a minute; as root, on Debian or Ubuntu, on a throw-away machine
# PYTHON is the interpreter that gatescope[slurm] is installed for. The cluster keeps accounts (slurmdbd over
# MariaDB) as real ones do: without them submitit never learns of a job that was killed.
case ${1:-} in -h | --help) sed -n '2,/^[^#]/{/^#/p}' "$0" | cut -c3-; exit ;; esac
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-$PWD/.venv/bin/python}
WORK=$(mktemp -d)
HOST=$(hostname -s)

if ! command -v slurmctld slurmdbd mariadbd >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends slurm-wlm slurmdbd munge mariadb-server
fi

mkdir -p /run/munge /etc/slurm "$WORK/spool" "$WORK/state" "$WORK/db"
chown munge: /run/munge
[ -f /etc/munge/munge.key ] || /usr/sbin/mungekey
MUNGE=
pgrep -x munged >/dev/null || { runuser -u munge -- /usr/sbin/munged; MUNGE=/run/munge/munged.pid; }

mariadb-install-db --user=root --datadir="$WORK/db" --auth-root-authentication-method=normal >/dev/null 2>&1
mariadbd --user=root --datadir="$WORK/db" --socket="$WORK/db.sock" --pid-file="$WORK/mariadbd.pid" \
    --skip-networking=0 --bind-address=127.0.0.1 --port=33306 > "$WORK/mariadbd.log" 2>&1 &
cat > /etc/slurm/slurmdbd.conf <<CONF
AuthType=auth/munge
DbdHost=$HOST
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=33306
StorageUser=slurm
StoragePass=slurm
LogFile=$WORK/slurmdbd.log
PidFile=$WORK/slurmdbd.pid
CONF
chmod 600 /etc/slurm/slurmdbd.conf
cat > /etc/slurm/slurm.conf <<CONF
ClusterName=one
SlurmctldHost=$HOST
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=$HOST
JobAcctGatherType=jobacct_gather/linux
StateSaveLocation=$WORK/state
SlurmdSpoolDir=$WORK/spool
SlurmctldLogFile=$WORK/slurmctld.log
SlurmdLogFile=$WORK/slurmd.log
SlurmctldPidFile=$WORK/slurmctld.pid
SlurmdPidFile=$WORK/slurmd.pid
NodeName=$HOST CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=60 State=UP
CONF
end() {
    for daemon in slurmd slurmctld slurmdbd mariadbd; do
        [ ! -f "$WORK/$daemon.pid" ] || kill "$(cat "$WORK/$daemon.pid")"
    done
    [ -z "$MUNGE" ] || kill "$(cat "$MUNGE")"
    sleep 2
    [ -n "${KEEP:-}" ] || rm -rf "$WORK"
}
trap end EXIT
within() { # SECONDS COMMAND…: until the command succeeds
    left=$1
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || { tail -n 20 "$WORK"/*.log; echo "in vain: $*"; exit 1; }
        sleep 1
    done
}
sql() { mariadb --socket="$WORK/db.sock" -u root -e "$1"; }
idle() { sinfo -h -o %T | grep -q idle; }
within 60 sql "SELECT 1"
sql "CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm'; CREATE USER slurm@localhost IDENTIFIED BY 'slurm';
     GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1'; GRANT ALL ON slurm_acct_db.* TO slurm@localhost"
slurmdbd
within 60 sacctmgr -n show cluster
sacctmgr -i add cluster one >/dev/null 2>&1 || true
slurmctld
slurmd
within 60 idle
sinfo

study() {
    "$PYTHON" train.py -m model=gru,lstm seed=0,1 data=adding data.train=256 data.validation=64 data.test=64 \
        model.hidden_size=8 trainer.threads=1 trainer.max_epochs="$EPOCHS" tracking=off instruments=off \
        checkpoint.every_n_steps=10 launcher=slurm hydra.launcher.cpus_per_task=1 \
        hydra.launcher.timeout_min=10 hydra.launcher.signal_delay_s=30 "root=$WORK/runs"
}
count() { grep -l "\"status\": \"$1\"" "$WORK"/runs/*/*/run.json 2>/dev/null | wc -l; }

EPOCHS=${EPOCHS:-60}
study > "$WORK/first.txt" 2>&1 &
sweep=$!
saved() { ls "$WORK"/runs/*/*/checkpoints/last.ckpt; }
within 180 saved
running=$(dirname "$(dirname "$(saved | head -n 1)")")
victim=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$running/run.json")
echo "SIGKILL to process $victim, the run in $running"
kill -9 "$victim"
if wait $sweep; then echo "the sweep should have failed"; exit 1; fi
tail -n 8 "$WORK/first.txt"
while squeue -h | grep -q .; do sleep 1; done
echo "after the kill: $(count finished) of 4 finished"

study
echo "after the same command again: $(count finished) of 4 finished"
[ "$(count finished)" -eq 4 ]
grep -q '"step"' "$running/run.json" && echo "the run that was killed went on from its checkpoint"
