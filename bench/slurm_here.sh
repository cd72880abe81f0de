#!/bin/sh
# A Slurm of one machine, on loopback and as root: munge, slurmctld and slurmd, two nodes of one CPU each.
#   apt-get install -y slurm-wlm munge && sh bench/slurm_here.sh start FOLDER && export SLURM_CONF=FOLDER/slurm.conf
#   sh bench/slurm_here.sh stop FOLDER
# It listens on PORT and the two after it (16817).
# Partition `low` (the default) is preempted by partition `high`: its jobs are told by SIGTERM and have 20 seconds.
set -eu

case "${1:-}" in start | stop) ;; *) echo "usage: $0 start|stop FOLDER" >&2; exit 2 ;; esac
mkdir -p "$2"
folder=$(cd "$2" && pwd)
host=$(hostname -s)
port=${PORT:-16817}

pids() {
    cat "$folder"/*.pid 2> /dev/null || true
}

if [ "$1" = stop ]; then
    export SLURM_CONF="$folder/slurm.conf"
    scancel --full --signal=KILL --user="$(id -un)" 2> /dev/null || true
    scancel --user="$(id -un)" 2> /dev/null || true
    n=0
    while [ -n "$(squeue --noheader 2> /dev/null)" ] && [ $n -lt 50 ]; do
        n=$((n + 1))
        sleep 0.2
    done
    for pid in $(pids); do kill "$pid" 2> /dev/null || true; done
    exit 0
fi

mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
chmod 755 "$folder"
chmod 700 "$folder/munge"
cat > "$folder/slurm.conf" << END
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that was put back waits until its credential of before has expired, two minutes by default.
AuthInfo=socket=$folder/munge/socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
SlurmctldParameters=idle_on_node_suspend
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,requeue_delay=1
MinJobAge=300
KillWait=20
NodeName=here1 NodeAddr=127.0.0.1 NodeHostname=$host Port=$((port + 1)) CPUs=1 RealMemory=1000
NodeName=here2 NodeAddr=127.0.0.1 NodeHostname=$host Port=$((port + 2)) CPUs=1 RealMemory=1000
PartitionName=low Nodes=here1,here2 Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=high Nodes=here1,here2 PriorityTier=2 PreemptMode=OFF
END
export SLURM_CONF="$folder/slurm.conf"
dd if=/dev/urandom of="$folder/munge/key" bs=1 count=1024 2> /dev/null
chmod 600 "$folder/munge/key"
munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge.pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
slurmctld -c
slurmd -N here1
slurmd -N here2
n=0
until [ "$(sinfo --noheader --format=%T --partition=low 2> /dev/null)" = idle ]; do
    n=$((n + 1))
    [ $n -lt 100 ] || { echo "no Slurm after 20 seconds; see $folder/*.log" >&2; exit 1; }
    sleep 0.2
done
